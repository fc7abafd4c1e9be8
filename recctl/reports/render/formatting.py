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
    words = _ACRONYMS.get(metric.name) or metric.name.replace("_", " ")
    if metric.sampled:
        words = f"sampled {words}"
    suffix = "" if metric.k is None else f"@{metric.k}"
    return f"{words[:1].upper()}{words[1:]}{suffix}"


def capitalized(text: str) -> str:
    """The text with a capital first letter; `str.capitalize` would also lower the others."""
    return text[:1].upper() + text[1:]


def _is_missing(number: float | None) -> bool:
    return number is None or math.isnan(number)


def metric_value(number: float | None) -> str:
    """The value of a metric, with four decimals."""
    return MISSING if number is None or math.isnan(number) else f"{number:.4f}"


def difference(number: float | None) -> str:
    """A difference of two metrics, with its sign."""
    return MISSING if number is None or math.isnan(number) else f"{number:+.4f}".replace("-", _MINUS)


def interval(figure: Mapping[str, Any], prefix: str = "") -> str:
    """A confidence interval.

    Args:
        figure: Its ends are `low` and `high`.
        prefix: Prefix of these keys, such as `difference_`.
    """
    ends = [figure.get(f"{prefix}low"), figure.get(f"{prefix}high")]
    if any(_is_missing(end) for end in ends):
        return MISSING
    return " to ".join(f"{end:.4f}".replace("-", _MINUS) for end in ends)


def p_value(number: float | None) -> str:
    """A p-value, with two significant digits."""
    if number is None or math.isnan(number):
        return MISSING
    return "< 0.0001" if number < 0.0001 else f"{number:.2g}"


def count(number: float | None) -> str:
    """A count, with thousands separators."""
    return MISSING if number is None else f"{number:,.0f}"


def percent(number: float | None) -> str:
    """A fraction as a percentage, with one decimal."""
    return MISSING if number is None else f"{number:.1%}"


def duration(seconds: float | None) -> str:
    """A duration in seconds, minutes or hours."""
    if seconds is None:
        return MISSING
    if seconds >= 7200:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 120:
        return f"{seconds / 60:.1f} min"
    return f"{seconds:.0f} s" if seconds >= 100 else f"{seconds:#.3g} s"


def timestamp(text: str | None) -> str:
    """A time in ISO format, as metadata.json holds it."""
    return str(text or "").replace("T", " ").replace("+00:00", " UTC")


def file_size(n_bytes: float | None) -> str:
    """A size in bytes, kB, MB or GB."""
    return MISSING if n_bytes is None else format_bytes(int(n_bytes))


def setting(value: Any) -> str:
    """The value of a hyperparameter."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _float_setting(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _float_setting(value: float) -> str:
    if math.isnan(value):
        return MISSING
    if value.is_integer() and abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.4g}"
