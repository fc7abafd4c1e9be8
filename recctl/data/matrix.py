"""Interactions of users with items as a sparse matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recctl.kernels import csr as kernels

if TYPE_CHECKING:
    import scipy.sparse as sp

Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
Float32Array = NDArray[np.float32]

# The values of a binary matrix.
_NO_VALUES = np.empty(0, np.float32)


@dataclass(frozen=True, eq=False)
class InteractionMatrix:
    """A compressed sparse row (CSR) matrix, users by items, in the layout of the kernels.

    SciPy requires one integer type for both index arrays. Here row starts are always int64, so that int32 does not
    limit the number of interactions, and columns always int32, so that they take half the memory.

    Attributes:
        starts: Row `u` is at `starts[u]:starts[u + 1]`, shape `(n_rows + 1,)`.
        columns: Item codes, ascending within a row unless documented otherwise, shape `(nnz,)`.
        values: Weights, shape `(nnz,)`; empty if every interaction has weight 1.
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
        """The row of each entry, `(nnz,)`; computed at each access."""
        return np.repeat(np.arange(self.n_rows, dtype=np.int32), np.diff(self.starts))

    @property
    def is_binary(self) -> bool:
        """Whether every interaction has weight 1."""
        return not len(self.values)

    @classmethod
    def from_pairs(
        cls,
        users: Int32Array,
        items: Int32Array,
        values: Float32Array | None,
        shape: tuple[int, int],
        read_times: Callable[[], NDArray[Any] | None] | None = None,
    ) -> InteractionMatrix:
        """Build a matrix from one entry per interaction.

        Args:
            users: User codes, `(n,)`.
            items: Item codes, `(n,)`.
            values: Weights, `(n,)`; None for a binary matrix.
            shape: Numbers of users and items.
            read_times: Returns the time of each interaction, `(n,)`, or None. Of repeated pairs the latest counts;
                among equal times, and without times, the last one. It is a function because times are needed only if
                pairs repeat.
        """
        n_rows, n_columns = shape
        starts, columns, kept = kernels.from_pairs(users, items, n_rows, n_columns, values is not None, read_times)
        return cls(starts, columns, _NO_VALUES if values is None else values[kept], n_columns)

    @classmethod
    def from_rows(cls, rows: list[Int32Array], n_columns: int) -> InteractionMatrix:
        """Build a binary matrix from the item codes of each row; codes keep their order."""
        starts = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=starts[1:])
        columns = np.concatenate(rows).astype(np.int32) if rows else np.empty(0, np.int32)
        return cls(starts, columns, _NO_VALUES, n_columns)

    def take(self, rows: Int32Array) -> InteractionMatrix:
        """Select rows, in the given order."""
        # The kernels write into arrays of the caller, so that they allocate nothing.
        rows = np.ascontiguousarray(rows, np.int32)
        n_entries = int((self.starts[rows + 1] - self.starts[rows]).sum())
        starts = np.empty(len(rows) + 1, np.int64)
        columns = np.empty(n_entries, np.int32)
        values = np.empty(0 if self.is_binary else n_entries, np.float32)
        kernels.take_rows(self.starts, self.columns, self.values, rows, starts, columns, values)
        return InteractionMatrix(starts, columns, values, self.n_columns)

    def take_columns(self, columns: Int32Array) -> InteractionMatrix:
        """Select distinct columns; they are numbered in the given order, and entries keep their order within a row."""
        new_codes = np.full(self.n_columns, -1, np.int32)
        new_codes[columns] = np.arange(len(columns))
        n_entries = int(self.column_counts()[columns].sum())
        starts = np.empty(self.n_rows + 1, np.int64)
        new_columns = np.empty(n_entries, np.int32)
        values = np.empty(0 if self.is_binary else n_entries, np.float32)
        kernels.take_columns(self.starts, self.columns, self.values, new_codes, starts, new_columns, values)
        return InteractionMatrix(starts, new_columns, values, len(columns))

    def transpose_with_positions(self) -> tuple[InteractionMatrix, Int64Array]:
        """Items by users, and the position in this matrix of each of its entries, `(nnz,)`."""
        starts, columns, positions = kernels.transpose_with_positions(self.starts, self.columns, self.n_columns)
        values = self.values if self.is_binary else self.values[positions]
        return InteractionMatrix(starts, columns, values, self.n_rows), positions

    def transpose(self) -> InteractionMatrix:
        """Items by users; takes half the memory of `transpose_with_positions`."""
        starts, columns, values = kernels.transpose(self.starts, self.columns, self.values, self.n_columns)
        return InteractionMatrix(starts, columns, values, self.n_rows)

    def n_shared(self, other: InteractionMatrix) -> int:
        """Number of entries at the same positions of two matrices with ascending columns."""
        n_shared: int = kernels.count_shared(self.starts, self.columns, other.starts, other.columns)
        return n_shared

    def column_counts(self) -> Int64Array:
        """Number of interactions of each item, shape `(n_columns,)`."""
        starts = np.empty(self.n_columns + 1, np.int64)
        kernels.row_starts(self.columns, starts)
        return np.diff(starts)

    def to_scipy(self) -> sp.csr_array:
        """The matrix for SciPy, with float32 values."""
        import scipy.sparse as sp

        values = np.ones(self.nnz, np.float32) if self.is_binary else self.values
        return sp.csr_array((values, self.columns, self.starts), shape=(self.n_rows, self.n_columns))
