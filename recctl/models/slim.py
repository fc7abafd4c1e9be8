"""SLIM: a sparse linear item-to-item model."""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import ClassVar, Self

import numpy as np

from recctl import engines, progress
from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.engines import Shared, available_memory, format_bytes, map_threads, threads
from recctl.errors import TrainingError
from recctl.kernels import neighbours
from recctl.kernels.elastic_net import ElasticNetOptions, ElasticNetSolutions, elastic_nets
from recctl.models.base import Recommender, fit_probe
from recctl.models.base.hyperparameters import Between, Choices, fitted, hyperparameter
from recctl.models.base.onnx_graph import ScoreGraph, Value, matmul_sparse
from recctl.models.linear.duality_gaps import duality_gaps, float32_is_too_coarse
from recctl.models.linear.gram_rows import GramRows, bytes_kept, gram_rows

# The number of weights per item that estimates assume where `n_neighbors` is not set; the real one depends on the data.
_USUAL_WEIGHTS = 100
# The memory limit of the Gram matrix in bytes: this number, or this many bytes per interaction if that is more.
_MIN_GRAM_BYTES = 2**28
_GRAM_BYTES_PER_INTERACTION = 11
# At the peak a weight takes 8 bytes three times: as found, concatenated, and transposed.
_BYTES_PER_WEIGHT = 24


