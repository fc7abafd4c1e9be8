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
        segment: Key of the segment that the metric is of, e.g. `new_users` or `country=DE`; None: of all users.
    """

    metric: str
    comparison: str
    bound: float
    segment: str | None = None

    def __str__(self) -> str:
        return f"{self.subject}{self.comparison}{self.bound:g}"

    @property
    def subject(self) -> str:
        """What is compared, e.g. `ndcg@10` or `ndcg@10[new_users]`."""
        return self.metric if self.segment is None else f"{self.metric}[{self.segment}]"

    def holds(self, value: float) -> bool:
        """Return whether a value of the metric satisfies the condition."""
        return _OPERATORS[self.comparison](value, self.bound)


def parse_condition(text: str, option: str = "--assert", *, of_segments: bool = False) -> Condition:
    """Parse a condition.

    Args:
        text: Value of the option.
        option: Name of the option, for the error message.
        of_segments: Whether it may be of a segment, such as `ndcg@10[new_users]>=0.05`.

    Raises:
        ConfigError: The text is not a condition.
    """
    # The key of a segment may contain brackets and operators itself, as in `ndcg@10[activity=>=50]>=0.3`.
    condition_match = re.fullmatch(r"\s*([\w@]+)(?:\[(.+)\])?\s*(>=|<=|>|<)\s*([-+0-9.eE]+)\s*", text)
    message = f"{option} {text!r}: must be METRIC>=NUMBER (or <=, >, <), e.g. 'ndcg@10>=0.40'"
    if condition_match is None:
        raise ConfigError(message)
    metric, segment, comparison, threshold = condition_match.groups()
    if segment is not None and not of_segments:
        raise ConfigError(f"{option} {text!r}: takes metrics over all users; `recctl evaluate --assert` takes segments")
    try:
        return Condition(metric, comparison, float(threshold), segment)
    except ValueError:
        raise ConfigError(message) from None
