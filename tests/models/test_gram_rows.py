import numba
import numpy as np
import pytest

from recctl.data.matrix import InteractionMatrix
from recctl.kernels import gram
from recctl.models.linear import gram_rows as gram_rows_module
from recctl.models.linear.gram_rows import gram_rows
from tests.kernels.test_matmul import sparse

N = 50


@numba.njit(error_model="numpy")
def _rows(fields, items, out):
    for i in range(len(items)):
        gram.put_row(fields, items[i], out[i])


def whole(rows, order):
    """The complete matrix in the order of item codes, from rows read in random order."""
    n = len(order)
    places = np.random.default_rng(0).permutation(n)
    found = np.full((n, n), np.nan, np.float32)
    _rows(rows, places, found)
    matrix = np.empty_like(found)
    matrix[np.ix_(order[places], order)] = found
    return matrix


@pytest.mark.parametrize("cached", [0, 10**9])
@pytest.mark.parametrize("memory_limit", [0, 99, 4 * 99, 1_000, N**2 - 1, N**2, 4 * N**2, 10**9])
@pytest.mark.parametrize("n_users", [20, 900])  # without and with values above 254
@pytest.mark.parametrize("weighted", [True, False])
def test_rows_equal_the_matrix_for_any_limit(monkeypatch, weighted, n_users, memory_limit, cached):
    monkeypatch.setattr(gram_rows_module, "_ROWS_PER_TASK", 7)
    monkeypatch.setattr(gram_rows_module, "_CACHED", cached)
    matrix, oracle = sparse((n_users, N), 0.7, 3, weighted=weighted)
    expected = (oracle.T @ oracle).toarray()
    assert weighted or (expected > 254).any() == (n_users == 900)
    rows, order = gram_rows(matrix, memory_limit)
    np.testing.assert_array_equal(whole(rows, order), expected)
    n_top = max(len(rows.top_floats), len(rows.top_bytes))
    assert n_top * (2 * N - n_top) * (4 if len(rows.top_floats) else 1) <= memory_limit
    assert bool(len(rows.top_floats)) == (bool(n_top) and (weighted or min(memory_limit, cached) >= 4 * N**2))
    assert rows.n_items == N
    assert (np.diff(matrix.column_counts()[order]) <= 0).all()


def test_number_of_stored_rows_grows_with_the_limit():
    matrix, _ = sparse((30, N), 0.3, 1, weighted=False)
    kept = [
        len(gram_rows(matrix, memory_limit)[0].top_bytes) for memory_limit in (0, 98, 99, 100, 195, 196, 2_499, 2_500)
    ]
    assert kept == [0, 0, 1, 1, 1, 2, 49, 50]


@pytest.mark.parametrize("values", [[], [2.0, 3.0]])
@pytest.mark.parametrize("memory_limit", [0, 5, 20, 60])
def test_items_without_interactions_have_zero_rows(values, memory_limit):
    starts, columns = np.array([0, 1, 2]), np.array([1, 1], np.int32)
    rows, order = gram_rows(InteractionMatrix(starts, columns, np.array(values, np.float32), 3), memory_limit)
    expected = np.zeros((3, 3))
    expected[1, 1] = 2 if not values else 13
    np.testing.assert_array_equal(whole(rows, order), expected)


def test_no_interactions_yield_a_zero_matrix():
    rows, order = gram_rows(InteractionMatrix.from_rows([], 4), 0)
    np.testing.assert_array_equal(whole(rows, order), np.zeros((4, 4)))
