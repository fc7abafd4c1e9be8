"""The MLflow run of an export: on a tracking server, or in a database inside the export."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import time
from typing import Any

import yaml

from recctl.config import flatten
from recctl.errors import ConfigError
from recctl.export.base import Context
from recctl.models.base import Recommender
from recctl.runs import Run, layout
from recctl.runs.environment import redact_passwords
from recctl.tracking.mlflow import metric_name
from recctl.training import history

# Sections of a config that do not describe the model.
_SKIPPED_SECTIONS = {"tracking", "tuning", "engine", "models"}
_RUN_FILES = (layout.CONFIG, layout.METRICS, layout.HISTORY, layout.FIGURES)
# MLflow's limits: parameters per call, and length of a parameter's value.
_MAX_PARAMS_PER_CALL = 100
_MAX_PARAM_LENGTH = 500


def record(
    model: Recommender, folder: Path, context: Context, uri: str | None, experiment: str, register_as: str | None
) -> dict[str, Any]:
    """Record parameters, metrics, artifacts and the model as an MLflow run.

    Args:
        model: The model.
        folder: The export, which contains `model/`.
        context: Run and destination of the export.
        uri: Tracking server; None for a database in the folder.
        experiment: Name of the experiment.
        register_as: Name of a registered model that gets a new version, if any.

    Returns:
        Facts for the manifest: where the MLflow run is.

    Raises:
        ConfigError: The server cannot be reached, or refuses.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        mlflow_run = _MlflowRun(folder, context, uri, experiment)
        try:
            mlflow_run.describe(model, context.run)
            mlflow_run.add_files(context.run)
            version = mlflow_run.register(register_as) if register_as else None
        except BaseException:
            # Without it, an interrupted export would show as running on the server for good.
            mlflow_run.end("FAILED")
            raise
        mlflow_run.end("FINISHED")
    except (MlflowException, SQLAlchemyError, OSError) as error:
        location = redact_passwords(uri) if uri else "the export's database"
        raise ConfigError(f"export format mlflow: tracking_uri: {location}: {_first_line(error)}") from error
    return {
        "tracking_uri": redact_passwords(uri) if uri else None,
        "experiment": experiment,
        "mlflow_run_id": mlflow_run.run_id,
        "registered": f"{register_as} version {version}" if register_as else None,
    }


def _first_line(error: BaseException) -> str:
    return redact_passwords((str(error).strip() or type(error).__name__).splitlines()[0][:300])


class _MlflowRun:
    """An MLflow run that is being written."""

    def __init__(self, folder: Path, context: Context, uri: str | None, experiment: str) -> None:
        from mlflow import MlflowClient

        self.folder = folder
        self.is_local = uri is None
        if uri is None:
            database = folder.resolve() / "mlflow.db"
            # SQLite itself creates files that the group can't write, whatever the umask says.
            database.touch()
            uri = f"sqlite:///{database.as_posix()}"
        self.client = MlflowClient(tracking_uri=uri)
        existing = self.client.get_experiment_by_name(experiment)
        if existing:
            experiment_id = existing.experiment_id
        else:
            # The database records the final path, not the temporary folder that is being written.
            artifacts = (context.destination / "artifacts").resolve().as_uri() if self.is_local else None
            experiment_id = self.client.create_experiment(experiment, artifact_location=artifacts)
        run_name = context.run.id if context.run else context.destination.name
        run_tags = {"recctl.run_id": context.run.id} if context.run else {}
        previous_run_id = self._previous_run_id(experiment_id, run_tags)
        self.is_new = previous_run_id is None
        self.run_id = (
            previous_run_id or self.client.create_run(experiment_id, run_name=run_name, tags=run_tags).info.run_id
        )

    def _previous_run_id(self, experiment_id: str, tags: Mapping[str, str]) -> str | None:
        """The newest MLflow run of the same recctl run."""
        if not tags:
            return None
        # Tags hold ids of runs only, which contain no quotes.
        condition = " and ".join(f"tags.`{tag_name}` = '{tag_value}'" for tag_name, tag_value in tags.items())
        matching_runs = self.client.search_runs([experiment_id], filter_string=condition, max_results=1)
        return str(matching_runs[0].info.run_id) if matching_runs else None

    def describe(self, model: Recommender, run: Run | None) -> None:
        """Log parameters and metrics, unless the MLflow run has them already."""
        from mlflow.entities import Metric, Param

        if not self.is_new:
            return
        params = [Param(name, str(value)[:_MAX_PARAM_LENGTH]) for name, value in _params(model, run).items()]
        # Milliseconds, as MLflow stores times.
        now_milliseconds = int(1000 * time())
        metrics = [Metric(metric_name(name), value, now_milliseconds, step) for name, value, step in _metrics(run)]
        for begin in range(0, max(len(params), len(metrics)), _MAX_PARAMS_PER_CALL):
            part = slice(begin, begin + _MAX_PARAMS_PER_CALL)
            self.client.log_batch(self.run_id, params=params[part], metrics=metrics[part])

    def add_files(self, run: Run | None) -> None:
        """Add the model and the run's files as artifacts."""
        self._add(self.folder / "model", "model")
        if run is None:
            return
        for file_name in _RUN_FILES:
            path = run.path / file_name
            if path.exists():
                self._add(path, file_name if path.is_dir() else "")

    def _add(self, path: Path, artifact_path: str) -> None:
        if not self.is_local:
            upload = self.client.log_artifacts if path.is_dir() else self.client.log_artifact
            upload(self.run_id, str(path), artifact_path or None)
            return
        # The client would write to the artifact location, the final path, where nothing may appear before the export is
        # complete. So the files are put where MLflow will look for them.
        target = self.folder / "artifacts" / self.run_id / "artifacts" / artifact_path
        if path.is_dir():
            shutil.copytree(path, target, copy_function=_link_or_copy)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / path.name)

    def register(self, name: str) -> str:
        """Register a version of a model; returns the version."""
        from mlflow.exceptions import MlflowException

        try:
            # Looked up first: creating an existing one is an error, and no call creates it only if it is missing.
            self.client.get_registered_model(name)
        except MlflowException:
            self.client.create_registered_model(name)
        source = f"{self.client.get_run(self.run_id).info.artifact_uri}/model"
        return str(self.client.create_model_version(name, source, self.run_id).version)

    def end(self, status: str) -> None:
        """Record how the MLflow run ended."""
        self.client.set_terminated(self.run_id, status)


def _link_or_copy(source: str, target: str) -> None:
    """Hard-link a file, which is never changed later; copy it where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _params(model: Recommender, run: Run | None) -> dict[str, Any]:
    """Parameters by config path, as live tracking names them."""
    sections: dict[str, Any] = {}
    if run is not None:
        sections = yaml.safe_load(run.config_text())
    model_section = {"name": model.name, "params": model.hyperparameters()}
    sections = {
        section_name: section for section_name, section in sections.items() if section_name not in _SKIPPED_SECTIONS
    }
    params = flatten(sections | {"model": model_section})
    return {
        parameter_name: value
        for parameter_name, value in params.items()
        if value is not None or parameter_name.startswith("model.")
    }


def _metrics(run: Run | None) -> Iterator[tuple[str, float, int]]:
    if run is None:
        return
    for split_part, values in run.metrics().items():
        for metric_key, value in values.items():
            yield f"{split_part}/{metric_key}", value, 0
    for epoch_record in history.read(run.path / layout.HISTORY):
        values = {"loss": epoch_record["loss"]} | epoch_record["metrics"]
        for metric_key, value in values.items():
            if isinstance(value, int | float):
                yield metric_key, value, epoch_record["epoch"]