class SLIMRecommender(Recommender):
    """Sparse linear method (Ning & Karypis, 2011, "SLIM: Sparse Linear Methods for Top-N Recommender Systems", ICDM).

    Objective: for each item `j` with column `x_j` of the interactions `X` (n_users, n_items), the weights `w` of the
    other items minimize (eq. 4 of the paper)

        1/2 |x_j - X w|^2 + l2_reg/2 |w|^2 + l1_reg |w|_1,    w >= 0, w_j = 0

    The scores of a user are `x W` for the user's row `x` of interactions; users that are not in the training data are
    scored in the same way. An item is solved when its duality gap is at most `tol |x_j|^2`. `gaps` and `sweeps` hold
    the relative gap and the number of sweeps of each item.

    Cost: the sum of squared history lengths for the Gram matrix `X.T X` (n_items, n_items); then, for each item, about
    its number of weights times the number of items with which it shares more than `l1_reg` users. A Gram matrix of up
    to 16,384 items is kept in memory with one byte per entry. Of a larger one only the rows and columns of popular
    items are kept, in 256 MB or 11 bytes per interaction, whichever is more; the rest of a row is computed when it is
    needed. Items are distributed over all threads. There is no randomness, and the result does not depend on the number
    of threads.

    Deviations from the paper: coordinate descent works on the Gram matrix instead of `X`, which solves the same
    problem. With `n_neighbors`, items are selected by the decrease of the objective given those already selected, and
    selected items whose weight becomes 0 are replaced; the paper's fsSLIM selects the items with the largest cosine in
    advance. Ratings or weights, if given, are the values of `X`.

    Examples:
        ```python
        from recctl import SLIMRecommender

        model = SLIMRecommender().fit(train)
        model.recommend([1, 2], k=5)
        ```
    """

    name = "slim"
    uses_weights = True
    too_large_advice: ClassVar[str] = "choose sansa or als, or raise data.min_item_interactions"

    l1_reg: float = hyperparameter(
        1.0,
        ge=0,
        help="L1 regularization of the weights: larger values yield fewer weights.",
        search=Between(0.01, 10, log=True),
    )
    l2_reg: float = hyperparameter(
        100.0, gt=0, help="L2 regularization of the weights.", search=Between(0.01, 1000, log=True)
    )
    n_neighbors: int | None = hyperparameter(
        None,
        ge=1,
        help="Maximum number of weights per item; null for no limit.",
        search=Choices((None, 50, 100, 200)),
    )
    non_negative: bool = hyperparameter(True, help="Whether weights are constrained to be non-negative.")
    max_iter: int = hyperparameter(100, ge=1, help="Maximum number of sweeps of coordinate descent per item.")
    tol: float = hyperparameter(
        1e-4, gt=0, help="Tolerance: an item is solved when its duality gap is at most this share of its squared norm."
    )

    weights: InteractionMatrix = fitted("(n_items, n_items)")
    sweeps: Int32Array = fitted("(n_items,)")
    gaps: Float32Array = fitted("(n_items,)")

    def _fit(self, interactions: InteractionDataset) -> None:
        # The Gram matrix is released, with the frame of _solve_all, before the weights are concatenated.
        blocks, order = self._solve_all(interactions)
        self._set_weights(blocks, order)
        self._check_gaps(interactions.matrix)
        self._report_unsolved()

    def _solve_all(self, interactions: InteractionDataset) -> tuple[list[ElasticNetSolutions], Int32Array]:
        """The weights of all items in blocks, and the item of each row and column of the Gram matrix.

        Raises:
            TrainingError: The weights exceed the available memory.
        """
        engine = engines.current()
        with progress.task("SLIM: Gram matrix"):
            rows, order = _gram_rows(interactions)
            gram = engine.share(rows)
        n_items = interactions.n_items
        # Large enough that a task outweighs its overhead, small enough that all threads finish at about the same time.
        block_size = max(1, min(32, n_items // 64))
        # A clone has the hyperparameters, and no other state that would be sent to workers with it.
        solve = partial(self.clone()._solve_block, gram, self._can_screen(interactions.matrix), block_size)
        blocks: list[ElasticNetSolutions] = []
        n_weights = 0
        # Read once, before the weights themselves reduce it.
        available = available_memory()
        with progress.task("SLIM: weights", n_items, "items") as task:
            for block in engine.map(solve, range(0, n_items, block_size), "slim: weights of a block of items"):
                blocks.append(block)
                n_weights += len(block.features)
                n_solved = min(len(blocks) * block_size, n_items)
                if _BYTES_PER_WEIGHT * n_weights > available:
                    raise TrainingError(
                        f"slim: the weights of {n_solved:,} of {n_items:,} items already need "
                        f"{format_bytes(_BYTES_PER_WEIGHT * n_weights)} of memory, {format_bytes(available)} are "
                        "available; raise l1_reg, or set n_neighbors"
                    )
                task.update(n_solved, weights=n_weights)
        return blocks, order

    def _solve_block(
        self, shared: Shared[GramRows], screened: bool, block_size: int, begin: int
    ) -> ElasticNetSolutions:
        """The weights of up to `block_size` items from row `begin` of the Gram matrix."""
        gram = shared.value
        return elastic_nets(gram, begin, min(begin + block_size, gram.n_items), self._options(screened))

    def _options(self, screened: bool) -> ElasticNetOptions:
        return ElasticNetOptions(
            l1=self.l1_reg,
            l2=self.l2_reg,
            signed=not self.non_negative,
            screened=screened,
            limit=self.n_neighbors or 0,
            max_iter=self.max_iter,
            tol=self.tol,
        )

    def _set_weights(self, blocks: list[ElasticNetSolutions], order: Int32Array) -> None:
        """Concatenate the blocks, in the order of item codes."""
        joined = ElasticNetSolutions(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))
        # Frees the parts before the transpose needs as much again.
        blocks.clear()
        starts = np.concatenate(([0], np.cumsum(joined.counts)))
        rank = np.argsort(order).astype(np.int32)
        self.sweeps = joined.sweeps[rank]
        self.gaps = joined.gaps[rank]
        by_rank = InteractionMatrix(starts, order[joined.features], joined.weights, len(order))
        # Transposed, so that the score of a history is a sum of the rows of its items.
        self.weights = by_rank.take(rank).transpose()

    def _check_gaps(self, matrix: InteractionMatrix) -> None:
        """Measure the gaps again in float64 where `l2_reg` is so small that rounding hides them."""
        if matrix.is_binary:
            squared_norms = matrix.column_counts()
        else:
            squared_norms = np.bincount(matrix.columns, matrix.values.astype(np.float64) ** 2, matrix.n_columns)
        if float32_is_too_coarse(float(squared_norms.max(initial=0)), self.l2_reg, self.tol):
            with progress.task("SLIM: duality gaps"):
                self.gaps = duality_gaps(matrix, self.weights, self._options(screened=False))

    def _report_unsolved(self) -> None:
        is_unsolved = self.gaps > self.tol
        n_unsolved = int(is_unsolved.sum())
        if not n_unsolved:
            return
        if (self.sweeps[is_unsolved] >= self.max_iter).all():
            cause = f"after max_iter={self.max_iter} sweeps"
            advice = "raise max_iter, tol or l2_reg"
        else:
            cause = "because l2_reg is too small for float32"
            advice = "raise l2_reg or tol"
        progress.notice(
            f"slim: {n_unsolved:,} of {len(self.gaps):,} items are not solved to tol={self.tol:g} {cause} "
            f"(largest gap {self.gaps.max():.2g}); {advice}"
        )

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
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
        return matmul_sparse(histories, self.weights)

    def _similarity(self, items: Int32Array) -> Float32Array:
        # Row i: what an interaction with item i adds to the score of every other item.
        rows = self.weights.take(items)
        similarity = np.zeros((len(items), rows.n_columns), np.float32)
        similarity[rows.rows, rows.columns] = rows.values
        return similarity

    def _sizes(self, n_users: int, n_items: int, n_interactions: int) -> dict[str, int]:
        n_weights = n_items * min(self.n_neighbors or _USUAL_WEIGHTS, n_items)
        return super()._sizes(n_users, n_items, n_interactions) | {"weights": n_weights}

    def probe_fit(self, interactions: InteractionDataset) -> tuple[float, Self]:
        """Compute the Gram matrix, and the weights of a sample of items evenly spaced over all."""
        begin = perf_counter()
        with progress.silence():
            gram, _ = _gram_rows(interactions)
        gram_seconds = perf_counter() - begin
        n_items = gram.n_items
        solve = partial(self._solve_block, Shared(gram), self._can_screen(interactions.matrix), 1)
        n_weights = 0

        def measure(share: float) -> float:
            nonlocal n_weights
            sample = np.linspace(0, n_items - 1, max(1, round(share * n_items))).astype(int).tolist()
            begin = perf_counter()
            # On all threads, as in a fit: one thread alone would run at a higher clock rate, with the cache to itself.
            blocks = list(map_threads(solve, sample))
            n_weights = round(sum(len(block.features) for block in blocks) / len(sample) * n_items)
            return perf_counter() - begin

        seconds = gram_seconds + fit_probe.extrapolate_seconds(measure)
        sizes = self._sizes(interactions.n_users, n_items, len(interactions)) | {"weights": n_weights}
        return seconds, fit_probe.dummy_model(self, interactions, sizes)

    def _can_screen(self, matrix: InteractionMatrix) -> bool:
        """Whether an item can have weights only for items with which it shares more than `l1_reg` users.

        This holds for non-negative weights and values: the correlation of an item with the residual then only
        decreases as other weights grow.
        """
        return self.non_negative and not (matrix.values < 0).any()

    def convergence(self) -> dict[str, float]:
        """`unsolved`, the share of items not solved to `tol`, and `largest_gap`."""
        return {"unsolved": float((self.gaps > self.tol).mean()), "largest_gap": float(self.gaps.max())}

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """The Gram matrix, the transposed interactions, and weights and a working set for each thread."""
        working_set = max(512, self.n_neighbors or 0)
        gram = bytes_kept(n_items, _gram_limit(n_interactions))
        per_thread = n_items * (512 + 4 * working_set)
        return gram + 12 * n_interactions + threads() * per_thread


def _gram_rows(interactions: InteractionDataset) -> tuple[GramRows, Int32Array]:
    matrix = interactions.matrix
    return gram_rows(matrix, _gram_limit(matrix.nnz))


def _gram_limit(n_interactions: int) -> int:
    """The memory limit of the Gram matrix in bytes. It affects the time of a fit, not its result."""
    return max(_MIN_GRAM_BYTES, _GRAM_BYTES_PER_INTERACTION * n_interactions)
