"""Metrics: definitions on arrays, and the keys that configs and results use for their values."""

from recctl.metrics.definitions import METRICS, Catalog, Float64Array, Lists, Metric
from recctl.metrics.metric_key import MetricKey, key_problem, metric_keys

__all__ = ["METRICS", "Catalog", "Float64Array", "Lists", "Metric", "MetricKey", "key_problem", "metric_keys"]
