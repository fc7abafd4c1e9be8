"""The training loop over epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

from recctl import progress
from recctl.data.dataset import InteractionDataset
from recctl.errors import TrainingError

# A loss above this multiple of the first epoch's counts as divergence; smaller increases can be noise.
_MAX_LOSS_RATIO = 1.5


class EpochModel(Protocol):
    """The methods that the loop calls on a model."""

    @property
    def name(self) -> str:
        """Name of the model, for messages."""
        ...

    @property
    def advice_on_divergence(self) -> str:
        """Suggested change of a hyperparameter after divergence, such as "lower lr; try lr=0.001"."""
        ...

    def train_epoch(self, interactions: InteractionDataset, /) -> float:
        """Train for one epoch; returns the mean loss."""
        ...

    def snapshot(self) -> Any:
        """A copy of the learned values, which later epochs do not change."""
        ...

    def restore(self, snapshot: Any, /) -> None:
        """Restore a result of `snapshot`, which stays unchanged."""
        ...


Validate = Callable[[Any], Mapping[str, float]]
"""A function that measures a model after an epoch; it returns metrics by key, as `Evaluator.evaluate` does.

If it has an attribute `every`, it is called after every that many epochs, and after the last one.
"""


@dataclass(frozen=True)
class Epoch:
    """Results of a finished epoch.

    Attributes:
        number: Number of the epoch, from 1.
        loss: Mean training loss.
        metrics: Validation metrics; empty without validation.
        learning_rate: Learning rate of the last step, if the model has one.
        seconds: Duration of training, without validation.
        validated: Whether validation was due after this epoch.
        validation_seconds: Duration of validation.
        batch_size: Examples computed together, if the model has batches; fewer than configured after running out of
            memory.
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
    """Observes training, and can stop it.

    A plain function works as well: after each epoch it is called as `function(model, {"epoch": ..., "loss": ...,
    **metrics})`, and it stops training by returning True.
    """

    def before_training(self, model: Any, /) -> None:
        """Called before the first epoch."""
        ...

    def after_epoch(self, model: Any, epoch: Epoch, /) -> bool:
        """Called after each epoch; returning True stops training."""
        ...

    def after_training(self, model: Any, /) -> None:
        """Called after the last epoch."""
        ...


class _FunctionCallback:
    """Adapts a plain function to `Callback`."""

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
    """Train a model until the last epoch, or until a callback stops it.

    Args:
        model: The model, before its first epoch.
        interactions: The training data.
        n_epochs: Maximum number of epochs.
        validate: Measures the model after epochs.
        callbacks: `Callback`s or functions, called in this order after each epoch. A callback with
            `past_epochs(model)` can restore the state of an interrupted training, and returns its finished epochs.

    Returns:
        All epochs, including those of an interrupted training.

    Raises:
        TrainingError: The loss is not finite, or far above that of the first epoch.
    """
    observers: list[Callback] = [
        callback if hasattr(callback, "after_epoch") else _FunctionCallback(callback) for callback in callbacks
    ]
    epochs: list[Epoch] = []
    for observer in observers:
        # All callbacks are reset before any restores its state: a restored one may set the state of others.
        observer.before_training(model)
    is_finished = False
    for observer in observers:
        if hasattr(observer, "past_epochs"):
            epochs, is_finished = observer.past_epochs(model)
    # A training that had stopped early runs no further epoch, only the calls after training.
    last_number = len(epochs) if is_finished else n_epochs
    with progress.task(f"{model.name}: training", n_epochs, "epochs") as task:
        for number in range(len(epochs) + 1, last_number + 1):
            epochs.append(_run_epoch(model, interactions, number, n_epochs, validate, epochs))
            # Every callback sees the epoch, even if an earlier one stops training.
            stop_requests = [observer.after_epoch(model, epochs[-1]) for observer in observers]
            task.update(number, **_progress_values(epochs[-1], observers))
            if any(stop_requests):
                break
    for observer in observers:
        observer.after_training(model)
    return epochs


def require_convergence(model: EpochModel, epoch: int, loss: float, limit: float) -> None:
    """Check that a loss is finite and at most `limit`.

    Raises:
        TrainingError: It is not; the message has the epoch, the loss and a suggested change.
    """
    # Written with `not`, so that NaN, for which every comparison is False, counts as divergence.
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
    previous: Sequence[Epoch],
) -> Epoch:
    start_time = perf_counter()
    mean_loss = float(model.train_epoch(interactions))
    seconds = perf_counter() - start_time
    # The first epoch has nothing to compare with, nor has a first loss of 0, as of a softmax over a single item: the
    # loss only has to be finite.
    first_loss = previous[0].loss if previous else 0.0
    loss_limit = _MAX_LOSS_RATIO * first_loss if first_loss > 0 else math.inf
    require_convergence(model, number, mean_loss, loss_limit)
    # The last epoch is always validated, so that every training ends with a score.
    is_due = number % getattr(validate, "every", 1) == 0 or number == n_epochs
    start_time = perf_counter()
    metrics = _validation_metrics(model, validate) if is_due else {}
    validation_seconds = perf_counter() - start_time if metrics else 0.0
    return Epoch(
        number,
        mean_loss,
        metrics,
        getattr(model, "rate_of_last_epoch", None),
        seconds,
        is_due,
        validation_seconds,
        getattr(model, "batch_size_of_last_epoch", None),
    )


def _progress_values(epoch: Epoch, observers: Sequence[Any]) -> dict[str, float]:
    """Values for the progress bar: loss, metrics, and the best score so far."""
    values = {"loss": epoch.loss} | dict(epoch.metrics)
    for observer in observers:
        if getattr(observer, "best_score", None) is not None:
            values[f"best {observer.monitor}"] = observer.best_score
    return {value_name: round(value, 5) for value_name, value in values.items()}


def _validation_metrics(model: EpochModel, validate: Validate | None) -> dict[str, float]:
    if validate is None:
        return {}
    # The evaluator's own progress bar would replace that of training after each epoch.
    with progress.silence():
        return {metric_key: float(value) for metric_key, value in validate(model).items()}
