"""Conditions on metrics such as `ndcg@10>=0.40`, for scripts."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from recctl.errors import AssertionFailedError, ConfigError
from recctl.suggest import did_you_mean

if TYPE_CHECKING:
    from recctl.runs import Run

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


class Condition(NamedTuple):
    """A comparison of a metric with a bound.

    Attributes:
        metric: Key of the metric, e.g. `ndcg@10`.
        comparison: One of `>=`, `<=`, `>` and `<`.
        bound: Right-hand side.
    """

    metric: str
    comparison: str
    bound: float

    def holds(self, value: float) -> bool:
        """Return whether a value of the metric satisfies the condition."""
        return _OPERATORS[self.comparison](value, self.bound)


def parse(text: str, option: str = "--assert") -> Condition:
    """Parse a condition.

    Args:
        text: Value of the option.
        option: Name of the option, for the error message.

    Raises:
        ConfigError: The text is not a condition.
    """
    condition_match = re.fullmatch(r"\s*([\w@]+)\s*(>=|<=|>|<)\s*([-+0-9.eE]+)\s*", text)
    message = f"{option} {text!r}: must be METRIC>=NUMBER (or <=, >, <), e.g. 'ndcg@10>=0.40'"
    if condition_match is None:
        raise ConfigError(message)
    metric, comparison, threshold = condition_match.groups()
    try:
        return Condition(metric, comparison, float(threshold))
    except ValueError:
        raise ConfigError(message) from None


def require_meaningful(conditions: list[Condition], run: Run) -> None:
    """Check, before anything is measured, that the metrics of conditions mean something for a run's model.

    Raises:
        ConfigError: One is an error of predicted ratings, and the scores of the model are no ratings.
    """
    from recctl.models.base.rating_metrics import is_rating_metric
    from recctl.runs.rating_models import run_predicts_ratings

    refused = [condition.metric for condition in conditions if is_rating_metric(condition.metric)]
    if refused and not run_predicts_ratings(run):
        model_name = run.model_entry()["model"]
        raise ConfigError(
            f"--assert {', '.join(refused)}: the scores of {model_name} are not ratings, so that their errors mean "
            "nothing; assert a metric of rankings, such as 'ndcg@10>=0.40'"
        )


def require(conditions: list[Condition], metrics: Mapping[str, float], part: str) -> None:
    """Check that all conditions hold.

    Args:
        conditions: Conditions to check.
        metrics: Measured values.
        part: Part of the split they were measured on.

    Raises:
        ConfigError: A metric was not measured.
        AssertionFailedError: Conditions do not hold; the message has each one and the measured value.
    """
    # A misspelt metric is a usage error, exit code 2: it must not look like a failed assertion, exit code 6.
    unknown = [condition.metric for condition in conditions if condition.metric not in metrics]
    if unknown:
        raise ConfigError(
            *(
                f"--assert: {metric_name!r} was not measured{did_you_mean(metric_name, metrics)}"
                for metric_name in unknown
            )
        )
    failures = []
    for condition in conditions:
        measured_value = metrics[condition.metric]
        if not condition.holds(measured_value):
            failures.append(
                f"{condition.metric} = {measured_value:.6g} is not {condition.comparison} {condition.bound:g}"
            )
    if failures:
        raise AssertionFailedError(f"on {part}: {'; '.join(failures)}")
