"""Stopping when validation no longer gets better."""

from __future__ import annotations

import copy
import math
from typing import Any, Literal

from recctl.errors import ConfigError
from recctl.metrics import METRICS, MetricKey
from recctl.suggest import did_you_mean
from recctl.training.loop import Epoch

Mode = Literal["auto", "min", "max"]

_STATE = ("best_score", "best_epoch", "counter", "early_stop", "_calls", "_best")


class EarlyStopping:
    """Ends a training that gets no better, and gives the model its best weights back.

    As a callback, `model.fit(train, validation=val, callbacks=[EarlyStopping(patience=5)])`; or by hand:

        stopping = EarlyStopping(patience=5)
        for epoch in range(100):
            model.train_epoch(train)
            if stopping(evaluator.evaluate(model, val, task="rating_prediction")["rmse"], model):
                break

    Args:
        patience: After how many scores in a row that are no better it stops.
        min_delta: A score is better if it beats the best one by more than this.
        monitor: The metric a callback watches, as `rmse`, `ndcg@10`, or `loss` for the loss of training.
        mode: Whether lower or higher is better; auto: as it is of `monitor`.

    Attributes:
        best_score: The best score so far; None before the first.
        best_epoch: Its epoch, from 1; by hand: which call it came with.
        counter: How many scores in a row were no better.
        early_stop: Whether it has had enough.

    Raises:
        ConfigError: An argument is not valid, or the direction of `monitor` is not known.
    """

    def __init__(
        self, patience: int = 5, min_delta: float = 0.0001, monitor: str = "rmse", mode: Mode = "auto"
    ) -> None:
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            raise ConfigError(f"EarlyStopping: patience={patience!r}: must be a whole number of at least 1")
        self.patience = patience
        self.min_delta = checked_min_delta(min_delta)
        self.monitor = monitor
        self.mode = direction(monitor, mode)
        self.reset()

    def reset(self) -> None:
        """Forget every score."""
        self.best_score: float | None = None
        self.best_epoch = 0
        self.counter = 0
        self.early_stop = False
        self._calls = 0
        self._best: Any = None

    def __call__(self, score: float, model: Any = None) -> bool:
        """Take the next score.

        Args:
            score: Of validation.
            model: If given, its weights are kept (copied) when the score is the best, and put back when it stops. A
                recctl model, or a torch module.

        Returns:
            Whether to stop.
        """
        self._calls += 1
        return self._take(score, model, self._calls)

    def _take(self, score: float, model: Any, number: int) -> bool:
        if is_better(score, self.best_score, self.mode, self.min_delta):
            self.best_score, self.best_epoch, self.counter = float(score), number, 0
            self._best = None if model is None else _snapshot(model)
        else:
            self.counter += 1
            if self.counter >= self.patience:
                self.early_stop = True
                if model is not None:
                    self.restore(model)
        return self.early_stop

    def restore(self, model: Any) -> None:
        """Give a model the weights that scored best; it keeps its own if none were kept."""
        if self._best is not None:
            _restore(model, self._best)

    # ---- as a callback

    def before_training(self, model: Any) -> None:
        """Begin anew."""
        self.reset()

    def after_epoch(self, model: Any, epoch: Epoch) -> bool:
        """Take the score of an epoch.

        Raises:
            ConfigError: Nothing measures what it watches.
        """
        measured = {**epoch.metrics, "loss": epoch.loss}
        if not epoch.validated and self.monitor != "loss":
            return False
        if self.monitor not in measured:
            raise ConfigError(
                f"EarlyStopping: monitor={self.monitor!r} is not measured (there is {', '.join(measured)}): fit with "
                "validation=, a dataset for rmse, or for other metrics a function such as "
                "lambda model: evaluator.evaluate(model, val)"
            )
        return self._take(measured[self.monitor], model, epoch.number)

    def after_training(self, model: Any) -> None:
        """Put the best weights back, however training ended."""
        self.restore(model)

    def state(self) -> dict[str, Any]:
        """What going on takes, as plain values; the best weights of a recctl model are among them."""
        return {name: getattr(self, name) for name in _STATE}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        vars(self).update({name: state[name] for name in _STATE})


class StopAfter:
    """A callback that ends a training after some epochs, with its schedule as if it went on.

    Args:
        n_epochs: How many.
    """

    def __init__(self, n_epochs: int) -> None:
        self.n_epochs = n_epochs
        self.early_stop = False

    def before_training(self, model: Any) -> None:
        """Begin anew."""
        self.early_stop = False

    def after_epoch(self, model: Any, epoch: Epoch) -> bool:
        """Whether it was the last one."""
        self.early_stop = epoch.number >= self.n_epochs
        return self.early_stop

    def after_training(self, model: Any) -> None:
        """Nothing is left to do."""

    def state(self) -> dict[str, Any]:
        """What going on takes, as plain values."""
        return {"early_stop": self.early_stop}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.early_stop = state["early_stop"]


def direction(metric: str, mode: str = "auto", who: str = "EarlyStopping") -> Literal["min", "max"]:
    """Whether lower or higher values of a metric are better.

    Args:
        metric: A key such as `rmse`, `ndcg@10`, `sampled_ndcg@10`, or `loss`.
        mode: What is given instead, unless auto.
        who: Begins the message of an error.

    Raises:
        ConfigError: Another mode, or a metric that is not known and no mode.
    """
    if mode == "min":
        return "min"
    if mode == "max":
        return "max"
    if mode != "auto":
        raise ConfigError(f"{who}: mode={mode!r}: unknown choice{did_you_mean(str(mode), ('auto', 'min', 'max'))}")
    key = MetricKey.parse(str(metric))
    if key.name == "loss":
        return "min"
    if not key.is_known:
        raise ConfigError(
            f"{who}: monitor={metric!r}: unknown metric{did_you_mean(key.name, METRICS)}; "
            "for one of your own say mode='min' or mode='max'"
        )
    return key.mode


def checked_min_delta(min_delta: float, who: str = "EarlyStopping") -> float:
    """A `min_delta` as it is given.

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
    """Whether a score beats the best one so far, None before the first, by more than `min_delta`; NaN never does."""
    if math.isnan(score):
        return False
    return best is None or (score - best if mode == "max" else best - score) > min_delta
