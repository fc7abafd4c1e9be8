"""Fitting on everything there is: with which settings, and for how many epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recctl.config import LoadedConfig
from recctl.errors import ArtifactError, ConfigError
from recctl.experiment import stages, stored_models
from recctl.experiment.lifecycle import resume_command
from recctl.experiment.run_config import load_run_config
from recctl.experiment.warm_start import WarmStart
from recctl.models.base import Recommender
from recctl.models.registry import model_class
from recctl.runs import Run, layout

# Hyperparameters that do not change after how many epochs a model is best.
_IRRELEVANT_TO_EPOCHS = ("device", "seed")


def load_settings(run: Run, overrides: Sequence[str] = ()) -> LoadedConfig:
    """Load the settings that a run arrived at: its config, or of a search the one of its best trial.

    Args:
        run: A complete run of one model.
        overrides: Changes to the settings, as `section.key=value`.

    Raises:
        ArtifactError: The run is not complete.
        ConfigError: An override is not valid.
    """
    if run.status == "running":
        raise ArtifactError(f"{run.id}: is running, so its settings are not final; wait until it is complete")
    if run.status != "complete":
        raise ArtifactError(
            f"{run.id}: is {run.status}, so its settings are not final; resume it with: {resume_command(run)}"
        )
    file_name = layout.BEST_CONFIG if run.metadata.get("kind") == "tune" else layout.CONFIG
    return load_run_config(run, settings=overrides, file_name=file_name)


def epochs_to_train(loaded: LoadedConfig, parent: Run | None, warm_start: WarmStart | None = None) -> int | None:
    """Find the number of epochs of a fit without a validation part, which could choose it.

    Args:
        loaded: The config of the fit.
        parent: A run with the same settings, whose training has chosen the number.
        warm_start: The model that the fit begins from. A number that was chosen for another beginning does not apply.

    Returns:
        The number that the parent's training chose. None if the model is not trained in epochs, or if the config says
        all: it has no early stopping by a metric of validation.

    Raises:
        ConfigError: The config leaves the number to early stopping, and no training has chosen it.
    """
    config = loaded.config
    if not model_class(config.model.name).trained_in_epochs:
        return None
    changes: list[str] = []
    if parent is not None and parent.metadata["models"]:
        fitted: Any = stored_models.load_version(parent)
        changes = _changed_settings(fitted, stages.build_model(config))
        if _began_from(parent) != (warm_start and warm_start.model_entry["sha256"]):
            changes.append(f"training.warm_start={config.training.warm_start or 'null'}")
        if not changes:
            return int(fitted.best_epoch)
    stopping = config.training.early_stopping
    if stopping is None or stopping.monitor == "loss":
        return None
    problem = f"{stopping.monitor} on validation chooses the number of epochs, and with all data nothing is held out"
    if changes and parent is not None:
        problem = f"{problem}; {parent.id} was trained with other settings than {', '.join(changes)}"
    raise ConfigError(
        f"{loaded.origin}: training.early_stopping: {problem}; let a training choose it: "
        f"recctl train {loaded.origin}, then recctl fit RUN --all-data; or train all epochs: "
        "--set training.early_stopping=null"
    )


def _began_from(run: Run) -> str | None:
    """The hash of the model that a run began from; None if it began from scratch."""
    sha256: str | None = (run.metadata.get(layout.WARM_START) or {}).get("sha256")
    return sha256


def _changed_settings(fitted: Recommender, model: Recommender) -> list[str]:
    if fitted.name != model.name:
        return [f"model.name={model.name}"]
    values = fitted.hyperparameters()
    return [
        f"{name}={value}"
        for name, value in model.hyperparameters().items()
        if name not in _IRRELEVANT_TO_EPOCHS and values.get(name) != value
    ]
