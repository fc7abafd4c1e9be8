"""Metric definitions, as functions of arrays.

A list holds the k best items of a user among the items that can be recommended to that user, best first. Ties (items
with equal scores) are broken as `recctl.ranking.ties` defines. `hits` is 1 at a position that holds a relevant item,
else 0, shape `(n_users, k)`; positions after the end of a list shorter than k hold 0. `n_relevant` is the number of
relevant items of a user, at least 1. It includes items that the model does not know, which therefore count as misses.
Users without relevant items are excluded from every mean.

Each user is ranked once for all cutoffs: functions of lists return the value at every cutoff 1, 2, ..., k, with shape
`(n_users, k)`.
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
    """The items of a model, with statistics of the interactions it was fitted on.

    Args:
        seen: The interactions that the model was fitted on, `(n_users, n_items)`.
    """

    def __init__(self, seen: InteractionMatrix) -> None:
        self._seen = seen

    @cached_property
    def counts(self) -> Int64Array:
        """The number of users of each item, shape `(n_items,)`."""
        return self._seen.column_counts()

    @cached_property
    def self_information(self) -> Float64Array:
        """`-log2(users of the item / users)` in bits, shape `(n_items,)`.

        An item without users counts as if it had one, so that the value stays finite.
        """
        return np.log2(max(1, self._seen.n_rows) / np.maximum(self.counts, 1))

    @cached_property
    def users(self) -> InteractionMatrix:
        """The users of each item, `(n_items, n_users)`."""
        return self._seen.transpose()


@dataclass(frozen=True, eq=False)
class Lists:
    """The recommendation lists of several users, with the information that metrics need.

    Attributes:
        items: Item codes, best first, -1 after the end of a list, shape `(n_users, k)`.
        hits: 1 where the item is relevant, else 0, shape `(n_users, k)`.
        n_relevant: The number of relevant items of each user, at least 1, shape `(n_users,)`.
        catalog: The items of the model.
        gains: The gain of the item at each position, 0 where it is not relevant, shape `(n_users, k)`; None if
            relevance is binary.
        ideal_gains: The gains of the relevant items of each user, the highest first, shape `(n_users, k)`; None if
            relevance is binary.
    """

    items: Int32Array
    hits: Float64Array
    n_relevant: Int64Array
    catalog: Catalog
    gains: Float64Array | None = None
    ideal_gains: Float64Array | None = None

    @property
    def cutoffs(self) -> Float64Array:
        """The cutoffs 1, 2, ..., k, shape `(k,)`."""
        return np.arange(1.0, self.hits.shape[1] + 1)


def precision(lists: Lists) -> Float64Array:
    """Precision: the share of the k positions that hold a relevant item.

    `hits in the first k / k`. The denominator is k even if the list is shorter, or the user has fewer than k relevant
    items.
    """
    # A cumulative sum gives the value at every cutoff in one pass; so do the functions below.
    return np.cumsum(lists.hits, axis=1) / lists.cutoffs


def recall(lists: Lists) -> Float64Array:
    """Recall: the share of the relevant items that are among the first k.

    `hits in the first k / n_relevant`. A user with more than k relevant items cannot reach 1.
    """
    return np.cumsum(lists.hits, axis=1) / lists.n_relevant[:, None]


def hit_rate(lists: Lists) -> Float64Array:
    """Hit rate: the share of users with at least one relevant item among the first k.

    1 for such a user, else 0.
    """
    return np.maximum.accumulate(lists.hits, axis=1)


def ndcg(lists: Lists) -> Float64Array:
    """Normalized discounted cumulative gain: DCG@k / ideal DCG@k.

    `DCG@k = sum over positions p = 1 ... k of gain_p / log2(p + 1)`. The gain of a relevant item is 1, or follows from
    its rating (`evaluation.gain`); that of other items is 0. The ideal list begins with the `min(k, n_relevant)`
    relevant items of the highest gains. Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques",
    ACM TOIS 20(4), 2002.
    """
    discounts = 1 / np.log2(lists.cutoffs + 1)
    if lists.gains is not None and lists.ideal_gains is not None:
        return np.cumsum(lists.gains * discounts, axis=1) / np.cumsum(lists.ideal_gains * discounts, axis=1)
    # ideal[m] is the DCG of a list that begins with m relevant items; no entry but the first is 0, and users without
    # relevant items are excluded, so the division is safe.
    ideal_dcg: Float64Array = np.concatenate([[0.0], np.cumsum(discounts)])
    # The ideal list is cut at k as well: otherwise users with more than k relevant items could not reach 1.
    max_hits = np.minimum(lists.n_relevant[:, None], np.arange(1, lists.hits.shape[1] + 1))
    return np.cumsum(lists.hits * discounts, axis=1) / ideal_dcg[max_hits]


def average_precision(lists: Lists) -> Float64Array:
    """Mean average precision: the mean over users of AP@k.

    `AP@k = sum over positions p <= k that hold a relevant item of precision@p / min(k, n_relevant)`. This denominator
    gives 1 to a list that begins with as many relevant items as it can hold. trec_eval, and libraries that follow it,
    divide by `n_relevant`: their values are lower for users with more than k relevant items.
    """
    precision_sums = np.cumsum(lists.hits * precision(lists), axis=1)
    return precision_sums / np.minimum(lists.n_relevant[:, None], lists.cutoffs)


def reciprocal_rank(lists: Lists) -> Float64Array:
    """Mean reciprocal rank: the mean over users of 1 / rank of the first relevant item.

    0 for a user without a relevant item among the first k. Voorhees, "The TREC-8 question answering track report",
    1999.
    """
    return np.maximum.accumulate(lists.hits / lists.cutoffs, axis=1)


def novelty(lists: Lists) -> Float64Array:
    """Novelty: mean self-information of the recommended items, in bits.

    `-log2(users of the item / users)`, in the data that the model was fitted on, averaged over the first k items. A
    list shorter than k is averaged over the items it has; an empty list counts as 0. Zhou et al., "Solving the apparent
    diversity-accuracy dilemma of recommender systems", PNAS 107(10), 2010.
    """
    return _mean_over_items(lists, lists.catalog.self_information)


def popularity(lists: Lists) -> Float64Array:
    """Average recommendation popularity (ARP): the mean number of users of the recommended items.

    Users are counted in the data that the model was fitted on. A list shorter than k is averaged over the items it
    has; an empty list counts as 0. Yin et al., "Challenging the long tail recommendation", PVLDB 5(9), 2012.
    """
    return _mean_over_items(lists, lists.catalog.counts)


def diversity(lists: Lists) -> Float64Array:
    """Intra-list diversity (ILD): the mean over pairs of recommended items of 1 - cosine similarity.

    `cosine(i, j) = users of both / sqrt(users of i * users of j)`, in the data that the model was fitted on; ratings
    are not used. A list shorter than k is averaged over the pairs it has; a list of fewer than two items counts as 0.
    Smyth and McClave, "Similarity vs. diversity", ICCBR 2001.
    """
    item_users = lists.catalog.users
    # Similarity of each item to all before it in the list: its cumulative sum is the sum over all pairs of the first k.
    similarity_to_earlier = np.empty(lists.items.shape, np.float64)
    list_similarity.similarity_to_earlier(
        lists.items, item_users.starts, item_users.columns, item_users.n_columns, similarity_to_earlier
    )
    n_items = np.cumsum(lists.items >= 0, axis=1)
    n_pairs = n_items * (n_items - 1) / 2
    # Rounding can take the difference slightly below 0 for lists of identical items.
    dissimilarity = np.maximum(n_pairs - np.cumsum(similarity_to_earlier, axis=1), 0)
    return dissimilarity / np.maximum(n_pairs, 1)


def auc(ordered: Float64Array, n_relevant: Int64Array, n_others: Int64Array) -> Float64Array:
    """Area under the ROC curve: the share of pairs of a relevant and another item that are ranked correctly.

    The mean over users of the share of pairs in which the relevant item has the higher score; ties count one half. All
    items that can be recommended to the user are used, not only the first k. A relevant item that the model does not
    know loses all of its pairs. A user without other items counts as 0.5.

    Args:
        ordered: The number of correctly ranked pairs of each user, ties as one half, shape `(n_users,)`.
        n_relevant: The number of relevant items of each user, unknown items included, shape `(n_users,)`.
        n_others: The number of items that can be recommended to the user and are not relevant, shape `(n_users,)`.
    """
    n_pairs = n_relevant * n_others
    return np.where(n_pairs > 0, ordered / np.maximum(n_pairs, 1), 0.5)


def coverage(counts: Int64Array) -> float:
    """Catalog coverage: the share of the model's items that are among the first k of at least one user.

    Args:
        counts: The number of lists that contain each item, shape `(n_items,)`.
    """
    # The denominator is the catalog of the model, not that of the test set: items without test interactions can be
    # recommended as well.
    return float((counts > 0).mean())


def gini(counts: Int64Array) -> float:
    """Gini coefficient of how often each item is recommended: 0 for all equally often, near 1 for few items only.

    `sum over i = 1 ... n of (2 i - n - 1) c_i / (n * sum of c)`, where `c_1 <= ... <= c_n` are the numbers of lists
    that contain each of the model's n items; 0 if nothing is recommended.

    Args:
        counts: The number of lists that contain each item, shape `(n_items,)`.
    """
    return gini_coefficient(counts)


def rmse(errors: Float64Array, starts: Int64Array) -> Float64Array:
    """Root mean squared error of the predicted ratings.

    Args:
        errors: Predicted minus actual ratings, grouped (by user, or all in one group), shape `(n,)`.
        starts: Group `g` is `errors[starts[g]:starts[g + 1]]`; no group is empty. Shape `(n_groups + 1,)`.
    """
    # `reduceat` sums slices; it would return a wrong value for an empty one, hence the condition on `starts`.
    return np.sqrt(np.add.reduceat(errors**2, starts[:-1]) / np.diff(starts))


def mae(errors: Float64Array, starts: Int64Array) -> Float64Array:
    """Mean absolute error of the predicted ratings.

    Args:
        errors: Predicted minus actual ratings, grouped (by user, or all in one group), shape `(n,)`.
        starts: Group `g` is `errors[starts[g]:starts[g + 1]]`; no group is empty. Shape `(n_groups + 1,)`.
    """
    return np.add.reduceat(np.abs(errors), starts[:-1]) / np.diff(starts)


def _mean_over_items(lists: Lists, values: NDArray[Any]) -> Float64Array:
    """The mean of the items' values over the first 1, 2, ..., k items of each list."""
    is_item = lists.items >= 0
    # Empty positions have the code -1, which indexes the last item: masked before the sum. float64, since counts of
    # many users exceed what float32 holds exactly.
    value_sums = np.cumsum(np.where(is_item, values[lists.items], 0), axis=1, dtype=np.float64)
    n_items = np.cumsum(is_item, axis=1)
    return value_sums / np.maximum(n_items, 1)


