"""Least squares of many rows against one fixed side, solved exactly within blocks of factors.

The problem and its notation are those of `recctl.kernels.least_squares`. Matrix products are computed by BLAS, which is
several times as fast as loops; call these kernels where BLAS is limited to one thread.
"""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import BOOL, FLOAT, INT, OUT_F32_2D, inline_ir, kernel
from recctl.kernels.least_squares import (
    GATHERED,
    PROBLEM,
    RELAXED_SUMS,
    add_scores,
    compute_weights,
    gather,
    longest,
    objective,
    solve_in_double,
)

# Float32 loses too many digits if a pivot is below this fraction of its diagonal element, or if an element of the n x n
# system of a row with few interactions exceeds the reciprocal. With ordinary hyperparameters neither happens.
_LEAST_PIVOT = np.float32(1e-4)


@inline_ir
def solve_positive(matrix, x):
    """Solve `matrix @ y = x` in place by Cholesky factorization: `x` becomes `y`.

    Only the lower triangle of `matrix` is read; it is overwritten. Left-looking, four rows at a time: for matrices of
    this size, twice as fast as LAPACK.

    Returns:
        Whether the matrix is positive definite and well-conditioned enough for float32; if not, `x` is undefined.
    """
    n = len(x)
    for j in range(n):
        least = _LEAST_PIVOT * matrix[j, j]
        pivot = matrix[j, j]
        for k in range(j):
            pivot -= matrix[j, k] * matrix[j, k]
        if not (pivot > least and pivot < np.inf):
            return False
        inverse = np.float32(1) / np.sqrt(pivot)
        matrix[j, j] = inverse  # the diagonal is only divided by
        i = j + 1
        while i + 4 <= n:
            dot0 = dot1 = dot2 = dot3 = np.float32(0)
            for k in range(j):
                factor = matrix[j, k]
                dot0 += matrix[i, k] * factor
                dot1 += matrix[i + 1, k] * factor
                dot2 += matrix[i + 2, k] * factor
                dot3 += matrix[i + 3, k] * factor
            matrix[i, j] = (matrix[i, j] - dot0) * inverse
            matrix[i + 1, j] = (matrix[i + 1, j] - dot1) * inverse
            matrix[i + 2, j] = (matrix[i + 2, j] - dot2) * inverse
            matrix[i + 3, j] = (matrix[i + 3, j] - dot3) * inverse
            i += 4
        while i < n:
            dot0 = np.float32(0)
            for k in range(j):
                dot0 += matrix[i, k] * matrix[j, k]
            matrix[i, j] = (matrix[i, j] - dot0) * inverse
            i += 1
    for i in range(n):
        value = x[i]
        for k in range(i):
            value -= matrix[i, k] * x[k]
        x[i] = value * matrix[i, i]
    for i in range(n - 1, -1, -1):
        value = x[i] * matrix[i, i]
        x[i] = value
        for k in range(i):
            x[k] -= matrix[i, k] * value
    return True


@inline_ir
def _add_residuals(rows, n, offset, weights, targets, scores, out):
    """`out += sum of (a - w score) v`."""
    for i in range(0, n, 4):
        p = offset + i
        error0 = targets[p] - weights[p] * scores[p]
        error1 = targets[p + 1] - weights[p + 1] * scores[p + 1]
        error2 = targets[p + 2] - weights[p + 2] * scores[p + 2]
        error3 = targets[p + 3] - weights[p + 3] * scores[p + 3]
        for k in range(len(out)):
            out[k] += error0 * rows[i, k] + error1 * rows[i + 1, k] + error2 * rows[i + 2, k] + error3 * rows[i + 3, k]


@inline_ir
def _scale_rows(rows, n, offset, weights, scaled):
    """`scaled = w^(1/2) v`."""
    for i in range(n):
        root = np.sqrt(weights[offset + i])
        for k in range(rows.shape[1]):
            scaled[i, k] = root * rows[i, k]


@inline_ir
def _build_dual_system(scaled, diagonal, step, matrix, image, roots):
    """Build the n x n system of a step for a row with n interactions, fewer than factors, by Woodbury's identity.

    With `P = W^(1/2) V D^(-1/2)`, `(D + V' W V)^-1 = D^(-1/2) (I - P' (I + P P')^-1 P) D^(-1/2)`.

    Args:
        scaled: `W^(1/2) V`, becomes `P`.
        diagonal: Diagonal of `D`.
        step: Right side of the original system, becomes `D^(-1/2)` times it.
        matrix: Output: `I + P P'`.
        image: Output: right side of the n x n system.
        roots: Output: diagonal of `D^(-1/2)`.

    Returns:
        Whether float32 is precise enough: the identity takes differences of numbers up to `1 + |P|^2` times as large.
    """
    n, d = scaled.shape
    for k in range(d):
        roots[k] = np.float32(1) / np.sqrt(diagonal[k])
        step[k] *= roots[k]
    for i in range(n):
        dot = np.float32(0)
        for k in range(d):
            scaled[i, k] *= roots[k]
            dot += scaled[i, k] * step[k]
        image[i] = dot
    np.dot(scaled, scaled.T, matrix)
    is_precise = True
    for i in range(n):
        matrix[i, i] += 1
        is_precise = is_precise and matrix[i, i] * _LEAST_PIVOT < 1
    return is_precise


