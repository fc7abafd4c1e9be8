"""Products of a sparse matrix with a dense one, and dot products of pairs of rows."""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import F32, F32_2D, I32, I64, OUT_F32, OUT_F32_2D, VOID, kernel

# Columns of the dense matrix that are processed at a time: the rows that a block of users shares stay in the cache.
_TILE = 512


@kernel(VOID, I64, I32, F32, F32_2D, OUT_F32_2D, fastmath={"contract"})
def sparse_dense(starts, columns, values, dense, out):
    """`out = sparse @ dense`.

    Args:
        starts: Row starts of the sparse matrix.
        columns: Columns of the sparse matrix.
        values: Values of the sparse matrix; empty if all are one.
        dense: The dense matrix, `(n_columns, n)`.
        out: Output, `(n_rows, n)`.
    """
    weighted = len(values) > 0
    n = dense.shape[1]
    for begin in range(0, n, _TILE):
        end = min(begin + _TILE, n)
        width = end - begin
        for row in range(len(starts) - 1):
            # Views, so that indices start at 0: otherwise they might be negative for LLVM, which would not vectorize.
            total = out[row, begin:end]
            for j in range(width):
                total[j] = 0
            p = starts[row]
            last = starts[row + 1]
            # Eight rows of the dense matrix at a time: the row of results is read and written once for all.
            while p + 8 <= last:
                row0 = dense[columns[p], begin:end]
                row1 = dense[columns[p + 1], begin:end]
                row2 = dense[columns[p + 2], begin:end]
                row3 = dense[columns[p + 3], begin:end]
                row4 = dense[columns[p + 4], begin:end]
                row5 = dense[columns[p + 5], begin:end]
                row6 = dense[columns[p + 6], begin:end]
                row7 = dense[columns[p + 7], begin:end]
                value0 = value1 = value2 = value3 = value4 = value5 = value6 = value7 = np.float32(1)
                if weighted:
                    value0 = values[p]
                    value1 = values[p + 1]
                    value2 = values[p + 2]
                    value3 = values[p + 3]
                    value4 = values[p + 4]
                    value5 = values[p + 5]
                    value6 = values[p + 6]
                    value7 = values[p + 7]
                for j in range(width):
                    left = value0 * row0[j] + value1 * row1[j] + value2 * row2[j] + value3 * row3[j]
                    right = value4 * row4[j] + value5 * row5[j] + value6 * row6[j] + value7 * row7[j]
                    total[j] += left + right
                p += 8
            while p < last:
                dense_row = dense[columns[p], begin:end]
                value = values[p] if weighted else np.float32(1)
                for j in range(width):
                    total[j] += value * dense_row[j]
                p += 1


@kernel(VOID, F32_2D, F32_2D, I32, I32, OUT_F32, fastmath={"contract", "reassoc"})
def pair_dots(left, right, left_rows, right_rows, out):
    """`out[p] = left[left_rows[p]] . right[right_rows[p]]`."""
    for p in range(len(out)):
        i = left_rows[p]
        j = right_rows[p]
        total = np.float32(0)
        for k in range(left.shape[1]):
            total += left[i, k] * right[j, k]
        out[p] = total
