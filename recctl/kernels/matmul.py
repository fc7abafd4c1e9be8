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
            # Eight rows of the dense matrix (a to h) at a time: the row of results is read and written once for all.
            while p + 8 <= last:
                a, b = dense[columns[p], begin:end], dense[columns[p + 1], begin:end]
                c, d = dense[columns[p + 2], begin:end], dense[columns[p + 3], begin:end]
                e, f = dense[columns[p + 4], begin:end], dense[columns[p + 5], begin:end]
                g, h = dense[columns[p + 6], begin:end], dense[columns[p + 7], begin:end]
                va = vb = vc = vd = ve = vf = vg = vh = np.float32(1)
                if weighted:
                    va, vb, vc, vd = values[p], values[p + 1], values[p + 2], values[p + 3]
                    ve, vf, vg, vh = values[p + 4], values[p + 5], values[p + 6], values[p + 7]
                for j in range(width):
                    left = va * a[j] + vb * b[j] + vc * c[j] + vd * d[j]
                    right = ve * e[j] + vf * f[j] + vg * g[j] + vh * h[j]
                    total[j] += left + right
                p += 8
            while p < last:
                a = dense[columns[p], begin:end]
                va = values[p] if weighted else np.float32(1)
                for j in range(width):
                    total[j] += va * a[j]
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
