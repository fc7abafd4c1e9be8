"""Sampled candidates for evaluation: keep each row's relevant items and a few sampled negatives, mask all others."""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import I32, I64, INT, OUT_F32_2D, OUT_U8, VOID, kernel
from recctl.kernels.counter_rng import splitmix64

# Marks of items.
_UNMARKED = 0
_SEEN = 1
_RELEVANT = 2


@kernel(VOID, I64, I32, INT, INT, OUT_U8)
def _mark(starts, columns, row, value, marks):
    for p in range(starts[row], starts[row + 1]):
        marks[columns[p]] = value


@kernel(VOID, OUT_F32_2D, I64, I32, I64, I32, INT, I64)
def keep_candidates(scores, seen_starts, seen, relevant_starts, relevant, n_negatives, seeds):
    """Set all scores to minus infinity except those of the relevant items and of `n_negatives` sampled negatives.

    Negatives are sampled uniformly, without replacement, from the items that are neither relevant nor seen. If there
    are fewer than `n_negatives`, all of them are kept.

    Args:
        scores: Scores, changed in place, `(n_rows, n_items)`.
        seen_starts: Row starts of the seen items.
        seen: Seen items.
        relevant_starts: Row starts of the relevant items.
        relevant: Relevant items; none of them is seen.
        n_negatives: Number of negatives per row.
        seeds: Seed of each row, `(n_rows,)`.
    """
    n_items = scores.shape[1]
    marks = np.zeros(n_items, np.uint8)
    for row in range(scores.shape[0]):
        _mark(seen_starts, seen, row, _SEEN, marks)
        _mark(relevant_starts, relevant, row, _RELEVANT, marks)
        n_remaining = 0
        for item in range(n_items):
            n_remaining += marks[item] == _UNMARKED
        n_wanted = min(n_negatives, n_remaining)
        for item in range(n_items):
            if marks[item] == _UNMARKED:
                # Selection sampling (Knuth, algorithm S): `n_wanted` of the `n_remaining` items that follow are
                # selected, each with the same probability.
                uniform = (splitmix64(np.uint64(seeds[row]) + np.uint64(item)) >> np.uint64(11)) * 2.0**-53
                selected = uniform * n_remaining < n_wanted
                n_remaining -= 1
                if selected:
                    n_wanted -= 1
                    continue
            if marks[item] != _RELEVANT:
                scores[row, item] = -np.inf
        _mark(seen_starts, seen, row, _UNMARKED, marks)
        _mark(relevant_starts, relevant, row, _UNMARKED, marks)
