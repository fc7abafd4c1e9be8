"""Masking of seen items, and the k best items of each row of scores.

Tie-breaking: items with equal scores are ranked by ascending column, that is by item code. Insertion (small k) and
sorting (large k) both follow this rule; so do the ONNX graph (`recctl.export._scoring_graph`) and the popular items for
unknown users (`Recommender._recommendation_table`). A change has to reach all of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import FLOAT, I32, I64, INT, OUT_F32, OUT_F32_2D, OUT_I32_2D, VOID, kernel

# LLVM vectorizes the maximum of a chunk of this constant size; with 32 it does not.
_CHUNK = 16
# For a larger k, sorting is faster than insertion.
_LARGEST_INSERTION_K = 128
# Scores contain no NaN, so the maximum of a chunk may be computed in any order, many scores at a time. They do contain
# minus infinity: "ninf" must not be among the flags.
_UNORDERED_MAXIMUM = {"nnan", "nsz", "reassoc"}


@kernel(VOID, OUT_F32_2D, I64, I32)
def mask(scores, starts, columns):
    """Set the scores of each row's columns to minus infinity, in place."""
    for row in range(scores.shape[0]):
        for p in range(starts[row], starts[row + 1]):
            scores[row, columns[p]] = -np.inf


@kernel(VOID, OUT_F32_2D, INT, OUT_F32, fastmath=_UNORDERED_MAXIMUM)
def _chunk_maxima(scores, row, maxima):
    n_full = scores.shape[1] // _CHUNK
    for chunk in range(n_full):
        highest = np.float32(-np.inf)
        for j in range(chunk * _CHUNK, chunk * _CHUNK + _CHUNK):
            highest = max(highest, scores[row, j])
        maxima[chunk] = highest
    if n_full < len(maxima):
        highest = np.float32(-np.inf)
        for j in range(n_full * _CHUNK, scores.shape[1]):
            highest = max(highest, scores[row, j])
        maxima[n_full] = highest


@kernel(INT, OUT_F32_2D, OUT_I32_2D, INT, INT, INT, FLOAT, INT)
def _insert(best, items, row, n_found, k, score, item):
    # Ties keep the order in which they are inserted. Columns are visited in ascending order: the lower one ranks first.
    rank = min(n_found, k - 1)
    while rank > 0 and best[row, rank - 1] < score:
        best[row, rank] = best[row, rank - 1]
        items[row, rank] = items[row, rank - 1]
        rank -= 1
    best[row, rank] = score
    items[row, rank] = item
    return min(n_found + 1, k)


@kernel(VOID, OUT_F32_2D, OUT_I32_2D, OUT_F32_2D)
def _rank_by_insertion(scores, items, best):
    n_columns = scores.shape[1]
    k = items.shape[1]
    maxima = np.empty(-(-n_columns // _CHUNK), np.float32)
    for row in range(scores.shape[0]):
        _chunk_maxima(scores, row, maxima)
        # The k-th largest maximum of a chunk is a lower bound of the k best scores: few chunks need to be searched.
        floor = np.float32(-np.inf)
        if k <= len(maxima):
            n_found = 0
            for chunk in range(len(maxima)):
                if n_found < k or maxima[chunk] > best[row, k - 1]:
                    n_found = _insert(best, items, row, n_found, k, maxima[chunk], chunk)
            # The next lower number, so that scores equal to the bound pass `> floor`: ties are broken by column.
            floor = np.nextafter(best[row, k - 1], np.float32(-np.inf))
        n_found = 0
        for chunk in range(len(maxima)):
            if not maxima[chunk] > floor:
                continue
            for j in range(chunk * _CHUNK, min(chunk * _CHUNK + _CHUNK, n_columns)):
                if scores[row, j] > floor:
                    n_found = _insert(best, items, row, n_found, k, scores[row, j], j)
                    if n_found == k:
                        # From here on a tie with the last rank loses: its column is higher.
                        floor = best[row, k - 1]
        for rank in range(n_found, k):
            items[row, rank] = -1
            best[row, rank] = -np.inf


def _rank_by_sorting(scores: NDArray[np.float32], items: NDArray[np.int32], best: NDArray[np.float32]) -> None:
    n_columns = scores.shape[1]
    k = items.shape[1]
    maxima = np.empty(-(-n_columns // _CHUNK), np.float32)
    for row, row_scores in enumerate(scores):
        threshold = -np.inf
        if k < n_columns:
            bounds = row_scores
            if k <= len(maxima):
                _chunk_maxima(scores, row, maxima)
                bounds = maxima
            threshold = np.partition(bounds, len(bounds) - k)[len(bounds) - k]
        columns = np.flatnonzero((row_scores >= threshold) & (row_scores > -np.inf))
        # The stable sort breaks ties by column.
        columns = columns[np.argsort(-row_scores[columns], kind="stable")[:k]]
        n_found = len(columns)
        items[row, :n_found] = columns
        best[row, :n_found] = row_scores[columns]
        items[row, n_found:] = -1
        best[row, n_found:] = -np.inf


def top_k(scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k best columns of each row, best first, and their scores.

    Ties are broken by column: of equal scores the lower column ranks first. Columns with a score of minus infinity are
    never ranked; ranks that remain empty are -1 with a score of minus infinity.

    Args:
        scores: Shape `(n_rows, n_columns)`, C-contiguous, without NaN.
        k: At least 1.

    Returns:
        Columns (int32) and scores (float32), both `(n_rows, k)`.
    """
    items = np.empty((scores.shape[0], k), np.int32)
    best = np.empty((scores.shape[0], k), np.float32)
    if k <= _LARGEST_INSERTION_K:
        _rank_by_insertion(scores, items, best)
    else:
        _rank_by_sorting(scores, items, best)
    return items, best
