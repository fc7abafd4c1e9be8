"""Masking of seen items, and the k best items of each row of scores.

Tie-breaking: items with equal scores are ranked by ascending tie key, see `recctl.kernels.tie_keys`. Keys are computed
only where scores are equal. Insertion (small k) and sorting (large k) both follow this rule.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import FLOAT, I32, I64, INT, OUT_F32, OUT_F32_2D, OUT_I32_2D, U64, UINT64, VOID, kernel
from recctl.kernels.tie_keys import tie_key, tie_keys

# LLVM vectorizes the maximum of a chunk of this constant size; with 32 it does not.
_CHUNK = 16
# For a larger k, sorting is faster than insertion.
_LARGEST_INSERTION_K = 128
# All scores but minus infinity, which is that of excluded items, are at least this one.
_LOWEST = np.finfo(np.float32).min
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
def _insert_chunk(best, chunks, row, n_found, k, score, chunk):
    rank = min(n_found, k - 1)
    while rank > 0 and best[row, rank - 1] < score:
        best[row, rank] = best[row, rank - 1]
        chunks[row, rank] = chunks[row, rank - 1]
        rank -= 1
    best[row, rank] = score
    chunks[row, rank] = chunk
    return min(n_found + 1, k)


@kernel(INT, OUT_F32_2D, OUT_I32_2D, INT, INT, INT, FLOAT, INT, UINT64, U64)
def _insert_item(best, items, row, n_found, k, score, item, row_key, item_hashes):
    rank = min(n_found, k - 1)
    while rank > 0:
        other = items[row, rank - 1]
        if best[row, rank - 1] > score:
            break
        if best[row, rank - 1] == score and tie_key(row_key, item_hashes[other]) <= tie_key(row_key, item_hashes[item]):
            break
        best[row, rank] = best[row, rank - 1]
        items[row, rank] = other
        rank -= 1
    best[row, rank] = score
    items[row, rank] = item
    return min(n_found + 1, k)


@kernel(VOID, OUT_F32_2D, U64, U64, OUT_I32_2D, OUT_F32_2D)
def _rank_by_insertion(scores, row_keys, item_hashes, items, best):
    n_columns = scores.shape[1]
    k = items.shape[1]
    maxima = np.empty(-(-n_columns // _CHUNK), np.float32)
    for row in range(scores.shape[0]):
        row_key = row_keys[row]
        _chunk_maxima(scores, row, maxima)
        # The k-th largest maximum of a chunk is a lower bound of the k best scores: few chunks need to be searched.
        floor = _LOWEST
        if k <= len(maxima):
            n_found = 0
            for chunk in range(len(maxima)):
                if n_found < k or maxima[chunk] > best[row, k - 1]:
                    n_found = _insert_chunk(best, items, row, n_found, k, maxima[chunk], chunk)
            floor = max(floor, best[row, k - 1])
        n_found = 0
        # The tie key of the item at rank k, computed when another item ties with it: there can be as many ties as
        # columns.
        last_key = np.uint64(0)
        knows_last_key = False
        for chunk in range(len(maxima)):
            if maxima[chunk] < floor:
                continue
            for j in range(chunk * _CHUNK, min(chunk * _CHUNK + _CHUNK, n_columns)):
                score = scores[row, j]
                if score < floor:
                    continue
                if n_found == k and score == floor:
                    if not knows_last_key:
                        last_key = tie_key(row_key, item_hashes[items[row, k - 1]])
                        knows_last_key = True
                    if tie_key(row_key, item_hashes[j]) >= last_key:
                        continue
                n_found = _insert_item(best, items, row, n_found, k, score, j, row_key, item_hashes)
                knows_last_key = False
                if n_found == k:
                    floor = best[row, k - 1]
        for rank in range(n_found, k):
            items[row, rank] = -1
            best[row, rank] = -np.inf


def _rank_by_sorting(
    scores: NDArray[np.float32],
    row_keys: NDArray[np.uint64],
    item_hashes: NDArray[np.uint64],
    items: NDArray[np.int32],
    best: NDArray[np.float32],
) -> None:
    n_columns = scores.shape[1]
    k = items.shape[1]
    maxima = np.empty(-(-n_columns // _CHUNK), np.float32)
    for row, row_scores in enumerate(scores):
        floor = _LOWEST
        if k < n_columns:
            bounds = row_scores
            if k <= len(maxima):
                _chunk_maxima(scores, row, maxima)
                bounds = maxima
            floor = max(floor, np.partition(bounds, len(bounds) - k)[len(bounds) - k])
        columns = np.flatnonzero(row_scores >= floor).astype(np.int32)
        columns = _best_first(columns, row_scores, k, row_keys[row], item_hashes)
        n_found = len(columns)
        items[row, :n_found] = columns
        best[row, :n_found] = row_scores[columns]
        items[row, n_found:] = -1
        best[row, n_found:] = -np.inf


def _best_first(
    columns: NDArray[np.int32],
    row_scores: NDArray[np.float32],
    k: int,
    row_key: np.uint64,
    item_hashes: NDArray[np.uint64],
) -> NDArray[np.int32]:
    """The k best of some columns of a row, best first."""
    scores = row_scores[columns]
    order = np.argsort(-scores)
    # One rank more than k, because ranks k and k + 1 can tie too.
    best = scores[order[: k + 1]]
    if not (best[1:] == best[:-1]).any():
        return columns[order[:k]]
    if len(columns) > k:
        # There can be many more ties with the last rank than ranks: select before sorting.
        ahead = columns[scores > best[k - 1]]
        tied = columns[scores == best[k - 1]]
        n_left = k - len(ahead)
        selected = np.argpartition(_tie_keys(tied, row_key, item_hashes), n_left - 1)[:n_left]
        columns = np.concatenate((ahead, tied[selected]))
    return columns[np.lexsort((_tie_keys(columns, row_key, item_hashes), -row_scores[columns]))]


def _tie_keys(columns: NDArray[np.int32], row_key: np.uint64, item_hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    keys = np.empty(len(columns), np.uint64)
    tie_keys(row_key, item_hashes, columns, keys)
    return keys


def top_k(
    scores: NDArray[np.float32], k: int, row_keys: NDArray[np.uint64], item_hashes: NDArray[np.uint64]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k best columns of each row, best first, and their scores.

    Of equal scores the column with the lower tie key ranks first. Columns with a score of minus infinity are never
    ranked; ranks that remain empty are -1 with a score of minus infinity.

    Args:
        scores: Shape `(n_rows, n_columns)`, C-contiguous, without NaN.
        k: At least 1.
        row_keys: Key of each row, `(n_rows,)`.
        item_hashes: Hash of each column's item, `(n_columns,)`.

    Returns:
        Columns (int32) and scores (float32), both `(n_rows, k)`.
    """
    items = np.empty((scores.shape[0], k), np.int32)
    best = np.empty((scores.shape[0], k), np.float32)
    if k <= _LARGEST_INSERTION_K:
        _rank_by_insertion(scores, row_keys, item_hashes, items, best)
    else:
        _rank_by_sorting(scores, row_keys, item_hashes, items, best)
    return items, best
