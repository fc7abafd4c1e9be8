"""A run in MLflow's tracking: in a server, or in a database within the export."""

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
from recctl.runs import Run
from recctl.runs.environment import redact_passwords
from recctl.tracking.mlflow import metric_name
from recctl.training import history

_LEFT_OUT = {"tracking", "tuning", "engine", "models"}  # of a config: what says nothing of the model
_FILES = ("config.yaml", "metrics.json", "history.jsonl", "figures")
_AT_ONCE, _LONGEST = 100, 500


def record(
    model: Recommender, folder: Path, context: Context, uri: str | None, experiment: str, register_as: str | None
) -> dict[str, Any]:
    """Write parameters, metrics, artifacts and the model.

    Args:
        model: The model.
        folder: Holds `model/`.
        context: Of which run it is.
        uri: Of the tracking server; None for a database in the folder.
        experiment: Its name.
        register_as: The name of a registered model that gets a version, if any.

    Returns:
        Where it is.

    Raises:
        ConfigError: The server can't be reached, or refuses.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        tracked = _Tracked(folder, context, uri, experiment)
        try:
            tracked.describe(model, context.run)
            tracked.add_files(context.run)
            version = tracked.register(register_as) if register_as else None
        except BaseException:
            tracked.end("FAILED")
            raise
        tracked.end("FINISHED")
    except (MlflowException, SQLAlchemyError, OSError) as error:
        where = redact_passwords(uri) if uri else "the export's database"
        raise ConfigError(f"export format mlflow: tracking_uri: {where}: {_first_line(error)}") from error
    return {
        "tracking_uri": redact_passwords(uri) if uri else None,
        "experiment": experiment,
        "mlflow_run_id": tracked.run_id,
        "registered": f"{register_as} version {version}" if register_as else None,
    }


def _first_line(error: BaseException) -> str:
    return redact_passwords((str(error).strip() or type(error).__name__).splitlines()[0][:300])


class _Tracked:
    """A run of MLflow."""

    def __init__(self, folder: Path, context: Context, uri: str | None, experiment: str) -> None:
        from mlflow import MlflowClient

        self.folder = folder
        self.is_local = uri is None
        self.client = MlflowClient(tracking_uri=uri or f"sqlite:///{(folder / 'mlflow.db').resolve().as_posix()}")
        found = self.client.get_experiment_by_name(experiment)
        if found:
            experiment_id = found.experiment_id
        else:
            # The database tells of the place where the folder will stand, not of the one where it is made.
            artifacts = (context.destination / "artifacts").resolve().as_uri() if self.is_local else None
            experiment_id = self.client.create_experiment(experiment, artifact_location=artifacts)
        title = context.run.id if context.run else context.destination.name
        tags = {"recctl.run_id": context.run.id} if context.run else {}
        before = self._before(experiment_id, tags)
        self.is_new = before is None
        self.run_id = before or self.client.create_run(experiment_id, run_name=title, tags=tags).info.run_id

    def _before(self, experiment_id: str, tags: Mapping[str, str]) -> str | None:
        """The newest run of the same run of recctl."""
        if not tags:
            return None
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        runs = self.client.search_runs([experiment_id], filter_string=wanted, max_results=1)
        return str(runs[0].info.run_id) if runs else None

    def describe(self, model: Recommender, run: Run | None) -> None:
        """Parameters and metrics, unless they are there already."""
        from mlflow.entities import Metric, Param

        if not self.is_new:
            return
        params = [Param(name, str(value)[:_LONGEST]) for name, value in _params(model, run).items()]
        now = int(1000 * time())
        metrics = [Metric(metric_name(name), value, now, step) for name, value, step in _metrics(run)]
        for begin in range(0, max(len(params), len(metrics)), _AT_ONCE):
            part = slice(begin, begin + _AT_ONCE)
            self.client.log_batch(self.run_id, params=params[part], metrics=metrics[part])

    def add_files(self, run: Run | None) -> None:
        """The model, and the run's files."""
        self._add(self.folder / "model", "model")
        for name in _FILES if run else ():
            path = run.path / name  # type: ignore[union-attr]
            if path.exists():
                self._add(path, name if path.is_dir() else "")

    def _add(self, path: Path, to: str) -> None:
        if not self.is_local:
            upload = self.client.log_artifacts if path.is_dir() else self.client.log_artifact
            upload(self.run_id, str(path), to or None)
            return
        there = self.folder / "artifacts" / self.run_id / "artifacts" / to
        if path.is_dir():
            shutil.copytree(path, there, copy_function=_linked)
        else:
            there.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, there / path.name)

    def register(self, name: str) -> str:
        """Add a version of a registered model."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.get_registered_model(name)
        except MlflowException:
            self.client.create_registered_model(name)
        source = f"{self.client.get_run(self.run_id).info.artifact_uri}/model"
        return str(self.client.create_model_version(name, source, self.run_id).version)

    def end(self, status: str) -> None:
        """Say how it ended."""
        self.client.set_terminated(self.run_id, status)


def _linked(source: str, target: str) -> None:
    """A second name for a file that is never changed, where the file system has such."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _params(model: Recommender, run: Run | None) -> dict[str, Any]:
    """As live tracking names them: by the config's paths."""
    sections: dict[str, Any] = {}
    if run is not None:
        sections = yaml.safe_load(run.config_text())
    model_section = {"name": model.name, "params": model.hyperparameters()}
    sections = {name: section for name, section in sections.items() if name not in _LEFT_OUT}
    params = flatten(sections | {"model": model_section})
    return {name: value for name, value in params.items() if value is not None or name.startswith("model.")}


def _metrics(run: Run | None) -> Iterator[tuple[str, float, int]]:
    if run is None:
        return
    for part, values in run.metrics().items():
        yield from ((f"{part}/{key}", value, 0) for key, value in values.items())
    for epoch in history.read(run.path / "history.jsonl"):
        values = {"loss": epoch["loss"], **epoch["metrics"]}
        yield from ((key, value, epoch["epoch"]) for key, value in values.items() if isinstance(value, int | float))
