"""The loop over epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from recctl import progress
from recctl.data.dataset import InteractionDataset
from recctl.errors import TrainingError

# A loss that stands this far above the first epoch's is not a bad moment any more.
_RUNAWAY = 1.5


class EpochModel(Protocol):
    """What the loop must know of a model."""

    @property
    def name(self) -> str:
        """Its name, for messages."""
        ...

    @property
    def advice_on_divergence(self) -> str:
        """What to change when the loss runs away: "lower lr; try lr=0.001"."""
        ...

    def train_epoch(self, interactions: InteractionDataset, /) -> float:
        """Go through the interactions once; returns the mean loss."""
        ...

    def snapshot(self) -> Any:
        """What it has learnt, copied: further epochs must not change it."""
        ...

    def restore(self, snapshot: Any, /) -> None:
        """Be again what it was when the snapshot was made; the snapshot stays good."""
        ...


Validate = Callable[[Any], Mapping[str, float]]
"""Measures a model between epochs: metrics by key, as `Evaluator.evaluate` gives them."""


@dataclass(frozen=True)
class Epoch:
    """An epoch that is over.

    Attributes:
        number: From 1.
        loss: The mean loss of training.
        metrics: What validation came to; empty where there is none.
    """

    number: int
    loss: float
    metrics: Mapping[str, float] = field(default_factory=dict)


class Callback(Protocol):
    """Follows a training.

    A plain function serves as well: after each epoch it is called as `function(model, {"epoch": ..., "loss": ...,
    **metrics})`, and it ends the training by returning True.
    """

    def before_training(self, model: Any, /) -> None:
        """The first epoch is about to begin."""
        ...

    def after_epoch(self, model: Any, epoch: Epoch, /) -> bool:
        """An epoch is over; True ends the training."""
        ...

    def after_training(self, model: Any, /) -> None:
        """No epoch follows."""
        ...


class _Function:
    """A plain function as a callback."""

    def __init__(self, function: Callable[[Any, dict[str, Any]], Any]) -> None:
        self.function = function

    def before_training(self, model: Any) -> None:
        pass

    def after_epoch(self, model: Any, epoch: Epoch) -> bool:
        return self.function(model, {"epoch": epoch.number, "loss": epoch.loss, **epoch.metrics}) is True

    def after_training(self, model: Any) -> None:
        pass


def run_epochs(
    model: EpochModel,
    interactions: InteractionDataset,
    n_epochs: int,
    *,
    validate: Validate | None = None,
    callbacks: Sequence[Any] = (),
) -> list[Epoch]:
    """Train a model for some epochs, or until a callback ends it.

    Args:
        model: The model, ready for its first epoch.
        interactions: What it learns from.
        n_epochs: How many epochs at most.
        validate: Measures the model after each.
        callbacks: `Callback`s, or functions; all are asked after each epoch, in this order.

    Returns:
        Every epoch that was run.

    Raises:
        TrainingError: The loss is not finite, or far above where it began.
    """
    following: list[Callback] = [c if hasattr(c, "after_epoch") else _Function(c) for c in callbacks]
    epochs: list[Epoch] = []
    for callback in following:
        callback.before_training(model)
    with progress.task(f"{model.name}: training", n_epochs, "epochs") as task:
        for number in range(1, n_epochs + 1):
            loss = float(model.train_epoch(interactions))
            limit = _RUNAWAY * epochs[0].loss if epochs else math.inf
            require_convergence(model, number, loss, limit)
            epochs.append(Epoch(number, loss, _measured(model, validate)))
            task.update(number, loss=round(loss, 5), **{k: round(v, 5) for k, v in epochs[-1].metrics.items()})
            answers = [callback.after_epoch(model, epochs[-1]) for callback in following]
            if any(answers):
                break
    for callback in following:
        callback.after_training(model)
    return epochs


def require_convergence(model: EpochModel, epoch: int, loss: float, limit: float) -> None:
    """Refuse a loss that is not finite or above `limit`.

    Raises:
        TrainingError: With the epoch, the loss and what to change.
    """
    if not loss <= limit or math.isinf(loss):
        raise TrainingError(
            f"{model.name}: training diverged in epoch {epoch}: loss {loss:.4g}; {model.advice_on_divergence}"
        )


def _measured(model: EpochModel, validate: Validate | None) -> dict[str, float]:
    if validate is None:
        return {}
    with progress.silence():
        return {name: float(value) for name, value in validate(model).items()}
