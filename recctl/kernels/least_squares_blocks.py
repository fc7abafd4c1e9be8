"""Least squares of many rows against one fixed side, solved exactly within blocks of factors.

The problem, and the words for it, are those of `recctl.kernels.least_squares`. Products of matrices are left
to BLAS, which is several times as fast as loops: call these kernels where it keeps to one thread.
"""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import BOOL, F32, F32_2D, FLOAT, I32, I64, INT, OUT_F32_2D, inline_ir, kernel
from recctl.kernels.least_squares import GATHERED, SUMS, add_scores, gather, longest, objective, weigh


@inline_ir
def solve_positive(matrix, x):
    """Solve `matrix @ y = x` in place by Cholesky: `x` becomes `y`. Only the lower triangle is read, and overwritten.

    Left-looking, four rows at a time: on matrices of this size, at twice the speed of LAPACK.

    Returns:
        Whether the matrix is positive definite; if not, `x` means nothing.
    """
    n = len(x)
    for j in range(n):
        pivot = matrix[j, j]
        for k in range(j):
            pivot -= matrix[j, k] * matrix[j, k]
        if not (pivot > 0 and pivot < np.inf):
            return False
        inverse = np.float32(1) / np.sqrt(pivot)
        matrix[j, j] = inverse  # only ever divided by
        i = j + 1
        while i + 4 <= n:
            a = b = c = e = np.float32(0)
            for k in range(j):
                f = matrix[j, k]
                a += matrix[i, k] * f
                b += matrix[i + 1, k] * f
                c += matrix[i + 2, k] * f
                e += matrix[i + 3, k] * f
            matrix[i, j] = (matrix[i, j] - a) * inverse
            matrix[i + 1, j] = (matrix[i + 1, j] - b) * inverse
            matrix[i + 2, j] = (matrix[i + 2, j] - c) * inverse
            matrix[i + 3, j] = (matrix[i + 3, j] - e) * inverse
            i += 4
        while i < n:
            a = np.float32(0)
            for k in range(j):
                a += matrix[i, k] * matrix[j, k]
            matrix[i, j] = (matrix[i, j] - a) * inverse
            i += 1
    for i in range(n):
        a = x[i]
        for k in range(i):
            a -= matrix[i, k] * x[k]
        x[i] = a * matrix[i, i]
    for i in range(n - 1, -1, -1):
        a = x[i] * matrix[i, i]
        x[i] = a
        for k in range(i):
            x[k] -= matrix[i, k] * a
    return True


@inline_ir
def _add_residuals(rows, n, at, weights, aims, scores, out):
    """`out += sum of (a - w score) v`."""
    for i in range(0, n, 4):
        p = at + i
        a, b = aims[p] - weights[p] * scores[p], aims[p + 1] - weights[p + 1] * scores[p + 1]
        c, e = aims[p + 2] - weights[p + 2] * scores[p + 2], aims[p + 3] - weights[p + 3] * scores[p + 3]
        for k in range(len(out)):
            out[k] += a * rows[i, k] + b * rows[i + 1, k] + c * rows[i + 2, k] + e * rows[i + 3, k]


@inline_ir
def _scale(rows, n, at, weights, scaled):
    """`scaled = w^(1/2) v`."""
    for i in range(n):
        root = np.sqrt(weights[at + i])
        for k in range(rows.shape[1]):
            scaled[i, k] = root * rows[i, k]


@inline_ir
def _pose_few(scaled, diagonal, step, matrix, image, roots):
    """The system to solve for a step where there are fewer interactions than factors, by Woodbury's identity.

    With `P = W^(1/2) V D^(-1/2)`, `(D + V' W V)^-1 = D^(-1/2) (I - P' (I + P P')^-1 P) D^(-1/2)`. `step` is the right
    side and `scaled` is `W^(1/2) V`, which becomes `P`; the last three are for `I + P P'`, the system's right side, and
    `D^(-1/2)`.
    """
    n, d = scaled.shape
    for k in range(d):
        roots[k] = np.float32(1) / np.sqrt(diagonal[k])
        step[k] *= roots[k]
    for i in range(n):
        a = np.float32(0)
        for k in range(d):
            scaled[i, k] *= roots[k]
            a += scaled[i, k] * step[k]
        image[i] = a
    np.dot(scaled, scaled.T, matrix)
    for i in range(n):
        matrix[i, i] += 1


