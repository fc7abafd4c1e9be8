"""Least-squares kernels against the normal equations in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recctl.kernels.least_squares import LeastSquaresProblem, conjugate_gradients
from recctl.kernels.least_squares_blocks import solve_blocks
from tests.conftest import n_examples

SIZES = [(1, 1, 1), (5, 7, 3), (40, 30, 8), (30, 90, 17), (12, 20, 64)]


def random_problem(n_rows, n_columns, d, seed=0, weighted=False, density=0.4):
    """A random problem as the kernels take it, and its dense matrices of weights and targets."""
    rng = np.random.default_rng(seed)
    is_observed = rng.random((n_rows, n_columns)) < density
    starts = np.concatenate(([0], np.cumsum(is_observed.sum(1)))).astype(np.int64)
    columns = is_observed.nonzero()[1].astype(np.int32)
    values = rng.uniform(0.5, 3, len(columns)).astype(np.float32) if weighted else np.empty(0, np.float32)
    terms = np.array([0.5, 2, 1, 2], np.float32)
    fixed = rng.normal(size=(n_columns, d)).astype(np.float32)
    gram = rng.uniform(0, 5, d).astype(np.float32)
    reg = rng.uniform(0.5, 2, n_rows).astype(np.float32)
    dense = np.zeros(is_observed.shape)
    dense[is_observed] = values if weighted else 1
    weights = np.where(is_observed, terms[0] + terms[1] * dense, 0)
    targets = np.where(is_observed, terms[2] + terms[3] * dense, 0)
    return LeastSquaresProblem(starts, columns, values, terms, fixed, gram, reg), weights, targets


def normal_equations(problem, weights, targets):
    """Matrix and right side of each row, in float64."""
    V = problem.fixed.astype(np.float64)
    systems = [
        V.T @ (w[:, None] * V) + np.diag(problem.gram.astype(np.float64)) + r * np.eye(len(problem.gram))
        for w, r in zip(weights, problem.reg, strict=True)
    ]
    return np.array(systems), targets @ V


def objective(systems, sides, x):
    return np.einsum("ui,uij,uj->", x, systems, x) - 2 * np.sum(sides * x)


def initial_factors(problem, seed=1):
    shape = len(problem.reg), len(problem.gram)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("solver", ["cholesky", "ials++", "cg"])
def test_rows_solve_their_normal_equations(size, weighted, solver):
    problem, weights, targets = random_problem(*size, seed=sum(size), weighted=weighted)
    systems, sides = normal_equations(problem, weights, targets)
    expected = np.linalg.solve(systems, sides[..., None])[..., 0]
    x, d = initial_factors(problem), size[2]
    if solver == "cg":
        value = conjugate_gradients(tuple(problem), x, 0, size[0], 3 * d + 5)
    elif solver == "cholesky":
        value = solve_blocks(tuple(problem), x, 0, size[0], d, True)
    else:
        for _ in range(300):
            value = solve_blocks(tuple(problem), x, 0, size[0], max(1, d // 3), False)
    np.testing.assert_allclose(x, expected, rtol=2e-3, atol=2e-3 * abs(expected).max())
    assert value == pytest.approx(objective(systems, sides, expected), rel=1e-5)


def textbook_conjugate_gradients(system, side, x, n_steps):
    """The textbook method with the diagonal as preconditioner."""
    residual = side - system @ x
    direction = z = residual / np.diag(system)
    for _ in range(n_steps):
        image = system @ direction
        length = residual @ z / (direction @ image)
        x, before = x + length * direction, residual @ z
        residual = residual - length * image
        z = residual / np.diag(system)
        direction = z + residual @ z / before * direction
    return x


@pytest.mark.parametrize("n_steps", [1, 2, 3])
def test_conjugate_gradients_equals_the_textbook(n_steps):
    problem, weights, targets = random_problem(30, 40, 16, seed=3, weighted=True)
    systems, sides = normal_equations(problem, weights, targets)
    x = initial_factors(problem)
    expected = [
        textbook_conjugate_gradients(*each, n_steps) for each in zip(systems, sides, x.astype(np.float64), strict=True)
    ]
    value = conjugate_gradients(tuple(problem), x, 0, 30, n_steps)
    np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-5)
    assert value == pytest.approx(objective(systems, sides, np.array(expected)), rel=1e-5)


@pytest.mark.parametrize("size", [1, 3, 8, 16, 99])
def test_solve_blocks_minimizes_block_after_block(size):
    problem, weights, targets = random_problem(25, 30, 16, seed=4, weighted=True)
    systems, sides = normal_equations(problem, weights, targets)
    x = initial_factors(problem)
    expected = x.astype(np.float64)
    for u in range(25):
        for low in range(0, 16, size):
            block = slice(low, low + size)
            side = sides[u, block] - systems[u, block] @ expected[u] + systems[u, block, block] @ expected[u, block]
            expected[u, block] = np.linalg.solve(systems[u, block, block], side)
    value = solve_blocks(tuple(problem), x, 0, 25, size, False)
    np.testing.assert_allclose(x, expected, rtol=1e-3, atol=1e-4)
    assert value == pytest.approx(objective(systems, sides, expected), rel=1e-5)


def solve(name, problem, x, begin, end):
    if name == "cg":
        return conjugate_gradients(tuple(problem), x, begin, end, 2)
    return solve_blocks(tuple(problem), x, begin, end, 8, False)


@pytest.mark.parametrize("name", ["cg", "ials++"])
def test_rows_do_not_depend_on_how_they_are_divided_into_calls(name):
    problem, *_ = random_problem(50, 60, 20, seed=5)
    whole, pieces = initial_factors(problem), initial_factors(problem)
    value = solve(name, problem, whole, 0, 50)
    parts = [solve(name, problem, pieces, begin, begin + 10) for begin in range(0, 50, 10)]
    assert (whole == pieces).all()
    assert value == pytest.approx(sum(parts), rel=1e-12)


def test_rows_longer_than_the_gather_buffer():
    # With d = 512, fixed rows are gathered 256 at a time.
    problem, weights, targets = random_problem(3, 900, 512, seed=6, density=0.9)
    systems, sides = normal_equations(problem, weights, targets)
    expected = np.linalg.solve(systems, sides[..., None])[..., 0]
    for name in ("cg", "ials++", "cholesky"):
        x = np.zeros((3, 512), np.float32)
        if name == "cholesky":
            solve_blocks(tuple(problem), x, 0, 3, 512, True)
        for _ in range(0 if name == "cholesky" else 60):
            solve(name, problem, x, 0, 3)
        np.testing.assert_allclose(x, expected, rtol=1e-2, atol=1e-2 * abs(expected).max())


@pytest.mark.parametrize("reg", [1e-3, 1e-7, 1e-12])
@pytest.mark.parametrize("size", [(20, 30, 8), (20, 30, 40)])
@pytest.mark.parametrize("solver", ["cholesky", "ials++", "cg"])
def test_rows_with_tiny_regularization_reach_the_minimum_of_float64(solver, size, reg):
    problem, weights, targets = random_problem(*size, seed=8, weighted=True)
    problem.gram[:] = 0
    problem.reg[:] = reg
    x = initial_factors(problem)
    n_steps = 300 if solver == "cg" else 20
    for _ in range(n_steps):
        if solver == "cg":
            value = conjugate_gradients(tuple(problem), x, 0, size[0], 3)
        else:
            value = solve_blocks(tuple(problem), x, 0, size[0], 16, False)
    if solver == "cholesky":
        value = solve_blocks(tuple(problem), x, 0, size[0], size[2], True)
    # Least squares by QR, without the products of the normal equations.
    V = problem.fixed.astype(np.float64)
    best = 0.0
    for w, a in zip(weights, targets, strict=True):
        seen = w > 0
        roots = np.sqrt(w[seen])
        rows = np.vstack([roots[:, None] * V[seen], np.sqrt(np.float64(problem.reg[0])) * np.eye(size[2])])
        sides = np.concatenate([a[seen] / roots, np.zeros(size[2])])
        errors = sides - rows @ np.linalg.lstsq(rows, sides, rcond=None)[0]
        best += errors @ errors - sides @ sides
    systems, sides = normal_equations(problem, weights, targets)
    explained = abs(best)
    tolerance = 1e-6 if solver == "cholesky" else 1e-3  # the others approach the minimum slowly on these systems
    assert value == pytest.approx(objective(systems, sides, x.astype(np.float64)), abs=1e-6 * explained)
    assert value == pytest.approx(best, abs=tolerance * explained)


def test_rows_without_interactions_are_zero():
    problem, *_ = random_problem(4, 5, 3, density=0)
    for name in ("cg", "ials++"):
        x = initial_factors(problem)
        for _ in range(9):
            value = solve(name, problem, x, 0, 4)
        np.testing.assert_allclose(x, 0, atol=1e-6)
        assert value == pytest.approx(0, abs=1e-9)


def test_system_that_is_not_positive_definite_gives_nan():
    problem, *_ = random_problem(3, 5, 4)
    problem.gram[:] = -1e3
    assert np.isnan(solve_blocks(tuple(problem), initial_factors(problem), 0, 3, 4, True))


@settings(max_examples=n_examples(50), deadline=None)
@given(st.integers(1, 12), st.integers(1, 15), st.integers(1, 20), st.floats(0, 1), st.integers(0, 99), st.booleans())
def test_every_solver_lowers_the_objective(n_rows, n_columns, d, density, seed, weighted):
    problem, weights, targets = random_problem(n_rows, n_columns, d, seed, weighted, density)
    systems, sides = normal_equations(problem, weights, targets)
    for name in ("cg", "ials++"):
        x = initial_factors(problem, seed)
        before = objective(systems, sides, x.astype(np.float64))
        value = solve(name, problem, x, 0, n_rows)
        after = objective(systems, sides, x.astype(np.float64))
        assert value == pytest.approx(after, rel=1e-4, abs=1e-4 * abs(before))
        assert after <= before + 1e-5 * abs(before)
