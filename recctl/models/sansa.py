"""SANSA: EASE for large catalogs, by a sparse approximate inverse."""

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

# Entries of the Gram matrix that are kept for each that is used: with 5, quality is that of keeping all.
_KEPT = 5


class SANSARecommender(Recommender):
    """SANSA (Spišák et al., 2023, "Scalable Approximate NonSymmetric Autoencoder for Collaborative Filtering").

    EASE's weights are `B[i, j] = -P[i, j] / P[j, j]` off the diagonal, with `P = (X.T X + l2_reg I)^-1`. Here `P` is
    `W.T D W`, of a triangular `W` that is sparse, with ones on its diagonal, and a diagonal `D`, and is never
    multiplied out: a person's scores are `x B = x - (x W.T D W) / diag(P)` for the row `x` of interactions.

    Items come in the order of their popularity. Row `i` of `W` draws on the `n_neighbors` more popular items `j` with
    the largest `|G[i, j]| / sqrt(G[j, j])` in `G = X.T X`, and minimises `w (G + l2_reg I) w.T` over such rows; `D[i]`
    is 1 over that minimum (Kolotilina & Yeremin, 1993, "Factorized Sparse Approximate Inverse Preconditionings I").
    With as many neighbours as items, each of which shares users with all others, the weights are EASE's.

    Costs half the sum of squared history lengths, and `n_neighbors^3 / 3` operations for each item; scores of a person
    cost `2 n_items n_neighbors`. Memory: 60 bytes for each item and neighbour at most, and nothing that grows with
    the square of the items. There is no randomness, and the result doesn't depend on the number of threads.

    Not as in the paper, which makes an incomplete Cholesky factor, in an order of items that keeps it sparse, and then
    an approximate inverse of that: here each row of the inverse factor is the best for its places, and rows don't wait
    for each other. Of each row of `G` only the `5 n_neighbors` largest entries are kept, as measured above; others
    count as 0. Explicit ratings, if given, are used as the values of `X`.
    """

    name = "sansa"
    too_large_advice: ClassVar[str] = "lower n_neighbors, or raise data.min_item_interactions"

    l2_reg: float = hyperparameter(
        500.0, gt=0, help="Weight of the squared weights in the objective.", search=Between(10.0, 10_000.0, log=True)
    )
    n_neighbors: int = hyperparameter(
        50, ge=1, help="How many more popular items an item draws on.", search=Between(20, 200, log=True)
    )

    weights: InteractionMatrix = fitted("(n_items, n_items)")
    pivots: Float32Array = fitted("(n_items,)")
    scale: Float32Array = fitted("(n_items,)")

    def _fit(self, interactions: InteractionDataset) -> None:
        order, by_user, by_item = _by_popularity(interactions.matrix)
        n_items = by_user.n_columns
        n_used = min(self.n_neighbors, max(1, n_items - 1))
        shape = n_items, min(_KEPT * n_used, max(1, n_items - 1))
        items, dots, found = np.empty(shape, np.int32), np.empty(shape, np.float32), np.empty(n_items, np.int64)
        matrix = (by_user.starts, by_user.columns, by_user.values, by_item.starts, by_item.columns, by_item.values)
        squares = _squares(by_item)
        norms = np.sqrt(np.where(squares > 0, squares, 1)).astype(np.float32)  # of ratings that are all 0: 1
        weights, pivots = np.empty((n_items, n_used), np.float32), np.empty(n_items, np.float32)
        # Each task has arrays over all items to clear: enough tasks for any number of threads, and no more.
        step = max(64, n_items // 256)

        def keep(begin: int) -> None:
            rows = slice(begin, begin + step)
            sparse_inverse.largest_below_diagonal(matrix, norms, begin, items[rows], dots[rows], found[rows])

        def solve(begin: int) -> None:
            rows = slice(begin, begin + step)
            sparse_inverse.factor_rows(items, dots, found, squares + self.l2_reg, begin, weights[rows], pivots[rows])

        tasks = range(0, n_items, step)
        for what, task in (("Gram matrix", keep), ("weights", solve)):
            for _ in progress.track(map_threads(task, tasks), f"SANSA: {what}", total=len(tasks)):
                pass
        filled = np.arange(n_used) < found[:, np.newaxis]
        starts = np.concatenate(([0], np.cumsum(np.minimum(found, n_used))))
        ranked = InteractionMatrix(starts, order[items[:, :n_used][filled]], weights[filled], n_items)
        rank = np.argsort(order).astype(np.int32)
        self.weights, self.pivots = ranked.take(rank), pivots[rank]
        self.scale = (1 / self._diagonal()).astype(np.float32)

    def _diagonal(self) -> Float64Array:
        """That of `W.T D W`."""
        squares = np.square(self.weights.values, dtype=np.float64) * self.pivots[self.weights.rows]
        return np.bincount(self.weights.columns, squares, len(self.pivots)).astype(np.float64) + self.pivots

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        scores = np.empty((histories.n_rows, histories.n_columns), np.float32)
        sparse_inverse.scores(
            *(histories.starts, histories.columns, histories.values),
            *(self.weights.starts, self.weights.columns, self.weights.values, self.pivots, self.scale, scores),
        )
        return scores

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        passed = (histories + matmul_sparse(histories, self.weights.transpose())) * self.pivots
        return histories - (passed + matmul_sparse(passed, self.weights)) * self.scale

    def _similarity(self, items: Int32Array) -> Float32Array:
        # What a liking for item i adds to the score of every other item: row i of B.
        alone = np.arange(len(items) + 1, dtype=np.int64), items, np.empty(0, np.float32)
        return self._score(InteractionMatrix(*alone, len(self.pivots)), None)

    def _sizes(self, n_users: int, n_items: int, n_interactions: int) -> dict[str, int]:
        entries = n_items * min(self.n_neighbors, n_items)
        return {**super()._sizes(n_users, n_items, n_interactions), "weights": entries}

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """The interactions in the items' order and turned; what is kept of each row; and the threads' own arrays."""
        per_item = 20 + 8 * _KEPT
        return 20 * n_interactions + per_item * n_items * min(self.n_neighbors, n_items) + 13 * n_items * threads()


def _by_popularity(matrix: InteractionMatrix) -> tuple[Int32Array, InteractionMatrix, InteractionMatrix]:
    """The items from the one with the most users on, and the interactions with them in that order; and turned."""
    order = np.argsort(-matrix.column_counts(), kind="stable").astype(np.int32)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order), dtype=np.int32)
    by_item = replace(matrix, columns=rank[matrix.columns]).transpose()
    return order, by_item.transpose(), by_item  # turned twice, so that columns ascend


def _squares(by_item: InteractionMatrix) -> Float64Array:
    """The diagonal of the Gram matrix."""
    if by_item.is_binary:
        return np.diff(by_item.starts).astype(np.float64)
    squares = np.square(by_item.values, dtype=np.float64)
    return np.bincount(by_item.rows, squares, by_item.n_rows).astype(np.float64)
