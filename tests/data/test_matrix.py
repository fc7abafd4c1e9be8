import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from recctl.data.matrix import InteractionMatrix
from recctl.kernels import matmul, neighbours

entries = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7), st.integers(1, 5)), max_size=60)


def build(drawn, binary):
    users, items, values = (np.array([entry[part] for entry in drawn]) for part in range(3))
    values = None if binary else values.astype(np.float32)
    return InteractionMatrix.from_pairs(users.astype(np.int32), items.astype(np.int32), values, (6, 8))


def dense(drawn, binary):
    table = np.zeros((6, 8), np.float32)
    for user, item, value in drawn:
        table[user, item] = 1 if binary else value
    return table


@given(entries, st.booleans())
def test_from_pairs_equals_a_dense_matrix(drawn, binary):
    matrix = build(drawn, binary)
    converted = matrix.to_scipy()
    expected = dense(drawn, binary)
    np.testing.assert_array_equal(converted.toarray(), expected)
    assert converted.dtype == np.float32
    assert converted.has_canonical_format
    assert (matrix.n_rows, matrix.n_columns, matrix.nnz, matrix.is_binary) == (
        6,
        8,
        np.count_nonzero(expected),
        binary or not drawn,
    )
    np.testing.assert_array_equal(matrix.column_counts(), np.count_nonzero(expected, axis=0))


@given(entries, st.booleans(), st.lists(st.integers(0, 5), max_size=10))
def test_take_selects_rows(drawn, binary, rows):
    taken = build(drawn, binary).take(np.array(rows, np.int32))
    np.testing.assert_array_equal(taken.to_scipy().toarray(), dense(drawn, binary)[np.array(rows, int)])


@given(entries, st.booleans(), st.lists(st.integers(0, 7), unique=True))
def test_take_columns_selects_columns(drawn, binary, columns):
    taken = build(drawn, binary).take_columns(np.array(columns, np.int32))
    np.testing.assert_array_equal(taken.to_scipy().toarray(), dense(drawn, binary)[:, np.array(columns, int)])


@given(entries, st.booleans())
def test_transpose_gives_the_dense_transpose(drawn, binary):
    matrix = build(drawn, binary)
    transposed, positions = matrix.transpose_with_positions()
    np.testing.assert_array_equal(transposed.to_scipy().toarray(), dense(drawn, binary).T)
    rows = np.repeat(np.arange(6), np.diff(matrix.starts))
    np.testing.assert_array_equal(rows[positions], transposed.columns)
    assert sorted(positions) == list(range(matrix.nnz))
    without_positions = matrix.transpose()
    for name in ("starts", "columns", "values", "n_columns"):
        np.testing.assert_array_equal(getattr(without_positions, name), getattr(transposed, name))


@given(entries, entries)
def test_n_shared_counts_common_entries(drawn, others):
    matrix = build(drawn, True)
    other = build(others, True)
    assert matrix.n_shared(other) == np.count_nonzero(dense(drawn, True) * dense(others, True))


def test_from_rows_keeps_the_order_of_each_row():
    matrix = InteractionMatrix.from_rows([np.array([3, 1], np.int32), np.array([], np.int32), np.array([2])], 5)
    assert matrix.starts.tolist() == [0, 2, 2, 3]
    assert matrix.columns.tolist() == [3, 1, 2]
    assert matrix.columns.dtype == np.int32
    np.testing.assert_array_equal(
        matrix.to_scipy().toarray(), sp.csr_array(([1.0, 1, 1], ([0, 0, 2], [3, 1, 2])), shape=(3, 5)).toarray()
    )


def test_from_rows_without_rows_is_empty():
    matrix = InteractionMatrix.from_rows([], 5)
    assert (matrix.n_rows, matrix.nnz, matrix.take(np.empty(0, np.int32)).n_rows) == (0, 0, 0)


@pytest.fixture
def huge(tmp_path):
    """A matrix with more than 2**31 entries. Its file is sparse: only the last entries are written and read."""
    n = 2**31 + 6
    columns = np.memmap(tmp_path / "columns", np.int32, "w+", shape=(n,))
    columns[-6:] = [0, 2, 3, 1, 2, 4]
    return InteractionMatrix(np.array([0, n - 6, n - 3, n]), columns, np.empty(0, np.float32), 5)


def test_rows_beyond_int32_are_selected_and_multiplied(huge):
    ends = np.array([1, 2], np.int32)
    expected = np.array([[1, 0, 1, 1, 0], [0, 1, 1, 0, 1]], np.float32)
    np.testing.assert_array_equal(huge.take(ends).to_scipy().toarray(), expected)
    last = huge.starts[1:]
    weights = np.arange(15, dtype=np.float32).reshape(5, 3)
    out = np.empty((2, 3), np.float32)
    matmul.sparse_dense(last, huge.columns, huge.values, weights, out)
    np.testing.assert_array_equal(out, expected @ weights)
    unit = np.arange(6), np.arange(5, dtype=np.int32), np.ones(5, np.float32)
    out = np.empty((2, 5), np.float32)
    neighbours.sparse_sparse(last, huge.columns, huge.values, *unit, out)
    np.testing.assert_array_equal(out, expected)
