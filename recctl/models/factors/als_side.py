"""The sides of a model that alternates between users and items: factors that are updated in parallel tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from recctl import engines
from recctl.data.matrix import Float32Array, InteractionMatrix
from recctl.engines import Shared, WorkerPool
from recctl.errors import TrainingError
from recctl.kernels import matmul

Float64Array = NDArray[np.float64]

# The multiplications of a task in each step of a solver: enough to pay for handing it over.
_WORK_PER_TASK = 1 << 22
# Beyond this number of tasks they become larger instead, up to LARGE_TASK multiplications: each makes a Gram matrix.
MANY_TASKS = 64
LARGE_TASK = 1 << 24
# With a smaller regularization relative to the Gram matrix, rounding in float32 would change the system.
_LEAST_REG = 1e-5
# The multiplications of a matrix product that make it worth a task of its own.
_WORK_PER_PRODUCT = 1 << 24
HINT = "raise reg, lower alpha, or scale ratings down (normalize_ratings)"


class StepInput(NamedTuple):
    """The data of a side, or of some of its rows.

    Attributes:
        interactions: A row for each user or item of this side.
        reg: The regularization of each row, `(n_rows,)`.
    """

    interactions: InteractionMatrix
    reg: Float32Array

    def rows(self, begin: int, end: int) -> StepInput:
        """The data of rows `begin` to `end - 1`, without a copy."""
        matrix = self.interactions
        starts = matrix.starts[begin : end + 1]
        rows = InteractionMatrix(starts, matrix.columns, matrix.values, matrix.n_columns)
        return StepInput(rows, self.reg[begin:end])


class StepResult(NamedTuple):
    """The result of a step for some rows.

    Attributes:
        factors: The new factors, `(n_rows, n_factors)`; those of the side itself if they were changed in place.
        value: The sum of the objective over the rows.
        gram: The Gram matrix of the rows, `(n_factors, n_factors)`.
        penalty: The regularization term of the rows.
    """

    factors: Float32Array
    value: float
    gram: Float32Array
    penalty: float


Step = Callable[[StepInput, Float32Array], float]
"""Changes the factors of some rows in place, and returns the sum of the objective over them."""


@dataclass(frozen=True)
class _Task:
    """Runs a step on some rows, in this process or in a worker."""

    data: Shared[StepInput]
    factors: Shared[Float32Array]
    step: Step

    def __call__(self, rows: tuple[int, int]) -> StepResult:
        data = self.data.value.rows(*rows)
        factors = self.factors.value[slice(*rows)]
        if not factors.flags.writeable:
            factors = factors.copy()
        # Overflow is no error here: `SideData.basis` and the caller check that the results are finite.
        with np.errstate(over="ignore", invalid="ignore"):
            value = self.step(data, factors)
            gram, penalty = _gram_and_penalty(data.reg, factors)
        return StepResult(factors, value, gram, penalty)


def _gram_and_penalty(reg: Float32Array, factors: Float32Array) -> tuple[Float32Array, float]:
    """The Gram matrix and the regularization term of some rows."""
    squared_norms = np.einsum("ij,ij->i", factors, factors)
    return factors.T @ factors, float(np.dot(reg, squared_norms))


@dataclass(frozen=True)
class MultiplyStep:
    """The step that sets factors to the product of the interactions with the factors of the other side.

    A class, not a closure: steps are sent to workers.
    """

    other: Shared[Float32Array]

    def __call__(self, data: StepInput, factors: Float32Array) -> float:
        """Write the product into `factors`, and return 0."""
        matrix = data.interactions
        matmul.sparse_dense(matrix.starts, matrix.columns, matrix.values, self.other.value, factors)
        return 0.0


class SideData:
    """One side, users or items: its interactions with the other side and its factors, updated in parallel tasks.

    Attributes:
        interactions: A row for each user or item of this side.
        factors: The factors, `(n_rows, n_factors)`; not initialized.
        reg: The regularization of each row, `(n_rows,)`.
        tasks: The first row of each task, and one past its last. They depend on the data only, so that the result does
            not depend on the number of threads.
        values: The sum of the objective over the rows of each task, `(n_tasks,)`.
    """

    def __init__(self, interactions: InteractionMatrix, n_factors: int, reg: Float32Array, workers: WorkerPool) -> None:
        self.interactions = interactions
        self.reg = reg
        self._workers = workers
        self._data = engines.current().share(StepInput(interactions, reg))
        self.factors = np.empty((interactions.n_rows, n_factors), np.float32)
        self._shared: Shared[Float32Array] | None = None
        self.tasks = _tasks(interactions, n_factors)
        self._rotation_tasks = _rotation_tasks(interactions.n_rows, n_factors)
        self.values = np.zeros(len(self.tasks))
        self._penalties = np.zeros(len(self.tasks))
        self._grams = np.zeros((len(self.tasks), n_factors, n_factors), np.float32)

    @property
    def penalty(self) -> float:
        """The regularization term of the objective."""
        return float(self._penalties.sum())

    @penalty.setter
    def penalty(self, value: float) -> None:
        self._penalties *= value / self.penalty if self.penalty else 0

    def run_step(self, step: Step) -> None:
        """Run a step on all rows, with the engine in use."""
        task = _Task(self._data, self.shared, step)
        for index, result in enumerate(self._workers.map(task, self.tasks)):
            if not np.may_share_memory(result.factors, self.factors):
                self.factors[slice(*self.tasks[index])] = result.factors
            self.values[index] = result.value
            self._grams[index] = result.gram
            self._penalties[index] = result.penalty
        self._shared = None

    @property
    def shared(self) -> Shared[Float32Array]:
        """The current factors for tasks to read. They are sent to workers once after each change."""
        if self._shared is None:
            self._shared = engines.current().share(self.factors)
        return self._shared

    def scale(self, factor: np.float32) -> None:
        """Multiply all factors by a number."""
        self.factors *= factor
        self._shared = None
        # On this machine, whatever the engine: sending the factors would take longer than the products.
        results = self._workers.map_here(
            lambda rows: _gram_and_penalty(self.reg[slice(*rows)], self.factors[slice(*rows)]), self.tasks
        )
        for index, (gram, penalty) in enumerate(results):
            self._grams[index] = gram
            self._penalties[index] = penalty

    def rotate(self, matrix: Float32Array | Float64Array) -> None:
        """Multiply all factors by a matrix, `(n_factors, n_factors)`, in its precision.

        Gram matrix and penalty are not updated.
        """

        def rotate_rows(rows: tuple[int, int]) -> None:
            factors = self.factors[slice(*rows)]
            with np.errstate(over="ignore", invalid="ignore"):
                factors[:] = factors @ matrix

        self._workers.map_here(rotate_rows, self._rotation_tasks)
        self._shared = None

    def basis(self, least_reg: float = np.inf) -> tuple[Float32Array | Float64Array, Float32Array | Float64Array]:
        """The orthonormal basis in which the Gram matrix of the factors is diagonal.

        Args:
            least_reg: The smallest number that is added to the diagonal. If float32 is too imprecise for it, the Gram
                matrix and the result are in float64.

        Returns:
            The basis, `(n_factors, n_factors)`, and the diagonal in it, `(n_factors,)`, ascending.

        Raises:
            TrainingError: The factors are not finite.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            gram = self._grams.sum(axis=0)
        if not np.isfinite(gram).all():
            raise TrainingError(f"als: factors are not finite; {HINT}")
        # The trace is at least the largest eigenvalue, which rounding errors are relative to.
        if least_reg < _LEAST_REG * np.trace(gram):
            gram = self._gram_in_double()
        spectrum, basis = scipy.linalg.eigh(gram, driver="evd", overwrite_a=True, check_finite=False)
        return np.ascontiguousarray(basis), np.maximum(spectrum, 0)

    def _gram_in_double(self) -> Float64Array:
        def gram_of_rows(rows: tuple[int, int]) -> Float64Array:
            factors = self.factors[slice(*rows)].astype(np.float64)
            return factors.T @ factors

        grams = self._workers.map_here(gram_of_rows, self.tasks)
        gram: Float64Array = np.sum(list(grams), axis=0)
        return gram

    def balancing_factor(self, fixed: SideData) -> float:
        """What to multiply the factors of the fixed side by, and divide these by, to make both penalties equal.

        Of all factors with the same scores, these have the smallest sum of penalties.
        """
        penalty = self.penalty
        fixed_penalty = fixed.penalty
        if penalty <= 0 or fixed_penalty <= 0:
            return 1.0
        # Scaling one side by s and the other by 1 / s multiplies the penalties by s^2 and 1 / s^2, which makes p and q
        # equal for s = (p / q)^(1/4).
        return float((penalty / fixed_penalty) ** 0.25)


