"""Masking of seen items and the k best of a row of scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import I32, I64, OUT_F32_2D, OUT_I32_2D, VOID, kernel

_CHUNK = 64
# Above this many places an insertion costs more than sorting the row.
_MOST_INSERTED = 128


@kernel(VOID, OUT_F32_2D, I64, I32)
def mask(scores, starts, columns):
    """Set the scores of each row's columns to minus infinity."""
    for row in range(scores.shape[0]):
        for p in range(starts[row], starts[row + 1]):
            scores[row, columns[p]] = -np.inf


# No NaN reaches this kernel (fitted values are checked), so that the maximum of a chunk may be taken in any order, many
# scores at a time. Minus infinity does reach it, so `ninf` is not among the promises.
@kernel(VOID, OUT_F32_2D, OUT_I32_2D, OUT_F32_2D, fastmath={"nnan", "nsz", "reassoc"})
def _insert(scores, items, best):
    n = scores.shape[1]
    k = items.shape[1]
    for row in range(scores.shape[0]):
        found = 0
        threshold = np.float32(-np.inf)
        for begin in range(0, n, _CHUNK):
            end = min(begin + _CHUNK, n)
            highest = np.float32(-np.inf)
            for j in range(begin, end):
                highest = max(highest, scores[row, j])
            if not highest > threshold:
                continue
            for j in range(begin, end):
                score = scores[row, j]
                if not score > threshold:
                    continue
                at = min(found, k - 1)
                # Equal scores keep the order they are found in: the lower code first.
                while at > 0 and best[row, at - 1] < score:
                    best[row, at] = best[row, at - 1]
                    items[row, at] = items[row, at - 1]
                    at -= 1
                best[row, at] = score
                items[row, at] = j
                found = min(found + 1, k)
                if found == k:
                    threshold = best[row, k - 1]
        for at in range(found, k):
            items[row, at] = -1
            best[row, at] = -np.inf


def top_k(scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k best columns of each row, best first, and their scores.

    Equal scores come in ascending order of column. Columns that score minus infinity are never among them; rows with
    fewer others end in -1.

    Args:
        scores: Shape `(n_rows, n_columns)`, C-contiguous.
        k: At least 1.

    Returns:
        Columns int32 and scores float32, both `(n_rows, k)`.
    """
    shape = scores.shape[0], k
    if k <= _MOST_INSERTED:
        items, best = np.empty(shape, np.int32), np.empty(shape, np.float32)
        _insert(scores, items, best)
        return items, best
    items, best = np.full(shape, -1, np.int32), np.full(shape, -np.inf, np.float32)
    for row, values in enumerate(scores):
        order = np.argsort(-values, kind="stable")[:k]
        order = order[values[order] > -np.inf]
        items[row, : len(order)] = order
        best[row, : len(order)] = values[order]
    return items, best
