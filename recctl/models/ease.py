"""EASE: a linear model of items on items, in closed form."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import ClassVar, Self

import numpy as np
import scipy.linalg.lapack as lapack

from recctl import progress
from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.engines import blas_threads
from recctl.errors import TrainingError
from recctl.kernels import matmul
from recctl.models.base import Recommender, fit_probe
from recctl.models.base.hyperparameters import Between, fitted, hyperparameter
from recctl.models.base.onnx_graph import ScoreGraph, Value
from recctl.models.linear.gram import mirror_scaled, upper_gram

# A matrix of this size is inverted at nearly the rate of large ones, in a tenth of a second.
_SMALL = 2000


class EASERecommender(Recommender):
    """Embarrassingly shallow autoencoder (Steck, 2019, "Embarrassingly Shallow Autoencoders for Sparse Data").

    Minimises `|X - X B|_F^2 + l2_reg |B|_F^2` over `B` with a zero diagonal, for interactions `X` (n_users, n_items).
    The minimum is `B[i, j] = -P[i, j] / P[j, j]` with `P = (X.T X + l2_reg I)^-1` (eq. 8 of the paper). A person's
    scores are `x B` for the row `x` of interactions, so people not in the training data are served alike.

    Costs `n_items^3` operations (a Cholesky factorisation and the inverse made of it), independent of the number of
    users, and one `(n_items, n_items)` float32 matrix, in which everything happens. There is no randomness; bits can
    differ between thread counts, as LAPACK's do.

    Not as in the paper: explicit ratings, if given, are used as the values of `X`.
    """

    name = "ease"
    too_large_advice: ClassVar[str] = (
        "memory grows with the square of the items: choose sansa, or raise data.min_item_interactions"
    )

    l2_reg: float = hyperparameter(
        500.0, gt=0, help="Weight of the squared weights in the objective.", search=Between(10.0, 10_000.0, log=True)
    )

    weights: Float32Array = fitted("(n_items, n_items)")

    def _fit(self, interactions: InteractionDataset) -> None:
        with progress.task("EASE: Gram matrix"):
            weights = upper_gram(interactions.matrix)
        weights[np.diag_indices_from(weights)] += np.float32(self.l2_reg)
        with progress.task(f"EASE: inverse of {len(weights):,} x {len(weights):,}"):
            with blas_threads():
                _invert_upper(weights)
            mirror_scaled(weights, np.ascontiguousarray(-1 / np.diag(weights)))  # P becomes B
        self.weights = weights

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        scores = np.empty((histories.n_rows, histories.n_columns), np.float32)
        matmul.sparse_dense(histories.starts, histories.columns, histories.values, self.weights, scores)
        return scores

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        return histories @ graph.constant(self.weights, "weights")

    def _similarity(self, items: Int32Array) -> Float32Array:
        # Row i: what a liking for item i adds to the score of every other item.
        return self.weights[items]

    def probe_fit(self, interactions: InteractionDataset) -> tuple[float, Self]:
        """The Gram matrix of some users, and the inverse of a small matrix: it grows with the third power of items."""

        def gram(share: float) -> float:
            matrix = fit_probe.sample_users(interactions, share).matrix
            begin = perf_counter()
            upper_gram(matrix)
            return perf_counter() - begin

        n_items = interactions.n_items
        n_small = min(n_items, _SMALL)
        small = np.eye(n_small, dtype=np.float32)
        with blas_threads():
            taken = []
            for _ in range(4):
                matrix, begin = small.copy(), perf_counter()
                _invert_upper(matrix)
                taken.append(perf_counter() - begin)
        seconds = median(taken[1:]) * (n_items / n_small) ** 3
        size = self._sizes(interactions.n_users, n_items, len(interactions))
        return seconds + fit_probe.extrapolate_seconds(gram), fit_probe.dummy_model(self, interactions, size)

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """One matrix; and the transposed interactions while the Gram matrix is made."""
        return 4 * n_items**2 + 12 * n_interactions


def _invert_upper(matrix: Float32Array) -> None:
    """Replace the upper triangle of a positive definite matrix by that of its inverse, in place."""
    # LAPACK counts by columns: what it takes for the lower triangle is the upper one here, and nothing is copied.
    factor, failed = lapack.spotrf(matrix.T, lower=1, clean=0, overwrite_a=1)
    if not failed:
        factor, failed = lapack.spotri(factor, lower=1, overwrite_c=1)
    if failed:
        raise TrainingError(
            "ease: the regularised Gram matrix is not positive definite in float32; raise l2_reg, "
            "or bring ratings to a smaller scale (normalize_ratings)"
        )
    if not np.shares_memory(factor, matrix):  # pragma: no cover - SciPy promises not to copy a Fortran-ordered array
        matrix[:] = factor.T
