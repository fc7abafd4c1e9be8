"""An experiment of an MLflow tracking store, as recctl writes it: live while a run proceeds, or by an export."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recctl import urls
from recctl.errors import ConfigError
from recctl.tracking.mlflow_database import create_database, database_file, require_current_tables
from recctl.tracking.record import Dataset, PartStatus, Record

# Defaults for variables that are not set. Nothing is printed to stdout, which carries the result of a command. Waits
# are shorter than MLflow's own, two minutes and seven attempts, but long enough for a busy server: a request that is
# repeated because its answer came late creates a second MLflow run. No uv lock file gets among the files of a model.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",
}
# MLflow's limits.
_MAX_PARAMS_PER_CALL = 100
_MAX_METRICS_PER_CALL = 1000
_MAX_PARAM_LENGTH = 6000
_MAX_TAG_LENGTH = 8000
_MAX_NAME_LENGTH = 250
_MAX_DIGEST_LENGTH = 36
# Characters of metric keys and segments that it does not allow.
_REPLACED = (("@", "_at_"), (">=", "from "), ("<", "below "))
# Of a pruned trial: what MLflow's own storage for Optuna records.
_STATUSES: dict[PartStatus, str] = {
    "complete": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "pruned": "KILLED",
}
_PARENT_TAG = "mlflow.parentRunId"
_CONTEXT_TAG = "mlflow.data.context"


def metric_name(name: str) -> str:
    """The name of a metric or parameter as MLflow allows it: letters, digits and `_-. /`, at most 250 characters."""
    for character, replacement in _REPLACED:
        name = name.replace(character, replacement)
    name = re.sub(r"[^\w\-. /]", "_", name)
    # MLflow refuses names that, as paths of files, would be another path: a label such as `a//b` or `../a`.
    parts = ["_" if part in ("", ".", "..") else part for part in name.split("/")]
    return "/".join(parts)[:_MAX_NAME_LENGTH].rstrip("/")


def set_defaults() -> None:
    """Set the environment variables by which MLflow is quiet and does not wait for long. Those of the user win.

    MLflow reads some of them when it is imported.
    """
    for variable_name, value in _ENVIRONMENT.items():
        os.environ.setdefault(variable_name, value)


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Suppress the warnings, log messages and telemetry of MLflow within a block."""
    set_defaults()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def prepare_store(uri: str | None) -> None:
    """Create the SQLite database of a store if there is none; servers have theirs, and PostgreSQL can undo migrations.

    Args:
        uri: Tracking URI; None for that of MLflow: `$MLFLOW_TRACKING_URI`, else `mlflow.db` in the working directory.

    Raises:
        ConfigError: The tables are of another version of MLflow, or can't be created safely.
    """
    import mlflow

    resolved_uri = uri or mlflow.get_tracking_uri()
    path = database_file(resolved_uri)
    if path is not None:
        create_database(path)
    elif resolved_uri.startswith(("mysql", "mssql")):
        require_current_tables(resolved_uri)


