"""ALS: factors of users and items by alternating least squares."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from typing import ClassVar, Literal, Self, assert_never

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
from recctl.models.base.warm_start import shared_rows
from recctl.models.factors.als_side import MultiplyStep, SideData, Step, StepInput, n_tasks
from recctl.models.factors.rating_scale import relative_range
from recctl.models.factors.vectors import unit_rows, with_columns

Float64Array = NDArray[np.float64]

# The approximate size of the initial scores. It hardly affects the result: see `SideData.balancing_factor`.
_INITIAL_SCORE = 0.1
_NO_ROTATION = np.empty((0, 0), np.float32)  # for solvers that ignore the current factors
# The smallest eigenvalue relative to the largest, and in absolute terms, that the initial factors are divided by.
_MIN_EIGENVALUE_RATIO = 1e-6
_MIN_EIGENVALUE = 1e-30


# A rise of the objective up to this share of its value for factors of 0 is rounding.
_ROUNDING = 1e-6
# A regularization that float64 can always handle.
_SAFE_REG = 1e-6


class _NeedsRatings:
    """Whether a model learns from ratings: on the class False, on an instance by its hyperparameter `implicit`."""

    def __get__(self, model: ALSRecommender | None, owner: type) -> bool:
        return model is not None and not model.implicit


class ALSRecommender(Recommender):
    """Alternating least squares (Hu, Koren & Volinsky, 2008, "Collaborative Filtering for Implicit Feedback Datasets").

    Objective: minimize, over factors `x_u` of users and `y_i` of items,

        sum_ui c_ui (p_ui - x_u . y_i)^2  +  reg (sum_u c_u^e |x_u|^2 + sum_i c_i^e |y_i|^2)

    - Implicit feedback (iALS): the sum is over all pairs. `p_ui` is 1 for interactions and 0 elsewhere; the confidence
      `c_ui` is `1 + alpha r_ui` (section 4 of the paper), and 1 without an interaction. `r_ui` is 1 unless the data has
      weights (`data.implicit: false`), such as those of the step `weight_events`.
    - Ratings (`implicit=False`): the sum is over the ratings. `c_ui` is 1, and `p_ui` is the rating minus the mean of
      all ratings. `reg` is multiplied by the range of the ratings over 4, so that it means the same on every scale (1
      for ratings from 1 to 5): squared errors grow with the square of the scale, squared factors with the scale. With
      `e = 1` this is ALS-WR (Zhou et al., 2008, "Large-Scale Parallel Collaborative Filtering for the Netflix Prize").

    `c_u` and `c_i` are the sums of the confidences of a user and of an item, over interactions or over all pairs
    (`reg_by`); `e` is `reg_exponent`. With `e = 0` all factors have the same regularization, as in the paper. With
    `e = 1` it is proportional to the data that the factors are fitted to, which improves quality considerably (Rendle
    et al., 2022, "Revisiting the Performance of iALS on Item Recommendation Benchmarks", RecSys; their objective is
    that of `reg_by="pairs"` with nu = `e`, alpha_0 = `1 / alpha` and lambda = `reg alpha^(e - 1)`). With sums over
    interactions, one value of `reg` suits data sets of different sizes: 0.05 is near the optimum on MovieLens-100K and
    on goodbooks-10k, whereas with sums over pairs the optima are 0.03 and 0.001.

    Solvers for the factors of one side, with the other side fixed:

    - `cg`: a few steps of conjugate gradients from the current factors (Takács, Pilászy & Tikk, 2011, "Applications of
      the Conjugate Gradient Method for Implicit Feedback Collaborative Filtering", RecSys).
    - `cholesky`: the exact minimum.
    - `ials++`: the exact minimum over one block of factors after another (Rendle et al., 2021, "iALS++: Speeding up
      Matrix Factorization with Subspace Optimization").

    The objective is computed exactly after each iteration, from values that the solvers compute anyway. The last step
    solves exactly for the factors of users, with any solver, so that a user who is not in the training data gets the
    same recommendations as a known user with the same history. The result depends on the seed, not on the number of
    threads. Systems that are too ill-conditioned for float32, because `reg` is tiny, are solved in float64; a fit whose
    objective rises nevertheless is refused.

    Cost: per iteration and interaction, with `d = n_factors`, about `14 d` operations (`cg` with two steps), `d^2`
    (`cholesky`) or `d (6 + block_size)` (`ials++`), plus `10 d^2` per user and item. Memory: the factors and the
    transposed interactions; nothing grows with `n_users x n_items`.

    Deviations from the papers: the initial factors are an approximate truncated SVD of the interactions from a random
    start (Halko, Martinsson & Tropp, 2011, "Finding Structure with Randomness", SIAM Review), which saves several
    iterations and costs less than one. Each iteration solves for items first and users last. Before each half-step both
    sides are rotated into the basis in which the Gram matrix of the fixed side is diagonal, which makes products with
    it cheap, and scaled to equal penalties, which lowers the objective; neither changes a score. `cg` uses the diagonal
    of the system as preconditioner. There are no biases, and predicted ratings are not clipped.

    Examples:
        ```python
        from recctl import ALSRecommender

        model = ALSRecommender(n_factors=32).fit(train)
        model.recommend([1, 2], k=5)
        ```
    """

    name = "als"
    uses_weights = True
    too_large_advice: ClassVar[str] = "lower n_factors, or raise data.min_item_interactions"
    warm_start_parameters = ("n_factors", "implicit")

    n_factors: int = hyperparameter(
        64, ge=1, help="Number of factors of users and items.", search=Between(20, 200, log=True)
    )
    n_iterations: int = hyperparameter(15, ge=1, help="Maximum number of iterations; each solves for both sides once.")
    reg: float = hyperparameter(
        0.05, gt=0, help="L2 regularization of the factors.", search=Between(0.001, 0.1, log=True)
    )
    alpha: float = hyperparameter(
        10.0,
        ge=0,
        help="Weight of an interaction: its confidence is 1 + alpha.",
        search=Between(1.0, 100.0, log=True),
        when={"implicit": (True,)},
    )
    reg_exponent: float = hyperparameter(
        1.0,
        ge=0,
        le=2,
        help="Exponent of the sum of confidences that scales reg: 0 for a constant, 1 for proportional.",
    )
    reg_by: Literal["interactions", "pairs"] = hyperparameter(
        "interactions", help="What this sum is over: the interactions of a user or item, or all pairs."
    )
    implicit: bool = hyperparameter(True, help="Whether to learn from implicit feedback; if false, from ratings.")
    solver: Literal["cg", "cholesky", "ials++"] = hyperparameter("cg", help="Solver for the factors of one side.")
    cg_steps: int = hyperparameter(
        2, ge=1, help="Number of conjugate gradient steps per half-iteration; for solver cg.", when={"solver": ("cg",)}
    )
    block_size: int = hyperparameter(
        32, ge=1, help="Number of factors per block; for solver ials++.", when={"solver": ("ials++",)}
    )
    tol: float = hyperparameter(1e-4, ge=0, help="Stop when the relative decrease of the objective is at most this.")
    seed: int = hyperparameter(42, ge=0, help="Seed of the initial factors.")

    user_factors: Float32Array = fitted("(n_users, n_factors)")
    item_factors: Float32Array = fitted("(n_items, n_factors)")
    spectrum: Float32Array = fitted("(n_factors,)")
    mean: float = fitted("")
    # Before this value existed, `reg` applied to ratings as they are.
    rating_scale: float = fitted("", if_absent=1.0)
    losses: Float64Array = fitted("(n_done,)")

    needs_ratings = _NeedsRatings()

    def _fit(self, interactions: InteractionDataset) -> None:
        self._fit_from(interactions, None)

    def _fit_from(self, interactions: InteractionDataset, parent: Self | None) -> None:
        matrix = interactions.matrix
        self._require_non_negative(matrix)
        self.mean = 0.0
        self.rating_scale = 1.0
        if not self.implicit:
            self.mean = float(matrix.values.mean(dtype=np.float64))
            self.rating_scale = relative_range(float(matrix.values.min()), float(matrix.values.max()))
        by_user = self._centered(matrix)
        # Both orders are stored: each half-step reads the interactions row by row of the side that it solves for.
        by_item = by_user.transpose()
        with engines.current().worker_pool("als: factors of blocks of rows") as workers:
            users = SideData(by_user, self.n_factors, self._regularization(by_user), workers)
            items = SideData(by_item, self.n_factors, self._regularization(by_item), workers)
            if parent is None:
                self._initialize_factors(users, items)
            else:
                self._copy_factors(users, items, parent)
            losses = self._iterate(users, items)
        self.user_factors = users.factors
        self.item_factors = items.factors
        self.losses = np.array(losses)

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        factors = self._fold_in(histories) if users is None else self.user_factors[users]
        scores: Float32Array = factors @ self.item_factors.T
        if not self.implicit:
            scores += np.float32(self.mean)
        return scores

    def score_pairs(self, users: Int32Array, items: Int32Array) -> Float32Array:
        """The score of each pair of codes, `(n_pairs,)`, in `n_factors` operations per pair."""
        scores = np.empty(len(users), np.float32)
        matmul.pair_dots(self.user_factors, self.item_factors, users, items, scores)
        # The mean is 0 for implicit feedback.
        return scores + np.float32(self.mean)

    def embeddings(self) -> Embeddings:
        """The factors; with ratings, one more dimension for the mean."""
        if self.implicit:
            return Embeddings(self.user_factors, self.item_factors)
        return Embeddings(with_columns(self.user_factors, 1), with_columns(self.item_factors, self.mean))

    def _similarity(self, items: Int32Array) -> Float32Array:
        similarity: Float32Array = self._unit_item_factors[items] @ self._unit_item_factors.T
        return similarity

    @cached_property
    def _unit_item_factors(self) -> Float32Array:
        """The item factors scaled to length 1, `(n_items, n_factors)`."""
        return unit_rows(self.item_factors)

    def convergence(self) -> dict[str, float]:
        """The relative decrease of the objective in the last iteration, and whether `n_iterations` was reached."""
        if len(self.losses) < 2 or self.losses[-2] == 0:
            return {}
        last_fall = float((self.losses[-2] - self.losses[-1]) / abs(self.losses[-2]))
        return {"last_fall": last_fall, "at_limit": len(self.losses) >= self.n_iterations}

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """The factors, twice for safety; the transposed interactions; and a Gram matrix per task."""
        d = self.n_factors
        # A Gram matrix for each task: with many small tasks, they are a large part of the memory.
        tasks = n_tasks(n_interactions * d) + n_tasks(n_users * d**2 / 8)
        return 8 * d * (n_users + n_items) + 20 * n_interactions + 8 * tasks * d**2

    # ---- the least-squares problem

    def _require_non_negative(self, matrix: InteractionMatrix) -> None:
        if self.implicit and not matrix.is_binary and matrix.values.min() < 0:
            raise DataError(
                f"als: a rating of {matrix.values.min():g}: with implicit feedback ratings are confidences, which "
                "cannot be negative; remove these interactions, or set implicit=False to learn the ratings"
            )

    @property
    def _terms(self) -> Float32Array:
        """Coefficients of weights and targets for the kernels.

        For implicit feedback a value `r` has the weight `alpha r` and the target `1 + alpha r`; for ratings, 1 and `r`.
        """
        if self.implicit:
            return np.array([0, self.alpha, 1, self.alpha], np.float32)
        return np.array([1, 0, 0, 1], np.float32)

    def _centered(self, matrix: InteractionMatrix) -> InteractionMatrix:
        """The interactions; ratings minus their mean."""
        if self.implicit:
            return matrix
        return replace(matrix, values=matrix.values - np.float32(self.mean))

    def _regularization(self, matrix: InteractionMatrix) -> Float32Array:
        """The weight of the squared factors of each row, `reg c^e` times the scale of the ratings, `(n_rows,)`."""
        counts = np.diff(matrix.starts).astype(np.float64)
        confidences = counts
        if self.implicit:
            value_sums = counts
            if not matrix.is_binary:
                value_sums = np.bincount(matrix.rows, matrix.values, matrix.n_rows).astype(np.float64)
            n_pairs = matrix.n_columns if self.reg_by == "pairs" else counts
            confidences = n_pairs + self.alpha * value_sums
        confidences = np.maximum(confidences, 1)  # a row without interactions must not have a regularization of 0
        reg: Float32Array = (self.reg * self.rating_scale * confidences**self.reg_exponent).astype(np.float32)
        return reg

    def _fold_in(self, histories: InteractionMatrix) -> Float32Array:
        """The exact factors of users with these histories, `(n, n_factors)`, with fixed item factors.

        Raises:
            DataError: The model learned from ratings, and the histories have none.
            TrainingError: A system is not positive definite in float64.
        """
        if not self.implicit and histories.is_binary and histories.nnz:
            raise DataError(
                "als: implicit=False learns from ratings, but the histories have none; pass a table with user_id, "
                "item_id and rating"
            )
        factors = np.empty((histories.n_rows, self.n_factors), np.float32)
        histories = self._centered(histories)
        problem = (
            histories.starts,
            histories.columns,
            histories.values,
            self._terms,
            self.item_factors,
            self.spectrum,
            self._regularization(histories),
        )
        # One block of all factors is the exact solution, whichever solver the model was fitted with.
        value = solve_blocks(problem, factors, 0, histories.n_rows, self.n_factors, True)
        if not np.isfinite(value):
            raise TrainingError(f"als: a history has no solution in float64; fit again: {self._advice}")
        return factors

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        items = self.item_factors
        mean = np.float32(self.mean)
        is_seen = histories.is_nonzero().cast(np.float32)
        counts = is_seen.sum(1, keepdims=True)
        if self.implicit:
            n_pairs = np.float32(len(items)) if self.reg_by == "pairs" else counts
            weights = histories * self.alpha
            targets = is_seen + histories * self.alpha
            confidences = histories.sum(1, keepdims=True) * self.alpha + n_pairs
        else:
            weights = is_seen
            targets = histories - is_seen * mean
            confidences = counts
        confidences = graph.apply("Max", confidences, np.float32(1))
        reg = graph.apply("Pow", confidences, np.float32(self.reg_exponent)) * (self.reg * self.rating_scale)
        vectors = graph.constant(items, "items")
        # The normal equations A x = b of each user, as the augmented matrix A | b: (n, d, d + 1).
        weighted_gram = (weights.unsqueeze(2) * vectors).transpose(0, 2, 1) @ vectors
        identity = np.eye(self.n_factors, dtype=np.float32)
        matrix = weighted_gram + np.diag(self.spectrum) + reg.unsqueeze(2) * identity
        right_side = (targets @ vectors).unsqueeze(2)
        # float64: elimination without pivoting loses too many digits in float32.
        system = graph.apply("Concat", matrix, right_side, axis=2).cast(np.float64)
        factors = solve_spd(system, self.n_factors).cast(np.float32)
        return factors.matmul_transposed(vectors) + mean

    # ---- iterations

    def _initialize_factors(self, users: SideData, items: SideData) -> None:
        """Set the initial factors by one round of subspace iteration."""
        random = rng.stream(self.seed, "init")
        items.factors[:] = random.standard_normal(items.factors.shape, np.float32)
        users.run_step(MultiplyStep(items.shared))
        basis, spectrum = users.basis()
        floor = max(_MIN_EIGENVALUE_RATIO * float(spectrum[-1]), _MIN_EIGENVALUE)
        spectrum = np.maximum(spectrum, floor).astype(np.float32)
        users.rotate((basis / np.sqrt(spectrum)).astype(np.float32))  # orthonormal columns
        items.run_step(MultiplyStep(users.shared))
        users.run_step(MultiplyStep(items.shared))
        for side in (users, items):
            # Scaled such that a typical score is _INITIAL_SCORE: the product of two factors of this size.
            score = _INITIAL_SCORE * self.rating_scale
            size = np.sqrt(np.square(side.factors).mean(dtype=np.float64) * self.n_factors)
            side.scale(np.float32(np.sqrt(score) / size if size else 0))

    def _copy_factors(self, users: SideData, items: SideData, parent: Self) -> None:
        """Begin from the factors of a fitted model; solve for new users first, then for new items."""
        known_users = shared_rows(self.user_vocabulary, parent.user_vocabulary)
        known_items = shared_rows(self.item_vocabulary, parent.item_vocabulary)
        users.factors[:] = 0
        items.factors[:] = 0
        users.factors[known_users.new] = parent.user_factors[known_users.old]
        items.factors[known_items.new] = parent.item_factors[known_items.old]
        items.scale(np.float32(1))  # computes the Gram matrix and the penalty
        for side, fixed, known in ((users, items, known_users), (items, users, known_items)):
            is_new = np.ones(len(side.factors), bool)
            is_new[known.new] = False
            self._solve_new_rows(side, fixed, np.flatnonzero(is_new).astype(np.int32))
            side.scale(np.float32(1))

    def _solve_new_rows(self, side: SideData, fixed: SideData, rows: Int32Array) -> None:
        """Set the factors of some rows to the minimum, given the factors of the fixed side."""
        basis, spectrum = fixed.basis()
        matrix = side.interactions.take(rows)
        factors = np.empty((len(rows), self.n_factors), np.float32)
        problem = (
            matrix.starts,
            matrix.columns,
            matrix.values,
            self._terms,
            fixed.factors @ basis,
            spectrum * np.float32(self.implicit),  # with ratings, pairs without an interaction have weight 0
            side.reg[rows],
        )
        solve_blocks(problem, factors, 0, len(rows), self.n_factors, True)
        side.factors[rows] = factors @ basis.T
        # New users who have new items only are solved to 0, and with them their items would be: both would stay 0.
        unsolved = rows[~factors.any(axis=1)]
        typical = np.sqrt(np.square(side.factors).mean(axis=0, dtype=np.float64)).astype(np.float32)
        random = rng.stream(self.seed, "init").standard_normal((len(unsolved), self.n_factors), np.float32)
        side.factors[unsolved] = random * typical

    def _iterate(self, users: SideData, items: SideData) -> list[float]:
        """Solve for one side after the other.

        Returns:
            The objective after each iteration.

        Raises:
            TrainingError: The objective is not finite, or rose.
        """
        constant = self._constant_loss(users.interactions)
        losses: list[float] = []
        with progress.task(f"ALS: {self.n_factors} factors", self.n_iterations, "iterations") as task:
            for iteration in range(1, self.n_iterations + 1):
                self._half_step(items, users, exact=False)
                self._half_step(users, items, exact=iteration == self.n_iterations)
                losses.append(constant + users.values.sum() + items.penalty)
                task.update(iteration, loss=losses[-1])
                self._require_fall(losses, constant)
                if iteration > 1 and losses[-2] - losses[-1] <= self.tol * losses[-2]:
                    break
            if iteration < self.n_iterations:
                users.run_step(self._step(items.shared, _NO_ROTATION, exact=True))
                losses[-1] = constant + users.values.sum() + items.penalty
                self._require_fall(losses, constant)
        return losses

    def _require_fall(self, losses: list[float], constant: float) -> None:
        """Check that the last iteration did not raise the objective, as rounding can where `reg` is tiny.

        Args:
            losses: The objective after each iteration.
            constant: The objective for factors of 0.

        Raises:
            TrainingError: It did, or the objective is not finite.
        """
        iteration = len(losses)
        if not np.isfinite(losses[-1]):
            raise TrainingError(f"als: the objective is not finite after iteration {iteration}; {self._advice}")
        # Factors of 0 are the start: no objective may be above theirs.
        previous = losses[-2] if iteration > 1 else constant
        if losses[-1] > (1 + self.tol) * previous + _ROUNDING * constant:
            raise TrainingError(
                f"als: the objective rose from {previous:.6g} to {losses[-1]:.6g} in iteration {iteration}: rounding "
                f"outweighs reg={self.reg:g}; {self._advice}"
            )

    @property
    def _advice(self) -> str:
        return f"try reg={max(_SAFE_REG, 10 * self.reg):g}, lower alpha, or scale ratings down (normalize_ratings)"

    def _constant_loss(self, matrix: InteractionMatrix) -> float:
        """The part of the objective that does not depend on the factors, the sum of `c_ui p_ui^2`."""
        values = np.ones(1) if matrix.is_binary else matrix.values.astype(np.float64)
        if self.implicit:
            return float(matrix.nnz * (1 + self.alpha * values.mean()))
        return float(matrix.nnz * np.square(values).mean())

    def _half_step(self, side: SideData, fixed: SideData, *, exact: bool) -> None:
        """Solve for the factors of one side."""
        scale = side.balancing_factor(fixed)
        # With ratings, pairs without an interaction have weight 0, and the Gram matrix has no part in the system.
        least_reg = float(side.reg.min()) / scale**2 if self.implicit else np.inf
        basis, spectrum = fixed.basis(least_reg)
        fixed.rotate(basis * basis.dtype.type(scale))
        fixed.penalty *= scale**2
        self.spectrum = (spectrum * (scale**2 if self.implicit else 0)).astype(np.float32)
        rotation = (basis / scale).astype(np.float32)
        side.run_step(self._step(fixed.shared, rotation, exact=exact))

    def _step(self, fixed: Shared[Float32Array], rotation: Float32Array, *, exact: bool) -> Step:
        # A clone has the hyperparameters, and no other state that would be sent to workers with it.
        return partial(self.clone()._solve_rows, self.spectrum, fixed, rotation, exact)

    def _solve_rows(
        self,
        spectrum: Float32Array,
        fixed: Shared[Float32Array],
        rotation: Float32Array,
        exact: bool,
        data: StepInput,
        factors: Float32Array,
    ) -> float:
        """Solve for the factors of some rows in place; returns the sum of the objective over them."""
        matrix = data.interactions
        problem = (matrix.starts, matrix.columns, matrix.values, self._terms, fixed.value, spectrum, data.reg)
        if exact or self.solver == "cholesky":
            return float(solve_blocks(problem, factors, 0, len(factors), self.n_factors, True))
        # The other solvers start from the current factors, in the basis of the fixed side.
        factors[:] = factors @ rotation
        match self.solver:
            case "cg":
                return float(conjugate_gradients(problem, factors, 0, len(factors), self.cg_steps))
            case "ials++":
                return float(solve_blocks(problem, factors, 0, len(factors), self.block_size, False))
            case _:
                assert_never(self.solver)
