"""A sparse triangular factor of the inverse of `X.T @ X + l2 I`, row by row, and products with it."""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import (
    F32,
    F64,
    F64_2D,
    I32,
    I32_2D,
    I64,
    INT,
    OUT_F32,
    OUT_F32_2D,
    OUT_F64_2D,
    OUT_I32_2D,
    OUT_I64,
    VOID,
    kernel,
    outlined,
)
from recctl.kernels.csr import MATRIX_WITH_TRANSPOSE
from recctl.kernels.neighbours import heap_push, heap_sort

# A pivot below this fraction of its diagonal element is the result of dropped entries; where none was dropped, of
# rounding.
_LEAST_PIVOT = 1e-4
_LEAST_EXACT_PIVOT = 1e-13
# Rows that are scored together.
_LANES = 64


@kernel(VOID, MATRIX_WITH_TRANSPOSE, F32, INT, OUT_I32_2D, OUT_F64_2D, OUT_I64)
def largest_below_diagonal(matrix, norms, begin, items, dots, counts):
    """Find the entries `G[i, j]`, `j < i`, of the Gram matrix `X.T @ X` with the largest `|G[i, j]| / norms[j]`.

    Args:
        matrix: X (users by items) and its transpose.
        norms: Norm of each item, above 0.
        begin: The first row i.
        items: Output: columns j of the entries, by descending criterion, `(n, n_kept)`.
        dots: Output: the entries, `(n, n_kept)`.
        counts: Output: the number of entries of each row, `(n,)`.
    """
    starts, columns, values, item_starts, item_users, item_values = matrix
    weighted = len(values) > 0
    n_kept = items.shape[1]
    # In float64: sums of products of large values lose the digits that a small l2 is compared with.
    sums = np.zeros(len(norms))
    untouched = np.ones(len(norms), np.uint8)
    touched = np.empty(len(norms) + 1, np.int32)
    best_scores = np.empty(n_kept, np.float32)
    best_items = np.empty(n_kept, np.int32)
    for row in range(len(items)):
        i = begin + row
        n_touched = 0
        for q in range(item_starts[i], item_starts[i + 1]):
            user = item_users[q]
            value = np.float64(item_values[q]) if weighted else 1.0
            for p in range(starts[user], starts[user + 1]):
                j = columns[p]
                if j >= i:
                    break
                # Always written, and counted only if new: a branch would be mispredicted too often.
                touched[n_touched] = j
                n_touched += untouched[j]
                untouched[j] = 0
                sums[j] += value * values[p] if weighted else 1.0
        size = 0
        for t in range(n_touched):
            j = touched[t]
            size = heap_push(best_scores, best_items, size, np.float32(abs(sums[j]) / norms[j]), j)
        heap_sort(best_scores, best_items, size)
        for place in range(size):
            items[row, place] = best_items[place]
            dots[row, place] = sums[best_items[place]]
        counts[row] = size
        for t in range(n_touched):
            sums[touched[t]] = 0
            untouched[touched[t]] = 1


@outlined(fastmath={"reassoc", "contract"})
def _dot(a, b, n):
    total = 0.0
    for p in range(n):
        total += a[p] * b[p]
    return total


