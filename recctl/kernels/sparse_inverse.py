"""A sparse triangular factor of the inverse of `X.T @ X + l2 I`, a row at a time; and products with it."""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import (
    F32,
    F32_2D,
    F64,
    I32,
    I32_2D,
    I64,
    INT,
    OUT_F32,
    OUT_F32_2D,
    OUT_I32_2D,
    OUT_I64,
    VOID,
    kernel,
    outlined,
)
from recctl.kernels.neighbours import offer, put_in_order

# Below this part of its diagonal a pivot is rounding, or what leaving entries out did.
_LEAST_PIVOT = 1e-4
# Rows that are scored side by side.
_LANES = 64


@kernel(VOID, I64, I32, F32, I64, I32, F32, F32, INT, OUT_I32_2D, OUT_F32_2D, OUT_I64)
def before(starts, columns, values, item_starts, item_users, item_values, norms, begin, items, dots, found):
    """The entries `G[i, j]`, `j < i`, of the Gram matrix `X.T @ X` with the largest `|G[i, j]| / norms[j]`.

    Args:
        starts: Row starts of X, users by items.
        columns: Columns of X, ascending within a row.
        values: Values of X; empty for ones.
        item_starts: Row starts of X.T.
        item_users: Columns of X.T.
        item_values: Values of X.T; empty for ones.
        norms: Each item's norm, above 0.
        begin: The first `i`.
        items: For the `j`, the largest first, `(n, n_kept)`.
        dots: For the entries, `(n, n_kept)`.
        found: For how many there are, `(n,)`.
    """
    weighted = len(values) > 0
    n_kept = items.shape[1]
    sums = np.zeros(len(norms), np.float32)
    fresh = np.ones(len(norms), np.uint8)
    touched = np.empty(len(norms) + 1, np.int32)
    scores, best = np.empty(n_kept, np.float32), np.empty(n_kept, np.int32)
    for row in range(len(items)):
        i = begin + row
        n_touched = 0
        for q in range(item_starts[i], item_starts[i + 1]):
            user = item_users[q]
            v = item_values[q] if weighted else np.float32(1)
            for p in range(starts[user], starts[user + 1]):
                j = columns[p]
                if j >= i:
                    break
                touched[n_touched] = j
                n_touched += fresh[j]
                fresh[j] = 0
                sums[j] += v * values[p] if weighted else np.float32(1)
        size = 0
        for t in range(n_touched):
            j = touched[t]
            size = offer(scores, best, size, abs(sums[j]) / norms[j], j)
        put_in_order(scores, best, size)
        for place in range(size):
            items[row, place] = best[place]
            dots[row, place] = sums[best[place]]
        found[row] = size
        for t in range(n_touched):
            sums[touched[t]] = 0
            fresh[touched[t]] = 1


@outlined(fastmath={"reassoc", "contract"})
def _dot(a, b, n):
    total = 0.0
    for p in range(n):
        total += a[p] * b[p]
    return total


@kernel(VOID, I32_2D, F32_2D, I64, F64, INT, OUT_F32_2D, OUT_F32)
def factor_rows(items, dots, found, diagonal, begin, weights, pivots):
    """Rows `begin..begin + len(weights)` of the unit lower triangular `W` and of `D` in `P^-1 ~ W.T D W`.

    Row `i` minimises `w P w.T` over `w` with `w[i] = 1` that are 0 but for the first of the item's `items`. Entries
    of `P` that are not among the kept ones count as 0.

    Args:
        items: The columns of the kept entries of each row, `(n_items, n_kept)`.
        dots: These entries.
        found: How many each row has.
        diagonal: That of `P`.
        begin: The first row.
        weights: For what stands at the first of `items`, `(n, n_weights)`; 0 beyond those found.
        pivots: For `D`, `(n,)`.
    """
    n_weights = weights.shape[1]
    place = np.full(len(found), -1, np.int32)
    lower = np.empty((n_weights, n_weights))
    w = np.empty(n_weights)
    for row in range(len(weights)):
        i = begin + row
        m = min(n_weights, found[i])
        for a in range(m):
            place[items[i, a]] = a
            w[a] = -dots[i, a]
            lower[a, : a + 1] = 0
            lower[a, a] = diagonal[items[i, a]]
        for a in range(m):
            j = items[i, a]
            for q in range(found[j]):
                b = place[items[j, q]]
                if b >= 0:
                    lower[max(a, b), min(a, b)] = dots[j, q]
        for a in range(m):
            place[items[i, a]] = -1
        left = diagonal[i]
        # Cholesky, and the forward substitution on the way.
        for a in range(m):
            for b in range(a):
                lower[a, b] = (lower[a, b] - _dot(lower[a], lower[b], b)) / lower[b, b]
            square = lower[a, a] - _dot(lower[a], lower[a], a)
            if square > _LEAST_PIVOT * lower[a, a]:
                lower[a, a] = np.sqrt(square)
                w[a] = (w[a] - _dot(lower[a], w, a)) / lower[a, a]
            else:  # as if the item were not among those drawn on
                lower[a, :a] = 0
                lower[a, a] = np.inf
                w[a] = 0
            left -= w[a] * w[a]
        pivots[row] = 1 / max(left, _LEAST_PIVOT * diagonal[i])
        for a in range(m - 1, -1, -1):
            total = w[a]
            for b in range(a + 1, m):
                total -= lower[b, a] * w[b]
            w[a] = total / lower[a, a]
            weights[row, a] = w[a]
        weights[row, m:] = 0


@kernel(VOID, I64, I32, F32, I64, I32, F32, F32, F32, OUT_F32_2D)
def scores(starts, columns, values, row_starts, row_columns, rows, pivots, scale, out):
    """`out = x - (x W.T D W) * scale` for each row `x` of a sparse matrix.

    Some rows go side by side, so that W is read once for all of them, and each of its entries is a step of one vector.

    Args:
        starts: Row starts of x.
        columns: Columns of x.
        values: Values of x; empty for ones.
        row_starts: Row starts of W, which is without its diagonal of ones.
        row_columns: Columns of W.
        rows: Values of W.
        pivots: The diagonal of D.
        scale: One for each column.
        out: `(n, n_items)`.
    """
    weighted = len(values) > 0
    n, lanes = out.shape[1], min(_LANES, len(out))
    x = np.zeros((n, lanes), np.float32)
    z = np.empty((n, lanes), np.float32)
    v = np.empty(lanes, np.float32)
    for begin in range(0, len(out), lanes):
        count = min(lanes, len(out) - begin)
        for lane in range(count):
            for p in range(starts[begin + lane], starts[begin + lane + 1]):
                x[columns[p], lane] += values[p] if weighted else np.float32(1)
        z[:] = 0
        for i in range(n):
            for t in range(lanes):
                v[t] = x[i, t]
            for q in range(row_starts[i], row_starts[i + 1]):
                j, w = row_columns[q], rows[q]
                for t in range(lanes):
                    v[t] += w * x[j, t]
            for t in range(lanes):
                v[t] *= pivots[i]
                z[i, t] += v[t]
            for q in range(row_starts[i], row_starts[i + 1]):
                j, w = row_columns[q], rows[q]
                for t in range(lanes):
                    z[j, t] += w * v[t]
        for lane in range(count):
            for j in range(n):
                out[begin + lane, j] = x[j, lane] - z[j, lane] * scale[j]
            for p in range(starts[begin + lane], starts[begin + lane + 1]):
                x[columns[p], lane] = 0