@inline_ir
def _step_of_few(scaled, step, image, roots):
    """Make `step` the step, once `image` is what solves that system."""
    n, d = scaled.shape
    for i in range(n):
        a = image[i]
        for k in range(d):
            step[k] -= a * scaled[i, k]
    for k in range(d):
        step[k] *= roots[k]


@kernel(FLOAT, I64, I32, F32, F32, F32_2D, F32, F32, OUT_F32_2D, INT, INT, INT, BOOL, fastmath=SUMS)
def blocks(starts, columns, values, terms, fixed, gram, reg, out, begin, end, size, fresh):
    """Minimise over `size` factors of rows `begin..end` at a time, block after block, each exactly.

    With all factors in one block and a fresh start this is the exact solution. Costs `d (3 + size / 2)` multiplications
    for each interaction and `d size^2 / 6` for each row; where a row has `n < size` interactions, the `n x n` system is
    solved instead.

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
        size: How many factors are in a block; the last one may have fewer.
        fresh: Start from zero, whatever stands in `out`.

    Returns:
        The sum of what is minimised over the rows; NaN where a system is not positive definite in float32.
    """
    d = fixed.shape[1]
    size = min(size, d)
    n_most = longest(starts, begin, end)
    n_rows = min(n_most, max(4, GATHERED // d // 4 * 4))
    rows = np.empty((n_rows if not fresh else 0, d), np.float32)
    room, scaled_room = np.empty(n_rows * size, np.float32), np.empty(n_rows * size, np.float32)
    weights, aims, scores = np.empty(n_most, np.float32), np.empty(n_most, np.float32), np.empty(n_most, np.float32)
    x, diagonal = np.zeros(d, np.float32), np.empty(d, np.float32)
    square = np.empty(size * size, np.float32)
    steps, image, roots = np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.float32)
    total = 0.0
    for row in range(begin, end):
        first, last = starts[row], starts[row + 1]
        n = last - first
        weigh(values, first, n, terms, weights, aims)
        for k in range(d):
            x[k] = np.float32(0) if fresh else out[row, k]
            diagonal[k] = gram[k] + reg[row]
        scores[: (n + 3) // 4 * 4] = 0
        at = 0
        while at < n and not fresh:
            filled = gather(columns, first + at, last, fixed, 0, d, rows)
            add_scores(rows, filled, at, x, scores)
            at += filled
        for low in range(0, d, size):
            high = min(low + size, d)
            width = high - low
            few = n < width and n <= n_rows
            step = steps[:width]
            for k in range(width):
                step[k] = -diagonal[low + k] * x[low + k]
            part = room[: n_rows * width].reshape((n_rows, width))
            scaled = scaled_room[: n_rows * width].reshape((n_rows, width))
            side = n if few else width
            matrix = square[: side * side].reshape((side, side))
            at = filled = 0
            while at < n:
                filled = gather(columns, first + at, last, fixed, low, high, part)
                _add_residuals(part, filled, at, weights, aims, scores, step)
                _scale(part, filled, at, weights, scaled)
                if not few and at == 0:
                    np.dot(scaled[:filled].T, scaled[:filled], matrix)
                elif not few:
                    matrix += np.dot(scaled[:filled].T, scaled[:filled])
                at += filled
            if few:
                _pose_few(scaled[:n], diagonal[low:high], step, matrix, image[:n], roots)
            else:
                for k in range(width):
                    matrix[k, k] += diagonal[low + k]
            if not solve_positive(matrix, image[:n] if few else step):
                total = np.nan
            elif few:
                _step_of_few(scaled[:n], step, image[:n], roots)
            whole = filled >= n
            for k in range(width):
                x[low + k] += step[k]
            at = 0
            while at < n:
                if not whole:
                    filled = gather(columns, first + at, last, fixed, low, high, part)
                add_scores(part, filled, at, step, scores)
                at += filled
        total += objective(weights, aims, scores, n, diagonal, x)
        for k in range(d):
            out[row, k] = x[k]
    return total
