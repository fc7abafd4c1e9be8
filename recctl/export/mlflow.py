"""A model that MLflow can load, and its run in a tracking server. MLflow imports this module to load the model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field, PlainSerializer

from recctl.data import columns
from recctl.errors import ArtifactError, DataError
from recctl.export.base import Context, ExportFormat
from recctl.models.base import Recommender
from recctl.models.registry import load_model
from recctl.runs.environment import redact_passwords
from recctl.tracking.mlflow_store import quiet_mlflow
from recctl.version import __version__

_MODEL = "model"
_HISTORY = "history"
_N_CHECKED_USERS = 5


class MLflowFormat(ExportFormat):
    """A model that MLflow loads and serves, and an MLflow run with parameters, metrics and artifacts.

    `model/` can be loaded with `mlflow.pyfunc.load_model`. It contains recctl's model file, which recctl reads; nothing
    is unpickled. An environment that loads or serves it needs this version of recctl, which its requirements name.
    `predict` takes one of these tables:

        user_id             recommendations for users that the model was fitted on, as `Recommender.recommend`
        history             recommendations from lists of item ids, oldest first, as `recommend_for_history`; with
                            `user_id` for their users, else `user_id` of the result is the position of the row
        user_id, item_id    the score of each pair, as `Recommender.predict`

    Its `params` are `k`, `exclude_seen` and `on_unknown`.

    Without a server, the MLflow run is in `mlflow.db` (`mlflow ui --backend-store-uri sqlite:///DIR/mlflow.db`) and its
    artifacts in `artifacts/`.

    If the run was tracked live or exported before in the same experiment, that MLflow run gets the model. Its status,
    its duration and its metrics stay as they are.
    """

    name = "mlflow"
    extra = "mlflow"
    needs: ClassVar[tuple[str, ...]] = ("mlflow",)
    needs_local_folder: ClassVar[bool] = True
    libraries: ClassVar[tuple[str, ...]] = ("mlflow-skinny",)
    read_with: ClassVar[Mapping[str, str]] = {
        "model": f"mlflow.pyfunc.load_model, with recctl {__version__} installed",
        "mlflow.db": "mlflow ui --backend-store-uri sqlite:///DIR/mlflow.db",
        "artifacts": "MLflow, which finds them by mlflow.db",
    }

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
        """Recommendations for each `user_id` or each `history`; with a column `item_id`, the score of each pair.

        Args:
            model_input: A table with `user_id`, with `history`, or with `user_id` and `item_id`.
            params: Arguments of `recommend` and `recommend_for_history`: `k`, `exclude_seen`, `on_unknown`.

        Raises:
            DataError: The table has neither column, or several histories of a user.
        """
        input_table = pd.DataFrame(model_input)
        options = params or {}
        if _HISTORY in input_table:
            return self.model.recommend_for_history(_histories(input_table), **options)
        columns.require_columns(input_table, columns.USER, source=f"predict (without a column {_HISTORY})")
        users = input_table[columns.USER].tolist()
        if columns.ITEM in input_table:
            scores = self.model.predict(users, input_table[columns.ITEM].tolist())
            return input_table[[columns.USER, columns.ITEM]].assign(score=scores)
        return self.model.recommend(users, **options)


def _histories(input_table: pd.DataFrame) -> list[list[Any]] | dict[Any, list[Any]]:
    histories = []
    for row, history in enumerate(input_table[_HISTORY]):
        # JSON and signatures of MLflow make arrays of the lists.
        if not isinstance(history, list | tuple | np.ndarray):
            raise DataError(f"predict: {_HISTORY} of row {row} is {history!r}; give a list of item ids, [] for none")
        histories.append(list(history))
    if columns.USER not in input_table:
        return histories
    users = input_table[columns.USER].tolist()
    if len(set(users)) < len(users):
        raise DataError("predict: several rows have the same user_id; join their histories, or leave user_id out")
    return dict(zip(users, histories, strict=True))


def _load_pyfunc(path: str) -> Predictor:
    """Entry point that MLflow calls to load the model."""
    return Predictor(load_model(path))


def _save(model: Recommender, path: Path, context: Context) -> None:
    import mlflow.pyfunc

    model_path = path.with_name("model.pkl")
    model.save(model_path)
    requirement = f"recctl=={__version__}"
    metadata = {"recctl_requires": requirement}
    if context.run:
        metadata["recctl_run_id"] = context.run.id
    try:
        mlflow.pyfunc.save_model(
            path,
            # MLflow stores this module's name and calls its `_load_pyfunc`: renaming the module would break old
            # exports.
            loader_module=__name__,
            data_path=str(model_path),
            pip_requirements=[requirement],
            signature=_signature(model),
            metadata=metadata,
        )
    finally:
        model_path.unlink()


def _signature(model: Recommender) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array

    user_type = "string" if model.user_vocabulary.is_text else "long"
    item_type = "string" if model.item_vocabulary.is_text else "long"
    inputs = Schema(
        [
            ColSpec(user_type, columns.USER, required=False),
            ColSpec(item_type, columns.ITEM, required=False),
            ColSpec(Array(DataType[item_type]), _HISTORY, required=False),
        ]
    )
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
