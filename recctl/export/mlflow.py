"""A model that MLflow can load, and its run in a tracking server. MLflow imports this module to load the model."""

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
_N_CHECKED_USERS = 5
# Defaults for variables that are not set: no telemetry, few retries, and no uv lock file among the artifacts.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_UV_AUTO_DETECT": "false",
}


class MLflowFormat(ExportFormat):
    """A model that MLflow loads and serves, and an MLflow run with parameters, metrics and artifacts.

    `model/` can be loaded with `mlflow.pyfunc.load_model`. It contains recctl's model file, which recctl reads; nothing
    is unpickled. `predict` takes a table with `user_id` and returns the result of `Recommender.recommend` (`params`:
    `k`, `exclude_seen`, `on_unknown`), or a table with `user_id` and `item_id` and returns the score of each pair.
    Without a server, the MLflow run is in `mlflow.db` (`mlflow ui --backend-store-uri sqlite:///DIR/mlflow.db`) and its
    artifacts in `artifacts/`.

    If the run was tracked live or exported before in the same experiment, that MLflow run is extended.
    """

    name = "mlflow"
    extra = "mlflow"
    needs: ClassVar[tuple[str, ...]] = ("mlflow",)
    needs_local_folder: ClassVar[bool] = True

    tracking_uri: Annotated[str, PlainSerializer(redact_passwords)] | None = Field(
        None,
        description="Such as http://host:5000; default: $MLFLOW_TRACKING_URI, else a database in DIR.",
    )
    experiment: str = Field("recctl", min_length=1, description="Name of the experiment; created if it does not exist.")
    register_as: str | None = Field(
        None, min_length=1, description="Also register the model as a version of this registered model."
    )

    def write(self, model: Recommender, folder: Path, context: Context) -> dict[str, Any]:
        """Write the model, then the MLflow run."""
        from recctl.export import _mlflow_run

        with quiet_mlflow():
            _save(model, folder / _MODEL, context)
            tracking_uri = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
            return _mlflow_run.record(model, folder, context, tracking_uri, self.experiment, self.register_as)

    @classmethod
    def verify(cls, folder: Path, manifest: Mapping[str, Any], model: Recommender | None = None) -> None:
        """Load the model with MLflow; right after writing, compare its recommendations with the model's."""
        with quiet_mlflow():
            import mlflow.pyfunc

            try:
                loaded = mlflow.pyfunc.load_model(str(folder / _MODEL), suppress_warnings=True)
                if model is not None:
                    # A few users are enough: MLflow loads recctl's own model file, whose hash is checked separately.
                    users = model.user_vocabulary.ids[:_N_CHECKED_USERS]
                    recommended = loaded.predict(pd.DataFrame({columns.USER: users}))
                    pd.testing.assert_frame_equal(recommended, model.recommend(users))
            except (mlflow.MlflowException, AssertionError) as error:
                raise ArtifactError(f"{folder / _MODEL}: the model differs when MLflow loads it: {error}") from error


class Predictor:
    """The interface that MLflow calls: predictions for a table."""

    def __init__(self, model: Recommender) -> None:
        self.model = model

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Recommendations for each `user_id`; with a column `item_id`, the score of each pair.

        Args:
            model_input: A table with `user_id`, and optionally `item_id`.
            params: Arguments of `recommend`: `k`, `exclude_seen`, `on_unknown`.
        """
        input_table = pd.DataFrame(model_input)
        columns.require_columns(input_table, columns.USER, source="predict")
        users = input_table[columns.USER].tolist()
        if columns.ITEM in input_table:
            scores = self.model.predict(users, input_table[columns.ITEM].tolist())
            return input_table[[columns.USER, columns.ITEM]].assign(score=scores)
        return self.model.recommend(users, **(params or {}))


def _load_pyfunc(path: str) -> Predictor:
    """Entry point that MLflow calls to load the model."""
    return Predictor(load_model(path))


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Suppress the warnings, log messages and telemetry of MLflow within a block."""
    for variable_name, value in _ENVIRONMENT.items():
        # MLflow reads them when it is imported. Values that the user has set win.
        os.environ.setdefault(variable_name, value)
    # Creating a database logs each of its dozens of migrations.
    logger = logging.getLogger("alembic")
    previous_level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(previous_level)


def _save(model: Recommender, path: Path, context: Context) -> None:
    import mlflow.pyfunc

    model_path = path.with_name("model.pkl")
    model.save(model_path)
    try:
        mlflow.pyfunc.save_model(
            path,
            # MLflow stores this module's name and calls its `_load_pyfunc`: renaming the module would break old
            # exports.
            loader_module=__name__,
            data_path=str(model_path),
            pip_requirements=[f"recctl=={__version__}"],
            signature=_signature(model),
            metadata={"recctl_run_id": context.run.id} if context.run else None,
        )
    finally:
        model_path.unlink()


def _signature(model: Recommender) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    user_type = "string" if model.user_vocabulary.is_text else "long"
    item_type = "string" if model.item_vocabulary.is_text else "long"
    inputs = Schema([ColSpec(user_type, columns.USER), ColSpec(item_type, columns.ITEM, required=False)])
    outputs = Schema(
        [
            ColSpec(user_type, columns.USER),
            ColSpec(item_type, columns.ITEM),
            ColSpec("float", "score"),
            ColSpec("long", "rank", required=False),
        ]
    )
    params = ParamSchema(
        [
            ParamSpec("k", "long", 10),
            ParamSpec("exclude_seen", "boolean", True),
            ParamSpec("on_unknown", "string", "error"),
        ]
    )
    return ModelSignature(inputs, outputs, params)
