"""A fitted model as a file: its name, hyperparameters, and fitted values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from recctl import artifacts
from recctl.errors import ArtifactError, ConfigError, NotFittedError
from recctl.models.base import fitted_values

if TYPE_CHECKING:
    from recctl.models.base import Recommender

Model = TypeVar("Model", bound="Recommender")


def save(model: Recommender, path: Path) -> str:
    """Write a fitted model; returns the SHA-256 of the content.

    Raises:
        NotFittedError: There is nothing to save yet.
        ArtifactError: The file can't be written.
    """
    if not model.is_fitted:
        raise NotFittedError(f"{type(model).__name__} is not fitted yet: there is nothing to save in {path}")
    return artifacts.save(path, "model", _content(model))


def digest(model: Recommender) -> str:
    """The SHA-256 that `save` gives for a fitted model; nothing is written."""
    return artifacts.digest("model", _content(model))


def _content(model: Recommender) -> dict[str, Any]:
    return {
        "model": model.name,
        "hyperparameters": model.hyperparameters(),
        "fitted": {name: fitted_values.to_plain(value) for name, value in model.state().items()},
    }


def load_into(model: Model, path: Path, content: dict[str, Any] | None = None) -> Model:
    """Make a model the one of a file (or of its content, where that was read already).

    Raises:
        ArtifactError: The file is another model's, or what it holds is no such model; the model stays as it was.
    """
    content = artifacts.load(path, "model") if content is None else content
    if content.get("model") != model.name:
        raise ArtifactError(
            f"{path}: holds a model {content.get('model')!r}, not {model.name!r}; recctl.load_model(path) loads any"
        )
    hyperparameters, fitted = content.get("hyperparameters"), content.get("fitted")
    if not isinstance(hyperparameters, dict) or not isinstance(fitted, dict):
        raise ArtifactError(f"{path}: damaged: a model without hyperparameters or fitted values")
    missing = [name for name in model.fitted_values if name not in fitted]
    if missing:
        raise ArtifactError(f"{path}: lacks {', '.join(missing)}: not a whole {model.name} model of this version")
    try:
        fresh = type(model)(**hyperparameters)
        values = {name: fitted_values.from_plain(fitted[name]) for name in model.fitted_values}
        fitted_values.check(model.fitted_values, values, fresh.hyperparameters())
    except (ConfigError, ValueError) as error:
        raise ArtifactError(f"{path}: no usable {model.name} model: {error}") from error
    vars(model).clear()
    vars(model).update(vars(fresh) | values)
    return model
