"""Gram matrices against SciPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recctl.kernels import gram
from tests.conftest import n_examples
from tests.kernels.test_matmul import sparse


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("step", [1, 7, 50, 1000])
def test_upper_rows_are_the_upper_triangle(weighted, step):
    matrix, oracle = sparse((80, 50), 0.2, 3, weighted=weighted)
    transposed, positions = matrix.transpose_with_positions()
    out = np.zeros((50, 50), np.float32)
    for begin in range(0, 50, step):
        gram.upper_rows(
            matrix.starts,
            matrix.columns,
            matrix.values,
            transposed.starts,
            transposed.columns,
            positions,
            out,
            begin,
            min(begin + step, 50),
        )
    np.testing.assert_array_equal(out, np.triu((oracle.T @ oracle).toarray()))


@settings(max_examples=n_examples(60), deadline=None)
@given(
    hnp.arrays(np.float32, st.integers(1, 100).map(lambda n: (n, n)), elements=st.floats(-8, 8, width=16)), st.data()
)
def test_mirror_scaled_completes_and_scales_the_matrix(matrix, data):
    n = len(matrix)
    n_tiles = -(-n // gram.MIRROR_TILE)
    scale = data.draw(hnp.arrays(np.float32, n, elements=st.floats(-4, 4, width=16)))
    upper = np.triu(matrix, 1)
    expected = (upper + upper.T) * scale
    for first in data.draw(st.permutations(range(n_tiles))):
        gram.mirror_scaled(matrix, scale, first, first + 1)
    np.testing.assert_array_equal(matrix, expected)
