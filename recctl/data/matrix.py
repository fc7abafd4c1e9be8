"""The interactions of users with items as rows of a sparse matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recctl.kernels import csr as kernels

if TYPE_CHECKING:
    import scipy.sparse as sp

Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
Float32Array = NDArray[np.float32]

_NO_VALUES = np.empty(0, np.float32)


@dataclass(frozen=True, eq=False)
class InteractionMatrix:
    """A compressed sparse row matrix, users by items, as the kernels take it.

    SciPy wants one integer type for both index arrays; here row starts are always int64, so that the number of
    interactions is not bounded by int32, and columns always int32, so that they take half the space.

    Attributes:
        starts: Row `u` lies at `starts[u]:starts[u + 1]`, shape `(n_rows + 1,)`.
        columns: Item codes, ascending within a row unless said otherwise, shape `(nnz,)`.
        values: Weights, shape `(nnz,)`; empty when every interaction weighs 1.
        n_columns: Number of items.
    """

    starts: Int64Array
    columns: Int32Array
    values: Float32Array
    n_columns: int

    @property
    def n_rows(self) -> int:
        """Number of users."""
        return len(self.starts) - 1

    @property
    def nnz(self) -> int:
        """Number of stored interactions."""
        return len(self.columns)

    @property
    def rows(self) -> Int32Array:
        """The row of each entry, `(nnz,)`; made at each call."""
        return np.repeat(np.arange(self.n_rows, dtype=np.int32), np.diff(self.starts))

    @property
    def is_binary(self) -> bool:
        """Whether every interaction weighs 1."""
        return not len(self.values)

    @classmethod
    def from_pairs(
        cls,
        users: Int32Array,
        items: Int32Array,
        values: Float32Array | None,
        shape: tuple[int, int],
    ) -> InteractionMatrix:
        """Build from one entry per interaction; of equal pairs the last one counts."""
        starts, columns, kept = kernels.from_pairs(users, items, shape[0], shape[1], values is not None)
        return cls(starts, columns, _NO_VALUES if values is None else values[kept], shape[1])

    @classmethod
    def from_rows(cls, rows: list[Int32Array], n_columns: int) -> InteractionMatrix:
        """Build a binary matrix from the item codes of each row, in the order given."""
        starts = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=starts[1:])
        columns = np.concatenate(rows).astype(np.int32) if rows else np.empty(0, np.int32)
        return cls(starts, columns, _NO_VALUES, n_columns)

    def take(self, rows: Int32Array) -> InteractionMatrix:
        """The given rows, in that order."""
        rows = np.ascontiguousarray(rows, np.int32)
        count = int((self.starts[rows + 1] - self.starts[rows]).sum())
        starts, columns = np.empty(len(rows) + 1, np.int64), np.empty(count, np.int32)
        values = np.empty(0 if self.is_binary else count, np.float32)
        kernels.take_rows(self.starts, self.columns, self.values, rows, starts, columns, values)
        return InteractionMatrix(starts, columns, values, self.n_columns)

    def take_columns(self, columns: Int32Array) -> InteractionMatrix:
        """The given columns, in that order, none of them twice; within a row they stand as they did."""
        codes = np.full(self.n_columns, -1, np.int32)
        codes[columns] = np.arange(len(columns))
        count = int(self.column_counts()[columns].sum())
        starts, taken = np.empty(self.n_rows + 1, np.int64), np.empty(count, np.int32)
        values = np.empty(0 if self.is_binary else count, np.float32)
        kernels.take_columns(self.starts, self.columns, self.values, codes, starts, taken, values)
        return InteractionMatrix(starts, taken, values, len(columns))

    def transpose_with_positions(self) -> tuple[InteractionMatrix, Int64Array]:
        """Items by users, and for each of its entries the position of the same entry here."""
        starts, columns, positions = kernels.transpose_with_positions(self.starts, self.columns, self.n_columns)
        values = self.values if self.is_binary else self.values[positions]
        return InteractionMatrix(starts, columns, values, self.n_rows), positions

    def transpose(self) -> InteractionMatrix:
        """Items by users, in half the room of `transpose_with_positions`."""
        return InteractionMatrix(
            *kernels.transpose(self.starts, self.columns, self.values, self.n_columns), self.n_rows
        )

    def n_shared(self, other: InteractionMatrix) -> int:
        """How many entries two matrices of one shape have at the same places; columns must ascend in both."""
        shared: int = kernels.count_shared(self.starts, self.columns, other.starts, other.columns)
        return shared

    def column_counts(self) -> Int64Array:
        """How many interactions each item has, shape `(n_columns,)`."""
        starts = np.empty(self.n_columns + 1, np.int64)
        kernels.row_starts(self.columns, starts)
        return np.diff(starts)

    def to_scipy(self) -> sp.csr_array:
        """The same matrix for SciPy, values float32."""
        import scipy.sparse as sp

        values = np.ones(self.nnz, np.float32) if self.is_binary else self.values
        return sp.csr_array((values, self.columns, self.starts), shape=(self.n_rows, self.n_columns))
