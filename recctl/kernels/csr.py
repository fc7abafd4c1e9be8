"""Building and turning sparse matrices by counting sort: linear in the interactions, stable, no comparison."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import BOOL, F32, I32, I64, INT, OUT_F32, OUT_I32, OUT_I64, VOID, kernel

_NO_VALUES = np.empty(0, np.float32)


@kernel(VOID, I32, OUT_I64)
def row_starts(rows, starts):
    """Where each row begins, from the row of each entry; `(n_rows + 1,)`."""
    starts[:] = 0
    for row in rows:
        starts[row + 1] += 1
    for row in range(len(starts) - 1):
        starts[row + 1] += starts[row]


@kernel(VOID, I32, I32, OUT_I64, OUT_I32, OUT_I64, BOOL)
def _scatter(rows, columns, ends, out, positions, with_positions):
    # `ends` holds the row starts on entry and is moved to the row ends.
    for p in range(len(rows)):
        at = ends[rows[p]]
        out[at] = columns[p]
        if with_positions:
            positions[at] = p
        ends[rows[p]] = at + 1


@kernel(VOID, I64, I32, OUT_I64, OUT_I32, OUT_I64)
def _transpose_positions(starts, columns, ends, out, positions):
    for row in range(len(starts) - 1):
        for p in range(starts[row], starts[row + 1]):
            at = ends[columns[p]]
            out[at] = row
            positions[at] = p
            ends[columns[p]] = at + 1


@kernel(VOID, I64, I32, F32, OUT_I64, OUT_I32, OUT_F32)
def _transpose_values(starts, columns, values, ends, out, out_values):
    weighted = len(values) > 0
    for row in range(len(starts) - 1):
        for p in range(starts[row], starts[row + 1]):
            at = ends[columns[p]]
            out[at] = row
            if weighted:
                out_values[at] = values[p]
            ends[columns[p]] = at + 1


@kernel(VOID, I64, I32, F32, I32, OUT_I64, OUT_I32, OUT_F32)
def take_columns(starts, columns, values, codes, out_starts, out, out_values):
    """The entries in the columns with a code that is not negative, coded so; `out` has room for exactly so many."""
    weighted = len(values) > 0
    count = 0
    out_starts[0] = 0
    for row in range(len(starts) - 1):
        for p in range(starts[row], starts[row + 1]):
            code = codes[columns[p]]
            if code >= 0:
                out[count] = code
                if weighted:
                    out_values[count] = values[p]
                count += 1
        out_starts[row + 1] = count


@kernel(VOID, I64, I32, F32, I32, OUT_I64, OUT_I32, OUT_F32)
def take_rows(starts, columns, values, rows, out_starts, out, out_values):
    """The given rows in that order; `out` has room for exactly their entries."""
    weighted = len(values) > 0
    count = 0
    out_starts[0] = 0
    for i in range(len(rows)):
        for p in range(starts[rows[i]], starts[rows[i] + 1]):
            out[count] = columns[p]
            if weighted:
                out_values[count] = values[p]
            count += 1
        out_starts[i + 1] = count


@kernel(INT, I64, I32, I64, I32)
def count_shared(starts, columns, other_starts, other_columns):
    """How many places two matrices of ascending columns have in common."""
    shared = 0
    for row in range(len(starts) - 1):
        p, end = starts[row], starts[row + 1]
        q, other_end = other_starts[row], other_starts[row + 1]
        while p < end and q < other_end:
            a, b = columns[p], other_columns[q]
            shared += a == b
            p += a <= b
            q += b <= a
    return shared


@kernel(INT, OUT_I64, OUT_I32, OUT_I64, BOOL)
def _drop_repeats(starts, columns, positions, with_positions):
    # Rows are sorted, and equal columns stand in the order they came: the last of a run is kept, in place.
    kept = 0
    begin = starts[0]
    for row in range(len(starts) - 1):
        end = starts[row + 1]
        for p in range(begin, end):
            if p + 1 == end or columns[p + 1] != columns[p]:
                columns[kept] = columns[p]
                if with_positions:
                    positions[kept] = positions[p]
                kept += 1
        begin = end
        starts[row + 1] = kept
    return kept


def transpose_with_positions(
    starts: NDArray[np.int64], columns: NDArray[np.int32], n_columns: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    """Row starts, columns and source positions of the transposed matrix; its rows come out sorted."""
    out_starts = np.empty(n_columns + 1, np.int64)
    row_starts(columns, out_starts)
    out = np.empty(len(columns), np.int32)
    positions = np.empty(len(columns), np.int64)
    _transpose_positions(starts, columns, out_starts[:-1].copy(), out, positions)
    return out_starts, out, positions


def transpose(
    starts: NDArray[np.int64], columns: NDArray[np.int32], values: NDArray[np.float32], n_columns: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Row starts, columns and values of the transposed matrix, in less memory than `transpose_with_positions` takes."""
    out_starts = np.empty(n_columns + 1, np.int64)
    row_starts(columns, out_starts)
    out, out_values = np.empty(len(columns), np.int32), np.empty(len(values), np.float32)
    _transpose_values(starts, columns, values, out_starts[:-1].copy(), out, out_values)
    return out_starts, out, out_values


def from_pairs(
    users: NDArray[np.int32], items: NDArray[np.int32], n_users: int, n_items: int, with_positions: bool
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    """Row starts, sorted columns and, if asked, source positions of the matrix of the pairs.

    Two stable counting sorts, by item and then by user. Of equal pairs the last one given is kept.
    """
    n = len(users)
    by_item = np.empty(n_items + 1, np.int64)
    row_starts(items, by_item)
    users_sorted = np.empty(n, np.int32)
    item_positions = np.empty(n if with_positions else 0, np.int64)
    _scatter(items, users, by_item[:-1].copy(), users_sorted, item_positions, with_positions)
    starts = np.empty(n_users + 1, np.int64)
    row_starts(users, starts)
    columns = np.empty(n, np.int32)
    # Transposing the matrix sorted by item gives the matrix sorted by user.
    if with_positions:
        positions = np.empty(n, np.int64)
        _transpose_positions(by_item, users_sorted, starts[:-1].copy(), columns, positions)
        positions = item_positions[positions]
    else:
        positions = item_positions
        _transpose_values(by_item, users_sorted, _NO_VALUES, starts[:-1].copy(), columns, _NO_VALUES.copy())
    kept = _drop_repeats(starts, columns, positions, with_positions)
    return starts, columns[:kept].copy() if kept < n else columns, positions[:kept]
