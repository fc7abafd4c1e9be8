"""Matrix products against SciPy and NumPy."""

import numpy as np
import pytest
import scipy.sparse as sp

from recctl.data.matrix import InteractionMatrix
from recctl.kernels import matmul, neighbours


def sparse(shape, density, seed, *, weighted):
    """The same random matrix as an InteractionMatrix and as a SciPy matrix."""
    oracle = sp.random_array(shape, density=density, format="csr", dtype=np.float32, rng=np.random.default_rng(seed))
    oracle.sort_indices()
    oracle.data[:] = np.random.default_rng(seed).integers(1, 6, oracle.nnz) if weighted else 1
    values = oracle.data if weighted else np.empty(0, np.float32)
    starts = oracle.indptr.astype(np.int64)
    columns = oracle.indices.astype(np.int32)
    return InteractionMatrix(starts, columns, values, shape[1]), oracle


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("n_columns", [1, 7, 2048, 2049, 5000])
@pytest.mark.parametrize("density", [0.0, 0.02, 0.5])
def test_sparse_times_dense(weighted, n_columns, density):
    left, oracle = sparse((23, 60), density, 1, weighted=weighted)
    dense = np.random.default_rng(2).normal(size=(60, n_columns)).astype(np.float32)
    out = np.full((23, n_columns), np.nan, np.float32)
    matmul.sparse_dense(read_only(left.starts), read_only(left.columns), left.values, read_only(dense), out)
    np.testing.assert_allclose(out, oracle.astype(np.float64) @ dense.astype(np.float64), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("weighted", [True, False])
def test_sparse_times_dense_accepts_unsorted_and_repeated_columns(weighted):
    values = np.array([1, 2, 3, 4, 5, 6], np.float32) if weighted else np.empty(0, np.float32)
    columns = np.array([4, 0, 4, 2, 1, 0], np.int32)
    dense = np.arange(15, dtype=np.float32).reshape(5, 3)
    out = np.empty((2, 3), np.float32)
    matmul.sparse_dense(np.array([0, 5, 6]), columns, values, dense, out)
    weights = values if weighted else np.ones(6, np.float32)
    expected = [(weights[:5, np.newaxis] * dense[columns[:5]]).sum(axis=0), weights[5] * dense[0]]
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("right_weighted", [True, False])
@pytest.mark.parametrize("density", [0.0, 0.1, 0.6])
def test_sparse_times_sparse(weighted, right_weighted, density):
    left, left_oracle = sparse((23, 60), density, 4, weighted=weighted)
    right, right_oracle = sparse((60, 40), 0.2, 5, weighted=right_weighted)
    out = np.full((23, 40), np.nan, np.float32)
    neighbours.sparse_sparse(left.starts, left.columns, left.values, right.starts, right.columns, right.values, out)
    np.testing.assert_allclose(out, (left_oracle @ right_oracle).toarray(), rtol=1e-6)


def test_pair_dots():
    rng = np.random.default_rng(0)
    left = rng.normal(size=(9, 5)).astype(np.float32)
    right = rng.normal(size=(7, 5)).astype(np.float32)
    i = rng.integers(0, 9, 20).astype(np.int32)
    j = rng.integers(0, 7, 20).astype(np.int32)
    out = np.empty(20, np.float32)
    matmul.pair_dots(left, right, i, j, out)
    np.testing.assert_allclose(out, (left @ right.T)[i, j], rtol=1e-5)
