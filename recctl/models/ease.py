"""EASE: a linear autoencoder of items with a closed-form solution."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import ClassVar, Self

import numpy as np

from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.engines import blas_threads
from recctl.kernels import matmul
from recctl.models.base import Recommender, fit_probe
from recctl.models.base.hyperparameters import Between, fitted, hyperparameter
from recctl.models.base.onnx_graph import ScoreGraph, Value
from recctl.models.linear.gram import mirror_scaled, upper_gram
from recctl.models.linear.inverse import invert_upper, regularized_inverse

# The inverse of a matrix of this size runs at nearly the rate of large ones, and takes about 0.1 s.
_PROBE_SIZE = 2000
_PROBE_REPEATS = 4


class EASERecommender(Recommender):
    """Embarrassingly shallow autoencoder (Steck, 2019, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW).

    Objective: minimize `|X - X B|_F^2 + l2_reg |B|_F^2` over `B` with a zero diagonal, for the interactions `X`
    (n_users, n_items). The minimum is `B[i, j] = -P[i, j] / P[j, j]` for `i != j`, with `P = (X.T X + l2_reg I)^-1`
    (eq. 8 of the paper). The scores of a user are `x B` for the user's row `x` of interactions; users that are not in
    the training data are scored in the same way.

    Cost: `n_items^3` operations for a Cholesky factorization and the inverse, independent of the number of users; one
    `(n_items, n_items)` float32 matrix, which is inverted in place. There is no randomness. The last bits can depend on
    the number of threads, as those of LAPACK do.

    Rounding: the relative error of the weights is estimated from a few columns. Where float32 would be off by more than
    1%, because values are large and `l2_reg` is small beside their squares, the inverse is computed in float64, with a
    notice; where float64 is too imprecise or does not fit in memory, the fit is refused with the `l2_reg` to try.

    Deviations from the paper: ratings or weights, if given, are the values of `X`.

    Examples:
        ```python
        from recctl import EASERecommender

        model = EASERecommender(l2_reg=200.0).fit(train)
        model.recommend([1, 2], k=5)
        ```
    """

    name = "ease"
    uses_weights = True
    too_large_advice: ClassVar[str] = (
        "memory grows with the square of the items: choose sansa, or raise data.min_item_interactions"
    )

    l2_reg: float = hyperparameter(
        500.0, gt=0, help="L2 regularization of the weights.", search=Between(10.0, 10_000.0, log=True)
    )

    weights: Float32Array = fitted("(n_items, n_items)")

    def _fit(self, interactions: InteractionDataset) -> None:
        inverse = regularized_inverse(self.name, interactions.matrix, self.l2_reg)
        self._relative_error = inverse.relative_error
        weights = inverse.upper
        mirror_scaled(weights, np.ascontiguousarray(-1 / np.diag(weights)))  # from P to B
        self.weights = weights

    def convergence(self) -> dict[str, float]:
        """The estimated relative error of the weights due to rounding; only known after a fit."""
        if "_relative_error" not in vars(self):
            return {}
        return {"relative_error": self._relative_error}

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        scores = np.empty((histories.n_rows, histories.n_columns), np.float32)
        matmul.sparse_dense(histories.starts, histories.columns, histories.values, self.weights, scores)
        return scores

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        return histories @ graph.constant(self.weights, "weights")

    def _similarity(self, items: Int32Array) -> Float32Array:
        # Row i: what an interaction with item i adds to the score of every other item.
        return self.weights[items]

    def probe_fit(self, interactions: InteractionDataset) -> tuple[float, Self]:
        """Estimate the Gram matrix from samples of users, and the inverse from that of a small matrix."""

        def measure_gram(share: float) -> float:
            matrix = fit_probe.sample_users(interactions, share).matrix
            begin = perf_counter()
            upper_gram(matrix)
            return perf_counter() - begin

        n_items = interactions.n_items
        size = min(n_items, _PROBE_SIZE)
        # The time of the inverse is proportional to the third power of its size.
        inverse_seconds = _inverse_seconds(size) * (n_items / size) ** 3
        seconds = inverse_seconds + fit_probe.extrapolate_seconds(measure_gram)
        sizes = self._sizes(interactions.n_users, n_items, len(interactions))
        return seconds, fit_probe.dummy_model(self, interactions, sizes)

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """One matrix, and the transposed interactions for the Gram matrix."""
        return 4 * n_items**2 + 12 * n_interactions


def _inverse_seconds(size: int) -> float:
    """The median time to invert a matrix of this size, without the first call."""
    measured = []
    with blas_threads():
        for _ in range(_PROBE_REPEATS):
            matrix = np.eye(size, dtype=np.float32)
            begin = perf_counter()
            invert_upper(matrix)
            measured.append(perf_counter() - begin)
    # The median of three: another process may slow down one of them.
    return median(measured[1:])
