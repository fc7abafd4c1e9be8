"""The Gram matrix `X.T @ X` of sparse interactions X, users by items: of its rows some, parts of some, or all."""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import (
    F32,
    I32,
    I64,
    INT,
    OUT_F32,
    OUT_F32_2D,
    OUT_I32,
    OUT_I64,
    OUT_U8_2D,
    VOID,
    inline_llvm,
    kernel,
    outlined,
)

# Both tiles of a mirrored pair fit in the first-level cache.
MIRROR_TILE = 32
# So many users are looked up at a time; so many columns are in a line of the cache.
_AHEAD, _LINE = 16, 16
# In a byte this stands for all that is larger; what it is stands elsewhere.
_MORE = 255


@kernel(VOID, I64, I32, F32, I64, I32, I64, OUT_F32_2D, INT, INT)
def upper_rows(starts, columns, values, item_starts, item_users, positions, out, begin, end):
    """Rows `begin..end` of the upper triangle, diagonal included.

    Args:
        starts: Row starts of X, users by items.
        columns: Columns of X, ascending within a row.
        values: Values of X; empty for ones.
        item_starts: Row starts of X.T.
        item_users: Columns of X.T.
        positions: Where in X each entry of X.T stands.
        out: The Gram matrix, zero in the rows to be filled.
        begin: First row.
        end: One past the last row.
    """
    weighted = len(values) > 0
    for i in range(begin, end):
        for q in range(item_starts[i], item_starts[i + 1]):
            here = positions[q]
            # Row entries are sorted: those from here on are the columns j >= i.
            if weighted:
                v = values[here]
                for p in range(here, starts[item_users[q] + 1]):
                    out[i, columns[p]] += v * values[p]
            else:
                for p in range(here, starts[item_users[q] + 1]):
                    out[i, columns[p]] += np.float32(1)


@outlined
def _add_up(starts, columns, values, item_starts, item_users, item_values, item, out):
    """An item's row, each sum in the order of `upper_rows`."""
    out[:] = 0
    weighted = len(values) > 0
    begins, ends = np.empty(_AHEAD, np.int64), np.empty(_AHEAD, np.int64)
    last = item_starts[item + 1]
    read = 0
    for first in range(item_starts[item], last, _AHEAD):
        count = min(_AHEAD, last - first)
        # Users' rows lie far apart. Touched together, they are on their way at once, and not waited for one by one.
        for i in range(count):
            user = item_users[first + i]
            begins[i], ends[i] = starts[user], starts[user + 1]
        for i in range(count):
            for p in range(begins[i], ends[i], _LINE):
                read += columns[p]
        for i in range(count):
            if weighted:
                v = item_values[first + i]
                for p in range(begins[i], ends[i]):
                    out[columns[p]] += v * values[p]
            else:
                for p in range(begins[i], ends[i]):
                    out[columns[p]] += np.float32(1)
    if read < 0:  # never: keeps the compiler from leaving the touching out
        out[:] = 0


@kernel(VOID, *(I64, I32, F32, I64, I32, F32), I32, INT, OUT_F32_2D)
def float_rows(starts, columns, values, item_starts, item_users, item_values, order, begin, out):
    """Of the Gram matrix with rows and columns in some order as many rows from `begin` on, and columns, as `out` has.

    Args:
        starts: Row starts of X, users by items.
        columns: Columns of X.
        values: Values of X; empty for ones.
        item_starts: Row starts of X.T.
        item_users: Columns of X.T, ascending within a row.
        item_values: Values of X.T; empty for ones.
        order: Which item each row and column is of.
        begin: First row.
        out: For the rows.
    """
    made = np.empty(len(order), np.float32)
    for i in range(out.shape[0]):
        _add_up(starts, columns, values, item_starts, item_users, item_values, np.int64(order[begin + i]), made)
        for j in range(out.shape[1]):
            out[i, j] = made[order[j]]


@kernel(INT, *(I64, I32, F32, I64, I32, F32), I32, INT, OUT_U8_2D, OUT_I64, OUT_I32, OUT_F32)
def byte_rows(
    starts, columns, values, item_starts, item_users, item_values, order, begin, out, ends, large_columns, large
):  # fmt: skip
    """As `float_rows`, of ones: in bytes, and apart from them the values that no byte can hold.

    Args:
        starts: As there, and so on.
        columns: As there.
        values: Empty.
        item_starts: As there.
        item_users: As there.
        item_values: Empty.
        order: As there.
        begin: As there.
        out: For the rows; 255 stands for all that is larger.
        ends: For where each row's large values end.
        large_columns: For the columns of values above 254, with room for as many as `out` has.
        large: For these values.

    Returns:
        How many are that large.
    """
    made = np.empty(len(order), np.float32)
    count = 0
    for i in range(out.shape[0]):
        _add_up(starts, columns, values, item_starts, item_users, item_values, np.int64(order[begin + i]), made)
        for j in range(out.shape[1]):
            value = made[order[j]]
            out[i, j] = np.uint8(min(value, np.float32(_MORE)))
            if value >= _MORE:
                large_columns[count] = j
                large[count] = value
                count += 1
        ends[i] = count
    return count


@inline_llvm()
def n_kept(gram):
    """How many rows, from the first on, are kept."""
    return max(len(gram[0]), len(gram[2]))


@outlined
def put_row(gram, item, made):
    """Put a row into `made`, from what is kept of it; for the fields of `gram` see `GramRows`."""
    (
        floats, float_parts, bytes_, byte_parts, large_starts, large_columns, large,
        starts, columns, values, item_starts, item_users, item_values,
    ) = gram  # fmt: skip
    n_top = n_kept(gram)
    if item < len(floats):
        for i in range(len(made)):
            made[i] = floats[item, i]
        return
    if item < len(bytes_):
        for i in range(len(made)):
            made[i] = bytes_[item, i]
    else:
        _add_up(starts, columns, values, item_starts, item_users, item_values, item - n_top, made[n_top:])
        if bytes_.shape[1] == 0:
            for i in range(n_top):
                made[i] = float_parts[item - n_top, i]
            return
        for i in range(n_top):
            made[i] = byte_parts[item - n_top, i]
    for p in range(large_starts[item], large_starts[item + 1]):
        made[large_columns[p]] = large[p]


@kernel(VOID, OUT_F32_2D, F32, INT, INT)
def mirror_scaled(matrix, scale, begin, end):
    """Make a symmetric matrix that is given by its upper triangle whole, and scale its columns.

    `matrix[i, j] = upper[min(i, j), max(i, j)] * scale[j]`, and zero on the diagonal. Works in place on square tiles:
    those on and right of the diagonal in tile rows `begin..end` (of `MIRROR_TILE` rows), and their mirror images.
    """
    n = matrix.shape[0]
    for r0 in range(begin * MIRROR_TILE, min(end * MIRROR_TILE, n), MIRROR_TILE):
        r1 = min(r0 + MIRROR_TILE, n)
        for i in range(r0, r1):
            matrix[i, i] = 0
            for j in range(i + 1, r1):
                x = matrix[i, j]
                matrix[i, j] = x * scale[j]
                matrix[j, i] = x * scale[i]
        for c0 in range(r1, n, MIRROR_TILE):
            c1 = min(c0 + MIRROR_TILE, n)
            upper, lower = matrix[r0:r1, c0:c1], matrix[c0:c1, r0:r1]
            for j in range(c1 - c0):
                for i in range(r1 - r0):
                    lower[j, i] = upper[i, j] * scale[r0 + i]
            for i in range(r1 - r0):
                for j in range(c1 - c0):
                    upper[i, j] *= scale[c0 + j]
