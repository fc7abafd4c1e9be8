"""Group-by kernels against plain Python."""

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
def test_stable_argsort_equals_numpy(values, dtype):
    values = np.array(values, dtype)
    np.testing.assert_array_equal(group_by.stable_argsort(values), np.argsort(values, kind="stable"))


def test_stable_argsort_over_the_whole_range_of_int64():
    values = np.array([2**63 - 1, -(2**63), 0, -(2**63)])
    assert group_by.stable_argsort(values).tolist() == [1, 3, 2, 0]


@given(groups=codes, seed=st.integers(0, 9))
def test_cumulative_count_counts_preceding_rows_of_the_group(groups, seed):
    order = np.random.default_rng(seed).permutation(len(groups))
    expected = np.zeros(len(groups), int)
    seen = Counter()
    for row in order:
        expected[row] = seen[groups[row]]
        seen[groups[row]] += 1
    np.testing.assert_array_equal(group_by.cumulative_count(int32(groups), 6, order), expected)


@given(pairs=rows, seed=st.integers(0, 9))
def test_group_pairs_makes_equal_pairs_adjacent(pairs, seed):
    order = np.random.default_rng(seed).permutation(len(pairs))
    users, items = int32([u for u, _ in pairs]), int32([i for _, i in pairs])
    grouped, begins = group_by.group_pairs(users, items, 7, order)
    assert grouped.tolist() == sorted(order, key=lambda row: pairs[row])  # sorted() is stable
    assert group_by.group_pairs(users, items, 7)[0].tolist() == sorted(range(len(pairs)), key=lambda row: pairs[row])
    ordered = sorted(pairs)
    assert begins.tolist() == [place for place, pair in enumerate(ordered) if place == 0 or ordered[place - 1] != pair]


def naive_k_core(pairs, min_user, min_item):
    alive = list(range(len(pairs)))
    while True:
        users, items = Counter(pairs[r][0] for r in alive), Counter(pairs[r][1] for r in alive)
        remaining = [r for r in alive if users[pairs[r][0]] >= min_user and items[pairs[r][1]] >= min_item]
        if remaining == alive:
            return alive
        alive = remaining


def test_group_pairs_with_the_largest_codes():
    largest = 2**31 - 1
    users, items = int32([largest - 1, largest - 1, 0, largest - 1]), int32([largest - 1, largest - 2, 0, largest - 1])
    grouped, begins = group_by.group_pairs(users, items, largest)
    assert (grouped.tolist(), begins.tolist()) == ([2, 1, 0, 3], [0, 1, 2])


@given(pairs=rows, min_user=st.integers(0, 4), min_item=st.integers(0, 4))
def test_k_core_is_the_fixed_point_of_filtering(pairs, min_user, min_item):
    users, items = int32([u for u, _ in pairs]), int32([i for _, i in pairs])
    alive = group_by.k_core(users, items, 7, 7, min_user, min_item)
    assert np.flatnonzero(alive).tolist() == naive_k_core(pairs, min_user, min_item)


@given(arrays(np.int32, 20, elements=st.integers(0, 3)))
def test_kernels_accept_read_only_arrays(groups):
    groups.flags.writeable = False
    assert group_by.cumulative_count(groups, 4, np.arange(20)).max() < 20
