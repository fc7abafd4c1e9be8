import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recctl.kernels import least_squares as cg
from recctl.kernels import least_squares_blocks as exact

SIZES = [(1, 1, 1), (5, 7, 3), (40, 30, 8), (30, 90, 17), (12, 20, 64)]


def problem(n_rows, n_columns, d, seed=0, weighted=False, density=0.4):
    """Arguments of the kernels up to `reg`, and the dense matrices of weights and aims."""
    rng = np.random.default_rng(seed)
    here = rng.random((n_rows, n_columns)) < density
    starts = np.concatenate(([0], np.cumsum(here.sum(1)))).astype(np.int64)
    columns = here.nonzero()[1].astype(np.int32)
    values = rng.uniform(0.5, 3, len(columns)).astype(np.float32) if weighted else np.empty(0, np.float32)
    terms = np.array([0.5, 2, 1, 2], np.float32)
    fixed = rng.normal(size=(n_columns, d)).astype(np.float32)
    gram = rng.uniform(0, 5, d).astype(np.float32)
    reg = rng.uniform(0.5, 2, n_rows).astype(np.float32)
    dense = np.zeros(here.shape)
    dense[here] = values if weighted else 1
    weights, aims = np.where(here, terms[0] + terms[1] * dense, 0), np.where(here, terms[2] + terms[3] * dense, 0)
    return (starts, columns, values, terms, fixed, gram, reg), weights, aims


def normal_equations(arguments, weights, aims):
    """Each row's matrix and right side, in float64."""
    *_, fixed, gram, reg = arguments
    V = fixed.astype(np.float64)
    systems = [
        V.T @ (w[:, None] * V) + np.diag(gram.astype(np.float64)) + r * np.eye(len(gram))
        for w, r in zip(weights, reg, strict=True)
    ]
    return np.array(systems), aims @ V


def minimised(systems, sides, x):
    return np.einsum("ui,uij,uj->", x, systems, x) - 2 * np.sum(sides * x)


def start(arguments, seed=1):
    n_rows, d = len(arguments[0]) - 1, arguments[4].shape[1]
    return np.random.default_rng(seed).normal(size=(n_rows, d)).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("solver", ["cholesky", "ials++", "cg"])
