"""Deprecated alias of `recctl.metrics`, for plug-ins; removed in 0.4."""

import warnings

from recctl.metrics.definitions import METRICS, Catalog, Float64Array, Lists, Metric

__all__ = ["METRICS", "Catalog", "Float64Array", "Lists", "Metric"]

warnings.warn(
    "recctl.ranking.metrics is now recctl.metrics; the old path is removed in 0.4", FutureWarning, stacklevel=2
)
