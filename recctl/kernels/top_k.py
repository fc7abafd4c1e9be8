"""Masking of seen items, and the k best items of each row of scores.

Tie-breaking: items with equal scores are ranked by ascending tie key, see `recctl.kernels.tie_keys`. Keys are computed
only where scores are equal. Insertion (small k) and sorting (large k) both follow this rule.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import (
    F32,
    I32,
    I64,
    INT,
    OUT_F32,
    OUT_F32_2D,
    OUT_I32_2D,
    OUT_I64,
    U64,
    VOID,
    kernel,
)
from recctl.kernels.neighbours import heap_push, heap_sort
from recctl.kernels.tie_keys import tie_key

# Columns of a chunk.
_CHUNK = 16
# For a larger k, sorting is faster than insertion.
_LARGEST_INSERTION_K = 128
# All scores but minus infinity, which is that of excluded items, are at least this one.
_LOWEST = np.finfo(np.float32).min
# A tie key that is not computed yet; one that happens to be 0 is computed each time.
_UNKNOWN_KEY = np.uint64(0)
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
    # With n chunks, a chunk has every n-th column: LLVM updates the maxima of many chunks at once, by consecutive
    # scores. It is several times slower at reducing consecutive scores to one maximum.
    n_chunks = len(maxima)
    for chunk in range(n_chunks):
        maxima[chunk] = scores[row, chunk]
    begin = n_chunks
    while begin < scores.shape[1]:
        part = scores[row, begin : begin + n_chunks]
        for chunk in range(len(part)):
            score = part[chunk]
            highest = maxima[chunk]
            maxima[chunk] = score if score > highest else highest
        begin += n_chunks


@kernel("float32", OUT_F32, INT, OUT_F32)
def _kth_largest(values, k, largest):
    n_found = 0
    for value in values:
        if n_found == k and value <= largest[k - 1]:
            continue
        rank = min(n_found, k - 1)
        while rank > 0 and largest[rank - 1] < value:
            largest[rank] = largest[rank - 1]
            rank -= 1
        largest[rank] = value
        n_found = min(n_found + 1, k)
    return largest[k - 1]


# The insertion is no function of its own: in the inner loop, a helper that takes arrays counts references to them at
# each call, inlined or not, which costs many times as much as its work.
@kernel(VOID, OUT_F32_2D, U64, U64, OUT_I32_2D, OUT_F32_2D)
def _rank_by_insertion(scores, row_keys, item_hashes, items, best):
    n_columns = scores.shape[1]
    k = items.shape[1]
    maxima = np.empty(-(-n_columns // _CHUNK), np.float32)
    largest = np.empty(k, np.float32)
    # Tie keys of the ranked items, computed only when scores tie.
    keys = np.empty(k, np.uint64)
    for row in range(scores.shape[0]):
        row_key = row_keys[row]
        _chunk_maxima(scores, row, maxima)
        floor = _LOWEST
        if k <= len(maxima):
            # The k-th largest maximum of a chunk is a lower bound of the k best scores: few chunks need to be searched.
            floor = max(floor, _kth_largest(maxima, k, largest))
        n_found = 0
        for chunk in range(len(maxima)):
            if maxima[chunk] < floor:
                continue
            for j in range(chunk, n_columns, len(maxima)):
                score = scores[row, j]
                if score < floor:
                    continue
                key = _UNKNOWN_KEY
                rank = n_found
                if n_found == k:
                    rank = k - 1
                    if score == best[row, rank]:
                        key = tie_key(row_key, item_hashes[j])
                        if keys[rank] == _UNKNOWN_KEY:
                            keys[rank] = tie_key(row_key, item_hashes[items[row, rank]])
                        if key >= keys[rank]:
                            continue
                while rank > 0 and best[row, rank - 1] <= score:
                    if best[row, rank - 1] == score:
                        if key == _UNKNOWN_KEY:
                            key = tie_key(row_key, item_hashes[j])
                        if keys[rank - 1] == _UNKNOWN_KEY:
                            keys[rank - 1] = tie_key(row_key, item_hashes[items[row, rank - 1]])
                        if keys[rank - 1] <= key:
                            break
                    best[row, rank] = best[row, rank - 1]
                    items[row, rank] = items[row, rank - 1]
                    keys[rank] = keys[rank - 1]
                    rank -= 1
                best[row, rank] = score
                items[row, rank] = j
                keys[rank] = key
                n_found = min(n_found + 1, k)
                if n_found == k:
                    floor = best[row, k - 1]
        for rank in range(n_found, k):
            items[row, rank] = -1
            best[row, rank] = -np.inf


@kernel(VOID, OUT_I64, F32, INT, U64, INT, U64)
def _break_ties(columns, scores, k, row_keys, row, item_hashes):
    """Order columns with equal scores, in place.

    Args:
        columns: Columns of a row in descending order of score; the first k are wanted.
        scores: Their scores.
        k: Number of columns that are wanted.
        row_keys: Key of each row.
        row: The row.
        item_hashes: Hash of each column's item.
    """
    row_key = row_keys[row]
    inverted_keys = np.empty(k, np.uint64)
    tied_columns = np.empty(k, np.int64)
    begin = 0
    while begin < min(k, len(columns)):
        end = begin + 1
        while end < len(columns) and scores[end] == scores[begin]:
            end += 1
        if end - begin > 1:
            # There can be many more ties with the last rank than ranks: a heap keeps as many as are wanted.
            n_wanted = min(end, k) - begin
            heap_keys = inverted_keys[:n_wanted]
            heap_columns = tied_columns[:n_wanted]
            size = 0
            for p in range(begin, end):
                # The heap keeps the highest values: those of the lowest keys.
                inverted_key = ~tie_key(row_key, item_hashes[columns[p]])
                size = heap_push(heap_keys, heap_columns, size, inverted_key, columns[p])
            heap_sort(heap_keys, heap_columns, size)
            columns[begin : begin + n_wanted] = heap_columns
        begin = end


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
        columns = np.flatnonzero(row_scores >= floor)
        column_scores = row_scores[columns]
        order = np.argsort(-column_scores, kind="stable")
        columns = columns[order]
        column_scores = column_scores[order]
        _break_ties(columns, column_scores, k, row_keys, row, item_hashes)
        n_found = min(k, len(columns))
        items[row, :n_found] = columns[:n_found]
        best[row, :n_found] = column_scores[:n_found]
        items[row, n_found:] = -1
        best[row, n_found:] = -np.inf


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
