"""The Gram matrix `X.T @ X` of sparse interactions X (users by items): rows, parts of rows, or the whole matrix."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import (
    F32,
    F32_2D,
    F64_2D,
    I32,
    I64,
    INT,
    OUT_F32,
    OUT_F32_2D,
    OUT_F64_2D,
    OUT_I32,
    OUT_I64,
    OUT_U8_2D,
    U8_2D,
    VOID,
    TupleType,
    inline_llvm,
    kernel,
    outlined,
)
from recctl.kernels.csr import MATRIX_WITH_TRANSPOSE, MatrixWithTranspose

# A tile of `mirror_scaled` and its mirror image together fit in the first-level cache.
MIRROR_TILE = 32
# `_accumulate_row` prefetches the rows of this many users at a time.
_N_PREFETCHED = 16
# int32 columns in a cache line.
_CACHE_LINE = 16
# A byte holds values up to 254; this one marks larger values, which are stored separately.
_OVERFLOW = 255


class GramRows(NamedTuple):
    """The Gram matrix `X.T @ X` (n_items, n_items) in compressed form; `put_row` restores a row.

    Items are ordered by their number of interactions, most first. The first `n_top` items ("top") have whole rows;
    the others ("rest") have only the columns of the top items. The remaining entries, between two rare items, are few
    and are computed when a row is restored. Sums of ones are stored as bytes, with larger values stored separately;
    weighted sums, and small matrices, are stored as float32.

    Attributes:
        top_floats: Rows of the top items, `(n_top, n_items)`; empty if bytes are used.
        rest_floats: Top columns of the other rows, `(n_items - n_top, n_top)`; empty if bytes are used.
        top_bytes: As `top_floats`; 255 for larger values. Empty if floats are used.
        rest_bytes: As `rest_floats`; 255 for larger values. Empty if floats are used.
        large_starts: Where the values above 254 of each item begin, `(n_items + 1,)`. Empty if floats are used.
        large_columns: Columns of these values.
        large_values: These values.
        starts: Row starts of the interactions with the rest, users by these items.
        columns: Their items, counted from the first that is not a top item.
        values: Their weights; empty if all are one.
        item_starts: Row starts of the transpose.
        item_users: Users of the transpose, ascending within a row.
        item_values: Weights of the transpose; empty if all are one.
    """

    top_floats: NDArray[np.float32]
    rest_floats: NDArray[np.float32]
    top_bytes: NDArray[np.uint8]
    rest_bytes: NDArray[np.uint8]
    large_starts: NDArray[np.int64]
    large_columns: NDArray[np.int32]
    large_values: NDArray[np.float32]
    starts: NDArray[np.int64]
    columns: NDArray[np.int32]
    values: NDArray[np.float32]
    item_starts: NDArray[np.int64]
    item_users: NDArray[np.int32]
    item_values: NDArray[np.float32]

    @property
    def n_items(self) -> int:
        """Number of items."""
        return int(max(self.top_floats.shape[1], self.top_bytes.shape[1]))


# The type of `tuple(gram_rows)` as an argument of a kernel.
GRAM_ROWS = TupleType((F32_2D, F32_2D, U8_2D, U8_2D, I64, I32, F32, I64, I32, F32, I64, I32, F32))


@kernel(VOID, I64, I32, F32, I64, I32, I64, OUT_F32_2D, INT, INT)
def upper_rows(starts, columns, values, item_starts, item_users, positions, out, begin, end):
    """Compute rows `begin..end` of the upper triangle, diagonal included.

    Args:
        starts: Row starts of X, users by items.
        columns: Columns of X, ascending within a row.
        values: Values of X; empty if all are one.
        item_starts: Row starts of X.T.
        item_users: Columns of X.T.
        positions: Position in X of each entry of X.T.
        out: Gram matrix, `(n_items, n_items)`; the rows to be computed must be zero.
        begin: First row.
        end: One past the last row.
    """
    weighted = len(values) > 0
    for i in range(begin, end):
        for q in range(item_starts[i], item_starts[i + 1]):
            first = positions[q]
            # The columns of a user are ascending: from `first` on they are the columns j >= i.
            if weighted:
                value = values[first]
                for p in range(first, starts[item_users[q] + 1]):
                    out[i, columns[p]] += value * values[p]
            else:
                for p in range(first, starts[item_users[q] + 1]):
                    out[i, columns[p]] += np.float32(1)


@kernel(VOID, I64, I32, F32, I64, I32, I64, OUT_F64_2D, INT, INT)
def upper_rows_in_double(starts, columns, values, item_starts, item_users, positions, out, begin, end):
    """As `upper_rows`, in float64."""
    weighted = len(values) > 0
    for i in range(begin, end):
        for q in range(item_starts[i], item_starts[i + 1]):
            first = positions[q]
            value = np.float64(values[first]) if weighted else 1.0
            for p in range(first, starts[item_users[q] + 1]):
                out[i, columns[p]] += value * values[p] if weighted else 1.0


@kernel(VOID, I64, I32, F32, F64_2D, OUT_F64_2D)
def multiply(starts, columns, values, vectors, out):
    """`out = X.T @ (X @ vectors)` in float64, without the Gram matrix.

    Args:
        starts: Row starts of X, users by items.
        columns: Columns of X.
        values: Values of X; empty if all are one.
        vectors: The vectors, `(n_items, k)`.
        out: Output, `(n_items, k)`.
    """
    weighted = len(values) > 0
    k = vectors.shape[1]
    scores = np.empty(k)
    out[:] = 0
    for user in range(len(starts) - 1):
        scores[:] = 0
        for p in range(starts[user], starts[user + 1]):
            value = np.float64(values[p]) if weighted else 1.0
            for t in range(k):
                scores[t] += value * vectors[columns[p], t]
        for p in range(starts[user], starts[user + 1]):
            value = np.float64(values[p]) if weighted else 1.0
            for t in range(k):
                out[columns[p], t] += value * scores[t]


@outlined
def _accumulate_row(matrix, item, out):
    """Compute an item's row of the Gram matrix; each sum is added up in the order of `upper_rows`."""
    out[:] = 0
    starts, columns, values, item_starts, item_users, item_values = matrix
    weighted = len(values) > 0
    begins = np.empty(_N_PREFETCHED, np.int64)
    ends = np.empty(_N_PREFETCHED, np.int64)
    last = item_starts[item + 1]
    checksum = 0
    for first in range(item_starts[item], last, _N_PREFETCHED):
        count = min(_N_PREFETCHED, last - first)
        # The rows of different users are far apart in memory. Reading one column of each cache line starts loading
        # them all at once, instead of waiting for one after the other.
        for i in range(count):
            user = item_users[first + i]
            begins[i] = starts[user]
            ends[i] = starts[user + 1]
        for i in range(count):
            for p in range(begins[i], ends[i], _CACHE_LINE):
                checksum += columns[p]
        for i in range(count):
            if weighted:
                value = item_values[first + i]
                for p in range(begins[i], ends[i]):
                    out[columns[p]] += value * values[p]
            else:
                for p in range(begins[i], ends[i]):
                    out[columns[p]] += np.float32(1)
    if checksum < 0:  # never true; without a use of the checksum the compiler would remove the prefetching reads
        out[:] = 0


