"""What models that alternate between users and items work with: the two sides, and phases of tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from threading import Semaphore
from typing import Any

import numpy as np
import scipy.linalg

from recctl.data.matrix import Float32Array, InteractionMatrix
from recctl.engines import map_threads
from recctl.errors import TrainingError
from recctl.kernels import products

Phases = Iterator[list[Callable[[], None]]]

# A task is about so many multiplications for each step of a solver, which is what makes it worth handing over. But
# there are two to a side, if it has two rows; and not too many, for each keeps a Gram matrix.
_WORK_PER_TASK, MOST_TASKS = 1 << 22, 64
# What a product of matrices should take, in multiplications, to be worth a task of its own.
_PRODUCT = 1 << 24
WAY_OUT = "raise reg, lower alpha, or bring ratings to a smaller scale (normalize_ratings)"


class Side:
    """The users, or the items: their interactions with the other side, and their factors, worked on in tasks.

    Attributes:
        interactions: A row each.
        factors: `(n_rows, n_factors)`.
        reg: What multiplies the squares of each row's factors, `(n_rows,)`.
        tasks: First row and one past the last of each task; they depend on the data alone.
        values: What is minimised, summed over each task's rows, `(n_tasks,)`.
    """

    def __init__(self, interactions: InteractionMatrix, d: int, reg: Float32Array) -> None:
        self.interactions, self.reg = interactions, reg
        self.factors = np.empty((interactions.n_rows, d), np.float32)
        work = interactions.starts + np.arange(interactions.n_rows + 1) * (d / 8)
        count = min(interactions.n_rows, MOST_TASKS, max(2, int(work[-1] * d / _WORK_PER_TASK)))
        cuts = np.unique(np.searchsorted(work, np.linspace(0, work[-1], count + 1)).clip(0, interactions.n_rows))
        self.tasks = list(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True))
        pieces = max(1, min(MOST_TASKS, interactions.n_rows * d * d // _PRODUCT))
        self._pieces = np.linspace(0, interactions.n_rows, pieces + 1).astype(int).tolist()
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

    def each(self, function: Callable[..., None], *arguments: Any) -> list[Callable[[], None]]:
        """A call for each task, with its number first."""
        return [partial(function, at, *arguments) for at in range(len(self.tasks))]

    def multiply(self, at: int, other: Side) -> None:
        """Make a task's factors the product of its interactions with the other side's factors."""
        (begin, end), matrix = self.tasks[at], self.interactions
        out = self.factors[begin:end]
        products.sparse_dense(matrix.starts[begin : end + 1], matrix.columns, matrix.values, other.factors, out)

    def measure(self, at: int) -> None:
        """Take a task's part of the Gram matrix and of the penalty."""
        rows = slice(*self.tasks[at])
        factors = self.factors[rows]
        np.matmul(factors.T, factors, out=self._grams[at])
        self._penalties[at] = np.dot(self.reg[rows], np.einsum("ij,ij->i", factors, factors))

    def turn(self, at: int, turn: Float32Array) -> None:
        """Multiply a task's factors by a matrix."""
        self._turn(*self.tasks[at], turn)

    def turn_all(self, turn: Float32Array) -> list[Callable[[], None]]:
        """Multiply all factors by a matrix: the calls that do it."""
        return [partial(self._turn, begin, end, turn) for begin, end in pairwise(self._pieces)]

    def _turn(self, begin: int, end: int, turn: Float32Array) -> None:
        self.factors[begin:end] = self.factors[begin:end] @ turn

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


def in_phases(phases: Phases) -> None:
    """Do the tasks of each phase on all threads; a phase is asked for when all tasks of the one before are done.

    A task that is alone is done at once.

    One pool serves all of them: a fit has many phases of a millisecond, which is what making a pool takes.
    """
    done = Semaphore(0)
    failed = False

    def tasks() -> Iterator[Callable[[], None]]:
        for phase in phases:
            if len(phase) == 1:
                phase[0]()
                continue
            yield from phase
            for _ in phase:
                done.acquire()
            if failed:  # the map raises it
                return

    def run(task: Callable[[], None]) -> None:
        nonlocal failed
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # checked where it matters
                task()
        except BaseException:
            failed = True
            raise
        finally:
            done.release()

    for _ in map_threads(run, tasks()):
        pass
