"""MLflow: a tracking server, or a database."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from time import time
from typing import Any

from recctl.errors import ConfigError
from recctl.tracking.tracker import Status, Tracker

_AT_ONCE, _LONGEST = 100, 500  # what MLflow takes of parameters in one call, and of each one's text in any version
_STATUSES: dict[Status, str] = {"complete": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
# MLflow waits for two minutes and tries eight times; it asks its makers' server for leave to tell them of its use.
_MANNERS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "4",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}


class MLflowLogger(Tracker):
    """Logs hyperparameters, figures of each epoch, and how it ended, as a run of an experiment.

    MLflow allows no `@` in names: `ndcg@10` is `ndcg_at_10`. Neither its global state nor its active run is touched.
    Its variables in the environment hold as set; where they are not, telemetry is off and waiting short.

    Args:
        uri: As `http://host:5000` or `sqlite:///mlflow.db`; None: `$MLFLOW_TRACKING_URI`, else MLflow's own choice.
        experiment: The experiment's name; made if there is none.

    Raises:
        ConfigError: MLflow is not installed.
    """

    name = "mlflow"

    def __init__(self, uri: str | None = None, experiment: str = "recctl") -> None:
        if find_spec("mlflow") is None:
            raise ConfigError("tracking.mlflow: is not installed: pip install 'recctl[mlflow]'")
        super().__init__()
        self.uri = uri
        self.experiment = experiment

    def _open(self, title: str, params: Mapping[str, Any], tags: Mapping[str, str], resumed: bool) -> None:
        for name, value in _MANNERS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient(tracking_uri=self.uri)
        found = self._client.get_experiment_by_name(self.experiment)
        experiment = found.experiment_id if found else self._client.create_experiment(self.experiment)
        if resumed and (before := self._find(experiment, tags)):
            self._run_id = before
            self._client.update_run(before, status="RUNNING")
            return
        self._run_id = self._client.create_run(experiment, run_name=title, tags=dict(tags)).info.run_id
        given = [Param(name, str(value)[:_LONGEST]) for name, value in params.items()]
        for begin in range(0, len(given), _AT_ONCE):
            self._client.log_batch(self._run_id, params=given[begin : begin + _AT_ONCE])

    def _find(self, experiment: str, tags: Mapping[str, str]) -> str | None:
        """The newest run with these tags."""
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        runs = self._client.search_runs([experiment], filter_string=wanted, max_results=1)
        return runs[0].info.run_id if runs else None

    def _write(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time())
        metrics = [Metric(metric_name(name), value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def _close(self, status: Status) -> None:
        self._client.set_terminated(self._run_id, _STATUSES[status])


def metric_name(name: str) -> str:
    """A metric's name as MLflow allows it."""
    return name.replace("@", "_at_")
