"""The metric that a callback monitors, and whether lower or higher values of it are better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from recctl import arguments
from recctl.errors import ConfigError
from recctl.metrics import METRICS, MetricKey
from recctl.suggest import did_you_mean

Mode = Literal["auto", "min", "max"]
Direction = Literal["min", "max"]

LOSS = "loss"
_RATING_DEFAULT = "rmse"
_RANKING_DEFAULT = "ndcg@10"


def default_metric(model: Any) -> str | None:
    """The validation metric by which a model's epochs are compared unless another is named.

    Args:
        model: A recctl model or its class; anything else has no default.

    Returns:
        `rmse` for models that predict ratings, `ndcg@10` for others.
    """
    predicts_ratings = getattr(model, "predicts_ratings", None)
    if predicts_ratings is None:
        return None
    return _RATING_DEFAULT if predicts_ratings else _RANKING_DEFAULT


class Monitor:
    """The metric that a callback monitors, and its direction.

    Args:
        where: The class of the callback, for error messages.
        metric: Key of the metric, `loss`, or None for the model's default.
        mode: `min`, `max`, or `auto` to derive it from the metric.

    Attributes:
        metric: As given, or as found by `choose`; None before that.
        mode: As given or derived; None while it is unknown.

    Raises:
        ConfigError: The mode is invalid, or it is `auto` and the metric is unknown.
    """

    def __init__(self, where: str, metric: str | None, mode: Mode) -> None:
        self._where = where
        self._given_metric = None if metric is None else arguments.text(where, "monitor", metric)
        self._given_mode = arguments.one_of("auto", "min", "max")(where, "mode", mode)
        self.reset()

    def reset(self) -> None:
        """Forget the default metric of an earlier model."""
        self.metric = self._given_metric
        self.mode: Direction | None = None
        if self._given_mode != "auto" or self.metric is not None:
            self.mode = direction(self.metric or "", self._given_mode, self._where)

    def require_mode(self) -> Direction:
        """The direction of scores that come without the name of a metric.

        Raises:
            ConfigError: Neither a mode nor a metric was given.
        """
        if self.mode is None:
            raise ConfigError(
                f"{self._where}: whether a lower or a higher score is better is unknown; name its metric, as in "
                "monitor='rmse', or pass mode='min' (errors, losses) or mode='max' (ndcg@10, recall@10)"
            )
        return self.mode

    def choose(self, model: Any, measured: Mapping[str, float]) -> tuple[float, Direction]:
        """Choose the metric if none was given, and look up its value.

        The model's default is chosen, or the only metric that was measured.

        Args:
            model: The model that was measured.
            measured: Validation metrics, by key, and possibly `loss`.

        Returns:
            The value and its direction.

        Raises:
            ConfigError: The metric was not measured, or none can be chosen, or its value is no number.
        """
        metric = self.metric or self._choose_metric(model, [key for key in measured if key != LOSS])
        if metric not in measured:
            raise ConfigError(self._not_measured(metric, measured))
        return as_score(self._where, metric, measured[metric]), self.require_mode()

    def _choose_metric(self, model: Any, validation_keys: list[str]) -> str:
        default = default_metric(model)
        chosen = default
        if chosen not in validation_keys and len(validation_keys) == 1:
            chosen = validation_keys[0]
        if chosen is None:
            listed = ", ".join(validation_keys) or "none"
            raise ConfigError(f"{self._where}: name the metric to monitor, as monitor=...; available metrics: {listed}")
        if self._given_mode == "auto":
            self.mode = direction(chosen, "auto", self._where)
        elif MetricKey.parse(chosen).is_known and direction(chosen) != self._given_mode:
            # The mode was given for a metric that was not named, and it is not this one.
            better = {"min": "lower", "max": "higher"}[direction(chosen)]
            raise ConfigError(
                f"{self._where}: mode={self._given_mode!r}: {chosen} is monitored by default, of which {better} values "
                "are better; leave mode out, or name the metric it is meant for, as monitor=..."
            )
        self.metric = chosen
        return chosen

    def _not_measured(self, metric: str, measured: Mapping[str, float]) -> str:
        return (
            f"{self._where}: monitor={metric!r} is not measured; available metrics: {', '.join(measured) or 'none'}; "
            "fit with validation=: a dataset for the default metric (rmse of models that predict ratings, ndcg@10 of "
            "others), a function for other metrics, such as lambda model: evaluator.evaluate(model, val); or "
            "monitor='loss'"
        )


def direction(metric: str, mode: str = "auto", where: str = "EarlyStopping") -> Direction:
    """Whether lower or higher values of a metric are better.

    Args:
        metric: A key such as `rmse`, `ndcg@10`, `sampled_ndcg@10`, or `loss`.
        mode: `min` or `max`; `auto` derives it from the metric.
        where: Beginning of error messages.

    Raises:
        ConfigError: The mode is `auto` and the metric is unknown.
    """
    if mode == "min":
        return "min"
    if mode == "max":
        return "max"
    metric_key = MetricKey.parse(metric)
    # No metric of METRICS, but every epoch has it.
    if metric_key.name == LOSS:
        return "min"
    if not metric_key.is_known:
        raise ConfigError(
            f"{where}: monitor={metric!r}: unknown metric{did_you_mean(metric_key.name, METRICS)}; "
            "for a custom metric, pass mode='min' or mode='max'"
        )
    return metric_key.mode


def as_score(where: str, name: str, score: Any) -> float:
    """Return a score as a float; NaN and infinity are scores too, which are never the best.

    Raises:
        ConfigError: It is not a number.
    """
    # Also arrays and tensors with a single value, as torch's losses are.
    try:
        if isinstance(score, str | bytes | bool):
            raise TypeError
        return float(score)
    except (TypeError, ValueError):
        raise ConfigError(arguments.problem(where, name, score, "must be a number")) from None


def is_better(score: float, best: float | None, mode: Direction, min_delta: float) -> bool:
    """Whether a score improves on the best one (None before the first) by more than `min_delta`; NaN never does."""
    # A comparison with NaN is False, but as a first score it would remain the best for good.
    if math.isnan(score):
        return False
    if best is None:
        return True
    # Strictly more than min_delta: with 0, an equal score is no improvement, so the earliest of equal epochs wins.
    improvement = score - best if mode == "max" else best - score
    return improvement > min_delta
