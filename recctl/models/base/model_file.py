"""Model files: the name of a model, its hyperparameters, and its fitted values as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from recctl import artifacts, progress
from recctl.errors import ArtifactError, ConfigError, NotFittedError
from recctl.models.base import fitted_values

if TYPE_CHECKING:
    from recctl.models.base.recommender import Recommender

Model = TypeVar("Model", bound="Recommender")

_TRAINING_STATE = "training_state"


def save(model: Recommender, path: Path, training_state: bool = False) -> str:
    """Write a fitted model to a file.

    Args:
        model: The model.
        path: The file.
        training_state: Whether to add the state of the optimizer. Versions before 0.3 ignore it.

    Returns:
        The SHA-256 of the content.

    Raises:
        NotFittedError: The model is not fitted.
        ArtifactError: The file cannot be written.
    """
    if not model.is_fitted:
        raise NotFittedError(f"{type(model).__name__} is not fitted yet: nothing to save in {path}; call fit() first")
    content = _content(model)
    if training_state:
        state = model._optimizer_state()
        if state is not None:
            content[_TRAINING_STATE] = state
        elif getattr(model, "_n_moments", 0):
            progress.notice(
                f"{path}: saved without training state: {model.name} has no optimizer of its weights, because they are "
                "those of an earlier epoch, or were loaded from a file without training state"
            )
    return artifacts.save(path, "model", content)


def digest(model: Recommender) -> str:
    """The SHA-256 that `save` would return for a fitted model, without writing a file."""
    return artifacts.digest("model", _content(model))


def _content(model: Recommender) -> dict[str, Any]:
    return {
        "model": model.name,
        "hyperparameters": model.hyperparameters(),
        "fitted": {key: fitted_values.to_plain(value) for key, value in values_by_key(model).items()},
    }


def values_by_key(model: Recommender) -> dict[str, Any]:
    """The fitted values of a model by their keys in files, which differ from the names of renamed attributes."""
    return {declared.stored_as: getattr(model, name) for name, declared in model.fitted_values.items()}


def load_into(model: Model, path: Path, content: dict[str, Any] | None = None) -> Model:
    """Replace hyperparameters and fitted values of a model by those of a file.

    Args:
        model: A model of the class that the file holds.
        path: The file; named in error messages.
        content: The content of the file, if it has been read already.

    Raises:
        ArtifactError: The file holds another model, or its content is invalid. The model is then unchanged.
    """
    if content is None:
        content = artifacts.load(path, "model")
    if content.get("model") != model.name:
        raise ArtifactError(
            f"{path}: holds a model {content.get('model')!r}, not {model.name!r}; recctl.load_model(path) loads any "
            "model"
        )
    hyperparameters = content.get("hyperparameters")
    plain_values = content.get("fitted")
    if not isinstance(hyperparameters, dict) or not isinstance(plain_values, dict):
        raise ArtifactError(f"{path}: damaged: a model without hyperparameters or fitted values")
    # Values that the version which wrote the file did not have yet.
    defaults = {
        declared.stored_as: declared.if_absent
        for declared in model.fitted_values.values()
        if declared.if_absent is not None
    }
    plain_values = defaults | plain_values
    keys = {name: declared.stored_as for name, declared in model.fitted_values.items()}
    missing = [key for key in keys.values() if key not in plain_values]
    if missing:
        raise ArtifactError(f"{path}: {', '.join(missing)} missing: not a complete {model.name} model of this version")
    try:
        # Into a new object first, so that an invalid file leaves the model unchanged.
        loaded = type(model)(**hyperparameters)
        values = {name: fitted_values.from_plain(plain_values[key]) for name, key in keys.items()}
        fitted_values.check(model.fitted_values, values, loaded.hyperparameters())
        vars(loaded).update(values)
        if (state := content.get(_TRAINING_STATE)) is not None:
            loaded._set_optimizer_state(state)
    except (ConfigError, ValueError) as error:
        raise ArtifactError(f"{path}: not a valid {model.name} model: {error}") from error
    # Also drops cached properties, which belong to the old values.
    vars(model).clear()
    vars(model).update(vars(loaded))
    return model
