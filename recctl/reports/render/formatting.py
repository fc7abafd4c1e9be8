"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from recctl.engines import format_bytes
from recctl.metrics import MetricKey

NOTHING = "–"
_NAMES = {"ndcg": "NDCG", "map": "MAP", "mrr": "MRR", "auc": "AUC", "rmse": "RMSE", "mae": "MAE"}


def metric_name(key: str) -> str:
    """A metric's name in words: `sampled_hit_rate@10` is "Sampled hit rate@10"."""
    metric = MetricKey.parse(key)
    words = _NAMES.get(metric.name) or metric.name.replace("_", " ")
    words = f"sampled {words}" if metric.sampled else words
    suffix = "" if metric.k is None else f"@{metric.k}"
    return f"{words[:1].upper()}{words[1:]}{suffix}"


def value(number: float | None) -> str:
    """A metric."""
    return NOTHING if number is None or math.isnan(number) else f"{number:.4f}"


def difference(number: float | None) -> str:
    """A difference, with its sign."""
    return NOTHING if number is None or math.isnan(number) else f"{number:+.4f}".replace("-", "−")


def interval(figure: Mapping[str, Any], low: str = "low", high: str = "high") -> str:
    """An interval of a figure."""
    ends = figure.get(low), figure.get(high)
    if any(end is None or math.isnan(end) for end in ends):
        return NOTHING
    return " to ".join(f"{end:.4f}".replace("-", "−") for end in ends)


def p_value(p: float | None) -> str:
    """A p."""
    return NOTHING if p is None or math.isnan(p) else "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def count(number: float | None) -> str:
    """How many."""
    return NOTHING if number is None else f"{number:,.0f}"


def share(number: float | None) -> str:
    """A share, in percent."""
    return NOTHING if number is None else f"{number:.1%}"


def seconds(number: float | None) -> str:
    """A time."""
    if number is None:
        return NOTHING
    if number >= 7200:
        return f"{number / 3600:.1f} h"
    if number >= 120:
        return f"{number / 60:.1f} min"
    return f"{number:.0f} s" if number >= 100 else f"{number:#.3g} s"


def moment(told: str | None) -> str:
    """A time as metadata has it."""
    return str(told or "").replace("T", " ").replace("+00:00", " UTC")


def size(number: float | None) -> str:
    """Bytes."""
    return NOTHING if number is None else format_bytes(int(number))


def setting(given: Any) -> str:
    """A hyperparameter."""
    if isinstance(given, bool) or given is None:
        return {True: "yes", False: "no", None: NOTHING}[given]
    if isinstance(given, float):
        return (
            NOTHING
            if math.isnan(given)
            else f"{given:.0f}"
            if given.is_integer() and abs(given) < 1e6
            else f"{given:.4g}"
        )
    return f"{given:,}" if isinstance(given, int) else str(given)
