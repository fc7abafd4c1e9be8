"""ALS: factors of users and items, by alternating least squares."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from recctl import engines, progress, rng
from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.engines import Shared
from recctl.errors import DataError, TrainingError
from recctl.kernels import matmul
from recctl.kernels.least_squares import conjugate_gradients
from recctl.kernels.least_squares_blocks import solve_blocks
from recctl.models.base import Embeddings, Recommender
from recctl.models.base.hyperparameters import Between, fitted, hyperparameter
from recctl.models.base.onnx_graph import ScoreGraph, Value, solve_spd
from recctl.models.factors.als_side import WAY_OUT, Side, Step, StepInput, multiply, n_tasks
from recctl.models.factors.vectors import unit_rows, with_columns

Float64Array = NDArray[np.float64]

# Size of the first scores, roughly. What follows hardly depends on it: see `Side.balance`.
_INITIAL_SIZE = 0.1
_NO_TURN = np.empty((0, 0), np.float32)  # where factors are solved for afresh


class _NeedsRatings:
    """Whether a model learns from ratings: that depends on its hyperparameters; by default it doesn't."""

    def __get__(self, model: ALSRecommender | None, owner: type) -> bool:
        return model is not None and not model.implicit


class ALSRecommender(Recommender):
    """Alternating least squares (Hu, Koren & Volinsky, 2008, "Collaborative Filtering for Implicit Feedback Datasets").

    Minimises, over factors `x_u` of users and `y_i` of items,

        sum_ui c_ui (p_ui - x_u . y_i)^2  +  reg (sum_u c_u^e |x_u|^2 + sum_i c_i^e |y_i|^2)

    - Implicit feedback: the sum is over all pairs, `p_ui` is 1 for interactions and 0 elsewhere, and the confidence
      `c_ui` is `1 + alpha r_ui` (eq. 3 of the paper), which is 1 where there is no interaction. `r_ui` is 1 unless the
      data carries ratings as weights.
    - Ratings (`implicit=False`): the sum is over the ratings only, `c_ui` is 1 and `p_ui` the rating less the mean of
      all: ALS-WR (Zhou et al., 2008, "Large-Scale Parallel Collaborative Filtering for the Netflix Prize") for `e = 1`.

    `c_u` is the sum of a person's confidences, and `c_i` of an item's: over the interactions, or over all pairs
    (`reg_by`); `e` is `reg_exponent`. With 0 all factors are regularised alike, as in the first paper. With 1 they are
    in proportion to what they are fitted to, which makes the model strong (Rendle et al., 2021, "Revisiting the
    Performance of iALS on Item Recommendation Benchmarks": their objective is that of `reg_by="pairs"`, with nu `e`,
    alpha_0 `1 / alpha` and lambda `reg alpha^(e - 1)`). Summed over interactions, one `reg` suits large and small data
    sets: 0.05 is near the best on MovieLens-100K and on goodbooks-10k, where over pairs 0.03 and 0.001 are.

    Solvers, for one side's factors while the other's are fixed:

    - `cg`: some steps of conjugate gradients from the current factors (Takács, Pilászy & Tikk, 2011).
    - `cholesky`: the exact minimum.
    - `ials++`: exact within blocks of factors, one after another (Rendle et al., 2021, "iALS++: Speeding up Matrix
      Factorization with Subspace Optimization").

    The objective is computed exactly after each iteration, at no cost: what the solvers carry along sums up to it.
    Users' factors are at last solved for exactly, whatever the solver, so that a person who is not in the training data
    but has the same history gets the same recommendations. The result depends on the seed, not on the threads.

    Costs for each iteration and interaction about `14 d` operations (`cg`, two steps), `d^2` (`cholesky`) or
    `d (6 + block_size)` (`ials++`), and `10 d^2` for each user and item. Memory: the factors, the interactions turned,
    and nothing that grows with `n_users x n_items`.

    Not as in the papers: factors begin as a rough truncated SVD of the interactions, from a random start (Halko,
    Martinsson & Tropp, 2011, "Finding Structure with Randomness"), which is worth some iterations and costs less than
    one. Items come first and users last. Before each half of an iteration both sides are turned into the basis where
    the fixed side's Gram matrix is diagonal, which changes no score and makes products with it cheap; and scaled so
    that both sides' penalties are equal, which changes no score either and only lowers the objective. `cg` uses the
    system's diagonal as preconditioner. There are no biases, and predicted ratings are not clipped.
    """

    name = "als"
    too_large_advice: ClassVar[str] = "lower n_factors, or raise data.min_item_interactions"

    n_factors: int = hyperparameter(
        64, ge=1, help="How many factors users and items have.", search=Between(20, 200, log=True)
    )
    n_iterations: int = hyperparameter(15, ge=1, help="At most how many times each side is solved for.")
    reg: float = hyperparameter(
        0.05, gt=0, help="Weight of the squared factors in the objective.", search=Between(0.001, 0.1, log=True)
    )
    alpha: float = hyperparameter(
        10.0, ge=0, help="What an interaction adds to the confidence of 1.", search=Between(1.0, 100.0, log=True)
    )
    reg_exponent: float = hyperparameter(
        1.0, ge=0, le=2, help="How reg grows with the sum of a row's confidences: 0 not at all, 1 in proportion."
    )
    reg_by: Literal["interactions", "pairs"] = hyperparameter(
        "interactions", help="What that sum is over: the row's interactions, or all pairs."
    )
    implicit: bool = hyperparameter(True, help="Learn from interactions; if false, from ratings.")
    solver: Literal["cg", "cholesky", "ials++"] = hyperparameter("cg", help="How each side is solved for.")
    cg_steps: int = hyperparameter(2, ge=1, help="Steps of solver cg in each half of an iteration.")
    block_size: int = hyperparameter(32, ge=1, help="How many factors solver ials++ solves for at a time.")
    tol: float = hyperparameter(1e-4, ge=0, help="Stop when the objective falls by less than this part of itself.")
    seed: int = hyperparameter(42, ge=0, help="Seed of the factors to begin with.")

    user_factors: Float32Array = fitted("(n_users, n_factors)")
    item_factors: Float32Array = fitted("(n_items, n_factors)")
    spectrum: Float32Array = fitted("(n_factors,)")
    mean: float = fitted("")
    losses: Float64Array = fitted("(n_done,)")

    needs_ratings = _NeedsRatings()

    def _fit(self, interactions: InteractionDataset) -> None:
        matrix = interactions.matrix
        self._check(matrix)
        self.mean = 0.0 if self.implicit else float(matrix.values.mean(dtype=np.float64))
        matrix = self._centred(matrix)
        with engines.current().worker_pool() as workers:
            users, items = (
                Side(side, self.n_factors, self._regularisation(side), workers) for side in (matrix, matrix.transpose())
            )
            self._begin_factors(users, items)
            losses = self._iterate(users, items)
        self.user_factors, self.item_factors, self.losses = users.factors, items.factors, np.array(losses)

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        factors = self._solve(histories) if users is None else self.user_factors[users]
        scores: Float32Array = factors @ self.item_factors.T
        if not self.implicit:
            scores += np.float32(self.mean)
        return scores

    def score_pairs(self, users: Int32Array, items: Int32Array) -> Float32Array:
        """The score of each pair of codes, in `n_factors` operations."""
        scores = np.empty(len(users), np.float32)
        matmul.pair_dots(self.user_factors, self.item_factors, users, items, scores)
        return scores + np.float32(self.mean)

    def embeddings(self) -> Embeddings:
        """Its factors; with ratings, the mean of all stands against a 1."""
        if self.implicit:
            return Embeddings(self.user_factors, self.item_factors)
        return Embeddings(with_columns(self.user_factors, 1), with_columns(self.item_factors, self.mean))

    def _similarity(self, items: Int32Array) -> Float32Array:
        similarity: Float32Array = self._directions[items] @ self._directions.T
        return similarity

    @cached_property
    def _directions(self) -> Float32Array:
        """The items' factors, each of length 1, or 0."""
        return unit_rows(self.item_factors)

    def convergence(self) -> dict[str, float]:
        """How much the last iteration brought, and whether it was the last one allowed."""
        if len(self.losses) < 2:
            return {}
        last_fall = float((self.losses[-2] - self.losses[-1]) / abs(self.losses[-2]))
        return {"last_fall": last_fall, "at_limit": len(self.losses) >= self.n_iterations}

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """The factors, and as much again for safety; the turned interactions; and each task's Gram matrix."""
        d = self.n_factors
        tasks = n_tasks(n_interactions * d) + n_tasks(n_users * d**2 / 8)
        return 8 * d * (n_users + n_items) + 20 * n_interactions + 8 * tasks * d**2

    # ---- the problem

    def _check(self, matrix: InteractionMatrix) -> None:
        if self.implicit and not matrix.is_binary and matrix.values.min() < 0:
            raise DataError(
                f"als: a rating of {matrix.values.min():g}: ratings are confidences of implicit feedback and can't be "
                "negative; leave those interactions out, or set implicit=False to learn the ratings themselves"
            )

    @property
    def _terms(self) -> Float32Array:
        """Weights and aims of the kernels: implicit `w = alpha r, a = 1 + alpha r`, else `w = 1, a = r`."""
        return np.array([0, self.alpha, 1, self.alpha] if self.implicit else [1, 0, 0, 1], np.float32)

    def _centred(self, matrix: InteractionMatrix) -> InteractionMatrix:
        """The interactions, ratings less their mean."""
        return matrix if self.implicit else replace(matrix, values=matrix.values - np.float32(self.mean))

    def _regularisation(self, matrix: InteractionMatrix) -> Float32Array:
        """What multiplies the squared factors of each row."""
        confidences = sums = np.diff(matrix.starts).astype(np.float64)
        if self.implicit:
            if not matrix.is_binary:
                sums = np.bincount(matrix.rows, matrix.values, matrix.n_rows).astype(np.float64)
            pairs = matrix.n_columns if self.reg_by == "pairs" else confidences
            confidences = pairs + self.alpha * sums
        confidences = np.maximum(confidences, 1)  # a row without interactions
        weights: Float32Array = (self.reg * confidences**self.reg_exponent).astype(np.float32)
        return weights

    def _solve(self, histories: InteractionMatrix) -> Float32Array:
        """Factors of people, given the items'."""
        if not self.implicit and histories.is_binary and histories.nnz:
            raise DataError(
                "als: implicit=False learns from ratings, but the histories carry none; give a table with user_id, "
                "item_id and rating"
            )
        factors = np.empty((histories.n_rows, self.n_factors), np.float32)
        histories = self._centred(histories)
        problem = histories.starts, histories.columns, histories.values, self._terms
        given = self.item_factors, self.spectrum, self._regularisation(histories)
        value = solve_blocks((*problem, *given), factors, 0, histories.n_rows, self.n_factors, True)
        if not np.isfinite(value):
            raise TrainingError("als: a history can't be solved for in float32; fit with a higher reg or lower alpha")
        return factors

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        items, had, mean = self.item_factors, histories.is_nonzero().cast(np.float32), np.float32(self.mean)
        counts = had.sum(1, keepdims=True)
        if self.implicit:
            pairs = np.float32(len(items)) if self.reg_by == "pairs" else counts
            weights, aims = histories * self.alpha, had + histories * self.alpha
            confidences = histories.sum(1, keepdims=True) * self.alpha + pairs
        else:
            weights, aims, confidences = had, histories - had * mean, counts
        confidences = graph.apply("Max", confidences, np.float32(1))
        reg = graph.apply("Pow", confidences, np.float32(self.reg_exponent)) * self.reg
        vectors = graph.constant(items, "items")
        # The normal equations of each person, with what they are to equal as the last column: (n, d, d + 1).
        weighed = (weights.unsqueeze(2) * vectors).transpose(0, 2, 1) @ vectors
        unit = np.eye(self.n_factors, dtype=np.float32)
        matrix = weighed + np.diag(self.spectrum) + reg.unsqueeze(2) * unit
        system = graph.apply("Concat", matrix, (aims @ vectors).unsqueeze(2), axis=2).cast(np.float64)
        factors = solve_spd(system, self.n_factors).cast(np.float32)
        return factors.matmul_transposed(vectors) + mean

    # ---- the iterations

    def _begin_factors(self, users: Side, items: Side) -> None:
        """Factors to begin with, from one round of subspace iteration."""
        random = rng.stream(self.seed, "init")
        items.factors[:] = random.standard_normal(items.factors.shape, np.float32)
        users.do(multiply(items.shared))
        turn, spectrum = users.basis()
        kept: Float32Array = np.maximum(spectrum, max(1e-6 * float(spectrum[-1]), 1e-30)).astype(np.float32)
        users.turn((turn / np.sqrt(kept)).astype(np.float32))
        items.do(multiply(users.shared))
        users.do(multiply(items.shared))
        for side in (users, items):
            size = np.sqrt(np.square(side.factors).mean(dtype=np.float64) * self.n_factors)
            side.scale(np.float32(np.sqrt(_INITIAL_SIZE) / size if size else 0))

    def _iterate(self, users: Side, items: Side) -> list[float]:
        """Solve for one side after the other; the objective after each iteration."""
        matrix = users.interactions
        values = np.ones(1) if matrix.is_binary else matrix.values.astype(np.float64)
        constant = matrix.nnz * (1 + self.alpha * values.mean() if self.implicit else np.square(values).mean())
        losses: list[float] = []
        with progress.task(f"ALS: {self.n_factors} factors", self.n_iterations, "iterations") as task:
            for iteration in range(1, self.n_iterations + 1):
                self._half(items, users, exact=False)
                self._half(users, items, exact=iteration == self.n_iterations)
                losses.append(constant + users.values.sum() + items.penalty)
                task.update(iteration, loss=losses[-1])
                if not np.isfinite(losses[-1]):
                    raise TrainingError(f"als: the objective is not finite after iteration {iteration}; {WAY_OUT}")
                if iteration > 1 and losses[-2] - losses[-1] <= self.tol * losses[-2]:
                    break
            if iteration < self.n_iterations:
                users.do(self._step(items.shared, _NO_TURN, exact=True))
                losses[-1] = constant + users.values.sum() + items.penalty
        return losses

    def _half(self, own: Side, fixed: Side, *, exact: bool) -> None:
        """Solve for one side's factors."""
        turn, spectrum = fixed.basis()
        scale = own.balance(fixed)
        fixed.turn(turn * np.float32(scale))
        fixed.penalty *= scale**2
        self.spectrum = spectrum * np.float32(scale**2 if self.implicit else 0)
        own.do(self._step(fixed.shared, turn / np.float32(scale), exact=exact))

    def _step(self, fixed: Shared[Float32Array], turn: Float32Array, *, exact: bool) -> Step:
        # A clone holds the hyperparameters and nothing that would have to be sent with them.
        return partial(self.clone()._solve_part, self.spectrum, fixed, turn, exact)

    def _solve_part(
        self,
        spectrum: Float32Array,
        fixed: Shared[Float32Array],
        turn: Float32Array,
        exact: bool,
        given: StepInput,
        factors: Float32Array,
    ) -> float:
        matrix = given.interactions
        problem = matrix.starts, matrix.columns, matrix.values, self._terms, fixed.value, spectrum, given.reg
        if exact or self.solver == "cholesky":
            return float(solve_blocks(problem, factors, 0, len(factors), self.n_factors, True))
        factors[:] = factors @ turn
        if self.solver == "cg":
            return float(conjugate_gradients(problem, factors, 0, len(factors), self.cg_steps))
        return float(solve_blocks(problem, factors, 0, len(factors), self.block_size, False))
