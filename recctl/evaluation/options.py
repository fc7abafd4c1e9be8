"""What an Evaluator may be given; every problem is found, not only the first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from numbers import Integral, Real
from typing import Any

from recctl.errors import ConfigError
from recctl.metrics import METRICS, MetricKey
from recctl.suggest import did_you_mean

_OTHER_NAMES = {
    "hit": "hit_rate",
    "hr": "hit_rate",
    "ap": "map",
    "rr": "mrr",
    "roc_auc": "auc",
    "catalog_coverage": "coverage",
    "item_coverage": "coverage",
    "ild": "diversity",
}


def check_options(metrics: Any, k_values: Any, n_candidates: Any, relevance_threshold: Any, on_unknown: Any) -> None:
    """Refuse what an Evaluator can't be made with; `metrics` and `k_values` as `as_list` gives them.

    Raises:
        ConfigError: Every problem.
    """
    problems = [*_of_metrics(metrics), *_of_k_values(k_values)]
    if n_candidates is not None:
        if not _is_count(n_candidates):
            problems.append(f"n_candidates={n_candidates!r}: must be a whole number of at least 1")
        beyond = [name for name in metrics if name in METRICS and METRICS[name].beyond_accuracy]
        if beyond:
            problems.append(
                f"metrics: {', '.join(beyond)}: says nothing of drawn candidates; leave out either it or n_candidates"
            )
    if relevance_threshold is not None and not (
        isinstance(relevance_threshold, Real) and math.isfinite(relevance_threshold)
    ):
        problems.append(f"relevance_threshold={relevance_threshold!r}: must be a number")
    if on_unknown not in ("skip", "zero"):
        problems.append(f"on_unknown={on_unknown!r}: unknown choice{did_you_mean(str(on_unknown), ('skip', 'zero'))}")
    if problems:
        raise ConfigError(*problems)


def as_list(values: Any) -> Any:
    """Several values as a list; anything else as it is."""
    return list(values) if isinstance(values, Iterable) and not isinstance(values, str) else values


def _of_metrics(metrics: Any) -> Iterator[str]:
    if not isinstance(metrics, list):
        yield f"metrics={metrics!r}: give a list of names, such as ['ndcg', 'recall']"
    elif not metrics:
        yield "metrics: none given; name some, such as ['ndcg', 'recall']"
    else:
        for name in metrics:
            if isinstance(name, str) and name in METRICS:
                continue
            key = MetricKey.parse(str(name).lower())
            if key.is_known and key.k is not None:
                yield f"metrics: {name!r}: give the cutoff apart: metrics=[{key.name!r}], k_values=[{key.k}]"
            else:
                yield f"metrics: unknown metric {name!r}{did_you_mean(str(name), METRICS, _OTHER_NAMES)}"


def _of_k_values(k_values: Any) -> Iterator[str]:
    if not isinstance(k_values, list):
        yield f"k_values={k_values!r}: give a list, such as [10]"
    elif not k_values:
        yield "k_values: none given; name some, such as [10]"
    else:
        yield from (f"k_values: {k!r}: must be a whole number of at least 1" for k in k_values if not _is_count(k))


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1
