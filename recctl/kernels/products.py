"""Products of sparse interactions with dense matrices, and of interactions with themselves."""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import F32, F32_2D, I32, I64, INT, OUT_F32, OUT_F32_2D, VOID, inlined, kernel

# Columns of the dense matrix that are worked on at a time: the rows a block of users shares then stay in the cache.
_TILE = 512
# Both tiles of a mirrored pair fit in the first-level cache.
MIRROR_TILE = 32


@kernel(VOID, I64, I32, F32, F32_2D, OUT_F32_2D, fastmath={"contract"})
def sparse_dense(starts, columns, values, dense, out):
    """`out = sparse @ dense`; empty `values` stand for ones."""
    weighted = len(values) > 0
    n = dense.shape[1]
    for begin in range(0, n, _TILE):
        end = min(begin + _TILE, n)
        width = end - begin
        for row in range(len(starts) - 1):
            # Views, so that indices count from 0: from anywhere else they might be negative, which is no vector code.
            total = out[row, begin:end]
            for j in range(width):
                total[j] = 0
            p = starts[row]
            last = starts[row + 1]
            # Eight at a time: the row of results is read and written once for eight rows of the dense matrix.
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


@kernel(VOID, I64, I32, F32, I64, I32, I64, OUT_F32_2D, INT, INT)
def gram_rows(starts, columns, values, item_starts, item_users, positions, out, begin, end):
    """Rows `begin..end` of the upper triangle of `X.T @ X`, diagonal included.

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


@inlined()
def gram_row(starts, columns, values, item_starts, item_users, item_values, item, out):
    """An item's whole row of `X.T @ X`, each sum in the order of `gram_rows`: the same bits.

    Args:
        starts: Row starts of X, users by items.
        columns: Columns of X.
        values: Values of X; empty for ones.
        item_starts: Row starts of X.T.
        item_users: Columns of X.T, ascending within a row.
        item_values: Values of X.T; empty for ones.
        item: Which row.
        out: For the row, `(n_items,)`.
    """
    out[:] = 0
    weighted = len(values) > 0
    for q in range(item_starts[item], item_starts[item + 1]):
        user = item_users[q]
        if weighted:
            v = item_values[q]
            for p in range(starts[user], starts[user + 1]):
                out[columns[p]] += v * values[p]
        else:
            for p in range(starts[user], starts[user + 1]):
                out[columns[p]] += np.float32(1)


@kernel(VOID, *(I64, I32, F32, I64, I32, F32), I32, OUT_F32_2D)
def gram_rows_of(starts, columns, values, item_starts, item_users, item_values, items, out):
    """Some items' whole rows of `X.T @ X`, `(len(items), n_items)`; see `gram_row`."""
    for i in range(len(items)):
        gram_row(starts, columns, values, item_starts, item_users, item_values, items[i], out[i])


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


@kernel(VOID, F32_2D, F32_2D, I32, I32, OUT_F32, fastmath={"contract", "reassoc"})
def pair_dots(left, right, left_rows, right_rows, out):
    """`out[p] = left[left_rows[p]] . right[right_rows[p]]`."""
    for p in range(len(out)):
        i, j = left_rows[p], right_rows[p]
        total = np.float32(0)
        for k in range(left.shape[1]):
            total += left[i, k] * right[j, k]
        out[p] = total
