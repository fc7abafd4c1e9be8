"""Tracking in MLflow: on a server, or in a database."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from time import time
from typing import Any

from recctl.arguments import optional, text, validated
from recctl.errors import ConfigError
from recctl.tracking.tracker import Status, Tracker

# MLflow's limits: parameters per call, and length of a parameter's value in any version.
_MAX_PARAMS_PER_CALL = 100
_MAX_PARAM_LENGTH = 500
_MAX_NAME_LENGTH = 250
# Characters of metric keys and segments that it does not allow.
_REPLACED = (("@", "_at_"), (">=", "from "), ("<", "below "))
_STATUSES: dict[Status, str] = {"complete": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
# Defaults for variables that are not set: no telemetry, and short waits (MLflow's own: two minutes, eight attempts).
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "4",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}


class MLflowLogger(Tracker):
    """Logs hyperparameters, the metrics of each epoch and the final status as an MLflow run.

    MLflow allows no `@` in names: `ndcg@10` becomes `ndcg_at_10`. MLflow's global state and active run stay unchanged.
    Its environment variables are respected; by default telemetry is off and time-outs are short.

    Args:
        uri: Such as `http://host:5000` or `sqlite:///mlflow.db`; None: `$MLFLOW_TRACKING_URI`, else MLflow's default.
        experiment: Name of the experiment; created if it does not exist.

    Raises:
        ConfigError: MLflow is not installed.
    """

    name = "mlflow"

    @validated(uri=optional(text), experiment=text)
    def __init__(self, uri: str | None = None, experiment: str = "recctl") -> None:
        if find_spec("mlflow") is None:
            raise ConfigError("tracking.mlflow: MLflow is not installed: pip install 'recctl[mlflow]'")
        super().__init__()
        self.uri = uri
        self.experiment = experiment

    def _open(self, title: str, params: Mapping[str, Any], tags: Mapping[str, str], resumed: bool) -> None:
        for variable_name, value in _ENVIRONMENT.items():
            os.environ.setdefault(variable_name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient(tracking_uri=self.uri)
        existing = self._client.get_experiment_by_name(self.experiment)
        if existing:
            experiment_id = existing.experiment_id
        else:
            experiment_id = self._client.create_experiment(self.experiment)
        previous_run_id = self._find(experiment_id, tags) if resumed else None
        if previous_run_id is not None:
            self._run_id = previous_run_id
            self._client.update_run(previous_run_id, status="RUNNING")
            return
        self._run_id = self._client.create_run(experiment_id, run_name=title, tags=dict(tags)).info.run_id
        mlflow_params = [
            Param(variable_name, str(value)[:_MAX_PARAM_LENGTH]) for variable_name, value in params.items()
        ]
        for begin in range(0, len(mlflow_params), _MAX_PARAMS_PER_CALL):
            self._client.log_batch(self._run_id, params=mlflow_params[begin : begin + _MAX_PARAMS_PER_CALL])

    def _find(self, experiment_id: str, tags: Mapping[str, str]) -> str | None:
        """Id of the newest MLflow run with these tags."""
        condition = " and ".join(f"tags.`{tag_name}` = '{value}'" for tag_name, value in tags.items())
        matching_runs = self._client.search_runs([experiment_id], filter_string=condition, max_results=1)
        return matching_runs[0].info.run_id if matching_runs else None

    def _write(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now_milliseconds = int(1000 * time())
        metrics = [
            Metric(metric_name(metric_key), value, now_milliseconds, step) for metric_key, value in values.items()
        ]
        self._client.log_batch(self._run_id, metrics=metrics)

    def _close(self, status: Status) -> None:
        self._client.set_terminated(self._run_id, _STATUSES[status])


def metric_name(name: str) -> str:
    """A metric key as a name that MLflow allows: letters, digits and `_-. /`, at most 250 characters."""
    for character, replacement in _REPLACED:
        name = name.replace(character, replacement)
    return re.sub(r"[^\w\-. /]", "_", name)[:_MAX_NAME_LENGTH]