class ExperimentStore:
    """An experiment of a tracking store, which is created if it does not exist.

    Times are seconds since 1970, as `time.time` returns them.

    Args:
        uri: Tracking URI; None for that of MLflow.
        experiment: Name of the experiment.
        artifact_location: URI of the folder of artifacts of a new experiment; None: as the store has it, or beside the
            file of an SQLite database.
    """

    def __init__(self, uri: str | None, experiment: str, artifact_location: str | None = None) -> None:
        import mlflow

        resolved_uri = uri or mlflow.get_tracking_uri()
        self.uri = resolved_uri
        self.client = mlflow.MlflowClient(tracking_uri=resolved_uri)
        self.experiment_id = self._open_experiment(
            experiment, artifact_location or _artifacts_beside(resolved_uri, experiment)
        )

    def _open_experiment(self, name: str, artifact_location: str | None) -> str:
        from mlflow.exceptions import MlflowException

        existing = self.client.get_experiment_by_name(name)
        if existing is None:
            try:
                return str(self.client.create_experiment(name, artifact_location=artifact_location))
            except MlflowException:
                # Another process may have created it in the meantime.
                existing = self.client.get_experiment_by_name(name)
                if existing is None:
                    raise
        if existing.lifecycle_stage != "active":
            raise ConfigError(
                f"the experiment {name!r} is deleted; restore it with: mlflow experiments restore --experiment-id "
                f"{existing.experiment_id}, or choose another name"
            )
        return str(existing.experiment_id)

    def find_run(self, tags: Mapping[str, str]) -> str | None:
        """Id of the newest MLflow run with these tags; None if there is none, or no tags are given."""
        if not tags:
            return None
        # Tags hold ids of runs and names of models only, which contain no quotes.
        condition = " and ".join(f"tags.`{tag_name}` = '{value}'" for tag_name, value in tags.items())
        matching_runs = self.client.search_runs([self.experiment_id], filter_string=condition, max_results=1)
        return str(matching_runs[0].info.run_id) if matching_runs else None

    def page(self, run_id: str) -> str | None:
        """The page of an MLflow run on a server, without user name and password; None for databases."""
        if not self.uri.startswith(("http://", "https://")):
            return None
        return f"{urls.redact(self.uri).rstrip('/')}/#/experiments/{self.experiment_id}/runs/{run_id}"

    def is_running(self, run_id: str) -> bool:
        """Whether an MLflow run has no end yet."""
        return bool(self.client.get_run(run_id).info.status == "RUNNING")

    def create_run(self, record: Record, parent_id: str | None = None) -> str:
        """Create an MLflow run with the parameters, tags and data of a record; returns its id."""
        tags = {**record.properties, **record.tags}
        if parent_id is not None:
            tags[_PARENT_TAG] = parent_id
        created = self.client.create_run(
            self.experiment_id,
            start_time=_milliseconds(record.started),
            run_name=record.title,
            tags={tag_name: value[:_MAX_TAG_LENGTH] for tag_name, value in tags.items()},
        )
        run_id = str(created.info.run_id)
        self.log_params(run_id, record.params)
        if record.dataset is not None:
            self._log_dataset(run_id, record.dataset)
        return run_id

    def resume_run(self, run_id: str) -> None:
        """Show an MLflow run as running again."""
        self.client.update_run(run_id, status="RUNNING")

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Log parameters; those without a value are left out."""
        from mlflow.entities import Param

        entities = [
            Param(metric_name(name), str(value)[:_MAX_PARAM_LENGTH])
            for name, value in params.items()
            if value is not None
        ]
        for begin in range(0, len(entities), _MAX_PARAMS_PER_CALL):
            self.client.log_batch(run_id, params=entities[begin : begin + _MAX_PARAMS_PER_CALL])

    def log_metrics(self, run_id: str, values: Sequence[tuple[str, float, int]], moment: float) -> None:
        """Log metrics, each with its name and step."""
        from mlflow.entities import Metric

        timestamp = _milliseconds(moment)
        entities = [Metric(metric_name(name), value, timestamp, step) for name, value, step in values]
        for begin in range(0, len(entities), _MAX_METRICS_PER_CALL):
            self.client.log_batch(run_id, metrics=entities[begin : begin + _MAX_METRICS_PER_CALL])

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set or replace tags."""
        for tag_name, value in tags.items():
            self.client.set_tag(run_id, tag_name, value[:_MAX_TAG_LENGTH])

    def log_file(self, run_id: str, path: Path, folder: str = "") -> None:
        """Upload a file as an artifact."""
        self.client.log_artifact(run_id, str(path), folder or None)

    def end_run(self, run_id: str, status: PartStatus, moment: float) -> None:
        """Record how and when an MLflow run ended."""
        self.client.set_terminated(run_id, _STATUSES[status], _milliseconds(moment))

    def close(self) -> None:
        """Close the connections to the database, which MLflow keeps open until the process ends."""
        # MLflow has no public function for it. The registry, opened on first use, has connections of its own.
        clients = [self.client._tracking_client, getattr(self.client, "_registry_client_lazy", None)]
        for client in clients:
            engine = getattr(getattr(client, "store", None), "engine", None)
            if engine is not None:
                engine.dispose()

    def _log_dataset(self, run_id: str, dataset: Dataset) -> None:
        from mlflow.entities import Dataset as MlflowDataset
        from mlflow.entities import DatasetInput, InputTag

        mlflow_dataset = MlflowDataset(
            name=dataset.name,
            digest=dataset.hash[:_MAX_DIGEST_LENGTH],
            source_type=dataset.source_type,
            source=json.dumps(dataset.source),
            profile=json.dumps(dataset.profile),
        )
        inputs = DatasetInput(mlflow_dataset, [InputTag(_CONTEXT_TAG, dataset.context)])
        self.client.log_inputs(run_id, [inputs])


def _milliseconds(moment: float) -> int:
    return int(1000 * moment)


def _artifacts_beside(uri: str, experiment: str) -> str | None:
    """Where artifacts of a new experiment go: MLflow's default, the working directory, only if the database is there.

    Otherwise they would be spread over the directories in which commands were run.
    """
    path = database_file(uri)
    if path is None or path.resolve().parent == Path.cwd():
        return None
    folder = re.sub(r"[^A-Za-z0-9._-]+", "-", experiment)
    return (path.resolve().parent / "mlruns" / folder).as_uri()
