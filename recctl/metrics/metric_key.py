"""Metric keys: the names of figures in configs, results and run files, such as `sampled_ndcg@10`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from recctl.errors import ConfigError
from recctl.metrics.definitions import METRICS, Metric
from recctl.suggest import did_you_mean

_SAMPLED = "sampled_"
# A cutoff without leading zeros, so that `str(MetricKey.parse(key)) == key` for every text.
_KEY = re.compile(r"(?P<name>.*?)(?:@(?P<k>[1-9][0-9]*))?", re.DOTALL | re.ASCII)


@dataclass(frozen=True)
class MetricKey:
    """The key of one figure: a metric, its cutoff, and whether candidates were sampled.

        >>> MetricKey.parse("sampled_ndcg@10")
        MetricKey(name='ndcg', k=10, sampled=True)
        >>> str(MetricKey("recall", 20))
        'recall@20'

    Attributes:
        name: The metric's name in `METRICS`.
        k: The cutoff; None for metrics without one, such as `auc` and `rmse`.
        sampled: Whether relevant items were ranked among sampled candidates only.
    """

    name: str
    k: int | None = None
    sampled: bool = False

    @classmethod
    def parse(cls, key: str) -> MetricKey:
        """Split a key into its parts.

        Any text is accepted, so that the columns of a table can be tested by `is_known`. A suffix that is not a cutoff,
        as in `ndcg@x`, remains part of the name.
        """
        key_match = _KEY.fullmatch(key.removeprefix(_SAMPLED))
        assert key_match is not None  # the pattern matches every text
        cutoff = key_match["k"]
        return cls(key_match["name"], int(cutoff) if cutoff else None, key.startswith(_SAMPLED))

    def __str__(self) -> str:
        prefix = _SAMPLED if self.sampled else ""
        suffix = "" if self.k is None else f"@{self.k}"
        return f"{prefix}{self.name}{suffix}"

    @property
    def is_known(self) -> bool:
        """Whether recctl or a plug-in defines the metric. Plug-ins are not imported."""
        return self.name in METRICS

    @property
    def is_rating_error(self) -> bool:
        """Whether it is an error of predicted ratings, such as `rmse`; False if it is unknown."""
        return self.is_known and self.metric.task == "rating_prediction"

    @property
    def metric(self) -> Metric:
        """The definition of the metric.

        Raises:
            ConfigError: The metric is unknown, or its plug-in cannot be imported.
        """
        if not self.is_known:
            raise ConfigError(f"unknown metric {self.name!r}{did_you_mean(self.name, METRICS)}")
        return METRICS[self.name]

    @property
    def higher_is_better(self) -> bool:
        """Whether higher values are better; True for a metric that `METRICS` does not define."""
        # Keys of plug-ins that are not installed remain readable in old runs; most metrics of the field are better when
        # higher.
        return not self.is_known or self.metric.greater_is_better

    @property
    def mode(self) -> Literal["max", "min"]:
        """The direction of optimization."""
        return "max" if self.higher_is_better else "min"

    @property
    def sign(self) -> int:
        """1 where higher values are better, else -1: `sign * value` is always to be maximized."""
        return 1 if self.higher_is_better else -1

    def at(self, k: int | None) -> MetricKey:
        """The same metric at another cutoff, or without one."""
        return replace(self, k=k)

    def unsampled(self) -> MetricKey:
        """The same metric with all items as candidates."""
        return replace(self, sampled=False)


def metric_keys(names: Iterable[str], k_values: Iterable[int], *, sampled: bool = False) -> list[MetricKey]:
    """The keys of the figures that an evaluation returns.

    Args:
        names: Names of `METRICS`.
        k_values: Cutoffs, for the metrics that have one.
        sampled: Whether candidates are sampled; this concerns ranking metrics only.

    Returns:
        The keys in the order of `names`, then of `k_values`.
    """
    cutoffs = list(k_values)
    keys = []
    for metric_name in names:
        metric = METRICS[metric_name]
        # Rating metrics compare predicted with actual ratings of test pairs and rank no candidates.
        of_sample = sampled and metric.task == "ranking"
        if metric.per_k:
            keys += [MetricKey(metric_name, k, of_sample) for k in cutoffs]
        else:
            keys.append(MetricKey(metric_name, None, of_sample))
    return keys


def key_problem(key: str) -> str | None:
    """Describe what is wrong with the key of a metric over all items.

    Returns:
        The problem with a suggested fix, or None for a valid key.
    """
    # A suffix such as `@0` or `@x` is reported as a wrong cutoff, not as an unknown metric.
    metric_name, separator, _ = key.partition(
        "@"
    )  # not `MetricKey.parse`: the message is about the suffix as it was written
    if metric_name not in METRICS:
        return f"unknown metric {metric_name!r}{did_you_mean(metric_name, METRICS)}"
    if not METRICS[metric_name].per_k:
        return f"{key!r}: {metric_name} has no cutoffs; write {metric_name}" if separator else None
    if MetricKey.parse(key).k is None:
        return f"{key!r} has no valid cutoff; write {metric_name}@10"
    return None
