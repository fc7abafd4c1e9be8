"""Item-kNN: what is like what a person had."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from recctl import progress
from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.engines import map_threads, threads
from recctl.kernels import neighbours
from recctl.models.base import Recommender
from recctl.models.base.hyperparameters import Between, Choices, fitted, hyperparameter
from recctl.models.base.onnx_graph import ScoreGraph, Value, matmul_sparse

_NO_VALUES = np.empty(0, np.float32)


class ItemKNNRecommender(Recommender):
    """Item-based nearest neighbours (Deshpande & Karypis, 2004, "Item-Based Top-N Recommendation Algorithms").

    A person's score for item `i` is the sum of `s[i, j]` over those of the `n_neighbors` items most similar to `i` that
    are in the history; with explicit ratings each is weighed by its rating. For columns `x_i` of the interactions, and
    `U_i` the users of item `i`,

        cosine     s[i, j] = x_i . x_j / (|x_i| |x_j| + shrinkage)
        jaccard    s[i, j] = |U_i & U_j| / (|U_i | U_j| + shrinkage)

    where shrinkage makes little of what few users support, as in Ferrari Dacrema et al., 2019, "Are We Really Making
    Much Progress?". Only positive similarities count. Jaccard looks at no rating. Nothing is minimised.

    Costs the sum of squared history lengths in time, spread over all threads, and 8 bytes for each item and neighbour;
    the items by items matrix is never built. The result doesn't depend on the number of threads.

    Not as in the paper: the neighbours are those of the item that is scored, as in Sarwar et al., 2001, "Item-Based
    Collaborative Filtering Recommendation Algorithms", not those of the items in the history; similarities are not
    normalised, and frequent users count as much as others.
    """

    name = "item-knn"
    too_large_advice: ClassVar[str] = "lower n_neighbors, or raise data.min_item_interactions"

    similarity: Literal["cosine", "jaccard"] = hyperparameter(
        "cosine", help="How the likeness of two items is measured.", search=Choices(("cosine", "jaccard"))
    )
    n_neighbors: int = hyperparameter(
        100, ge=1, help="How many similar items each item listens to.", search=Between(10, 1000, log=True)
    )
    shrinkage: float = hyperparameter(
        10.0,
        ge=0,
        help="Makes similarities small that rest on few users; 0 for none.",
        search=Between(1.0, 1000.0, log=True),
    )

    weights: InteractionMatrix = fitted("(n_items, n_items)")

    def _fit(self, interactions: InteractionDataset) -> None:
        by_user = self._weighed(interactions.matrix)
        n_items = by_user.n_columns
        shape = n_items, min(self.n_neighbors, max(1, n_items - 1))
        items, scores, found = np.empty(shape, np.int32), np.empty(shape, np.float32), np.empty(n_items, np.int64)
        by_item = by_user.transpose()
        matrix = (by_user.starts, by_user.columns, by_user.values, by_item.starts, by_item.columns, by_item.values)
        union = self.similarity == "jaccard"
        sizes = _sizes(by_item, union)
        # Each task has arrays over all items to clear: enough tasks for any number of threads, and no more.
        step = max(64, n_items // 256)

        def fill(begin: int) -> None:
            rows = slice(begin, begin + step)
            neighbours.nearest(matrix, sizes, union, self.shrinkage, begin, items[rows], scores[rows], found[rows])

        tasks = range(0, n_items, step)
        for _ in progress.track(map_threads(fill, tasks), "item-knn: neighbours", total=len(tasks)):
            pass
        filled = np.arange(shape[1]) < found[:, np.newaxis]
        starts = np.concatenate(([0], np.cumsum(found)))
        # Turned, so that a history is scored by adding up its items' rows.
        self.weights = InteractionMatrix(starts, items[filled], scores[filled], n_items).transpose()

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        histories, weights = self._weighed(histories), self.weights
        scores = np.empty((histories.n_rows, histories.n_columns), np.float32)
        neighbours.sparse_sparse(
            *(histories.starts, histories.columns, histories.values),
            *(weights.starts, weights.columns, weights.values, scores),
        )
        return scores

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        if self.similarity == "jaccard":
            histories = histories.is_nonzero().cast(np.float32)
        return matmul_sparse(histories, self.weights)

    def _similarity(self, items: Int32Array) -> Float32Array:
        near = self._neighbours.take(items)
        similarity = np.full((len(items), near.n_columns), -np.inf, np.float32)
        similarity[near.rows, near.columns] = near.values
        return similarity

    @cached_property
    def _neighbours(self) -> InteractionMatrix:
        """The neighbours of each item and how similar they are, a row an item."""
        return self.weights.transpose()

    def _weighed(self, matrix: InteractionMatrix) -> InteractionMatrix:
        return matrix if self.similarity == "cosine" else replace(matrix, values=_NO_VALUES)

    def _sizes(self, n_users: int, n_items: int, n_interactions: int) -> dict[str, int]:
        entries = n_items * min(self.n_neighbors, n_items)
        return {**super()._sizes(n_users, n_items, n_interactions), "weights": entries}

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """The turned interactions; neighbours as found, without gaps, and turned; and the threads' own arrays."""
        return 16 * n_interactions + 32 * n_items * min(self.n_neighbors, n_items) + 18 * n_items * threads()


def _sizes(by_item: InteractionMatrix, union: bool) -> Float32Array:
    """Each item's number of users, or the length of its column."""
    if union or by_item.is_binary:
        counts = np.diff(by_item.starts)
        return (counts if union else np.sqrt(counts)).astype(np.float32)
    return np.sqrt(np.bincount(by_item.rows, by_item.values.astype(np.float64) ** 2, by_item.n_rows)).astype(np.float32)
