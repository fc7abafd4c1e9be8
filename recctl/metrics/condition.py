"""Conditions on metrics, such as `coverage@10>=0.3`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import NamedTuple

from recctl.errors import ConfigError

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

    def __str__(self) -> str:
        return f"{self.metric}{self.comparison}{self.bound:g}"

    def holds(self, value: float) -> bool:
        """Return whether a value of the metric satisfies the condition."""
        return _OPERATORS[self.comparison](value, self.bound)


def parse_condition(text: str, option: str = "--assert") -> Condition:
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
