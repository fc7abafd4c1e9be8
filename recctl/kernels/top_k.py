"""Masking of seen items and the k best of a row of scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import FLOAT, I32, I64, INT, OUT_F32, OUT_F32_2D, OUT_I32_2D, VOID, kernel

# A constant of this size is what the compiler makes vector instructions of; with 32 it does not.
_CHUNK = 16
# Above this many places insertions cost more than sorting.
_MOST_INSERTED = 128
# No NaN reaches these kernels, so that a maximum may be taken in any order, many scores at a time. Minus infinity does
# reach them, so `ninf` is not among the promises.
_ANY_ORDER = {"nnan", "nsz", "reassoc"}


@kernel(VOID, OUT_F32_2D, I64, I32)
def mask(scores, starts, columns):
    """Set the scores of each row's columns to minus infinity."""
    for row in range(scores.shape[0]):
        for p in range(starts[row], starts[row + 1]):
            scores[row, columns[p]] = -np.inf


@kernel(VOID, OUT_F32_2D, INT, OUT_F32, fastmath=_ANY_ORDER)
def _chunk_maxima(scores, row, maxima):
    whole = scores.shape[1] // _CHUNK
    for chunk in range(whole):
        highest = np.float32(-np.inf)
        for j in range(chunk * _CHUNK, chunk * _CHUNK + _CHUNK):
            highest = max(highest, scores[row, j])
        maxima[chunk] = highest
    if whole < len(maxima):
        highest = np.float32(-np.inf)
        for j in range(whole * _CHUNK, scores.shape[1]):
            highest = max(highest, scores[row, j])
        maxima[whole] = highest


@kernel(INT, OUT_F32_2D, OUT_I32_2D, INT, INT, INT, FLOAT, INT)
def _insert(best, items, row, found, k, score, item):
    # Equal scores keep the order they are found in: the lower code first.
    at = min(found, k - 1)
    while at > 0 and best[row, at - 1] < score:
        best[row, at] = best[row, at - 1]
        items[row, at] = items[row, at - 1]
        at -= 1
    best[row, at] = score
    items[row, at] = item
    return min(found + 1, k)


@kernel(VOID, OUT_F32_2D, OUT_I32_2D, OUT_F32_2D)
def _by_insertion(scores, items, best):
    n, k = scores.shape[1], items.shape[1]
    maxima = np.empty(-(-n // _CHUNK), np.float32)
    for row in range(scores.shape[0]):
        _chunk_maxima(scores, row, maxima)
        # The k best scores are all at least the k-th best of the chunks' maxima: few chunks are looked into.
        floor = np.float32(-np.inf)
        if k <= len(maxima):
            found = 0
            for chunk in range(len(maxima)):
                if found < k or maxima[chunk] > best[row, k - 1]:
                    found = _insert(best, items, row, found, k, maxima[chunk], chunk)
            floor = np.nextafter(best[row, k - 1], np.float32(-np.inf))
        found = 0
        for chunk in range(len(maxima)):
            if not maxima[chunk] > floor:
                continue
            for j in range(chunk * _CHUNK, min(chunk * _CHUNK + _CHUNK, n)):
                if scores[row, j] > floor:
                    found = _insert(best, items, row, found, k, scores[row, j], j)
                    if found == k:
                        floor = best[row, k - 1]
        for at in range(found, k):
            items[row, at] = -1
            best[row, at] = -np.inf


def _by_sorting(scores: NDArray[np.float32], items: NDArray[np.int32], best: NDArray[np.float32]) -> None:
    n, k = scores.shape[1], items.shape[1]
    maxima = np.empty(-(-n // _CHUNK), np.float32)
    for row, values in enumerate(scores):
        among = values
        if k <= len(maxima):
            _chunk_maxima(scores, row, maxima)
            among = maxima
        least = np.partition(among, len(among) - k)[len(among) - k] if k < n else -np.inf
        codes = np.flatnonzero((values >= least) & (values > -np.inf))
        codes = codes[np.argsort(-values[codes], kind="stable")[:k]]
        found = len(codes)
        items[row, :found], best[row, :found] = codes, values[codes]
        items[row, found:], best[row, found:] = -1, -np.inf


def top_k(scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k best columns of each row, best first, and their scores.

    Equal scores come in ascending order of column. Columns that score minus infinity are never among them; rows with
    fewer others end in -1.

    Args:
        scores: Shape `(n_rows, n_columns)`, C-contiguous, without NaN.
        k: At least 1.

    Returns:
        Columns int32 and scores float32, both `(n_rows, k)`.
    """
    shape = scores.shape[0], k
    items, best = np.empty(shape, np.int32), np.empty(shape, np.float32)
    (_by_insertion if k <= _MOST_INSERTED else _by_sorting)(scores, items, best)
    return items, best
