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


@given(drawn=shapes_and_pairs, data=st.data())
def test_from_pairs_keeps_the_latest_duplicate(drawn, data):
    shape, pairs = drawn
    times = data.draw(st.lists(st.integers(0, 3), min_size=len(pairs), max_size=len(pairs)))
    latest = {}
    for place, (pair, time) in enumerate(zip(pairs, times, strict=True)):
        latest[pair] = max(latest.get(pair, (time, place)), (time, place))
    for dtype in (np.int64, np.float64):
        _, _, positions = csr.from_pairs(
            side_of(pairs, 0), side_of(pairs, 1), *shape, True, lambda dtype=dtype: np.array(times, dtype)
        )
        assert positions.tolist() == [latest[pair][1] for pair in sorted(latest)]


def test_from_pairs_reads_times_only_if_pairs_repeat():
    users = np.array([0, 1], np.int32)

    def read_times():
        raise AssertionError("not needed")

    for items, with_positions in (([0, 0], True), ([0, 1], True), ([0, 0], False)):
        csr.from_pairs(users, np.array(items, np.int32), 2, 2, with_positions, read_times)


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
