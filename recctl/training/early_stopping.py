"""Early stopping: end training when the validation score no longer improves."""

from __future__ import annotations

import copy
import math
from typing import Any, Literal

from recctl.errors import ConfigError
from recctl.metrics import METRICS, MetricKey
from recctl.suggest import did_you_mean
from recctl.training.loop import Epoch

Mode = Literal["auto", "min", "max"]

# Attributes that a checkpoint stores. `_best` is among them: a resumed training can still restore weights from before
# the interruption.
_STATE = ("best_score", "best_epoch", "counter", "early_stop", "_calls", "_best")


class EarlyStopping:
    """Stops training when the score no longer improves, and restores the best weights.

    Use it as a callback, `model.fit(train, validation=val, callbacks=[EarlyStopping(patience=5)])`, or in your
    own loop:

        stopping = EarlyStopping(patience=5)
        for epoch in range(100):
            model.train_epoch(train)
            if stopping(evaluator.evaluate(model, val, task="rating_prediction")["rmse"], model):
                break

    Args:
        patience: Number of consecutive scores without improvement after which training stops.
        min_delta: Minimum improvement over the best score.
        monitor: Key of the metric, such as `rmse` or `ndcg@10`, or `loss` for the training loss.
        mode: Whether lower (`min`) or higher (`max`) is better; `auto` derives it from `monitor`.

    Attributes:
        best_score: Best score so far; None before the first.
        best_epoch: Epoch of the best score, from 1; in your own loop, the number of the call.
        counter: Number of consecutive scores without improvement.
        early_stop: Whether training should stop.

    Raises:
        ConfigError: An argument is invalid, or the direction of `monitor` is unknown.
    """

    def __init__(
        self, patience: int = 5, min_delta: float = 0.0001, monitor: str = "rmse", mode: Mode = "auto"
    ) -> None:
        # bool is a subclass of int: patience=True would count as 1.
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            raise ConfigError(f"EarlyStopping: patience={patience!r}: must be a whole number of at least 1")
        self.patience = patience
        self.min_delta = checked_min_delta(min_delta)
        self.monitor = monitor
        self.mode = direction(monitor, mode)
        self.reset()

    def reset(self) -> None:
        """Forget all scores."""
        self.best_score: float | None = None
        self.best_epoch = 0
        self.counter = 0
        self.early_stop = False
        self._calls = 0
        self._best: Any = None

    def __call__(self, score: float, model: Any = None) -> bool:
        """Compare the next score with the best one.

        Args:
            score: The validation score.
            model: A recctl model or a torch module. If given, its weights are copied when the score is the best so far,
                and restored when training stops.

        Returns:
            Whether to stop.
        """
        self._calls += 1
        return self._update(score, model, self._calls)

    def _update(self, score: float, model: Any, number: int) -> bool:
        if is_better(score, self.best_score, self.mode, self.min_delta):
            self.best_score = float(score)
            self.best_epoch = number
            self.counter = 0
            self._best = None if model is None else _snapshot(model)
        else:
            self.counter += 1
            if self.counter >= self.patience:
                # The stop is remembered beside the returned value: the loop calls every callback, and a checkpoint
                # stores it.
                self.early_stop = True
                if model is not None:
                    self.restore(model)
        return self.early_stop

    def restore(self, model: Any) -> None:
        """Restore the best weights; without a copy of them, the model stays as it is."""
        if self._best is not None:
            _restore(model, self._best)

    # ---- as a callback

    def before_training(self, model: Any) -> None:
        """Forget all scores."""
        self.reset()

    def after_epoch(self, model: Any, epoch: Epoch) -> bool:
        """Compare the score of an epoch with the best one; returns whether to stop.

        Raises:
            ConfigError: The epoch does not have the monitored metric.
        """
        # The training loss is known after every epoch. Other metrics are not, and epochs without them must not count
        # against `patience`.
        measured = dict(epoch.metrics) | {"loss": epoch.loss}
        if not epoch.validated and self.monitor != "loss":
            return False
        if self.monitor not in measured:
            raise ConfigError(
                f"EarlyStopping: monitor={self.monitor!r} is not measured; available metrics: {', '.join(measured)}; "
                "fit with validation=: a dataset for rmse, a function for other metrics, such as "
                "lambda model: evaluator.evaluate(model, val)"
            )
        return self._update(measured[self.monitor], model, epoch.number)

    def after_training(self, model: Any) -> None:
        """Restore the best weights, even if training was not stopped early."""
        self.restore(model)

    def state(self) -> dict[str, Any]:
        """State to resume from, as plain values, including the best weights of a recctl model."""
        return {attribute: getattr(self, attribute) for attribute in _STATE}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore a result of `state`."""
        vars(self).update({attribute: state[attribute] for attribute in _STATE})


class StopAfter:
    """A callback that stops training after a number of epochs, without changing the learning rate schedule.

    Args:
        n_epochs: The number of epochs.
    """

    # Not `epochs=n_epochs` of the model: the learning rate schedule depends on that number.
    def __init__(self, n_epochs: int) -> None:
        self.n_epochs = n_epochs
        self.early_stop = False

    def before_training(self, model: Any) -> None:
        """Reset."""
        self.early_stop = False

    def after_epoch(self, model: Any, epoch: Epoch) -> bool:
        """Returns whether the epoch was the last one."""
        self.early_stop = epoch.number >= self.n_epochs
        return self.early_stop

    def after_training(self, model: Any) -> None:
        """Does nothing."""

    def state(self) -> dict[str, Any]:
        """State to resume from, as plain values."""
        return {"early_stop": self.early_stop}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore a result of `state`."""
        self.early_stop = state["early_stop"]


