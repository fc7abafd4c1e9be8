"""Least squares of many rows against one fixed side: shared helpers, conjugate gradients, and a solver in float64.

Each row interacts with rows `v` of the fixed side; its factors are the `x` that minimizes

    x' D x + sum of (w (v . x)^2 - 2 a (v . x))        D = diag(gram) + reg[row] I

over its interactions. An interaction of value `r` has the weight `w = terms[0] + terms[1] r`, at least 0, and the
target `a = terms[2] + terms[3] r`. `D` is diagonal because the caller has rotated all factors into the basis in which
the Gram matrix of the fixed side is diagonal: a product with it then costs `d` operations instead of `d^2`.

Rows of the fixed side are processed four at a time, so that sums over them are read and written a quarter as often.

Rows are solved in float32. Where that is too imprecise, because `reg` is tiny or a row has fewer interactions than
factors, `solve_in_double` solves the row again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import (
    F32,
    F32_2D,
    FLOAT,
    I32,
    I64,
    INT,
    OUT_F32,
    OUT_F32_2D,
    VOID,
    TupleType,
    inline_ir,
    kernel,
)

# Sums may be reordered and contracted; infinity and NaN keep their meaning.
RELAXED_SUMS = {"contract", "reassoc", "nsz"}
# Elements of the fixed side that are gathered at a time: 512 kB, which stay in the second-level cache.
GATHERED = 1 << 17
# A step never raises the objective of a row, except by rounding; relative to the part that is explained.
_ROUNDING = 1e-4
# Instead of a weight of 0, which has no reciprocal.
_LEAST_WEIGHT = 1e-30


class LeastSquaresProblem(NamedTuple):
    """The problem of all rows, as the kernels take it: call them with `tuple(problem)`, or any tuple of these arrays.

    Attributes:
        starts: Row starts of the interactions, `(n_rows + 1,)`.
        columns: Row of the fixed side of each interaction.
        values: Value of each interaction; empty if all are one.
        terms: Coefficients of weights and targets, `(4,)`; see the module.
        fixed: The fixed side, `(n_columns, d)`.
        gram: Eigenvalues of its Gram matrix times the weight of unobserved pairs, `(d,)`.
        reg: Regularization of each row, `(n_rows,)`, positive.
    """

    starts: NDArray[np.int64]
    columns: NDArray[np.int32]
    values: NDArray[np.float32]
    terms: NDArray[np.float32]
    fixed: NDArray[np.float32]
    gram: NDArray[np.float32]
    reg: NDArray[np.float32]


PROBLEM = TupleType((I64, I32, F32, F32, F32_2D, F32, F32))


@kernel(INT, I64, INT, INT)
def longest(starts, begin, end):
    """Largest number of interactions of the rows `begin..end`, rounded up to a multiple of four, at least four."""
    most = 4
    for row in range(begin, end):
        most = max(most, starts[row + 1] - starts[row])
    return (most + 3) // 4 * 4


@kernel(VOID, F32, INT, INT, F32, OUT_F32, OUT_F32)
def compute_weights(values, begin, n, terms, weights, targets):
    """Weights and targets of the interactions `begin..begin + n`, followed by zeros up to a multiple of four."""
    for i in range(n):
        value = values[begin + i] if len(values) else np.float32(1)
        weights[i] = terms[0] + terms[1] * value
        targets[i] = terms[2] + terms[3] * value
    for i in range(n, (n + 3) // 4 * 4):
        weights[i] = 0
        targets[i] = 0


# The helpers below take `rows`, gathered rows of the fixed side: numbers `offset..offset + n` of those that the current
# row interacts with. `n` is a multiple of four; locals with the suffixes 0 to 3 belong to the four rows that are
# processed together.


@inline_ir
def gather(columns, begin, end, fixed, first, last, out):
    """Copy the factors `first..last` of the fixed rows of interactions `begin..end`, at most as many as `out` has rows.

    Zeros follow up to a multiple of four.

    Returns:
        The number of rows filled, a multiple of four.
    """
    n = min(end - begin, len(out))
    for i in range(n):
        column = columns[begin + i]
        for k in range(first, last):
            out[i, k - first] = fixed[column, k]
    n_filled = (n + 3) // 4 * 4
    for i in range(n, n_filled):
        for k in range(last - first):
            out[i, k] = 0
    return n_filled


@inline_ir
def add_scores(rows, n, offset, x, scores):
    """`scores[offset:offset + n] += rows[:n] @ x`."""
    d = len(x)
    for i in range(0, n, 4):
        dot0 = dot1 = dot2 = dot3 = np.float32(0)
        for k in range(d):
            dot0 += rows[i, k] * x[k]
            dot1 += rows[i + 1, k] * x[k]
            dot2 += rows[i + 2, k] * x[k]
            dot3 += rows[i + 3, k] * x[k]
        p = offset + i
        scores[p] += dot0
        scores[p + 1] += dot1
        scores[p + 2] += dot2
        scores[p + 3] += dot3


@inline_ir
def _add_residuals_and_squares(rows, n, offset, weights, targets, scores, residual, squares):
    """`residual += (a - w score) v` and `squares += w v^2`, summed over the rows."""
    d = len(residual)
    for i in range(0, n, 4):
        p = offset + i
        w0 = weights[p]
        w1 = weights[p + 1]
        w2 = weights[p + 2]
        w3 = weights[p + 3]
        error0 = targets[p] - w0 * scores[p]
        error1 = targets[p + 1] - w1 * scores[p + 1]
        error2 = targets[p + 2] - w2 * scores[p + 2]
        error3 = targets[p + 3] - w3 * scores[p + 3]
        for k in range(d):
            v0 = rows[i, k]
            v1 = rows[i + 1, k]
            v2 = rows[i + 2, k]
            v3 = rows[i + 3, k]
            residual[k] += error0 * v0 + error1 * v1 + error2 * v2 + error3 * v3
            squares[k] += w0 * v0 * v0 + w1 * v1 * v1 + w2 * v2 * v2 + w3 * v3 * v3


@inline_ir
def _multiply_by_system(rows, n, offset, weights, direction, with_product, images, product):
    """`images = v . direction`, and `product += w image v` if `with_product`; returns the sum of `w image^2`."""
    d = len(direction)
    total = np.float32(0)
    for i in range(0, n, 4):
        dot0 = dot1 = dot2 = dot3 = np.float32(0)
        for k in range(d):
            dot0 += rows[i, k] * direction[k]
            dot1 += rows[i + 1, k] * direction[k]
            dot2 += rows[i + 2, k] * direction[k]
            dot3 += rows[i + 3, k] * direction[k]
        p = offset + i
        images[p] = dot0
        images[p + 1] = dot1
        images[p + 2] = dot2
        images[p + 3] = dot3
        w0 = weights[p] * dot0
        w1 = weights[p + 1] * dot1
        w2 = weights[p + 2] * dot2
        w3 = weights[p + 3] * dot3
        total += w0 * dot0 + w1 * dot1 + w2 * dot2 + w3 * dot3
        if with_product:
            for k in range(d):
                product[k] += w0 * rows[i, k] + w1 * rows[i + 1, k] + w2 * rows[i + 2, k] + w3 * rows[i + 3, k]
    return total


@kernel(FLOAT, F32, F32, F32, INT, F32, F32, fastmath=RELAXED_SUMS)
def objective(weights, targets, scores, n, diagonal, x):
    """Objective of a row at `x`, given its scores `v . x` of `n` interactions; summed in float64."""
    total = 0.0
    for i in range(n):
        total += np.float64(scores[i]) * (np.float64(weights[i]) * scores[i] - 2.0 * targets[i])
    for k in range(len(x)):
        total += np.float64(diagonal[k]) * x[k] * x[k]
    return total


@inline_ir
def _solve_positive_in_double(matrix, x):
    """Solve `matrix @ y = x` in place by Cholesky factorization; returns whether the matrix is positive definite.

    Only the lower triangle is read; it is overwritten.
    """
    n = len(x)
    for j in range(n):
        pivot = matrix[j, j]
        for k in range(j):
            pivot -= matrix[j, k] * matrix[j, k]
        if not (pivot > 0 and pivot < np.inf):
            return False
        root = np.sqrt(pivot)
        matrix[j, j] = root
        for i in range(j + 1, n):
            dot = 0.0
            for k in range(j):
                dot += matrix[i, k] * matrix[j, k]
            matrix[i, j] = (matrix[i, j] - dot) / root
    for i in range(n):
        value = x[i]
        for k in range(i):
            value -= matrix[i, k] * x[k]
        x[i] = value / matrix[i, i]
    for i in range(n - 1, -1, -1):
        x[i] /= matrix[i, i]
        for k in range(i):
            x[k] -= matrix[i, k] * x[i]
    return True


@kernel(FLOAT, PROBLEM, INT, OUT_F32, fastmath=RELAXED_SUMS)
def solve_in_double(problem, row, x):
    """Solve exactly for one row in float64.

    A row with fewer interactions than factors is solved by `x = D^-1 V' z` with `(W^-1 + V D^-1 V') z = W^-1 a`: of the
    forms of its solution, the one without differences of nearly equal numbers.

    Args:
        problem: The fields of a `LeastSquaresProblem`.
        row: The row.
        x: Output: its factors, `(d,)`.

    Returns:
        The objective of the row at `x`; NaN if the system is not positive definite in float64 either.
    """
    starts, columns, values, terms, fixed, gram, reg = problem
    d = fixed.shape[1]
    first = starts[row]
    n = starts[row + 1] - first
    weights = np.empty(n)
    targets = np.empty(n)
    for i in range(n):
        value = np.float64(values[first + i]) if len(values) else 1.0
        weights[i] = terms[0] + terms[1] * value
        targets[i] = terms[2] + terms[3] * value
    diagonal = np.empty(d)
    for k in range(d):
        diagonal[k] = np.float64(gram[k]) + reg[row]
        if not diagonal[k] > 0:
            return np.nan
    solution = np.zeros(d)
    if n < d:
        matrix = np.empty((n, n))
        z = np.empty(n)
        scaled = np.empty(d)
        for i in range(n):
            for k in range(d):
                scaled[k] = fixed[columns[first + i], k] / diagonal[k]
            for j in range(i + 1):
                dot = 0.0
                for k in range(d):
                    dot += scaled[k] * fixed[columns[first + j], k]
                matrix[i, j] = dot
            inverse = 1 / max(weights[i], _LEAST_WEIGHT)
            matrix[i, i] += inverse
            z[i] = inverse * targets[i]
        if not _solve_positive_in_double(matrix, z):
            return np.nan
        for i in range(n):
            for k in range(d):
                solution[k] += z[i] * fixed[columns[first + i], k]
        for k in range(d):
            solution[k] /= diagonal[k]
    else:
        matrix = np.zeros((d, d))
        for i in range(n):
            column = columns[first + i]
            for k in range(d):
                value = weights[i] * fixed[column, k]
                for j in range(k + 1):
                    matrix[k, j] += value * fixed[column, j]
                solution[k] += targets[i] * fixed[column, k]
        for k in range(d):
            matrix[k, k] += diagonal[k]
        if not _solve_positive_in_double(matrix, solution):
            return np.nan
    # At the rounded factors, which are those that scores are computed from.
    total = 0.0
    for k in range(d):
        x[k] = np.float32(solution[k])
        total += diagonal[k] * x[k] * x[k]
    for i in range(n):
        score = 0.0
        for k in range(d):
            score += np.float64(fixed[columns[first + i], k]) * x[k]
        total += score * (weights[i] * score - 2 * targets[i])
    return total


@kernel(FLOAT, PROBLEM, OUT_F32_2D, INT, INT, INT, fastmath=RELAXED_SUMS)
def conjugate_gradients(problem, out, begin, end, n_steps):
    """Improve the rows `begin..end` by steps of the conjugate gradient method, starting from their current factors.

    The preconditioner is the diagonal of the system. A row whose objective rises, because float32 is too imprecise for
    it, is solved exactly by `solve_in_double`. Costs `(3 + 2 n_steps) d` multiplications for each interaction: the last
    step does not need a new residual.

    Args:
        problem: The fields of a `LeastSquaresProblem`.
        out: Factors, `(n_rows, d)`; start and result.
        begin: First row.
        end: One past the last row.
        n_steps: Number of steps, at least 1.

    Returns:
        The objective, summed over the rows; NaN if a row cannot be solved in float64 either.
    """
    starts, columns, values, terms, fixed, gram, reg = problem
    d = fixed.shape[1]
    n_most = longest(starts, begin, end)
    rows = np.empty((min(n_most, max(4, GATHERED // d // 4 * 4)), d), np.float32)
    weights = np.empty(n_most, np.float32)
    targets = np.empty(n_most, np.float32)
    scores = np.empty(n_most, np.float32)
    images = np.empty(n_most, np.float32)
    x = np.empty(d, np.float32)
    residual = np.empty(d, np.float32)
    direction = np.empty(d, np.float32)
    product = np.empty(d, np.float32)
    diagonal = np.empty(d, np.float32)
    inverse = np.empty(d, np.float32)
    total = 0.0
    for row in range(begin, end):
        first = starts[row]
        last = starts[row + 1]
        n = last - first
        compute_weights(values, first, n, terms, weights, targets)
        for k in range(d):
            x[k] = out[row, k]
            diagonal[k] = gram[k] + reg[row]
            inverse[k] = diagonal[k]
            residual[k] = -diagonal[k] * x[k]
        offset = n_gathered = 0
        scores[: (n + 3) // 4 * 4] = 0
        while offset < n:
            n_gathered = gather(columns, first + offset, last, fixed, 0, d, rows)
            add_scores(rows, n_gathered, offset, x, scores)
            # `inverse` becomes the diagonal of the system.
            _add_residuals_and_squares(rows, n_gathered, offset, weights, targets, scores, residual, inverse)
            offset += n_gathered
        all_gathered = n_gathered >= n  # the steps can use these rows as they are
        before = objective(weights, targets, scores, n, diagonal, x)
        slope = np.float32(0)
        for k in range(d):
            inverse[k] = np.float32(1) / inverse[k]
            direction[k] = residual[k] * inverse[k]
            slope += residual[k] * direction[k]
        for step in range(n_steps):
            if not slope > 0:
                break
            is_last = step + 1 >= n_steps
            curvature = np.float32(0)
            for k in range(d):
                product[k] = diagonal[k] * direction[k]
                curvature += product[k] * direction[k]
            offset = 0
            while offset < n:
                if not all_gathered:
                    n_gathered = gather(columns, first + offset, last, fixed, 0, d, rows)
                curvature += np.float32(
                    _multiply_by_system(rows, n_gathered, offset, weights, direction, not is_last, images, product)
                )
                offset += n_gathered
            length = slope / curvature
            previous_slope = slope
            slope = np.float32(0)
            for k in range(d):
                x[k] += length * direction[k]
                residual[k] -= length * product[k]
                slope += residual[k] * residual[k] * inverse[k]
            for i in range(n):
                scores[i] += length * images[i]
            beta = slope / previous_slope
            for k in range(d):
                direction[k] = residual[k] * inverse[k] + beta * direction[k]
        after = objective(weights, targets, scores, n, diagonal, x)
        # Written with `not`, so that NaN counts as a rise.
        if not after <= before + _ROUNDING * abs(before):
            after = solve_in_double(problem, row, x)
        total += after
        for k in range(d):
            out[row, k] = x[k]
    return total
