"""Least squares of many rows against one fixed side: what the solvers share, and the one by conjugate gradients.

Each row has interactions with rows `v` of the fixed side, and wants the `x` that minimises

    x' D x + sum of (w (v . x)^2 - 2 a (v . x))        D = diag(gram) + reg[row] I

over its interactions, where one of value `r` has the weight `w = terms[0] + terms[1] r`, at least 0, and the aim
`a = terms[2] + terms[3] r`. That `D` is diagonal is the point: the caller has turned all factors into the basis where
the Gram matrix of the fixed side is diagonal, so that a product with it costs `d` operations and not `d^2`.

Rows of the fixed side are worked on four at a time, which quarters the traffic of what is added up over them.
"""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import F32, F32_2D, FLOAT, I32, I64, INT, OUT_F32, OUT_F32_2D, VOID, inline_ir, kernel

# Sums may be taken in any order; infinity and NaN keep their meaning.
SUMS = {"contract", "reassoc", "nsz"}
# Fixed rows are copied together, as many as stay in the second-level cache: 512 kB of them.
GATHERED = 1 << 17


@kernel(INT, I64, INT, INT)
def longest(starts, begin, end):
    """The most interactions of rows `begin..end`, rounded up to a multiple of four, at least four."""
    most = 4
    for row in range(begin, end):
        most = max(most, starts[row + 1] - starts[row])
    return (most + 3) // 4 * 4