def test_rows_solve_their_normal_equations(size, weighted, solver):
    arguments, weights, aims = problem(*size, seed=sum(size), weighted=weighted)
    systems, sides = normal_equations(arguments, weights, aims)
    expected = np.linalg.solve(systems, sides[..., None])[..., 0]
    x, d = start(arguments), size[2]
    if solver == "cg":
        value = cg.conjugate_gradients(arguments, x, 0, size[0], 3 * d + 5)
    elif solver == "cholesky":
        value = exact.solve_blocks(arguments, x, 0, size[0], d, True)
    else:
        for _ in range(300):
            value = exact.solve_blocks(arguments, x, 0, size[0], max(1, d // 3), False)
    np.testing.assert_allclose(x, expected, rtol=2e-3, atol=2e-3 * abs(expected).max())
    assert value == pytest.approx(minimised(systems, sides, expected), rel=1e-5)


def conjugate_gradients(system, side, x, steps):
    """Preconditioned by the diagonal, as every textbook has it."""
    residual = side - system @ x
    direction = z = residual / np.diag(system)
    for _ in range(steps):
        image = system @ direction
        length = residual @ z / (direction @ image)
        x, before = x + length * direction, residual @ z
        residual = residual - length * image
        z = residual / np.diag(system)
        direction = z + residual @ z / before * direction
    return x


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_conjugate_gradients_take_the_textbooks_steps(steps):
    arguments, weights, aims = problem(30, 40, 16, seed=3, weighted=True)
    systems, sides = normal_equations(arguments, weights, aims)
    x = start(arguments)
    expected = [conjugate_gradients(*each, steps) for each in zip(systems, sides, x.astype(np.float64), strict=True)]
    value = cg.conjugate_gradients(arguments, x, 0, 30, steps)
    np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-5)
    assert value == pytest.approx(minimised(systems, sides, np.array(expected)), rel=1e-5)


@pytest.mark.parametrize("size", [1, 3, 8, 16, 99])
def test_blocks_are_minimised_one_after_another(size):
    arguments, weights, aims = problem(25, 30, 16, seed=4, weighted=True)
    systems, sides = normal_equations(arguments, weights, aims)
    x = start(arguments)
    expected = x.astype(np.float64)
    for u in range(25):
        for low in range(0, 16, size):
            block = slice(low, low + size)
            side = sides[u, block] - systems[u, block] @ expected[u] + systems[u, block, block] @ expected[u, block]
            expected[u, block] = np.linalg.solve(systems[u, block, block], side)
    value = exact.solve_blocks(arguments, x, 0, 25, size, False)
    np.testing.assert_allclose(x, expected, rtol=1e-3, atol=1e-4)
    assert value == pytest.approx(minimised(systems, sides, expected), rel=1e-5)


def solve(name, arguments, x, begin, end):
    if name == "cg":
        return cg.conjugate_gradients(arguments, x, begin, end, 2)
    return exact.solve_blocks(arguments, x, begin, end, 8, False)


@pytest.mark.parametrize("name", ["cg", "ials++"])
def test_rows_do_not_depend_on_the_rows_they_are_solved_with(name):
    arguments, *_ = problem(50, 60, 20, seed=5)
    whole, pieces = start(arguments), start(arguments)
    value = solve(name, arguments, whole, 0, 50)
    parts = [solve(name, arguments, pieces, begin, begin + 10) for begin in range(0, 50, 10)]
    assert (whole == pieces).all()
    assert value == pytest.approx(sum(parts), rel=1e-12)


def test_rows_longer_than_what_is_copied_at_a_time():
    # With d = 512 fixed rows are copied 256 at a time.
    arguments, weights, aims = problem(3, 900, 512, seed=6, density=0.9)
    systems, sides = normal_equations(arguments, weights, aims)
    expected = np.linalg.solve(systems, sides[..., None])[..., 0]
    for name in ("cg", "ials++", "cholesky"):
        x = np.zeros((3, 512), np.float32)
        if name == "cholesky":
            exact.solve_blocks(arguments, x, 0, 3, 512, True)
        for _ in range(0 if name == "cholesky" else 60):
            solve(name, arguments, x, 0, 3)
        np.testing.assert_allclose(x, expected, rtol=1e-2, atol=1e-2 * abs(expected).max())


def test_rows_without_interactions_are_zero():
    arguments, *_ = problem(4, 5, 3, density=0)
    for name in ("cg", "ials++"):
        x = start(arguments)
        for _ in range(9):
            value = solve(name, arguments, x, 0, 4)
        np.testing.assert_allclose(x, 0, atol=1e-6)
        assert value == pytest.approx(0, abs=1e-9)


def test_a_system_that_is_not_positive_definite_is_told():
    arguments, *_ = problem(3, 5, 4)
    arguments[5][:] = -1e3
    assert np.isnan(exact.solve_blocks(arguments, start(arguments), 0, 3, 4, True))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(1, 15), st.integers(1, 20), st.floats(0, 1), st.integers(0, 99), st.booleans())
def test_every_solver_lowers_what_is_minimised(n_rows, n_columns, d, density, seed, weighted):
    arguments, weights, aims = problem(n_rows, n_columns, d, seed, weighted, density)
    systems, sides = normal_equations(arguments, weights, aims)
    for name in ("cg", "ials++"):
        x = start(arguments, seed)
        before = minimised(systems, sides, x.astype(np.float64))
        value = solve(name, arguments, x, 0, n_rows)
        after = minimised(systems, sides, x.astype(np.float64))
        assert value == pytest.approx(after, rel=1e-4, abs=1e-4 * abs(before))
        assert after <= before + 1e-5 * abs(before)