def direction(metric: str, mode: str = "auto", who: str = "EarlyStopping") -> Literal["min", "max"]:
    """Whether lower or higher values of a metric are better.

    Args:
        metric: A key such as `rmse`, `ndcg@10`, `sampled_ndcg@10`, or `loss`.
        mode: `min` or `max`; `auto` derives it from the metric.
        who: Beginning of error messages.

    Raises:
        ConfigError: The mode is invalid, or it is `auto` and the metric is unknown.
    """
    if mode == "min":
        return "min"
    if mode == "max":
        return "max"
    if mode != "auto":
        raise ConfigError(f"{who}: mode={mode!r}: unknown choice{did_you_mean(str(mode), ('auto', 'min', 'max'))}")
    metric_key = MetricKey.parse(str(metric))
    # No metric of METRICS, but every epoch has it.
    if metric_key.name == "loss":
        return "min"
    if not metric_key.is_known:
        raise ConfigError(
            f"{who}: monitor={metric!r}: unknown metric{did_you_mean(metric_key.name, METRICS)}; "
            "for a custom metric, pass mode='min' or mode='max'"
        )
    return metric_key.mode


def checked_min_delta(min_delta: float, who: str = "EarlyStopping") -> float:
    """Return `min_delta` unchanged if it is valid.

    Raises:
        ConfigError: It is not a finite number of at least 0; the message begins with `who`.
    """
    if isinstance(min_delta, bool) or not isinstance(min_delta, int | float) or not 0 <= min_delta < math.inf:
        raise ConfigError(f"{who}: min_delta={min_delta!r}: must be a number of at least 0")
    return min_delta


def _snapshot(model: Any) -> Any:
    # A torch module's state_dict shares its tensors: without a deep copy the best weights would go on changing.
    return model.snapshot() if hasattr(model, "snapshot") else copy.deepcopy(model.state_dict())


def _restore(model: Any, snapshot: Any) -> None:
    if hasattr(model, "restore"):
        model.restore(snapshot)
    else:
        model.load_state_dict(snapshot)


def is_better(score: float, best: float | None, mode: Literal["min", "max"], min_delta: float) -> bool:
    """Whether a score improves on the best one (None before the first) by more than `min_delta`; NaN never does."""
    # A comparison with NaN is False, but as a first score it would remain the best for good.
    if math.isnan(score):
        return False
    if best is None:
        return True
    # Strictly more than min_delta: with 0, an equal score is no improvement, so the earliest of equal epochs wins.
    improvement = score - best if mode == "max" else best - score
    return improvement > min_delta
