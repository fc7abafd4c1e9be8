"""The MLflow run of an export: on a tracking server, or in a database inside the export."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from time import time
from typing import Any

from recctl.config import flatten
from recctl.errors import ConfigError, RecctlError
from recctl.experiment import tracked_run
from recctl.export.base import Context
from recctl.models.base import Recommender
from recctl.reports.report import write_report
from recctl.reports.tracked_report import REPORT
from recctl.runs import Run
from recctl.runs.environment import redact_passwords
from recctl.tracking import PartStatus, Record
from recctl.tracking.mlflow_store import ExperimentStore, prepare_store


def record(
    model: Recommender, folder: Path, context: Context, uri: str | None, experiment: str, register_as: str | None
) -> dict[str, Any]:
    """Record parameters, metrics, artifacts and the model as an MLflow run.

    If the run was tracked or exported before, that MLflow run gets the model, and stays as it is otherwise: its status,
    its duration and its metrics are not changed.

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

    location = redact_passwords(uri) if uri else "the export's database"
    try:
        with closing(_MlflowRun(model, folder, context, uri, experiment)) as mlflow_run:
            # Before the files: if their upload fails, the MLflow run shows how the run ended, not how its export did,
            # and the next export adds them.
            mlflow_run.complete(context.run)
            mlflow_run.add_files(context.run)
            version = mlflow_run.register(register_as) if register_as else None
    except ConfigError as error:
        raise ConfigError(f"export format mlflow: tracking_uri: {redact_passwords(str(error))}") from error
    except (MlflowException, SQLAlchemyError, OSError) as error:
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

    def __init__(self, model: Recommender, folder: Path, context: Context, uri: str | None, experiment: str) -> None:
        self.folder = folder
        self.is_local = uri is None
        artifact_location = None
        if uri is None:
            uri = f"sqlite:///{(folder.resolve() / 'mlflow.db').as_posix()}"
            # The database records the final path, not the temporary folder that is being written.
            artifact_location = (context.destination / "artifacts").resolve().as_uri()
        prepare_store(uri)
        self.store = ExperimentStore(uri, experiment, artifact_location)
        run = context.run
        run_record = tracked_run.record_of(run) if run else _record_of_model(model, context)
        self._ended = tracked_run.end_time(run) if run else time()
        existing_id = self.store.find_run(run_record.tags)
        is_live = run is not None and run.status == "running"
        # A run whose process died, or that lost its server, has neither its results nor an end there.
        self._is_unfinished = existing_id is None or (self.store.is_running(existing_id) and not is_live)
        self.run_id = existing_id or self.store.create_run(run_record)

    def complete(self, run: Run | None) -> None:
        """Record results, status and end of the run; an MLflow run that has ended is left as it is."""
        if not self._is_unfinished:
            return
        if run is not None:
            values = [*tracked_run.epochs(run.path), *tracked_run.results(run)]
            self.store.log_metrics(self.run_id, _finite(values), self._ended)
            self.store.set_tags(self.run_id, tracked_run.final_properties(run))
        self.store.end_run(self.run_id, _status(run), self._ended)

    def add_files(self, run: Run | None) -> None:
        """Add the model, the run's files and its report as artifacts."""
        self._add_model()
        if run is None:
            return
        for path, folder in tracked_run.files(run):
            self._add(path, folder)
        with tempfile.TemporaryDirectory() as temporary:
            report = Path(temporary) / REPORT
            try:
                write_report([run], report)
            except RecctlError:  # of a run whose data are gone, for example; the model is what matters
                return
            self._add(report, "")

    def _add_model(self) -> None:
        model = self.folder / "model"
        if self.is_local:
            shutil.copytree(model, self._local_artifacts / "model", copy_function=_link_or_copy)
        else:
            self.store.client.log_artifacts(self.run_id, str(model), "model")

    def _add(self, path: Path, folder: str) -> None:
        if not self.is_local:
            self.store.log_file(self.run_id, path, folder)
            return
        target = self._local_artifacts / folder
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / path.name)

    @property
    def _local_artifacts(self) -> Path:
        # The client would write to the artifact location, the final path, where nothing may appear before the export is
        # complete. So the files are put where MLflow will look for them.
        return self.folder / "artifacts" / self.run_id / "artifacts"

    def register(self, name: str) -> str:
        """Register a version of a model; returns the version."""
        from mlflow.exceptions import MlflowException

        client = self.store.client
        try:
            # Looked up first: creating an existing one is an error, and no call creates it only if it is missing.
            client.get_registered_model(name)
        except MlflowException:
            client.create_registered_model(name)
        source = f"{client.get_run(self.run_id).info.artifact_uri}/model"
        return str(client.create_model_version(name, source, self.run_id).version)

    def close(self) -> None:
        """Close the database of the export: Windows renames no folder that holds an open file."""
        if self.is_local:
            self.store.close()


def _status(run: Run | None) -> PartStatus:
    """How the run ended; a model without a run, and one of a run that goes on, are complete."""
    statuses: dict[str, PartStatus] = {"failed": "failed", "died": "failed", "interrupted": "interrupted"}
    return "complete" if run is None else statuses.get(run.status, "complete")


def _record_of_model(model: Recommender, context: Context) -> Record:
    """The record of a model that belongs to no run."""
    section = {"model": {"name": model.name, "params": model.hyperparameters()}}
    return Record(context.destination.name, flatten(section))


def _finite(values: list[tracked_run.Value]) -> list[tuple[str, float, int]]:
    return [(name, float(value), step) for name, value, step in values if value is not None and math.isfinite(value)]


def _link_or_copy(source: str, target: str) -> None:
    """Hard-link a file, which is never changed later; copy it where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
