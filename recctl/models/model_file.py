"""A fitted model as a file: its name, hyperparameters, and fitted values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from recctl import artifacts
from recctl.data.matrix import InteractionMatrix
from recctl.data.vocabulary import Vocabulary
from recctl.errors import ArtifactError, NotFittedError

if TYPE_CHECKING:
    from recctl.models.base import Recommender

Model = TypeVar("Model", bound="Recommender")


def save(model: Recommender, path: Path) -> str:
    """Write a fitted model; returns the SHA-256 of the content.

    Raises:
        NotFittedError: There is nothing to save yet.
    """
    if not model.is_fitted:
        raise NotFittedError(f"{type(model).__name__} is not fitted yet: there is nothing to save in {path}")
    return artifacts.save(
        path,
        "model",
        {
            "model": model.name,
            "hyperparameters": model.hyperparameters(),
            "fitted": {name: _to_plain(value) for name, value in model.state().items()},
        },
    )


def load_into(model: Model, path: Path, content: dict[str, Any] | None = None) -> Model:
    """Make a model the one of a file (or of its content, where that was read already).

    Raises:
        ArtifactError: The file is another model's, or lacks a fitted value.
    """
    content = artifacts.load(path, "model") if content is None else content
    if content.get("model") != model.name:
        raise ArtifactError(
            f"{path}: holds a model {content.get('model')!r}, not {model.name!r}; recctl.load_model(path) loads any"
        )
    fitted = content.get("fitted", {})
    missing = [name for name in model.fitted_values if name not in fitted]
    if missing:
        raise ArtifactError(f"{path}: lacks {', '.join(missing)}: not a whole {model.name} model")
    fresh = type(model)(**content.get("hyperparameters", {}))
    values = {name: _from_plain(fitted[name]) for name in model.fitted_values}
    model.__dict__.clear()
    model.__dict__.update(fresh.__dict__ | values)
    return model


def _to_plain(value: Any) -> Any:
    if isinstance(value, InteractionMatrix):
        return {"starts": value.starts, "columns": value.columns, "values": value.values, "n_columns": value.n_columns}
    return {"ids": value.ids} if isinstance(value, Vocabulary) else value


def _from_plain(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"ids"}:
        return Vocabulary(value["ids"])
    if isinstance(value, dict) and value.keys() == {"starts", "columns", "values", "n_columns"}:
        return InteractionMatrix(**value)
    return value.copy() if isinstance(value, np.ndarray) and value.ndim == 0 else value
