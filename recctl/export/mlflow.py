"""A model as MLflow knows it, and its run in a tracking server. MLflow imports this module to load such models."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pandas as pd
from pydantic import Field, PlainSerializer

from recctl.data import columns
from recctl.errors import ArtifactError
from recctl.export.base import Context, ExportFormat
from recctl.models.base import Recommender
from recctl.models.registry import load_model
from recctl.runs.environment import redact_passwords
from recctl.version import __version__

_MODEL = "model"
_ASKED = 5
# MLflow asks its makers' server for leave to tell them of its use, and takes a lock file of uv that lies about along.
_MANNERS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_UV_AUTO_DETECT": "false",
}


class MLflowFormat(ExportFormat):
    """A model that MLflow loads and serves, and a run in its tracking: parameters, metrics, artifacts.

    `model/` is what `mlflow.pyfunc.load_model` takes: recctl's model file, which recctl reads, nothing pickled. Its
    `predict` takes a table with `user_id`, and gives what `Recommender.recommend` gives (`params`: `k`, `exclude_seen`,
    `on_unknown`); or with `user_id` and `item_id`, and gives the score of each pair. Without a server, the run is in
    `mlflow.db` (`mlflow ui --backend-store-uri sqlite:///DIR/mlflow.db`), its artifacts in `artifacts/`.

    A run that was tracked live, or exported before, in the same experiment is added to.
    """

    name = "mlflow"
    extra = "mlflow"
    needs: ClassVar[tuple[str, ...]] = ("mlflow",)

    tracking_uri: Annotated[str, PlainSerializer(redact_passwords)] | None = Field(
        None, description="As http://host:5000 or sqlite:///mlflow.db; $MLFLOW_TRACKING_URI, else a database in DIR."
    )
    experiment: str = Field("recctl", min_length=1, description="The experiment's name; made if there is none.")
    register_as: str | None = Field(None, min_length=1, description="Also a version of this registered model.")

    def write(self, model: Recommender, folder: Path, context: Context) -> dict[str, Any]:
        """Write the model, and then the run."""
        from recctl.export import _mlflow_run

        with at_peace():
            _save(model, folder / _MODEL, context)
            uri = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
            return _mlflow_run.record(model, folder, context, uri, self.experiment, self.register_as)

    @classmethod
    def verify(cls, folder: Path, manifest: Mapping[str, Any], model: Recommender | None = None) -> None:
        """Load the model by MLflow; right after writing, ask it what the model is asked."""
        with at_peace():
            import mlflow.pyfunc

            try:
                loaded = mlflow.pyfunc.load_model(str(folder / _MODEL), suppress_warnings=True)
                if model is not None:
                    users = model.user_vocabulary.ids[:_ASKED]
                    answer = loaded.predict(pd.DataFrame({columns.USER: users}))
                    pd.testing.assert_frame_equal(answer, model.recommend(users))
            except (mlflow.MlflowException, AssertionError) as error:
                raise ArtifactError(f"{folder / _MODEL}: MLflow does not load it as it was: {error}") from error


class Predictor:
    """What MLflow asks: a model that answers tables."""

    def __init__(self, model: Recommender) -> None:
        self.model = model

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Recommendations for `user_id`, or with `item_id` the score of each pair.

        Args:
            model_input: A table.
            params: `k`, `exclude_seen`, `on_unknown` of `recommend`.
        """
        table = pd.DataFrame(model_input)
        columns.require_columns(table, columns.USER, place="predict")
        users = table[columns.USER].tolist()
        if columns.ITEM in table:
            scores = self.model.predict(users, table[columns.ITEM].tolist())
            return table[[columns.USER, columns.ITEM]].assign(score=scores)
        return self.model.recommend(users, **(params or {}))


def _load_pyfunc(path: str) -> Predictor:
    """What MLflow calls."""
    return Predictor(load_model(path))


@contextmanager
def at_peace() -> Iterator[None]:
    """A block in which MLflow neither warns, nor logs, nor tells its makers anything."""
    for name, value in _MANNERS.items():
        os.environ.setdefault(name, value)
    logger = logging.getLogger("alembic")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _save(model: Recommender, path: Path, context: Context) -> None:
    import mlflow.pyfunc

    beside = path.with_name("model.pkl")
    model.save(beside)
    try:
        mlflow.pyfunc.save_model(
            path,
            loader_module=__name__,
            data_path=str(beside),
            pip_requirements=[f"recctl=={__version__}"],
            signature=_signature(model),
            metadata={"recctl_run_id": context.run.id} if context.run else None,
        )
    finally:
        beside.unlink()


def _signature(model: Recommender) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    users, items = ("string" if each.is_text else "long" for each in (model.user_vocabulary, model.item_vocabulary))
    asked = Schema([ColSpec(users, columns.USER), ColSpec(items, columns.ITEM, required=False)])
    given = [ColSpec(users, columns.USER), ColSpec(items, columns.ITEM), ColSpec("float", "score")]
    params = ParamSchema(
        [
            ParamSpec("k", "long", 10),
            ParamSpec("exclude_seen", "boolean", True),
            ParamSpec("on_unknown", "string", "error"),
        ]
    )
    return ModelSignature(asked, Schema([*given, ColSpec("long", "rank", required=False)]), params)
