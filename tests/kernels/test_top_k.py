"""Ranking the k best scores against a stable sort, ties included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from recctl.kernels.top_k import mask, top_k

MASKED = np.float32(-np.inf)


def by_argsort(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best by a stable sort of each row; -1 for empty ranks."""
    items = np.full((len(scores), k), -1, np.int32)
    best = np.full((len(scores), k), MASKED)
    for row, values in enumerate(scores):
        order = [j for j in np.argsort(-values, kind="stable") if values[j] > MASKED][:k]
        items[row, : len(order)] = order
        best[row, : len(order)] = values[order]
    return items, best


def check(scores: np.ndarray, k: int) -> None:
    before = scores.copy()
    items, best = top_k(scores, k)
    expected_items, expected_best = by_argsort(before, k)
    np.testing.assert_array_equal(items, expected_items)
    np.testing.assert_array_equal(best, expected_best)
    np.testing.assert_array_equal(scores, before)
    assert (items.dtype, best.dtype) == (np.int32, np.float32)


FEW_VALUES = st.sampled_from([MASKED, -1.0, -0.0, 0.0, 0.5, 1.0, 3.4e38, -3.4e38, 1e-45]).map(np.float32)
ANY_VALUES = st.floats(width=32, allow_nan=False)


@pytest.mark.parametrize("values", [FEW_VALUES, ANY_VALUES])
@given(data=st.data())
def test_top_k_equals_a_stable_sort(values: st.SearchStrategy, data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(0, 3), st.integers(0, 50)))
    scores = data.draw(arrays.arrays(np.float32, shape, elements=values))
    check(scores, data.draw(st.integers(1, 60)))


@pytest.mark.parametrize("k", [1, 2, 16, 127, 128, 129, 200, 1000, 2999, 3000, 3001, 3200])
@pytest.mark.parametrize("distinct", [2, 50, 10**6])
def test_top_k_of_long_rows_by_insertion_and_by_sorting(k: int, distinct: int) -> None:
    rng = np.random.default_rng(k + distinct)
    scores = rng.integers(0, distinct, (3, 3000)).astype(np.float32)
    scores[1, rng.random(3000) < 0.97] = MASKED
    scores[2] = MASKED
    check(scores, k)


@pytest.mark.parametrize("k", [3, 129])
@pytest.mark.parametrize("value", [0.0, np.inf, np.finfo(np.float32).min])
def test_ties_are_broken_by_column(k: int, value: float) -> None:
    items, best = top_k(np.full((2, 5000), value, np.float32), k)
    np.testing.assert_array_equal(items, [np.arange(k)] * 2)
    assert (best == np.float32(value)).all()


def test_mask_sets_only_the_given_columns_to_minus_infinity() -> None:
    scores = np.ones((3, 4), np.float32)
    mask(scores, np.array([0, 2, 2, 3]), np.array([3, 0, 1], np.int32))
    np.testing.assert_array_equal(scores, [[MASKED, 1, 1, MASKED], [1, 1, 1, 1], [1, MASKED, 1, 1]])