@inline_ir
def _step_from_dual(scaled, step, image, roots):
    """Turn `step` into the step, given the solution `image` of the system of `_build_dual_system`."""
    n, d = scaled.shape
    for i in range(n):
        value = image[i]
        for k in range(d):
            step[k] -= value * scaled[i, k]
    for k in range(d):
        step[k] *= roots[k]


@kernel(FLOAT, PROBLEM, OUT_F32_2D, INT, INT, INT, BOOL, fastmath=RELAXED_SUMS)
def solve_blocks(problem, out, begin, end, block_size, from_zero):
    """Minimize over `block_size` factors of the rows `begin..end` at a time, block after block, each exactly.

    With all factors in one block, starting from zero, this is the exact solution. Costs `d (3 + block_size / 2)`
    multiplications for each interaction and `d block_size^2 / 6` for each row. If a row has `n < block_size`
    interactions, an `n x n` system is solved instead. Rows for which float32 is too imprecise are solved exactly by
    `solve_in_double`, for all factors at once.

    Args:
        problem: The fields of a `LeastSquaresProblem`.
        out: Factors, `(n_rows, d)`; start and result.
        begin: First row.
        end: One past the last row.
        block_size: Number of factors in a block; the last block may be smaller.
        from_zero: Whether to start from zero instead of the factors in `out`.

    Returns:
        The objective, summed over the rows; NaN if a system is not positive definite in float64 either.
    """
    starts, columns, values, terms, fixed, gram, reg = problem
    d = fixed.shape[1]
    block_size = min(block_size, d)
    n_most = longest(starts, begin, end)
    n_rows = min(n_most, max(4, GATHERED // d // 4 * 4))
    rows = np.empty((n_rows if not from_zero else 0, d), np.float32)
    block_buffer = np.empty(n_rows * block_size, np.float32)
    scaled_buffer = np.empty(n_rows * block_size, np.float32)
    weights = np.empty(n_most, np.float32)
    targets = np.empty(n_most, np.float32)
    scores = np.empty(n_most, np.float32)
    x = np.zeros(d, np.float32)
    diagonal = np.empty(d, np.float32)
    matrix_buffer = np.empty(block_size * block_size, np.float32)
    step_buffer = np.empty(block_size, np.float32)
    image = np.empty(block_size, np.float32)
    roots = np.empty(block_size, np.float32)
    total = 0.0
    for row in range(begin, end):
        first = starts[row]
        last = starts[row + 1]
        n = last - first
        compute_weights(values, first, n, terms, weights, targets)
        for k in range(d):
            x[k] = np.float32(0) if from_zero else out[row, k]
            diagonal[k] = gram[k] + reg[row]
        scores[: (n + 3) // 4 * 4] = 0
        offset = 0
        while offset < n and not from_zero:
            n_gathered = gather(columns, first + offset, last, fixed, 0, d, rows)
            add_scores(rows, n_gathered, offset, x, scores)
            offset += n_gathered
        is_precise = True
        for low in range(0, d, block_size):
            high = min(low + block_size, d)
            width = high - low
            dual = n < width and n <= n_rows
            step = step_buffer[:width]
            for k in range(width):
                step[k] = -diagonal[low + k] * x[low + k]
            block = block_buffer[: n_rows * width].reshape((n_rows, width))
            scaled = scaled_buffer[: n_rows * width].reshape((n_rows, width))
            side = n if dual else width
            matrix = matrix_buffer[: side * side].reshape((side, side))
            offset = n_gathered = 0
            while offset < n:
                n_gathered = gather(columns, first + offset, last, fixed, low, high, block)
                _add_residuals(block, n_gathered, offset, weights, targets, scores, step)
                _scale_rows(block, n_gathered, offset, weights, scaled)
                if not dual and offset == 0:
                    np.dot(scaled[:n_gathered].T, scaled[:n_gathered], matrix)
                elif not dual:
                    matrix += np.dot(scaled[:n_gathered].T, scaled[:n_gathered])
                offset += n_gathered
            if dual:
                is_precise = _build_dual_system(scaled[:n], diagonal[low:high], step, matrix, image[:n], roots)
            else:
                for k in range(width):
                    matrix[k, k] += diagonal[low + k]
            is_precise = is_precise and solve_positive(matrix, image[:n] if dual else step)
            if not is_precise:
                break
            if dual:
                _step_from_dual(scaled[:n], step, image[:n], roots)
            all_gathered = n_gathered >= n
            for k in range(width):
                x[low + k] += step[k]
            offset = 0
            while offset < n:
                if not all_gathered:
                    n_gathered = gather(columns, first + offset, last, fixed, low, high, block)
                add_scores(block, n_gathered, offset, step, scores)
                offset += n_gathered
        if is_precise:
            total += objective(weights, targets, scores, n, diagonal, x)
        else:
            total += solve_in_double(problem, row, x)
        for k in range(d):
            out[row, k] = x[k]
    return total
