"""Build and transpose sparse matrices (CSR) by counting sort: linear time, stable, without comparisons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import BOOL, F32, F64, I32, I64, INT, OUT_F32, OUT_I32, OUT_I64, VOID, TupleType, kernel

_NO_VALUES = np.empty(0, np.float32)


class MatrixWithTranspose(NamedTuple):
    """A sparse users-by-items matrix X and its transpose.

    Attributes:
        starts: Row starts of X, `(n_users + 1,)`.
        columns: Columns of X, ascending within a row.
        values: Values of X; empty if all are one.
        item_starts: Row starts of X.T, `(n_items + 1,)`.
        item_users: Columns of X.T, ascending within a row.
        item_values: Values of X.T; empty if all are one.
    """

    starts: NDArray[np.int64]
    columns: NDArray[np.int32]
    values: NDArray[np.float32]
    item_starts: NDArray[np.int64]
    item_users: NDArray[np.int32]
    item_values: NDArray[np.float32]


# The type of `tuple(matrix)` as an argument of a kernel.
MATRIX_WITH_TRANSPOSE = TupleType((I64, I32, F32, I64, I32, F32))


@kernel(VOID, I32, OUT_I64)
def row_starts(rows, starts):
    """Row starts `(n_rows + 1,)` from the row of each entry."""
    starts[:] = 0
    for row in rows:
        starts[row + 1] += 1
    for row in range(len(starts) - 1):
        starts[row + 1] += starts[row]


# The kernels below that fill rows take `cursors`: the next free slot of each row. It holds the row starts on entry and
# the row ends on return.


@kernel(VOID, I32, I32, OUT_I64, OUT_I32, OUT_I64, BOOL)
def _scatter(rows, columns, cursors, out_columns, positions, with_positions):
    for p in range(len(rows)):
        slot = cursors[rows[p]]
        out_columns[slot] = columns[p]
        if with_positions:
            positions[slot] = p
        cursors[rows[p]] = slot + 1


@kernel(VOID, I64, I32, OUT_I64, OUT_I32, OUT_I64)
def _transpose_positions(starts, columns, cursors, out_columns, positions):
    for row in range(len(starts) - 1):
        for p in range(starts[row], starts[row + 1]):
            slot = cursors[columns[p]]
            out_columns[slot] = row
            positions[slot] = p
            cursors[columns[p]] = slot + 1


@kernel(VOID, I64, I32, F32, OUT_I64, OUT_I32, OUT_F32)
def _transpose_values(starts, columns, values, cursors, out_columns, out_values):
    weighted = len(values) > 0
    for row in range(len(starts) - 1):
        for p in range(starts[row], starts[row + 1]):
            slot = cursors[columns[p]]
            out_columns[slot] = row
            if weighted:
                out_values[slot] = values[p]
            cursors[columns[p]] = slot + 1


@kernel(VOID, I64, I32, F32, I32, OUT_I64, OUT_I32, OUT_F32)
def take_columns(starts, columns, values, codes, out_starts, out_columns, out_values):
    """Select and renumber columns.

    Args:
        starts: Row starts, `(n_rows + 1,)`.
        columns: Columns.
        values: Values; empty if all are one.
        codes: New number of each column, negative for columns to drop, `(n_columns,)`.
        out_starts: Row starts of the result, `(n_rows + 1,)`.
        out_columns: Columns of the result, exactly as long as the result has entries.
        out_values: Values of the result; not written if `values` is empty.
    """
    weighted = len(values) > 0
    n_written = 0
    out_starts[0] = 0
    for row in range(len(starts) - 1):
        for p in range(starts[row], starts[row + 1]):
            code = codes[columns[p]]
            if code >= 0:
                out_columns[n_written] = code
                if weighted:
                    out_values[n_written] = values[p]
                n_written += 1
        out_starts[row + 1] = n_written


@kernel(VOID, I64, I32, F32, I32, OUT_I64, OUT_I32, OUT_F32)
def take_rows(starts, columns, values, rows, out_starts, out_columns, out_values):
    """Copy some rows, in the given order.

    Args:
        starts: Row starts, `(n_rows + 1,)`.
        columns: Columns.
        values: Values; empty if all are one.
        rows: Rows to copy; repeats are allowed.
        out_starts: Row starts of the result, `(len(rows) + 1,)`.
        out_columns: Columns of the result, exactly as long as the result has entries.
        out_values: Values of the result; not written if `values` is empty.
    """
    weighted = len(values) > 0
    n_written = 0
    out_starts[0] = 0
    for i in range(len(rows)):
        for p in range(starts[rows[i]], starts[rows[i] + 1]):
            out_columns[n_written] = columns[p]
            if weighted:
                out_values[n_written] = values[p]
            n_written += 1
        out_starts[i + 1] = n_written


@kernel(INT, I64, I32, I64, I32)
def count_shared(starts, columns, other_starts, other_columns):
    """Number of entries that two matrices with ascending columns have in common."""
    n_shared = 0
    for row in range(len(starts) - 1):
        p = starts[row]
        end = starts[row + 1]
        q = other_starts[row]
        other_end = other_starts[row + 1]
        while p < end and q < other_end:
            column = columns[p]
            other_column = other_columns[q]
            n_shared += column == other_column
            p += column <= other_column
            q += other_column <= column
    return n_shared


@kernel(INT, OUT_I64, OUT_I32, OUT_I64, BOOL)
def _drop_duplicates(starts, columns, positions, with_positions):
    # Works in place. Rows are sorted, and duplicates are in input order: the last one of each run is kept.
    n_distinct = 0
    begin = starts[0]
    for row in range(len(starts) - 1):
        end = starts[row + 1]
        for p in range(begin, end):
            if p + 1 == end or columns[p + 1] != columns[p]:
                columns[n_distinct] = columns[p]
                if with_positions:
                    positions[n_distinct] = positions[p]
                n_distinct += 1
        begin = end
        starts[row + 1] = n_distinct
    return n_distinct


@kernel(BOOL, I64, I32)
def _has_duplicates(starts, columns):
    for row in range(len(starts) - 1):
        for p in range(starts[row] + 1, starts[row + 1]):
            if columns[p] == columns[p - 1]:
                return True
    return False


@kernel(VOID, I64, I32, OUT_I64, F64)
def _move_latest_last(starts, columns, positions, times):
    # Of each run of duplicates, the last entry gets the position of the latest one; ties: of the last one.
    for row in range(len(starts) - 1):
        for p in range(starts[row] + 1, starts[row + 1]):
            if columns[p] == columns[p - 1] and times[positions[p - 1]] > times[positions[p]]:
                positions[p] = positions[p - 1]


def transpose_with_positions(
    starts: NDArray[np.int64], columns: NDArray[np.int32], n_columns: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    """Row starts, columns and source positions of the transpose; the columns of each of its rows are ascending."""
    out_starts = np.empty(n_columns + 1, np.int64)
    row_starts(columns, out_starts)
    out_columns = np.empty(len(columns), np.int32)
    positions = np.empty(len(columns), np.int64)
    _transpose_positions(starts, columns, out_starts[:-1].copy(), out_columns, positions)
    return out_starts, out_columns, positions


def transpose(
    starts: NDArray[np.int64], columns: NDArray[np.int32], values: NDArray[np.float32], n_columns: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Row starts, columns and values of the transpose; needs less memory than `transpose_with_positions`."""
    out_starts = np.empty(n_columns + 1, np.int64)
    row_starts(columns, out_starts)
    out_columns = np.empty(len(columns), np.int32)
    out_values = np.empty(len(values), np.float32)
    _transpose_values(starts, columns, values, out_starts[:-1].copy(), out_columns, out_values)
    return out_starts, out_columns, out_values


