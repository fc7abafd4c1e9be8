"""What is measured, and how each measure is defined. Arrays in, arrays out.

A list is the k best items of a user among those that can be recommended to them, best first; equal scores rank in
ascending order of item code. `hits` holds 1 where the item at a place is relevant, else 0, shape `(n_users, k)`; places
of a list that is shorter than k hold 0. `n_relevant` is the number of the user's relevant items, at least 1: those the
model does not know count, though they can't be hit. Users with nothing relevant are in no mean.

One ranking serves every cutoff: functions of lists give the value at each cutoff 1, 2, ..., k, shape `(n_users, k)`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recctl.data.description import gini as gini_coefficient
from recctl.data.matrix import Int32Array, Int64Array, InteractionMatrix
from recctl.kernels import list_similarity
from recctl.plugins import Registry

Float64Array = NDArray[np.float64]


class Catalog:
    """What a model was fitted on, seen from its items."""

    def __init__(self, seen: InteractionMatrix) -> None:
        self._seen = seen

    @cached_property
    def counts(self) -> Int64Array:
        """How many users each item has, shape `(n_items,)`."""
        return self._seen.column_counts()

    @cached_property
    def self_information(self) -> Float64Array:
        """`-log2` of the share of users who have the item, in bits; an item nobody has counts as if one user had."""
        return np.log2(max(1, self._seen.n_rows) / np.maximum(self.counts, 1))

    @cached_property
    def users(self) -> InteractionMatrix:
        """The users of each item, `(n_items, n_users)`."""
        return self._seen.transpose()


@dataclass(frozen=True, eq=False)
class Lists:
    """The lists of some users, and what it takes to judge them.

    Attributes:
        items: Item codes, best first, -1 at empty places, shape `(n_users, k)`.
        hits: 1 where the item is relevant, else 0, shape `(n_users, k)`.
        n_relevant: Relevant items of each user, at least 1, shape `(n_users,)`.
        catalog: What the model was fitted on.
    """

    items: Int32Array
    hits: Float64Array
    n_relevant: Int64Array
    catalog: Catalog

    @property
    def cutoffs(self) -> Float64Array:
        """1, 2, ..., k."""
        return np.arange(1.0, self.hits.shape[1] + 1)


def precision(lists: Lists) -> Float64Array:
    """Share of the k places that hold a relevant item.

    `hits in the first k / k`. The denominator is k also where the list is shorter or the user has fewer relevant items.
    """
    return np.cumsum(lists.hits, axis=1) / lists.cutoffs


def recall(lists: Lists) -> Float64Array:
    """Share of the relevant items that are in the first k.

    `hits in the first k / n_relevant`: below 1 for every list where a user has more than k relevant items.
    """
    return np.cumsum(lists.hits, axis=1) / lists.n_relevant[:, None]


def hit_rate(lists: Lists) -> Float64Array:
    """1 for users with a relevant item in the first k, else 0."""
    return np.maximum.accumulate(lists.hits, axis=1)


def ndcg(lists: Lists) -> Float64Array:
    """Discounted hits in the first k, as a share of the most there could be.

    `sum over places p of the first k: hit_p / log2(p + 1)`, divided by the same sum for a list that begins with
    `min(k, n_relevant)` hits. Relevance is binary.
    """
    discounts = 1 / np.log2(lists.cutoffs + 1)
    ideal: Float64Array = np.concatenate([[0.0], np.cumsum(discounts)])
    most_hits = np.minimum(lists.n_relevant[:, None], np.arange(1, lists.hits.shape[1] + 1))
    return np.cumsum(lists.hits * discounts, axis=1) / ideal[most_hits]


def average_precision(lists: Lists) -> Float64Array:
    """Mean over relevant items of the precision at their place, 0 for those not in the first k.

    `sum over places p of the first k that hold a hit: precision at p`, divided by `min(k, n_relevant)`, so that a list
    that begins with all the hits there could be scores 1. Its mean over users is MAP. (trec_eval and what follows it
    divide by `n_relevant`.)
    """
    found = np.cumsum(lists.hits * precision(lists), axis=1)
    return found / np.minimum(lists.n_relevant[:, None], lists.cutoffs)


def reciprocal_rank(lists: Lists) -> Float64Array:
    """1 / place of the first relevant item, 0 if it is not in the first k."""
    return np.maximum.accumulate(lists.hits / lists.cutoffs, axis=1)


def novelty(lists: Lists) -> Float64Array:
    """Mean surprise of the recommended items: -log2 of the share of fitted users who have the item, in bits.

    The mean goes over the items there are where a list is shorter than k; an empty list counts 0.
    """
    return _mean_of_items(lists, lists.catalog.self_information)


def popularity(lists: Lists) -> Float64Array:
    """Mean number of fitted users who have the recommended items.

    The mean goes over the items there are where a list is shorter than k; an empty list counts 0.
    """
    return _mean_of_items(lists, lists.catalog.counts)


def diversity(lists: Lists) -> Float64Array:
    """Mean over pairs of recommended items of 1 - cosine of the sets of fitted users who have them.

    `cosine = users of both / sqrt(users of one * users of the other)`; ratings don't count. The mean goes over the
    pairs there are where a list is shorter than k; a list of fewer than two items counts 0.
    """
    users = lists.catalog.users
    sums = np.empty(lists.items.shape, np.float64)
    list_similarity.similarity_to_earlier(lists.items, users.starts, users.columns, users.n_columns, sums)
    n_items = np.cumsum(lists.items >= 0, axis=1)
    n_pairs = n_items * (n_items - 1) / 2
    return np.maximum(n_pairs - np.cumsum(sums, axis=1), 0) / np.maximum(n_pairs, 1)


def auc(ordered: Float64Array, n_relevant: Int64Array, n_others: Int64Array) -> Float64Array:
    """Share of pairs of a relevant and another item in which the relevant one scores higher; ties count half.

    Over all items that can be recommended to the user, not only the first k. Relevant items the model does not know
    come last: none of their pairs is ordered. A user whose every item is relevant counts 0.5.

    Args:
        ordered: Ordered pairs of each user.
        n_relevant: Relevant items of each user, unknown ones included.
        n_others: Items of each user that can be recommended and are not relevant.
    """
    n_pairs = n_relevant * n_others
    return np.where(n_pairs > 0, ordered / np.maximum(n_pairs, 1), 0.5)


def coverage(counts: Int64Array) -> float:
    """Share of the model's items that are in the first k of anybody who is asked."""
    return float((counts > 0).mean())


