"""Sampled candidates: each row's relevant items among a few that are drawn, everything else left out."""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import I32, I64, INT, OUT_F32_2D, OUT_U8, VOID, kernel
from recctl.kernels.counter_rng import splitmix64


@kernel(VOID, I64, I32, INT, INT, OUT_U8)
def _mark(starts, columns, row, value, marks):
    for p in range(starts[row], starts[row + 1]):
        marks[columns[p]] = value


@kernel(VOID, OUT_F32_2D, I64, I32, I64, I32, INT, I64)
def keep_candidates(scores, seen_starts, seen, relevant_starts, relevant, n_negatives, seeds):
    """Set to minus infinity all scores but those of each row's relevant items and of `n_negatives` others.

    The others are a uniform draw, without repeats, of what is neither relevant nor seen; all of it where there is less.

    Args:
        scores: Scores, `(n_rows, n_items)`.
        seen_starts: Row starts of the seen items.
        seen: The seen items.
        relevant_starts: Row starts of the relevant items.
        relevant: The relevant items; none of them is seen.
        n_negatives: How many to draw.
        seeds: Each row's own seed, `(n_rows,)`.
    """
    n = scores.shape[1]
    marks = np.zeros(n, np.uint8)
    for row in range(scores.shape[0]):
        _mark(seen_starts, seen, row, 1, marks)
        _mark(relevant_starts, relevant, row, 2, marks)
        left = 0
        for j in range(n):
            left += marks[j] == 0
        wanted = min(n_negatives, left)
        for j in range(n):
            if marks[j] == 0:
                # Of the `left` items still to come `wanted` are taken: each has the same chance.
                number = (splitmix64(np.uint64(seeds[row]) + np.uint64(j)) >> np.uint64(11)) * 2.0**-53
                taken = number * left < wanted
                left -= 1
                if taken:
                    wanted -= 1
                    continue
            if marks[j] != 2:
                scores[row, j] = -np.inf
        _mark(seen_starts, seen, row, 0, marks)
        _mark(relevant_starts, relevant, row, 0, marks)
