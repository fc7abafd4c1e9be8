"""Ranking the k best scores against sorting, ties included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from recctl.kernels.top_k import mask, top_k
from tests.ranking.ties import splitmix64

MASKED = np.float32(-np.inf)


def by_sorting(
    scores: np.ndarray, k: int, row_keys: np.ndarray, item_hashes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The k best by sorting each row; -1 for empty ranks."""
    items = np.full((len(scores), k), -1, np.int32)
    best = np.full((len(scores), k), MASKED)
    hashes = item_hashes.tolist()
    for row, (values, row_key) in enumerate(zip(scores.tolist(), row_keys.tolist(), strict=True)):
        ranked = [j for j in range(len(values)) if values[j] > MASKED]
        ranked.sort(key=lambda j: (-values[j], splitmix64(row_key ^ hashes[j])))
        items[row, : len(ranked)] = ranked[:k]
        best[row, : len(ranked)] = [values[j] for j in ranked[:k]]
    return items, best


def keys_for(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(scores.size)
    return tuple(rng.integers(2**64, size=n, dtype=np.uint64) for n in scores.shape)


def check(scores: np.ndarray, k: int) -> None:
    before = scores.copy()
    row_keys, item_hashes = keys_for(scores)
    items, best = top_k(scores, k, row_keys, item_hashes)
    expected_items, expected_best = by_sorting(before, k, row_keys, item_hashes)
    np.testing.assert_array_equal(items, expected_items)
    np.testing.assert_array_equal(best, expected_best)
    np.testing.assert_array_equal(scores, before)
    assert (items.dtype, best.dtype) == (np.int32, np.float32)


FEW_VALUES = st.sampled_from([MASKED, -1.0, -0.0, 0.0, 0.5, 1.0, 3.4e38, -3.4e38, 1e-45]).map(np.float32)
LOWEST = np.finfo(np.float32).min
EXTREMES = st.sampled_from([MASKED, LOWEST, np.nextafter(LOWEST, 0), 0.0, np.inf]).map(np.float32)
ANY_VALUES = st.floats(width=32, allow_nan=False)


@pytest.mark.parametrize("values", [FEW_VALUES, EXTREMES, ANY_VALUES])
@given(data=st.data())
def test_top_k_equals_sorting(values: st.SearchStrategy, data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(0, 3), st.integers(0, 50)))
    scores = data.draw(arrays.arrays(np.float32, shape, elements=values))
    check(scores, data.draw(st.integers(1, 60)))


@pytest.mark.parametrize("k", [1, 2, 16, 127, 128, 129, 200, 1000, 2999, 3000, 3001, 3200])
@pytest.mark.parametrize("distinct", [1, 2, 50, 10**6])
def test_top_k_of_long_rows_by_insertion_and_by_sorting(k: int, distinct: int) -> None:
    rng = np.random.default_rng(k + distinct)
    scores = rng.integers(0, distinct, (3, 3000)).astype(np.float32)
    scores[1, rng.random(3000) < 0.97] = MASKED
    scores[2] = MASKED
    check(scores, k)


@pytest.mark.parametrize("k", [3, 129])
@pytest.mark.parametrize("value", [0.0, np.inf, LOWEST])
def test_equal_scores_put_every_item_first_equally_often(k: int, value: float) -> None:
    n_rows, n_items = 4000, 200
    scores = np.full((n_rows, n_items), value, np.float32)
    items, best = top_k(scores, k, *keys_for(scores))
    assert (best == np.float32(value)).all()
    # How often each item is at the first and at the last rank; about chi-squared with 199 degrees of freedom.
    for rank in (0, k - 1):
        counts = np.bincount(items[:, rank], minlength=n_items)
        assert 140 < ((counts - n_rows / n_items) ** 2).sum() / (n_rows / n_items) < 270


def test_mask_sets_only_the_given_columns_to_minus_infinity() -> None:
    scores = np.ones((3, 4), np.float32)
    mask(scores, np.array([0, 2, 2, 3]), np.array([3, 0, 1], np.int32))
    np.testing.assert_array_equal(scores, [[MASKED, 1, 1, MASKED], [1, 1, 1, 1], [1, MASKED, 1, 1]])
