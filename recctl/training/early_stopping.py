"""Early stopping: end training when the validation score no longer improves."""

from __future__ import annotations

import copy
from typing import Any

from recctl import arguments
from recctl.errors import ConfigError
from recctl.training.loop import Epoch
from recctl.training.monitor import LOSS, Direction, Mode, Monitor, as_score, is_better

# Attributes that a checkpoint stores. `_best` is among them: a resumed training can still restore weights from before
# the interruption.
_STATE = ("best_score", "best_epoch", "counter", "early_stop", "_calls", "_best")


class EarlyStopping:
    """Stops training when the score no longer improves, and restores the best weights.

    Use it as a callback, `model.fit(train, validation=val, callbacks=[EarlyStopping(patience=5)])`, or in your
    own loop, where it needs the metric of the scores, or their direction:

        stopping = EarlyStopping(patience=5, monitor="rmse")
        for epoch in range(100):
            model.train_epoch(train)
            if stopping(evaluator.evaluate(model, val, task="rating_prediction")["rmse"], model):
                break
        stopping.restore(model)  # the best weights, also if the loop ends without an early stop

    Args:
        patience: Number of consecutive scores without improvement after which training stops.
        min_delta: Minimum improvement over the best score.
        monitor: Key of the metric, such as `rmse` or `ndcg@10`, or `loss` for the training loss. By default, as a
            callback, the metric that the model is validated by: `rmse` if it predicts ratings, else `ndcg@10`.
        mode: Whether lower (`min`) or higher (`max`) is better; `auto` derives it from `monitor`.
        restore_best: Whether the best weights are restored when training ends, early or not; if False, the weights
            remain those of the last epoch, and `restore` restores the best ones.

    Attributes:
        monitor: The monitored metric; None before the first score if none was given.
        mode: `min` or `max`; None while it is unknown.
        best_score: Best score so far; None before the first.
        best_epoch: Epoch of the best score, from 1; in your own loop, the number of the call.
        counter: Number of consecutive scores without improvement.
        early_stop: Whether training should stop.

    Raises:
        ConfigError: An argument is invalid, or the direction of `monitor` is unknown.

    Examples:
        ```python
        from recctl import EarlyStopping, SVDRecommender

        stopping = EarlyStopping(monitor="rmse", patience=3)
        SVDRecommender(n_epochs=30).fit(train, validation=val, callbacks=[stopping])
        print(stopping.best_score)
        ```
    """

    def __init__(
        self,
        patience: int = 5,
        min_delta: float = 0.0001,
        monitor: str | None = None,
        mode: Mode = "auto",
        restore_best: bool = True,
    ) -> None:
        self.patience = arguments.whole_number("EarlyStopping", "patience", patience, 1)
        self.min_delta = arguments.number("EarlyStopping", "min_delta", min_delta, 0)
        self.restore_best = arguments.flag("EarlyStopping", "restore_best", restore_best)
        self._monitor = Monitor("EarlyStopping", monitor, mode)
        self.reset()

    @property
    def monitor(self) -> str | None:
        """The monitored metric; None before the first score if none was given."""
        return self._monitor.metric

    @property
    def mode(self) -> Direction | None:
        """Whether lower (`min`) or higher (`max`) scores are better; None while it is unknown."""
        return self._monitor.mode

    def reset(self) -> None:
        """Forget all scores."""
        self._monitor.reset()
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

        Raises:
            ConfigError: Neither `monitor` nor `mode` was given, or an argument is invalid.
        """
        mode = self._monitor.require_mode()
        value = as_score("EarlyStopping", "score", score)
        if model is not None:
            _require_weights(model)
        self._calls += 1
        return self._update(value, mode, model, self._calls)

    def _update(self, score: float, mode: Direction, model: Any, number: int) -> bool:
        if is_better(score, self.best_score, mode, self.min_delta):
            self.best_score = score
            self.best_epoch = number
            self.counter = 0
            self._best = None if model is None else _snapshot(model)
        else:
            self.counter += 1
            if self.counter >= self.patience:
                # The stop is remembered beside the returned value: the loop calls every callback, and a checkpoint
                # stores it.
                self.early_stop = True
                self._restore_at_end(model)
        return self.early_stop

    def restore(self, model: Any) -> None:
        """Restore the best weights of a recctl model or a torch module.

        Raises:
            ConfigError: There is no copy of them, because the model was not given together with the scores.
        """
        _require_weights(model)
        if self._best is not None:
            _restore(model, self._best)
        elif self.best_epoch:
            raise ConfigError(
                "EarlyStopping: restore: there is no copy of the best weights; give the model with each score: "
                "stopping(score, model)"
            )

    def _restore_at_end(self, model: Any) -> None:
        if self.restore_best and model is not None and self._best is not None:
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
        if not epoch.validated and self.monitor != LOSS:
            return False
        score, mode = self._monitor.choose(model, dict(epoch.metrics) | {LOSS: epoch.loss})
        return self._update(score, mode, model, epoch.number)

    def after_training(self, model: Any) -> None:
        """Restore the best weights, even if training was not stopped early."""
        self._restore_at_end(model)

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
        self.n_epochs = arguments.whole_number("StopAfter", "n_epochs", n_epochs, 1)
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


def _require_weights(model: Any) -> None:
    if isinstance(model, type) or not (hasattr(model, "snapshot") or hasattr(model, "state_dict")):
        requirement = "must be a recctl model that is trained in epochs, or a torch module"
        raise ConfigError(arguments.problem("EarlyStopping", "model", model, requirement))


def _snapshot(model: Any) -> Any:
    # A torch module's state_dict shares its tensors: without a deep copy the best weights would go on changing.
    return model.snapshot() if hasattr(model, "snapshot") else copy.deepcopy(model.state_dict())


def _restore(model: Any, snapshot: Any) -> None:
    if hasattr(model, "restore"):
        model.restore(snapshot)
    else:
        model.load_state_dict(snapshot)
