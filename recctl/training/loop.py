"""The loop over epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
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
"""Measures a model between epochs: metrics by key, as `Evaluator.evaluate` gives them.

With an attribute `every`, it is asked after so many epochs, and after the last.
"""


@dataclass(frozen=True)
class Epoch:
    """An epoch that is over.

    Attributes:
        number: From 1.
        loss: The mean loss of training.
        metrics: What validation came to; empty where there is none.
        learning_rate: The size of a step at its end, where the model tells.
        seconds: How long it took, validation aside.
        validated: Whether it was its turn to be measured.
        validation_seconds: How long that took.
        batch_size: What was computed at once, where the model tells: less than it should be, if memory ran out.
    """

    number: int
    loss: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    learning_rate: float | None = None
    seconds: float = 0.0
    validated: bool = True
    validation_seconds: float = 0.0
    batch_size: int | None = None


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
        validate: Measures the model after each, or after some.
        callbacks: `Callback`s, or functions; all are asked after each epoch, in this order. One that has
            `past_epochs(model)` may put the model where an earlier training was, and say which epochs are over.

    Returns:
        Every epoch, those before this training included.

    Raises:
        TrainingError: The loss is not finite, or far above where it began.
    """
    following: list[Callback] = [c if hasattr(c, "after_epoch") else _Function(c) for c in callbacks]
    epochs: list[Epoch] = []
    for callback in following:
        callback.before_training(model)
    ended = False
    for callback in following:
        if hasattr(callback, "past_epochs"):
            epochs, ended = callback.past_epochs(model)
    numbers = range(len(epochs) + 1, 1 if ended else n_epochs + 1)
    with progress.task(f"{model.name}: training", n_epochs, "epochs") as task:
        for number in numbers:
            epochs.append(_run_epoch(model, interactions, number, n_epochs, validate, epochs))
            answers = [callback.after_epoch(model, epochs[-1]) for callback in following]
            task.update(number, **_figures(epochs[-1], following))
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


def _run_epoch(
    model: EpochModel,
    interactions: InteractionDataset,
    number: int,
    n_epochs: int,
    validate: Validate | None,
    before: Sequence[Epoch],
) -> Epoch:
    begin = perf_counter()
    loss = float(model.train_epoch(interactions))
    seconds = perf_counter() - begin
    require_convergence(model, number, loss, _RUNAWAY * before[0].loss if before else math.inf)
    due = number % getattr(validate, "every", 1) == 0 or number == n_epochs
    begin = perf_counter()
    metrics = _measured(model, validate) if due else {}
    validation_seconds = perf_counter() - begin if metrics else 0.0
    rate, batch_size = (getattr(model, f"{name}_of_last_epoch", None) for name in ("rate", "batch_size"))
    return Epoch(number, loss, metrics, rate, seconds, due, validation_seconds, batch_size)


def _figures(epoch: Epoch, following: Sequence[Any]) -> dict[str, float]:
    """What is shown of an epoch: loss, metrics, and the best score so far."""
    figures = {"loss": epoch.loss, **epoch.metrics}
    for callback in following:
        if getattr(callback, "best_score", None) is not None:
            figures[f"best {callback.monitor}"] = callback.best_score
    return {name: round(value, 5) for name, value in figures.items()}


def _measured(model: EpochModel, validate: Validate | None) -> dict[str, float]:
    if validate is None:
        return {}
    with progress.silence():
        return {name: float(value) for name, value in validate(model).items()}