@kernel(VOID, MATRIX_WITH_TRANSPOSE, I32, INT, OUT_F32_2D)
def float_rows(matrix, order, begin, out):
    """Compute rows of the Gram matrix of reordered items, from row `begin`, as many rows and columns as `out` has.

    Args:
        matrix: X and its transpose.
        order: Item of each row and column of the reordered Gram matrix, `(n_items,)`.
        begin: First row.
        out: Output.
    """
    interactions = MatrixWithTranspose(*matrix)
    row_buffer = np.empty(len(order), np.float32)
    for i in range(out.shape[0]):
        _accumulate_row(interactions, np.int64(order[begin + i]), row_buffer)
        for j in range(out.shape[1]):
            out[i, j] = row_buffer[order[j]]


@kernel(INT, MATRIX_WITH_TRANSPOSE, I32, INT, OUT_U8_2D, OUT_I64, OUT_I32, OUT_F32)
def byte_rows(matrix, order, begin, out, large_ends, large_columns, large_values):
    """As `float_rows` for interactions without values, in bytes; values that do not fit are stored separately.

    Args:
        matrix: X and its transpose, without values.
        order: Item of each row and column of the reordered Gram matrix, `(n_items,)`.
        begin: First row.
        out: Output; 255 for values above 254.
        large_ends: Output: where the large values of each row end, `(len(out),)`.
        large_columns: Output: columns of the values above 254, of the size of `out`.
        large_values: Output: these values, of the size of `out`.

    Returns:
        Number of values above 254.
    """
    interactions = MatrixWithTranspose(*matrix)
    row_buffer = np.empty(len(order), np.float32)
    n_large = 0
    for i in range(out.shape[0]):
        _accumulate_row(interactions, np.int64(order[begin + i]), row_buffer)
        for j in range(out.shape[1]):
            value = row_buffer[order[j]]
            out[i, j] = np.uint8(min(value, np.float32(_OVERFLOW)))
            if value >= _OVERFLOW:
                large_columns[n_large] = j
                large_values[n_large] = value
                n_large += 1
        large_ends[i] = n_large
    return n_large


