"""Tracking in MLflow: on a server, or in a database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from recctl.arguments import optional, text, validated
from recctl.errors import ConfigError
from recctl.tracking.mlflow_store import ExperimentStore, prepare_store, set_defaults
from recctl.tracking.mlflow_store import metric_name as metric_name
from recctl.tracking.record import PartStatus, Record, Status
from recctl.tracking.tracker import Tracker


class MLflowLogger(Tracker):
    """Logs hyperparameters, the metrics of each epoch and the final status as an MLflow run.

    MLflow allows no `@` in names: `ndcg@10` becomes `ndcg_at_10`. MLflow's active run stays unchanged. Its environment
    variables are respected; by default telemetry is off, time-outs are short, and it prints no URLs to stdout.

    The tables of an SQLite database are created as a whole: an interruption leaves a usable database or none.

    Args:
        uri: Such as `http://host:5000` or `sqlite:///mlflow.db`; None: `$MLFLOW_TRACKING_URI`, else MLflow's default.
        experiment: Name of the experiment; created if it does not exist.

    Raises:
        ConfigError: MLflow is not installed.

    Examples:
        ```python
        from recctl import MLflowLogger, SVDRecommender

        logger = MLflowLogger("sqlite:///mlflow.db", experiment="shop")
        SVDRecommender(n_epochs=3).fit(train, callbacks=[logger])
        ```
    """

    name = "mlflow"

    @validated(uri=optional(text), experiment=text)
    def __init__(self, uri: str | None = None, experiment: str = "recctl") -> None:
        if find_spec("mlflow") is None:
            raise ConfigError("tracking.mlflow: MLflow is not installed: pip install 'recctl[mlflow]'")
        super().__init__()
        self.uri = uri
        self.experiment = experiment
        self._run_id: str | None = None

    @property
    def location(self) -> dict[str, str]:
        """The experiment, the id of the MLflow run, and its page on a server; empty if there is none."""
        if self._run_id is None:
            return {}
        location = {"experiment": self.experiment, "run_id": self._run_id}
        page = self._store.page(self._run_id)
        return location if page is None else location | {"page": page}

    def _prepare(self) -> None:
        set_defaults()
        prepare_store(self.uri)

    def _open(self, record: Record, resumed: bool) -> None:
        self._run_id = None
        self._store = ExperimentStore(self.uri, self.experiment)
        previous_run_id = self._store.find_run(record.tags) if resumed else None
        if previous_run_id is not None:
            self._store.resume_run(previous_run_id)
            self._run_id = previous_run_id
            return
        parent_id = record.parent._run_id if isinstance(record.parent, MLflowLogger) else None
        self._run_id = self._store.create_run(_with_context(record), parent_id)

    def _write(self, values: Mapping[str, float], step: int, moment: float) -> None:
        metrics = [(metric_key, value, step) for metric_key, value in values.items()]
        self._store.log_metrics(self._opened_run_id, metrics, moment)

    def _write_file(self, path: Path, folder: str) -> None:
        self._store.log_file(self._opened_run_id, path, folder)

    def _add_properties(self, properties: Mapping[str, str]) -> None:
        self._store.set_tags(self._opened_run_id, properties)

    def _nest(
        self, record: Record, values: Sequence[tuple[str, float, int]], status: PartStatus, moment: float
    ) -> None:
        run_id = self._store.create_run(_with_context(record), self._opened_run_id)
        self._store.log_metrics(run_id, values, moment)
        self._store.end_run(run_id, status, moment)

    def _close(self, status: Status, moment: float) -> None:
        self._store.end_run(self._opened_run_id, status, moment)

    @property
    def _opened_run_id(self) -> str:
        # A tracker that could not be opened is disabled, and gets no further calls.
        assert self._run_id is not None
        return self._run_id


def _with_context(record: Record) -> Record:
    """Add the tags by which MLflow itself describes a program: its user, its script, notebook or job, its commit.

    What recctl knows of a command is more exact than the script's name. In a notebook or a job it is the other way
    round. The commit is that of the working directory, if recctl has recorded one, not that of the script.
    """
    from mlflow.tracking.context.git_context import GitRunContext
    from mlflow.tracking.context.registry import resolve_tags

    properties = dict(record.properties)
    context = resolve_tags(ignore=[GitRunContext] if properties else None)
    if context.get("mlflow.source.type") == "LOCAL":
        return replace(record, properties=context | properties)
    return replace(record, properties=properties | context)