@kernel(VOID, F32, INT, INT, F32, OUT_F32, OUT_F32)
def weigh(values, begin, n, terms, weights, aims):
    """Weights and aims of interactions `begin..begin + n`, and zeros up to the next multiple of four."""
    for i in range(n):
        value = values[begin + i] if len(values) else np.float32(1)
        weights[i] = terms[0] + terms[1] * value
        aims[i] = terms[2] + terms[3] * value
    for i in range(n, (n + 3) // 4 * 4):
        weights[i] = 0
        aims[i] = 0


@inline_ir
def gather(columns, begin, end, fixed, first, last, out):
    """Copy columns `first..last` of the fixed rows of interactions `begin..end`, as many as `out` has rows for.

    Zeros follow up to the next multiple of four.

    Returns:
        The number of rows that are filled, a multiple of four.
    """
    n = min(end - begin, len(out))
    for i in range(n):
        column = columns[begin + i]
        for k in range(first, last):
            out[i, k - first] = fixed[column, k]
    filled = (n + 3) // 4 * 4
    for i in range(n, filled):
        for k in range(last - first):
            out[i, k] = 0
    return filled


@inline_ir
def add_scores(rows, n, at, x, scores):
    """`scores[at:at + n] += rows[:n] @ x`."""
    d = len(x)
    for i in range(0, n, 4):
        a = b = c = e = np.float32(0)
        for k in range(d):
            a += rows[i, k] * x[k]
            b += rows[i + 1, k] * x[k]
            c += rows[i + 2, k] * x[k]
            e += rows[i + 3, k] * x[k]
        p = at + i
        scores[p] += a
        scores[p + 1] += b
        scores[p + 2] += c
        scores[p + 3] += e


@inline_ir
def _residuals(rows, n, at, weights, aims, scores, residual, squares):
    """`residual += (a - w score) v` and `squares += w v^2` over the rows."""
    d = len(residual)
    for i in range(0, n, 4):
        p = at + i
        wa, wb, wc, we = weights[p], weights[p + 1], weights[p + 2], weights[p + 3]
        ra, rb = aims[p] - wa * scores[p], aims[p + 1] - wb * scores[p + 1]
        rc, re = aims[p + 2] - wc * scores[p + 2], aims[p + 3] - we * scores[p + 3]
        for k in range(d):
            a, b, c, e = rows[i, k], rows[i + 1, k], rows[i + 2, k], rows[i + 3, k]
            residual[k] += ra * a + rb * b + rc * c + re * e
            squares[k] += wa * a * a + wb * b * b + wc * c * c + we * e * e


@inline_ir
def _images(rows, n, at, weights, direction, wanted, images, out):
    """`images = v . direction`, and if wanted `out += w image v`; returns the sum of `w image^2`."""
    d = len(direction)
    total = np.float32(0)
    for i in range(0, n, 4):
        a = b = c = e = np.float32(0)
        for k in range(d):
            a += rows[i, k] * direction[k]
            b += rows[i + 1, k] * direction[k]
            c += rows[i + 2, k] * direction[k]
            e += rows[i + 3, k] * direction[k]
        p = at + i
        images[p], images[p + 1], images[p + 2], images[p + 3] = a, b, c, e
        wa, wb, wc, we = weights[p] * a, weights[p + 1] * b, weights[p + 2] * c, weights[p + 3] * e
        total += wa * a + wb * b + wc * c + we * e
        if wanted:
            for k in range(d):
                out[k] += wa * rows[i, k] + wb * rows[i + 1, k] + wc * rows[i + 2, k] + we * rows[i + 3, k]
    return total


@kernel(FLOAT, F32, F32, F32, INT, F32, F32, fastmath=SUMS)
def objective(weights, aims, scores, n, diagonal, x):
    """What is minimised, at `x` with the scores `v . x`, added up in float64."""
    total = 0.0
    for i in range(n):
        total += np.float64(scores[i]) * (np.float64(weights[i]) * scores[i] - 2.0 * aims[i])
    for k in range(len(x)):
        total += np.float64(diagonal[k]) * x[k] * x[k]
    return total


@kernel(FLOAT, I64, I32, F32, F32, F32_2D, F32, F32, OUT_F32_2D, INT, INT, INT, fastmath=SUMS)
def conjugate_gradients(starts, columns, values, terms, fixed, gram, reg, out, begin, end, steps):
    """Bring rows `begin..end` nearer to their least squares solution, from where they are.

    Conjugate gradients with the diagonal of the system as preconditioner. Costs `(3 + 2 steps) d` multiplications for
    each interaction: the last step needs no new residual.

    Args:
        starts: Row starts of the interactions.
        columns: Which fixed row each is with.
        values: Their values; empty for ones.
        terms: What makes weights and aims of values, `(4,)`.
        fixed: The fixed side, `(n_columns, d)`.
        gram: Eigenvalues of its Gram matrix times what unobserved pairs weigh, `(d,)`.
        reg: Regularisation of each row, `(n_rows,)`, positive.
        out: The factors, `(n_rows, d)`: where to start from, and where to put the result.
        begin: First row.
        end: One past the last row.
        steps: How many steps, at least 1.

    Returns:
        The sum of what is minimised over the rows.
    """
    d = fixed.shape[1]
    n_most = longest(starts, begin, end)
    rows = np.empty((min(n_most, max(4, GATHERED // d // 4 * 4)), d), np.float32)
    weights, aims = np.empty(n_most, np.float32), np.empty(n_most, np.float32)
    scores, images = np.empty(n_most, np.float32), np.empty(n_most, np.float32)
    x, residual, direction = np.empty(d, np.float32), np.empty(d, np.float32), np.empty(d, np.float32)
    image, diagonal, scale = np.empty(d, np.float32), np.empty(d, np.float32), np.empty(d, np.float32)
    total = 0.0
    for row in range(begin, end):
        first, last = starts[row], starts[row + 1]
        n = last - first
        weigh(values, first, n, terms, weights, aims)
        for k in range(d):
            x[k] = out[row, k]
            diagonal[k] = gram[k] + reg[row]
            scale[k] = diagonal[k]
            residual[k] = -diagonal[k] * x[k]
        at = filled = 0
        scores[: (n + 3) // 4 * 4] = 0
        while at < n:
            filled = gather(columns, first + at, last, fixed, 0, d, rows)
            add_scores(rows, filled, at, x, scores)
            _residuals(rows, filled, at, weights, aims, scores, residual, scale)
            at += filled
        whole = filled >= n  # one copy is all there is, and stays
        slope = np.float32(0)
        for k in range(d):
            scale[k] = np.float32(1) / scale[k]
            direction[k] = residual[k] * scale[k]
            slope += residual[k] * direction[k]
        for step in range(steps):
            if not slope > 0:
                break
            more = step + 1 < steps
            curvature = np.float32(0)
            for k in range(d):
                image[k] = diagonal[k] * direction[k]
                curvature += image[k] * direction[k]
            at = 0
            while at < n:
                if not whole:
                    filled = gather(columns, first + at, last, fixed, 0, d, rows)
                curvature += np.float32(_images(rows, filled, at, weights, direction, more, images, image))
                at += filled
            length = slope / curvature
            before = slope
            slope = np.float32(0)
            for k in range(d):
                x[k] += length * direction[k]
                residual[k] -= length * image[k]
                slope += residual[k] * residual[k] * scale[k]
            for i in range(n):
                scores[i] += length * images[i]
            turn = slope / before
            for k in range(d):
                direction[k] = residual[k] * scale[k] + turn * direction[k]
        total += objective(weights, aims, scores, n, diagonal, x)
        for k in range(d):
            out[row, k] = x[k]
    return total
