"""SLIM: a sparse linear model of items on items."""

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
from recctl.models.linear.gram_rows import GramRows, bytes_kept, gram_rows

# Weights of an item, where nothing limits them; how many it is follows from the data.
_USUAL_WEIGHTS = 100
# The Gram matrix may have so many bytes, or more: so many for each interaction.
_SMALL, _KEPT = 2**28, 11


class SLIMRecommender(Recommender):
    """Sparse linear method (Ning & Karypis, 2011, "SLIM: Sparse Linear Methods for Top-N Recommender Systems").

    For each item `j` with column `x_j` of the interactions `X` (n_users, n_items), the weights `w` of all other items
    minimise (eq. 4 of the paper)

        1/2 |x_j - X w|^2 + l2_reg/2 |w|^2 + l1_reg |w|_1,    w >= 0, w_j = 0

    A person's scores are `x W` for the row `x` of interactions, so people not in the training data are served alike.
    An item counts as solved when its duality gap is at most `tol |x_j|^2`; `gaps` and `sweeps` tell of each.

    Costs the sum of squared history lengths for the Gram matrix `X.T X` (n_items, n_items), and then for each item
    about its number of weights times that of the items it shares more than `l1_reg` users with. A Gram matrix of up to
    16,384 items is in memory, in bytes. Of a larger one the rows and columns of popular items are, in 256 MB or in 11
    bytes an interaction; the rest of a row is added up when an item wants it. Items are spread over all threads;
    nothing is random, and the result doesn't depend on their number.

    Not as in the paper: coordinate descent runs on the Gram matrix instead of on `X`, which is the same problem;
    `n_neighbors` takes items in by what they lower the objective given those already there, and exchanges those that
    come out unused, where the paper's fsSLIM takes the items of largest cosine beforehand. Explicit ratings, if given,
    are the values of `X`.
    """

    name = "slim"
    too_large_advice: ClassVar[str] = "choose sansa or als, or raise data.min_item_interactions"

    l1_reg: float = hyperparameter(
        1.0, ge=0, help="Weight of the sum of absolute weights: more makes sparser.", search=Between(0.01, 10, log=True)
    )
    l2_reg: float = hyperparameter(
        100.0, gt=0, help="Weight of half the squared weights in the objective.", search=Between(0.01, 1000, log=True)
    )
    n_neighbors: int | None = hyperparameter(
        None,
        ge=1,
        help="How many other items an item may draw on; null for any number.",
        search=Choices((None, 50, 100, 200)),
    )
    non_negative: bool = hyperparameter(True, help="Whether weights must not be negative.")
    max_iter: int = hyperparameter(100, ge=1, help="How many sweeps of coordinate descent an item may take.")
    tol: float = hyperparameter(
        1e-4, gt=0, help="An item is solved when its duality gap is below this part of its squared norm."
    )

    weights: InteractionMatrix = fitted("(n_items, n_items)")
    sweeps: Int32Array = fitted("(n_items,)")
    gaps: Float32Array = fitted("(n_items,)")

    def _fit(self, interactions: InteractionDataset) -> None:
        # What is kept of the Gram matrix goes before the weights are joined.
        self._join(*self._solved(interactions))
        self._tell_unsolved()

    def _solved(self, interactions: InteractionDataset) -> tuple[list[ElasticNetSolutions], Int32Array]:
        """The weights of all items, block by block, in an order that comes with them."""
        engine = engines.current()
        with progress.task("SLIM: Gram matrix"):
            rows, order = _gram(interactions)
            gram = engine.share(rows)
        n_items = interactions.n_items
        step = max(1, min(32, n_items // 64))
        # A clone holds the hyperparameters and nothing that would have to be sent with them.
        solve = partial(self.clone()._solve, gram, self._screens(interactions.matrix), step)
        blocks: list[ElasticNetSolutions] = []
        taken = 0
        tasks = range(0, n_items, step)
        room = available_memory()
        with progress.task("SLIM: weights", n_items, "items") as task:
            for block in engine.map(solve, tasks):
                blocks.append(block)
                taken += len(block[1])
                # Kept as found, joined, and turned: three times 8 bytes a weight at the most.
                if 24 * taken > room:
                    raise TrainingError(
                        f"slim: the weights of {len(blocks) * step:,} of {n_items:,} items already need "
                        f"{format_bytes(24 * taken)} of memory, {format_bytes(room)} are available; raise l1_reg, "
                        "or set n_neighbors"
                    )
                task.update(min(len(blocks) * step, n_items), weights=taken)
        return blocks, order

    def _solve(self, shared: Shared[GramRows], screened: bool, most: int, begin: int) -> ElasticNetSolutions:
        """The weights of at most `most` items from `begin`."""
        gram = shared.value
        options = ElasticNetOptions(
            l1=self.l1_reg,
            l2=self.l2_reg,
            signed=not self.non_negative,
            screened=screened,
            limit=self.n_neighbors or 0,
            max_iter=self.max_iter,
            tol=self.tol,
        )
        return elastic_nets(gram, begin, min(begin + most, gram.n_items), options)

    def _join(self, blocks: list[ElasticNetSolutions], order: Int32Array) -> None:
        counts, items, weights, sweeps, gaps = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        blocks.clear()
        starts = np.concatenate(([0], np.cumsum(counts)))
        place = np.argsort(order).astype(np.int32)
        self.sweeps, self.gaps = sweeps[place], gaps[place]
        # Turned, so that a history is scored by adding up its items' rows.
        self.weights = InteractionMatrix(starts, order[items], weights, len(order)).take(place).transpose()

    def _tell_unsolved(self) -> None:
        unsolved = int((self.gaps > self.tol).sum())
        if unsolved:
            progress.notice(
                f"slim: {unsolved:,} of {len(self.gaps):,} items are not solved to tol={self.tol:g} after "
                f"max_iter={self.max_iter} sweeps (largest gap {self.gaps.max():.2g}); raise max_iter, tol or l2_reg"
            )

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        weights = self.weights
        scores = np.empty((histories.n_rows, histories.n_columns), np.float32)
        neighbours.sparse_sparse(
            *(histories.starts, histories.columns, histories.values),
            *(weights.starts, weights.columns, weights.values, scores),
        )
        return scores

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        return matmul_sparse(histories, self.weights)

    def _similarity(self, items: Int32Array) -> Float32Array:
        # Row i: what a liking for item i adds to the score of every other item.
        given = self.weights.take(items)
        similarity = np.zeros((len(items), given.n_columns), np.float32)
        similarity[given.rows, given.columns] = given.values
        return similarity

    def _sizes(self, n_users: int, n_items: int, n_interactions: int) -> dict[str, int]:
        entries = n_items * min(self.n_neighbors or _USUAL_WEIGHTS, n_items)
        return {**super()._sizes(n_users, n_items, n_interactions), "weights": entries}

    def probe_fit(self, interactions: InteractionDataset) -> tuple[float, Self]:
        """What is kept of the Gram matrix, and the weights of some items, spread over all."""
        begin = perf_counter()
        with progress.silence():
            gram, _ = _gram(interactions)
        of_gram = perf_counter() - begin
        n_items = gram.n_items
        solve = partial(self._solve, Shared(gram), self._screens(interactions.matrix), 1)
        found = 0

        def measure(share: float) -> float:
            nonlocal found
            items = np.linspace(0, n_items - 1, max(1, round(share * n_items))).astype(int).tolist()
            begin = perf_counter()
            blocks = list(map_threads(solve, items))
            found = round(sum(len(block[1]) for block in blocks) / len(items) * n_items)
            return perf_counter() - begin

        seconds = of_gram + fit_probe.extrapolate_seconds(measure)
        sizes = self._sizes(interactions.n_users, n_items, len(interactions)) | {"weights": found}
        return seconds, fit_probe.dummy_model(self, interactions, sizes)

    def _screens(self, matrix: InteractionMatrix) -> bool:
        """Whether only items that share more than l1_reg users with another can have a weight for it."""
        return self.non_negative and not (matrix.values < 0).any()

    def convergence(self) -> dict[str, float]:
        """The part of the items that are not solved to `tol`, and the largest gap."""
        return {"unsolved": float((self.gaps > self.tol).mean()), "largest_gap": float(self.gaps.max())}

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """Of the Gram matrix what is kept, the turned interactions, and for each thread weights and a working set."""
        largest_set = max(512, self.n_neighbors or 0)
        return (
            bytes_kept(n_items, _room(n_interactions))
            + 12 * n_interactions
            + threads() * n_items * (512 + 4 * largest_set)
        )


def _gram(interactions: InteractionDataset) -> tuple[GramRows, Int32Array]:
    matrix = interactions.matrix
    return gram_rows(matrix, _room(matrix.nnz))


def _room(n_interactions: int) -> int:
    """How many bytes of the Gram matrix to keep; what comes out does not depend on it."""
    return max(_SMALL, _KEPT * n_interactions)