def gini(counts: Int64Array) -> float:
    """How unevenly the first k of all who are asked go to items: 0 for all alike, near 1 for all to one.

    `sum over items i, ascending by count c: (2 i - n - 1) c_i / (n * sum c)`, with i from 1 to the number n of items
    of the model; 0 where nothing is recommended.
    """
    return gini_coefficient(counts)


def rmse(errors: Float64Array, starts: Int64Array) -> Float64Array:
    """Root of the mean squared difference of predicted and given rating.

    Args:
        errors: Differences, group by group (of one user, or all of them), shape `(n,)`.
        starts: Group `g` lies at `starts[g]:starts[g + 1]`; none is empty. Shape `(n_groups + 1,)`.
    """
    return np.sqrt(np.add.reduceat(errors**2, starts[:-1]) / np.diff(starts))


def mae(errors: Float64Array, starts: Int64Array) -> Float64Array:
    """Mean absolute difference of predicted and given rating.

    Arguments as in `rmse`.
    """
    return np.add.reduceat(np.abs(errors), starts[:-1]) / np.diff(starts)


def _mean_of_items(lists: Lists, values: NDArray[Any]) -> Float64Array:
    there = lists.items >= 0
    sums = np.cumsum(np.where(there, values[lists.items], 0), axis=1, dtype=np.float64)
    return sums / np.maximum(np.cumsum(there, axis=1), 1)


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        compute: Its definition.
        of: What it is a function of: the lists of users, all pairs of a user's items, how often each item is
            recommended, or errors of predicted ratings.
        greater_is_better: Whether more is better; for `popularity` and `gini`, which only describe, less counts as
            better.
        beyond_accuracy: Whether it looks at what is recommended and not at what is relevant.
    """

    compute: Callable[..., Any]
    of: Literal["lists", "pairs", "counts", "errors"]
    greater_is_better: bool = True
    beyond_accuracy: bool = False

    @property
    def definition(self) -> str:
        """One line that says what it is."""
        return (inspect.getdoc(self.compute) or "").partition("\n")[0]

    @property
    def kind(self) -> Literal["accuracy", "beyond accuracy", "rating"]:
        """What it judges."""
        return "rating" if self.of == "errors" else "beyond accuracy" if self.beyond_accuracy else "accuracy"

    @property
    def task(self) -> Literal["ranking", "rating_prediction"]:
        """The task it is measured in."""
        return "rating_prediction" if self.of == "errors" else "ranking"

    @property
    def per_k(self) -> bool:
        """Whether there is a value for each cutoff."""
        return self.of in ("lists", "counts")


# Packages offer more of these as entry points of the group `recctl.metrics`.
METRICS: Registry[Metric] = Registry(
    "metrics",
    {
        "precision": Metric(precision, "lists"),
        "recall": Metric(recall, "lists"),
        "ndcg": Metric(ndcg, "lists"),
        "hit_rate": Metric(hit_rate, "lists"),
        "map": Metric(average_precision, "lists"),
        "mrr": Metric(reciprocal_rank, "lists"),
        "auc": Metric(auc, "pairs"),
        "coverage": Metric(coverage, "counts", beyond_accuracy=True),
        "novelty": Metric(novelty, "lists", beyond_accuracy=True),
        "gini": Metric(gini, "counts", greater_is_better=False, beyond_accuracy=True),
        "popularity": Metric(popularity, "lists", greater_is_better=False, beyond_accuracy=True),
        "diversity": Metric(diversity, "lists", beyond_accuracy=True),
        "rmse": Metric(rmse, "errors", greater_is_better=False),
        "mae": Metric(mae, "errors", greater_is_better=False),
    },
)
