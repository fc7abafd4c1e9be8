"""SANSA: EASE for large catalogs, with a sparse approximate inverse."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from recctl import progress
from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.engines import map_threads, threads
from recctl.kernels import sparse_inverse
from recctl.models.base import Recommender
from recctl.models.base.hyperparameters import Between, fitted, hyperparameter
from recctl.models.base.onnx_graph import ScoreGraph, Value, matmul_sparse

Float64Array = NDArray[np.float64]

# The entries kept in each row of the Gram matrix, as a multiple of n_neighbors. With 5, the measured quality is that
# of keeping all entries.
_KEPT = 5


class SANSARecommender(Recommender):
    """SANSA (Spišák et al., 2023, "Scalable Approximate NonSymmetric Autoencoder for Collaborative Filtering").

    Objective: that of EASE, whose weights are `B[i, j] = -P[i, j] / P[j, j]` for `i != j`, with
    `P = (X.T X + l2_reg I)^-1`. SANSA approximates `P` by `W.T D W`, with a sparse triangular `W` that has ones on its
    diagonal and a diagonal `D`. The product is never computed: the scores of a user are
    `x B = x - (x W.T D W) / diag(P)` for the user's row `x` of interactions.

    Items are sorted by popularity. The nonzero entries of row `i` of `W` are the `n_neighbors` more popular items `j`
    with the largest `|G[i, j]| / sqrt(G[j, j])`, where `G = X.T X`. Their values minimize `w (G + l2_reg I) w.T`, and
    `D[i]` is 1 over the minimum (Kolotilina & Yeremin, 1993, "Factorized Sparse Approximate Inverse Preconditionings
    I", SIAM J. Matrix Anal. Appl.). If `n_neighbors` is the number of items, and every item shares users with every
    other item, the weights are those of EASE.

    Cost: half the sum of squared history lengths, plus `n_neighbors^3 / 3` operations per item; scoring a user takes
    `2 n_items n_neighbors` operations. Memory: at most 80 bytes per item and neighbor, and nothing that grows with the
    square of the items. There is no randomness, and the result does not depend on the number of threads.

    Deviations from the paper: the paper computes an incomplete Cholesky factor, in an item order that keeps it sparse,
    and an approximate inverse of it. Here each row of the inverse factor is optimal for its nonzero entries, and rows
    are computed independently. Only the `5 n_neighbors` largest entries of each row of `G`, by the criterion above, are
    kept; the others count as 0. Ratings or weights, if given, are the values of `X`.

    Examples:
        ```python
        from recctl import SANSARecommender

        model = SANSARecommender(l2_reg=200.0).fit(train)
        model.recommend([1, 2], k=5)
        ```
    """

    name = "sansa"
    uses_weights = True
    too_large_advice: ClassVar[str] = "lower n_neighbors, or raise data.min_item_interactions"

    l2_reg: float = hyperparameter(
        500.0, gt=0, help="L2 regularization of the weights.", search=Between(10.0, 10_000.0, log=True)
    )
    n_neighbors: int = hyperparameter(
        50, ge=1, help="Number of more popular items in each row of the inverse.", search=Between(20, 200, log=True)
    )

    weights: InteractionMatrix = fitted("(n_items, n_items)")
    pivots: Float32Array = fitted("(n_items,)")
    scale: Float32Array = fitted("(n_items,)")

    def _fit(self, interactions: InteractionDataset) -> None:
        order, by_user, by_item = _sorted_by_popularity(interactions.matrix)
        n_items = by_user.n_columns
        n_used = min(self.n_neighbors, max(1, n_items - 1))
        n_kept = min(_KEPT * n_used, max(1, n_items - 1))
        matrix = (by_user.starts, by_user.columns, by_user.values, by_item.starts, by_item.columns, by_item.values)
        items = np.empty((n_items, n_kept), np.int32)
        dots = np.empty((n_items, n_kept))
        counts = np.empty(n_items, np.int64)
        squares = _column_squares(by_item)
        norms = np.sqrt(np.where(squares > 0, squares, 1)).astype(np.float32)  # 1 for an item whose ratings are all 0
        weights = np.empty((n_items, n_used), np.float32)
        pivots = np.empty(n_items, np.float32)
        # Each task clears work arrays over all items: as many tasks as any number of threads can use, and no more.
        task_size = max(64, n_items // 256)

        def keep_largest(begin: int) -> None:
            rows = slice(begin, begin + task_size)
            sparse_inverse.largest_below_diagonal(matrix, norms, begin, items[rows], dots[rows], counts[rows])

        def solve(begin: int) -> None:
            rows = slice(begin, begin + task_size)
            sparse_inverse.factor_rows(items, dots, counts, squares + self.l2_reg, begin, weights[rows], pivots[rows])

        tasks = range(0, n_items, task_size)
        for name, task in (("Gram matrix", keep_largest), ("weights", solve)):
            for _ in progress.track(map_threads(task, tasks), f"SANSA: {name}", total=len(tasks)):
                pass
        is_used = np.arange(n_used) < counts[:, np.newaxis]
        starts = np.concatenate(([0], np.cumsum(np.minimum(counts, n_used))))
        by_rank = InteractionMatrix(starts, order[items[:, :n_used][is_used]], weights[is_used], n_items)
        rank = np.argsort(order).astype(np.int32)
        self.weights = by_rank.take(rank)
        self.pivots = pivots[rank]
        self.scale = (1 / self._inverse_diagonal()).astype(np.float32)

    def _inverse_diagonal(self) -> Float64Array:
        """The diagonal of `W.T D W`, `(n_items,)`."""
        squares = np.square(self.weights.values, dtype=np.float64) * self.pivots[self.weights.rows]
        return np.bincount(self.weights.columns, squares, len(self.pivots)).astype(np.float64) + self.pivots

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        scores = np.empty((histories.n_rows, histories.n_columns), np.float32)
        sparse_inverse.scores(
            histories.starts,
            histories.columns,
            histories.values,
            self.weights.starts,
            self.weights.columns,
            self.weights.values,
            self.pivots,
            self.scale,
            scores,
        )
        return scores

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        scaled = (histories + matmul_sparse(histories, self.weights.transpose())) * self.pivots
        return histories - (scaled + matmul_sparse(scaled, self.weights)) * self.scale

    def _similarity(self, items: Int32Array) -> Float32Array:
        # Row i of B, what an interaction with item i adds to every score: the scores of a history of item i alone.
        starts = np.arange(len(items) + 1, dtype=np.int64)
        return self._score(InteractionMatrix(starts, items, np.empty(0, np.float32), len(self.pivots)), None)

    def _sizes(self, n_users: int, n_items: int, n_interactions: int) -> dict[str, int]:
        n_weights = n_items * min(self.n_neighbors, n_items)
        return super()._sizes(n_users, n_items, n_interactions) | {"weights": n_weights}

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """The sorted interactions and their transpose; the entries kept of each row; and work arrays of the threads."""
        bytes_per_neighbor = 20 + 12 * _KEPT
        rows = bytes_per_neighbor * n_items * min(self.n_neighbors, n_items)
        return 20 * n_interactions + rows + 17 * n_items * threads()


def _sorted_by_popularity(matrix: InteractionMatrix) -> tuple[Int32Array, InteractionMatrix, InteractionMatrix]:
    """The items in descending order of popularity; the interactions with the items in this order; and their transpose.

    Ties, items with equally many users, are broken by ascending item code.
    """
    order = np.argsort(-matrix.column_counts(), kind="stable").astype(np.int32)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order), dtype=np.int32)
    by_item = replace(matrix, columns=rank[matrix.columns]).transpose()
    by_user = by_item.transpose()  # transposing twice sorts the columns of each row
    return order, by_user, by_item


def _column_squares(by_item: InteractionMatrix) -> Float64Array:
    """The diagonal of the Gram matrix, `(n_items,)`."""
    if by_item.is_binary:
        return np.diff(by_item.starts).astype(np.float64)
    squares = np.square(by_item.values, dtype=np.float64)
    return np.bincount(by_item.rows, squares, by_item.n_rows).astype(np.float64)
