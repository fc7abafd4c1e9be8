from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recctl.kernels import group_by

codes = st.lists(st.integers(0, 5), max_size=60)
rows = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=80)


def int32(values):
    return np.array(values, np.int32)


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.int32])
@given(values=st.lists(st.integers(-9, 9), max_size=50))
def test_ascending_is_a_stable_argsort(values, dtype):
    values = np.array(values, dtype)
    np.testing.assert_array_equal(group_by.ascending(values), np.argsort(values, kind="stable"))


def test_ascending_over_the_whole_range_of_int64():
    values = np.array([2**63 - 1, -(2**63), 0, -(2**63)])
    assert group_by.ascending(values).tolist() == [1, 3, 2, 0]


@given(groups=codes, seed=st.integers(0, 9))
def test_number_counts_what_stands_before(groups, seed):
    order = np.random.default_rng(seed).permutation(len(groups))
    expected = np.zeros(len(groups), int)
    seen = Counter()
    for row in order:
        expected[row] = seen[groups[row]]
        seen[groups[row]] += 1
    np.testing.assert_array_equal(group_by.number(int32(groups), 6, order), expected)


@given(pairs=rows, seed=st.integers(0, 9))
def test_pairs_stand_side_by_side(pairs, seed):
    order = np.random.default_rng(seed).permutation(len(pairs))
    users, items = int32([u for u, _ in pairs]), int32([i for _, i in pairs])
    found, begins = group_by.pairs(users, items, 7, order)
    assert found.tolist() == sorted(order, key=lambda row: pairs[row])  # sorted() is stable
    assert group_by.pairs(users, items, 7)[0].tolist() == sorted(range(len(pairs)), key=lambda row: pairs[row])
    ordered = sorted(pairs)
    assert begins.tolist() == [at for at, pair in enumerate(ordered) if not at or ordered[at - 1] != pair]


def brute_core(pairs, min_user, min_item):
    alive = list(range(len(pairs)))
    while True:
        users, items = Counter(pairs[r][0] for r in alive), Counter(pairs[r][1] for r in alive)
        kept = [r for r in alive if users[pairs[r][0]] >= min_user and items[pairs[r][1]] >= min_item]
        if kept == alive:
            return alive
        alive = kept


def test_pairs_of_the_largest_codes():
    most = 2**31 - 1
    users, items = int32([most - 1, most - 1, 0, most - 1]), int32([most - 1, most - 2, 0, most - 1])
    found, begins = group_by.pairs(users, items, most)
    assert (found.tolist(), begins.tolist()) == ([2, 1, 0, 3], [0, 1, 2])


@given(pairs=rows, min_user=st.integers(0, 4), min_item=st.integers(0, 4))
def test_core_is_the_fixed_point_of_filtering(pairs, min_user, min_item):
    users, items = int32([u for u, _ in pairs]), int32([i for _, i in pairs])
    alive = group_by.core(users, items, 7, 7, min_user, min_item)
    assert np.flatnonzero(alive).tolist() == brute_core(pairs, min_user, min_item)


@given(arrays(np.int32, 20, elements=st.integers(0, 3)))
def test_kernels_take_read_only_arrays(groups):
    groups.flags.writeable = False
    assert group_by.number(groups, 4, np.arange(20)).max() < 20