@dataclass(frozen=True)
class Metric:
    """A metric, as `METRICS` and plug-ins define it.

    Attributes:
        compute: The function that computes it.
        of: What `compute` is a function of: `lists`, a `Lists`; `pairs`, the ranks of all relevant items of a user;
            `counts`, how often each item is recommended; or `errors`, differences of predicted and actual ratings.
        greater_is_better: Whether higher values are better. `popularity` and `gini` only describe the lists; for them
            lower values count as better.
        beyond_accuracy: Whether the metric depends on what is recommended only, not on what is relevant.
    """

    compute: Callable[..., Any]
    of: Literal["lists", "pairs", "counts", "errors"]
    greater_is_better: bool = True
    beyond_accuracy: bool = False

    @property
    def definition(self) -> str:
        """The definition in one line: the first line of the docstring of `compute`."""
        docstring = inspect.getdoc(self.compute) or ""
        return docstring.partition("\n")[0]

    @property
    def kind(self) -> Literal["accuracy", "beyond accuracy", "rating"]:
        """The group of the metric in tables and reports."""
        if self.of == "errors":
            return "rating"
        return "beyond accuracy" if self.beyond_accuracy else "accuracy"

    @property
    def task(self) -> Literal["ranking", "rating_prediction"]:
        """The task that the metric evaluates."""
        return "rating_prediction" if self.of == "errors" else "ranking"

    @property
    def per_k(self) -> bool:
        """Whether the metric has one value per cutoff."""
        return self.of in ("lists", "counts")


# Plug-ins register more metrics as entry points of the group `recctl.metrics`.
METRICS: Registry[Metric] = Registry(
    "metrics",
    {
        "precision": Metric(precision, "lists"),
        "recall": Metric(recall, "lists"),
        "ndcg": Metric(ndcg, "lists"),
        "hit_rate": Metric(hit_rate, "lists"),
        "map": Metric(average_precision, "lists"),
        "mrr": Metric(reciprocal_rank, "lists"),
        # Not of lists: the area depends on the ranks of all items, so there is no cutoff.
        "auc": Metric(auc, "pairs"),
        "coverage": Metric(coverage, "counts", beyond_accuracy=True),
        "novelty": Metric(novelty, "lists", beyond_accuracy=True),
        # No direction is right or wrong for these two; lower is chosen because a tuner that monitors them needs one.
        "gini": Metric(gini, "counts", greater_is_better=False, beyond_accuracy=True),
        "popularity": Metric(popularity, "lists", greater_is_better=False, beyond_accuracy=True),
        "diversity": Metric(diversity, "lists", beyond_accuracy=True),
        "rmse": Metric(rmse, "errors", greater_is_better=False),
        "mae": Metric(mae, "errors", greater_is_better=False),
    },
)