@inline_llvm()
def n_stored_rows(gram):
    """Number of whole rows that a `GramRows` stores: its first ones."""
    return max(len(gram.top_floats), len(gram.top_bytes))


@outlined
def put_row(gram, item, row_buffer):
    """Restore row `item` of a `GramRows` into `row_buffer`, `(n_items,)`."""
    n_top = n_stored_rows(gram)
    if item < len(gram.top_floats):
        for i in range(len(row_buffer)):
            row_buffer[i] = gram.top_floats[item, i]
        return
    if item < len(gram.top_bytes):
        for i in range(len(row_buffer)):
            row_buffer[i] = gram.top_bytes[item, i]
    else:
        rest = MatrixWithTranspose(
            gram.starts, gram.columns, gram.values, gram.item_starts, gram.item_users, gram.item_values
        )
        _accumulate_row(rest, item - n_top, row_buffer[n_top:])
        if gram.top_bytes.shape[1] == 0:
            for i in range(n_top):
                row_buffer[i] = gram.rest_floats[item - n_top, i]
            return
        for i in range(n_top):
            row_buffer[i] = gram.rest_bytes[item - n_top, i]
    for p in range(gram.large_starts[item], gram.large_starts[item + 1]):
        row_buffer[gram.large_columns[p]] = gram.large_values[p]


@kernel(VOID, OUT_F32_2D, F32, INT, INT)
def mirror_scaled(matrix, scale, begin, end):
    """Complete a symmetric matrix from its upper triangle, scale its columns and clear its diagonal, in place.

    `matrix[i, j] = upper[min(i, j), max(i, j)] * scale[j]` for i != j. Works on square tiles: those on and right of the
    diagonal in tile rows `begin..end` (of `MIRROR_TILE` rows), and their mirror images.

    Args:
        matrix: The matrix, `(n, n)`; its lower triangle is ignored.
        scale: Factor of each column, `(n,)`.
        begin: First row of tiles.
        end: One past the last row of tiles.
    """
    n = matrix.shape[0]
    for row_begin in range(begin * MIRROR_TILE, min(end * MIRROR_TILE, n), MIRROR_TILE):
        row_end = min(row_begin + MIRROR_TILE, n)
        for i in range(row_begin, row_end):
            matrix[i, i] = 0
            for j in range(i + 1, row_end):
                value = matrix[i, j]
                matrix[i, j] = value * scale[j]
                matrix[j, i] = value * scale[i]
        for column_begin in range(row_end, n, MIRROR_TILE):
            column_end = min(column_begin + MIRROR_TILE, n)
            upper = matrix[row_begin:row_end, column_begin:column_end]
            lower = matrix[column_begin:column_end, row_begin:row_end]
            for j in range(column_end - column_begin):
                for i in range(row_end - row_begin):
                    lower[j, i] = upper[i, j] * scale[row_begin + i]
            for i in range(row_end - row_begin):
                for j in range(column_end - column_begin):
                    upper[i, j] *= scale[column_begin + j]