def from_pairs(
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    n_users: int,
    n_items: int,
    with_positions: bool,
    read_times: Callable[[], NDArray[Any] | None] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    """Build a users-by-items matrix from pairs, by two stable counting sorts: by item, then by user.

    Args:
        users: User of each pair.
        items: Item of each pair.
        n_users: Number of rows.
        n_items: Number of columns.
        with_positions: Whether to return the position of each entry among the pairs.
        read_times: Returns the time of each pair, or None. It is called only if positions are returned and pairs
            repeat.

    Returns:
        Row starts, ascending columns, and positions (empty without `with_positions`). Of equal pairs the latest is
        kept; among equal times, and without times, the last one.
    """
    n_pairs = len(users)
    item_starts = np.empty(n_items + 1, np.int64)
    row_starts(items, item_starts)
    users_by_item = np.empty(n_pairs, np.int32)
    positions = np.empty(n_pairs if with_positions else 0, np.int64)
    _scatter(items, users, item_starts[:-1].copy(), users_by_item, positions, with_positions)

    # The second sort transposes the items-by-users matrix.
    starts = np.empty(n_users + 1, np.int64)
    row_starts(users, starts)
    columns = np.empty(n_pairs, np.int32)
    if with_positions:
        positions_by_item = np.empty(n_pairs, np.int64)
        _transpose_positions(item_starts, users_by_item, starts[:-1].copy(), columns, positions_by_item)
        positions = positions[positions_by_item]
    else:
        _transpose_values(item_starts, users_by_item, _NO_VALUES, starts[:-1].copy(), columns, _NO_VALUES.copy())

    if with_positions and read_times is not None and _has_duplicates(starts, columns):
        times = read_times()
        if times is not None:
            _move_latest_last(starts, columns, positions, times.astype(np.float64, copy=False))
    n_distinct = _drop_duplicates(starts, columns, positions, with_positions)
    if n_distinct < n_pairs:
        columns = columns[:n_distinct].copy()
    return starts, columns, positions[:n_distinct]
