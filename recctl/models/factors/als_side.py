"""What models that alternate between users and items work with: the two sides, and parts of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.linalg

from recctl import engines
from recctl.data.matrix import Float32Array, InteractionMatrix
from recctl.engines import Shared, WorkerPool
from recctl.errors import TrainingError
from recctl.kernels import matmul

# A task is about so many multiplications for each step of a solver, which is what makes it worth handing over. But
# there are two to a side, if it has two rows; and not too many of them, for each makes a Gram matrix: when there are,
# tasks become larger first.
_WORK_PER_TASK, MANY_TASKS, LARGE_TASK = 1 << 22, 64, 1 << 24
# What a product of matrices should take, in multiplications, to be worth a task of its own.
_PRODUCT = 1 << 24
WAY_OUT = "raise reg, lower alpha, or bring ratings to a smaller scale (normalize_ratings)"


class StepInput(NamedTuple):
    """What is known of a side, or of some rows of it.

    Attributes:
        interactions: With the other side, a row each.
        reg: What multiplies the squares of each row's factors, `(n_rows,)`.
    """

    interactions: InteractionMatrix
    reg: Float32Array

    def rows(self, begin: int, end: int) -> StepInput:
        """Some rows, without a copy."""
        matrix = self.interactions
        starts = matrix.starts[begin : end + 1]
        return StepInput(
            InteractionMatrix(starts, matrix.columns, matrix.values, matrix.n_columns), self.reg[begin:end]
        )


class StepResult(NamedTuple):
    """What became of some rows.

    Attributes:
        factors: Theirs; those of the side itself, if they could be changed in place.
        value: What is minimised, summed over them.
        gram: Their part of the Gram matrix, `(n_factors, n_factors)`.
        penalty: Their part of the regularisation.
    """

    factors: Float32Array
    value: float
    gram: Float32Array
    penalty: float


Step = Callable[[StepInput, Float32Array], float]
"""Changes the factors of some rows in place; returns what is minimised, summed over them."""


@dataclass(frozen=True)
class _Work:
    """A step, and what it needs to be done anywhere."""

    given: Shared[StepInput]
    factors: Shared[Float32Array]
    step: Step

    def __call__(self, rows: tuple[int, int]) -> StepResult:
        given = self.given.value.rows(*rows)
        factors = self.factors.value[slice(*rows)]
        if not factors.flags.writeable:
            factors = factors.copy()
        with np.errstate(over="ignore", invalid="ignore"):  # checked where it matters
            return StepResult(factors, self.step(given, factors), *_measured(given.reg, factors))


def _measured(reg: Float32Array, factors: Float32Array) -> tuple[Float32Array, float]:
    """Some rows' part of the Gram matrix, and of the penalty."""
    return factors.T @ factors, float(np.dot(reg, np.einsum("ij,ij->i", factors, factors)))


@dataclass(frozen=True)
class multiply:  # noqa: N801 - a function that can be sent
    """The step that makes factors the product of interactions with the other side's factors."""

    other: Shared[Float32Array]

    def __call__(self, given: StepInput, factors: Float32Array) -> float:
        """Write the product into `factors`; returns 0."""
        matrix = given.interactions
        matmul.sparse_dense(matrix.starts, matrix.columns, matrix.values, self.other.value, factors)
        return 0.0


class Side:
    """The users, or the items: their interactions with the other side, and their factors, worked on in tasks.

    Attributes:
        interactions: A row each.
        factors: `(n_rows, n_factors)`.
        reg: What multiplies the squares of each row's factors, `(n_rows,)`.
        tasks: First row and one past the last of each task; they depend on the data alone.
        values: What is minimised, summed over each task's rows, `(n_tasks,)`.
    """

    def __init__(self, interactions: InteractionMatrix, d: int, reg: Float32Array, workers: WorkerPool) -> None:
        self.interactions, self.reg, self._workers = interactions, reg, workers
        self._given = engines.current().share(StepInput(interactions, reg))
        self.factors = np.empty((interactions.n_rows, d), np.float32)
        self._shared: Shared[Float32Array] | None = None
        work = interactions.starts + np.arange(interactions.n_rows + 1) * (d / 8)
        count = min(interactions.n_rows, n_tasks(float(work[-1]) * d))
        cuts = np.unique(np.searchsorted(work, np.linspace(0, work[-1], count + 1)).clip(0, interactions.n_rows))
        self.tasks = list(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True))
        pieces = max(1, min(MANY_TASKS, interactions.n_rows * d * d // _PRODUCT))
        self._pieces = list(pairwise(np.linspace(0, interactions.n_rows, pieces + 1).astype(int).tolist()))
        self.values = np.zeros(len(self.tasks))
        self._penalties = np.zeros(len(self.tasks))
        self._grams = np.zeros((len(self.tasks), d, d), np.float32)

    @property
    def penalty(self) -> float:
        """The regularisation's part of the objective."""
        return float(self._penalties.sum())

    @penalty.setter
    def penalty(self, value: float) -> None:
        self._penalties *= value / self.penalty if self.penalty else 0

    def do(self, step: Step) -> None:
        """Take a step with all rows, on the engine in use, which gets what the step holds."""
        work = _Work(self._given, self.shared, step)
        for at, done in enumerate(self._workers.map(work, self.tasks)):
            if not np.may_share_memory(done.factors, self.factors):
                self.factors[slice(*self.tasks[at])] = done.factors
            self.values[at], self._grams[at], self._penalties[at] = done[1:]
        self._shared = None

    @property
    def shared(self) -> Shared[Float32Array]:
        """The factors as they are, for tasks to read: sent once, and again when they have changed."""
        if self._shared is None:
            self._shared = engines.current().share(self.factors)
        return self._shared

    def scale(self, factor: np.float32) -> None:
        """Multiply all factors by a number."""
        self.factors *= factor
        self._shared = None
        measured = self._workers.map_here(
            lambda rows: _measured(self.reg[slice(*rows)], self.factors[slice(*rows)]), self.tasks
        )
        for at, (gram, penalty) in enumerate(measured):
            self._grams[at], self._penalties[at] = gram, penalty

    def turn(self, turn: Float32Array) -> None:
        """Multiply all factors by a matrix. Neither the Gram matrix nor the penalty follows."""

        def of_piece(rows: tuple[int, int]) -> None:
            factors = self.factors[slice(*rows)]
            with np.errstate(over="ignore", invalid="ignore"):
                factors[:] = factors @ turn

        self._workers.map_here(of_piece, self._pieces)
        self._shared = None

    def basis(self) -> tuple[Float32Array, Float32Array]:
        """The basis `(n_factors, n_factors)` in which the Gram matrix is diagonal, and its diagonal there."""
        with np.errstate(over="ignore", invalid="ignore"):
            gram = self._grams.sum(axis=0)
        if not np.isfinite(gram).all():
            raise TrainingError(f"als: factors are not finite; {WAY_OUT}")
        spectrum, basis = scipy.linalg.eigh(gram, driver="evd", overwrite_a=True, check_finite=False)
        return np.ascontiguousarray(basis), np.maximum(spectrum, 0)

    def balance(self, fixed: Side) -> float:
        """What to multiply the fixed side's factors by, and divide these by, so that both penalties are equal.

        The sum of both is then the least of all that give the same scores.
        """
        own, other = self.penalty, fixed.penalty
        return (own / other) ** 0.25 if own > 0 and other > 0 else 1.0


def n_tasks(work: float) -> int:
    """Into how many tasks so many multiplications are cut."""
    return max(2, min(MANY_TASKS, int(work / _WORK_PER_TASK)), int(work / LARGE_TASK))
