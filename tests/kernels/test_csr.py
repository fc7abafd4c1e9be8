"""CSR kernels against plain Python and SciPy."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from recctl.kernels import csr

shapes_and_pairs = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: st.tuples(
        st.just(shape),
        st.lists(st.tuples(st.integers(0, shape[0] - 1), st.integers(0, shape[1] - 1)), max_size=80),
    )
)


def side_of(pairs, side):
    return np.array([pair[side] for pair in pairs], np.int32)


@pytest.mark.parametrize("with_positions", [True, False])
@given(drawn=shapes_and_pairs)
def test_from_pairs_keeps_the_last_duplicate(drawn, with_positions):
    shape, pairs = drawn
    starts, columns, positions = csr.from_pairs(side_of(pairs, 0), side_of(pairs, 1), *shape, with_positions)
    last = {pair: place for place, pair in enumerate(pairs)}
    expected = sorted(last)
    rows = np.repeat(np.arange(shape[0]), np.diff(starts))
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == expected
    assert positions.tolist() == ([last[pair] for pair in expected] if with_positions else [])


@given(drawn=shapes_and_pairs)
def test_transpose_equals_scipy(drawn):
    shape, pairs = drawn
    starts, columns, _ = csr.from_pairs(side_of(pairs, 0), side_of(pairs, 1), *shape, False)
    transposed_starts, rows, positions = csr.transpose_with_positions(starts, columns, shape[1])
    numbered = sp.csr_array((np.arange(1, len(columns) + 1), columns, starts), shape=shape).T.tocsr()
    numbered.sort_indices()
    np.testing.assert_array_equal(transposed_starts, numbered.indptr)
    np.testing.assert_array_equal(rows, numbered.indices)
    np.testing.assert_array_equal(positions + 1, numbered.data)