def n_tasks(work: float) -> int:
    """The number of tasks for a number of multiplications, at least 2."""
    return max(2, min(MANY_TASKS, int(work / _WORK_PER_TASK)), int(work / LARGE_TASK))


def _tasks(interactions: InteractionMatrix, n_factors: int) -> list[tuple[int, int]]:
    """Consecutive rows of about equal work: the first row of each task, and one past its last."""
    # A row costs as much as n_factors / 8 interactions.
    work = interactions.starts + np.arange(interactions.n_rows + 1) * (n_factors / 8)
    count = min(interactions.n_rows, n_tasks(float(work[-1]) * n_factors))
    # By work and not by rows: users differ in their interactions by orders of magnitude.
    equal_shares = np.linspace(0, work[-1], count + 1)
    bounds = np.unique(np.searchsorted(work, equal_shares).clip(0, interactions.n_rows))
    return list(pairwise(bounds.tolist()))


def _rotation_tasks(n_rows: int, n_factors: int) -> list[tuple[int, int]]:
    """Consecutive rows for the product of the factors with a matrix."""
    count = max(1, min(MANY_TASKS, n_rows * n_factors * n_factors // _WORK_PER_PRODUCT))
    bounds = np.linspace(0, n_rows, count + 1).astype(int)
    return list(pairwise(bounds.tolist()))
