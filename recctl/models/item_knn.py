"""Item-kNN: the items most similar to the items of the history."""

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
from recctl.ranking import TieBreaker

_NO_VALUES = np.empty(0, np.float32)


class _UsesWeights:
    """Whether a model uses weights: on the class True, on an instance by its hyperparameter `similarity`."""

    def __get__(self, model: ItemKNNRecommender | None, owner: type) -> bool:
        return model is None or model.similarity == "cosine"


class ItemKNNRecommender(Recommender):
    """Item-based k-nearest neighbors (Deshpande & Karypis, 2004, "Item-Based Top-N Recommendation Algorithms", TOIS).

    Score of item `i`: the sum of the similarities `s[i, j]` over those of the `n_neighbors` items `j` most similar to
    `i` that are in the history; ratings or weights of the data weight the sum. With `x_i` the column of item `i` in the
    interactions, and `U_i` the users of item `i`:

        cosine     s[i, j] = x_i . x_j / (|x_i| |x_j| + shrinkage)
        jaccard    s[i, j] = |U_i & U_j| / (|U_i | U_j| + shrinkage)

    Shrinkage reduces similarities supported by few users, as in Ferrari Dacrema et al., 2019, "Are We Really Making
    Much Progress?", RecSys. Only positive similarities are used. Of equally similar items, those with the lower hash of
    both ids are neighbors. Jaccard ignores ratings and weights. There is no objective.

    Cost: time proportional to the sum of squared history lengths, on all threads; 8 bytes of memory per item and
    neighbor. The items-by-items matrix is never built. The result does not depend on the number of threads.

    Deviations from the paper: the neighbors are those of the scored item, as in Sarwar et al., 2001, "Item-Based
    Collaborative Filtering Recommendation Algorithms", WWW, not those of the items in the history. Similarities are not
    normalized, and users with long histories are not down-weighted.
    """

    name = "item-knn"
    uses_weights = _UsesWeights()
    too_large_advice: ClassVar[str] = "lower n_neighbors, or raise data.min_item_interactions"

    similarity: Literal["cosine", "jaccard"] = hyperparameter(
        "cosine", help="The similarity of two items.", search=Choices(("cosine", "jaccard"))
    )
    n_neighbors: int = hyperparameter(
        100, ge=1, help="Number of neighbors of each item.", search=Between(10, 1000, log=True)
    )
    shrinkage: float = hyperparameter(
        10.0,
        ge=0,
        help="Reduces similarities that few users support; 0 for none.",
        search=Between(1.0, 1000.0, log=True),
    )

    weights: InteractionMatrix = fitted("(n_items, n_items)")

    def _fit(self, interactions: InteractionDataset) -> None:
        by_user = self._weighted(interactions.matrix)
        by_item = by_user.transpose()
        n_items = by_user.n_columns
        # An item is not a neighbor of itself; at least one column, so that arrays of a single item are not empty.
        n_columns = min(self.n_neighbors, max(1, n_items - 1))
        items = np.empty((n_items, n_columns), np.int32)
        similarities = np.empty((n_items, n_columns), np.float32)
        counts = np.empty(n_items, np.int64)
        matrix = (by_user.starts, by_user.columns, by_user.values, by_item.starts, by_item.columns, by_item.values)
        is_jaccard = self.similarity == "jaccard"
        sizes = _item_sizes(by_item, is_jaccard)
        # Equally similar items have the order of similar items, so that these are the best of all.
        hashes = self.item_vocabulary.hashes
        ties = TieBreaker.of_ids(hashes, hashes)
        # Each task clears work arrays over all items: as many tasks as any number of threads can use, and no more.
        task_size = max(64, n_items // 256)

        def find_neighbors(begin: int) -> None:
            rows = slice(begin, begin + task_size)
            neighbours.nearest(
                matrix,
                sizes,
                is_jaccard,
                self.shrinkage,
                ties.row_keys,
                ties.item_hashes,
                begin,
                items[rows],
                similarities[rows],
                counts[rows],
            )

        tasks = range(0, n_items, task_size)
        for _ in progress.track(map_threads(find_neighbors, tasks), "item-knn: neighbors", total=len(tasks)):
            pass
        is_neighbor = np.arange(n_columns) < counts[:, np.newaxis]
        starts = np.concatenate(([0], np.cumsum(counts)))
        # Transposed, so that the score of a history is a sum of the rows of its items.
        self.weights = InteractionMatrix(starts, items[is_neighbor], similarities[is_neighbor], n_items).transpose()

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        histories = self._weighted(histories)
        weights = self.weights
        scores = np.empty((histories.n_rows, histories.n_columns), np.float32)
        neighbours.sparse_sparse(
            histories.starts,
            histories.columns,
            histories.values,
            weights.starts,
            weights.columns,
            weights.values,
            scores,
        )
        return scores

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        if self.similarity == "jaccard":
            histories = histories.is_nonzero().cast(np.float32)
        return matmul_sparse(histories, self.weights)

    def _similarity(self, items: Int32Array) -> Float32Array:
        neighbors = self._neighbors.take(items)
        # Minus infinity: items that are no neighbors are not similar at all, and are not listed.
        similarity = np.full((len(items), neighbors.n_columns), -np.inf, np.float32)
        similarity[neighbors.rows, neighbors.columns] = neighbors.values
        return similarity

    @cached_property
    def _neighbors(self) -> InteractionMatrix:
        """The neighbors of each item, with their similarities, a row per item."""
        return self.weights.transpose()

    def _weighted(self, matrix: InteractionMatrix) -> InteractionMatrix:
        """The interactions with the weights that the similarity uses: Jaccard uses none."""
        return matrix if self.similarity == "cosine" else replace(matrix, values=_NO_VALUES)

    def _sizes(self, n_users: int, n_items: int, n_interactions: int) -> dict[str, int]:
        n_weights = n_items * min(self.n_neighbors, n_items)
        return super()._sizes(n_users, n_items, n_interactions) | {"weights": n_weights}

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """The transposed interactions; the neighbors padded, packed, and transposed; and work arrays of the threads."""
        transposed = 16 * n_interactions
        neighbors = 32 * n_items * min(self.n_neighbors, n_items)
        return transposed + neighbors + 18 * n_items * threads()


def _item_sizes(by_item: InteractionMatrix, is_jaccard: bool) -> Float32Array:
    """The number of users of each item for Jaccard; the norm of its column for cosine."""
    n_users = np.diff(by_item.starts)
    if is_jaccard:
        return n_users.astype(np.float32)
    if by_item.is_binary:
        return np.sqrt(n_users).astype(np.float32)
    squares = np.bincount(by_item.rows, by_item.values.astype(np.float64) ** 2, by_item.n_rows)
    return np.sqrt(squares).astype(np.float32)