@kernel(VOID, I32_2D, F64_2D, I64, F64, INT, OUT_F32_2D, OUT_F32)
def factor_rows(items, dots, counts, diagonal, begin, weights, pivots):
    """Rows `begin..begin + len(weights)` of the unit lower triangular `W` and of `D` in `P^-1 ~ W.T D W`.

    Row `i` minimizes `w P w.T` over the `w` with `w[i] = 1` that are zero except for the first of the item's `items`.
    Entries of `P` that are not among the stored ones count as zero.

    Args:
        items: Columns of the stored entries of each row, `(n_items, n_kept)`.
        dots: The stored entries.
        counts: Number of stored entries of each row.
        diagonal: Diagonal of `P`.
        begin: First row.
        weights: Output: the elements of `W` at the first columns of `items`, `(n, n_weights)`; 0 beyond the last.
        pivots: Output: the diagonal of `D`, `(n,)`.
    """
    n_weights = weights.shape[1]
    place = np.full(len(counts), -1, np.int32)
    lower = np.empty((n_weights, n_weights))
    w = np.empty(n_weights)
    for row in range(len(weights)):
        i = begin + row
        m = min(n_weights, counts[i])
        # Collect the m x m system.
        least_pivot = _LEAST_EXACT_PIVOT
        for a in range(m):
            if counts[items[i, a]] >= items.shape[1]:  # entries of this item may have been dropped
                least_pivot = _LEAST_PIVOT
            place[items[i, a]] = a
            w[a] = -dots[i, a]
            lower[a, : a + 1] = 0
            lower[a, a] = diagonal[items[i, a]]
        for a in range(m):
            j = items[i, a]
            for q in range(counts[j]):
                b = place[items[j, q]]
                if b >= 0:
                    lower[max(a, b), min(a, b)] = dots[j, q]
        for a in range(m):
            place[items[i, a]] = -1
        # Cholesky factorization together with the forward substitution.
        schur = diagonal[i]
        for a in range(m):
            for b in range(a):
                lower[a, b] = (lower[a, b] - _dot(lower[a], lower[b], b)) / lower[b, b]
            square = lower[a, a] - _dot(lower[a], lower[a], a)
            if square > least_pivot * lower[a, a]:
                lower[a, a] = np.sqrt(square)
                w[a] = (w[a] - _dot(lower[a], w, a)) / lower[a, a]
            else:  # treat the item as if it were not among the columns
                lower[a, :a] = 0
                lower[a, a] = np.inf
                w[a] = 0
            schur -= w[a] * w[a]
        pivots[row] = 1 / max(schur, least_pivot * diagonal[i])
        # Backward substitution.
        for a in range(m - 1, -1, -1):
            total = w[a]
            for b in range(a + 1, m):
                total -= lower[b, a] * w[b]
            w[a] = total / lower[a, a]
            weights[row, a] = w[a]
        weights[row, m:] = 0


@kernel(VOID, I64, I32, F32, I64, I32, F32, F32, F32, OUT_F32_2D)
def scores(starts, columns, values, factor_starts, factor_columns, factor_values, pivots, scale, out):
    """`out = x - (x W.T D W) * scale` for each row `x` of a sparse matrix.

    Several rows are processed together ("lanes"): W is read once for all of them, and the work for each of its entries
    is one vector instruction.

    Args:
        starts: Row starts of x.
        columns: Columns of x.
        values: Values of x; empty if all are one.
        factor_starts: Row starts of W, without its unit diagonal.
        factor_columns: Columns of W.
        factor_values: Values of W.
        pivots: Diagonal of D, `(n_items,)`.
        scale: Factor of each column, `(n_items,)`.
        out: Output, `(n, n_items)`.
    """
    weighted = len(values) > 0
    n_items = out.shape[1]
    lanes = min(_LANES, len(out))
    x = np.zeros((n_items, lanes), np.float32)
    z = np.empty((n_items, lanes), np.float32)
    v = np.empty(lanes, np.float32)
    for begin in range(0, len(out), lanes):
        count = min(lanes, len(out) - begin)
        for lane in range(count):
            for p in range(starts[begin + lane], starts[begin + lane + 1]):
                x[columns[p], lane] += values[p] if weighted else np.float32(1)
        z[:] = 0
        for i in range(n_items):
            for t in range(lanes):
                v[t] = x[i, t]
            for q in range(factor_starts[i], factor_starts[i + 1]):
                j = factor_columns[q]
                w = factor_values[q]
                for t in range(lanes):
                    v[t] += w * x[j, t]
            for t in range(lanes):
                v[t] *= pivots[i]
                z[i, t] += v[t]
            for q in range(factor_starts[i], factor_starts[i + 1]):
                j = factor_columns[q]
                w = factor_values[q]
                for t in range(lanes):
                    z[j, t] += w * v[t]
        for lane in range(count):
            for j in range(n_items):
                out[begin + lane, j] = x[j, lane] - z[j, lane] * scale[j]
            for p in range(starts[begin + lane], starts[begin + lane + 1]):
                x[columns[p], lane] = 0
