"""Formats of numbers, times and metric names in reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from recctl.engines import format_bytes
from recctl.metrics import MetricKey

MISSING = "–"
_MINUS = "−"
_ACRONYMS = {"ndcg": "NDCG", "map": "MAP", "mrr": "MRR", "auc": "AUC", "rmse": "RMSE", "mae": "MAE"}


def metric_name(key: str) -> str:
    """The name of a metric in words: `sampled_hit_rate@10` is "Sampled hit rate@10"."""
    metric = MetricKey.parse(key)
    display_name = _ACRONYMS.get(metric.name) or metric.name.replace("_", " ")
    if metric.sampled:
        display_name = f"sampled {display_name}"
    suffix = "" if metric.k is None else f"@{metric.k}"
    return f"{display_name[:1].upper()}{display_name[1:]}{suffix}"


def capitalized(text: str) -> str:
    """The text with a capital first letter; `str.capitalize` would also lower the others."""
    return text[:1].upper() + text[1:]


def _number(number: float | None, pattern: str) -> str:
    """A number in a format such as `.4f`; a dash for None and NaN."""
    if number is None or math.isnan(number):
        return MISSING
    return format(number, pattern)


def metric_value(number: float | None) -> str:
    """The value of a metric, with four decimals."""
    return _number(number, ".4f")


def difference(number: float | None) -> str:
    """A difference of two metrics, with its sign."""
    return _number(number, "+.4f").replace("-", _MINUS)


def interval(figure: Mapping[str, Any], prefix: str = "") -> str:
    """A confidence interval.

    Args:
        figure: Its ends are `low` and `high`.
        prefix: Prefix of these keys, such as `difference_`.
    """
    low = metric_value(figure.get(f"{prefix}low"))
    high = metric_value(figure.get(f"{prefix}high"))
    if MISSING in (low, high):
        return MISSING
    # "to" and not a dash, which reads as a minus sign next to negative numbers.
    return f"{low} to {high}".replace("-", _MINUS)


def p_value(number: float | None) -> str:
    """A p-value, with two significant digits."""
    if number is not None and number < 0.0001:
        return "< 0.0001"  # the smallest p-value of 10,000 resamples is 1 / 10,001
    return _number(number, ".2g")


def count(number: float | None) -> str:
    """A count, with thousands separators."""
    return _number(number, ",.0f")


def percent(number: float | None) -> str:
    """A fraction as a percentage, with one decimal."""
    return _number(number, ".1%")


def duration(seconds: float | None) -> str:
    """A duration in seconds, minutes or hours."""
    if seconds is None:
        return MISSING
    if seconds >= 7200:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 120:
        return f"{seconds / 60:.1f} min"
    if seconds >= 100:
        return f"{seconds:.0f} s"
    return f"{seconds:#.3g} s"  # "#" keeps trailing zeros: three digits always


def timestamp(text: str | None) -> str:
    """A time in ISO format, as metadata.json holds it."""
    return str(text or "").replace("T", " ").replace("+00:00", " UTC")


def file_size(n_bytes: float | None) -> str:
    """A size in bytes, kB, MB or GB."""
    return MISSING if n_bytes is None else format_bytes(int(n_bytes))


def setting(value: Any) -> str:
    """The value of a hyperparameter or an option, as a config has it: 20000, not 20,000."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _float_setting(value)
    return str(value)


def _float_setting(value: float) -> str:
    if math.isnan(value):
        return MISSING
    if value.is_integer() and abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.4g}"
