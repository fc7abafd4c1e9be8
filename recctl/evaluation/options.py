"""Checks of the arguments of an Evaluator; all problems are reported together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from recctl.arguments import Check, at_least, is_whole, number, one_of, optional
from recctl.errors import ConfigError
from recctl.metrics import METRICS, MetricKey
from recctl.suggest import did_you_mean

_SYNONYMS = {
    "hit": "hit_rate",
    "hr": "hit_rate",
    "ap": "map",
    "rr": "mrr",
    "roc_auc": "auc",
    "catalog_coverage": "coverage",
    "item_coverage": "coverage",
    "ild": "diversity",
}
_UNKNOWN_USERS = ("skip", "zero", "popular")
_EXCLUDED_ITEMS = ("known", "train", "none")
_GAINS = ("rating", "exp2")


def check_options(
    metrics: Any,
    k_values: Any,
    n_candidates: Any,
    relevance_threshold: Any,
    on_unknown: Any,
    exclude: Any,
    gain: Any,
    seed: Any,
) -> None:
    """Check the arguments of an Evaluator; `metrics` and `k_values` must have passed `as_list`.

    Raises:
        ConfigError: Lists every problem.
    """
    problems = list(metric_problems(metrics))
    problems.extend(_k_value_problems(k_values))
    if n_candidates is not None:
        problems.extend(_candidate_problems(n_candidates, metrics))
    checks: list[tuple[Check, str, Any]] = [
        (optional(number), "relevance_threshold", relevance_threshold),
        (one_of(*_UNKNOWN_USERS), "on_unknown", on_unknown),
        (one_of(*_EXCLUDED_ITEMS), "exclude", exclude),
        (optional(one_of(*_GAINS)), "gain", gain),
        (at_least(0), "seed", seed),
    ]
    for check, name, value in checks:
        try:
            check("", name, value)
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(*problems)


def as_list(values: Any) -> Any:
    """Return an iterable as a list, and anything else (also text) unchanged."""
    if isinstance(values, Iterable) and not isinstance(values, str):
        return list(values)
    return values


def metric_problems(metrics: Any) -> Iterator[str]:
    """Yield what is wrong with a list of metrics."""
    if not isinstance(metrics, list):
        yield f"metrics={metrics!r}: give a list of names, such as ['ndcg', 'recall']"
        return
    if not metrics:
        yield "metrics: is empty; give at least one, such as ['ndcg', 'recall']"
    for metric_name in metrics:
        if isinstance(metric_name, str) and metric_name in METRICS:
            continue
        metric_key = MetricKey.parse(str(metric_name).lower())
        if metric_key.is_known and metric_key.k is not None:
            suggestion = f"metrics=[{metric_key.name!r}], k_values=[{metric_key.k}]"
            yield f"metrics: {metric_name!r}: give the cutoff separately: {suggestion}"
        else:
            yield f"metrics: unknown metric {metric_name!r}{did_you_mean(str(metric_name), METRICS, _SYNONYMS)}"


def _k_value_problems(k_values: Any) -> Iterator[str]:
    if not isinstance(k_values, list):
        yield f"k_values={k_values!r}: give a list, such as [10]"
        return
    if not k_values:
        yield "k_values: is empty; give at least one, such as [10]"
    for cutoff in k_values:
        if not _is_positive_integer(cutoff):
            yield f"k_values: {cutoff!r}: must be a whole number of at least 1"


def _candidate_problems(n_candidates: Any, metrics: Any) -> Iterator[str]:
    if not _is_positive_integer(n_candidates):
        yield f"n_candidates={n_candidates!r}: must be a whole number of at least 1"
    metric_names = metrics if isinstance(metrics, list) else []
    catalog_metrics = [
        metric_name
        for metric_name in metric_names
        if isinstance(metric_name, str) and metric_name in METRICS and METRICS[metric_name].beyond_accuracy
    ]
    if catalog_metrics:
        yield (
            f"metrics: {', '.join(catalog_metrics)}: not defined for sampled candidates; remove either them or "
            "n_candidates"
        )


def _is_positive_integer(value: Any) -> bool:
    return is_whole(value) and value >= 1
