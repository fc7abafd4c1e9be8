"""Conditions on metrics, as `ndcg@10>=0.40`, for scripts."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from recctl.errors import AssertionFailedError, ConfigError
from recctl.suggest import did_you_mean

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


class Condition(NamedTuple):
    """A metric, how it is compared, and with what."""

    metric: str
    comparison: str
    bound: float

    def holds(self, value: float) -> bool:
        """Whether a value of the metric is as it says."""
        return _OPERATORS[self.comparison](value, self.bound)


def parse(text: str, option: str = "--assert") -> Condition:
    """Read a condition that an option gave.

    Raises:
        ConfigError: It is none.
    """
    match = re.fullmatch(r"\s*([\w@]+)\s*(>=|<=|>|<)\s*([-+0-9.eE]+)\s*", text)
    try:
        return Condition(match[1], match[2], float(match[3]))  # type: ignore[index]
    except (TypeError, ValueError):
        raise ConfigError(f"{option} {text!r}: write it as METRIC>=NUMBER, e.g. 'ndcg@10>=0.40'") from None


def require(conditions: list[Condition], metrics: Mapping[str, float], part: str) -> None:
    """Check conditions.

    Raises:
        ConfigError: A metric that was not measured.
        AssertionFailedError: Naming every condition that does not hold, and the values.
    """
    unknown = [c.metric for c in conditions if c.metric not in metrics]
    if unknown:
        raise ConfigError(*(f"--assert: {name!r} was not measured{did_you_mean(name, metrics)}" for name in unknown))
    failed = [c for c in conditions if not c.holds(metrics[c.metric])]
    if failed:
        told = (f"{c.metric} = {metrics[c.metric]:.6g} is not {c.comparison} {c.bound:g}" for c in failed)
        raise AssertionFailedError(f"on {part}: {'; '.join(told)}")
