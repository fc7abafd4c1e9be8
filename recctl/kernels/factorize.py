"""Factorize integer ids through a table over their range: linear time, no hashing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import I32, I64, INT, OUT_I32, OUT_U8, VOID, kernel


def _mark(ids, low, present):
    for i in ids:
        present[i - low] = 1


def _look_up(ids, low, table, codes):
    for p in range(len(ids)):
        codes[p] = table[ids[p] - low]


_mark_32 = kernel(VOID, I32, INT, OUT_U8)(_mark)
_mark_64 = kernel(VOID, I64, INT, OUT_U8)(_mark)
_look_up_32 = kernel(VOID, I32, INT, I32, OUT_I32)(_look_up)
_look_up_64 = kernel(VOID, I64, INT, I32, OUT_I32)(_look_up)


def encode_dense(ids: NDArray[Any], low: int, high: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Distinct ids in ascending order, and the index of each id among them, as `np.unique(return_inverse=True)`.

    The memory needed is 5 bytes for each number in `low..high`.

    Args:
        ids: int32 or int64 ids. An int32 array is overwritten with its codes, to save memory.
        low: The smallest id.
        high: The largest id.

    Returns:
        Distinct ids (int64), and codes (int32) of the shape of `ids`.
    """
    present = np.zeros(high - low + 1, np.uint8)
    is_int32 = ids.dtype == np.int32
    if is_int32:
        _mark_32(ids, low, present)
    else:
        _mark_64(ids, low, present)
    distinct = np.flatnonzero(present) + low
    table = np.cumsum(present, dtype=np.int32) - np.int32(1)
    if is_int32:
        _look_up_32(ids, low, table, ids)
        return distinct, ids
    codes = np.empty(len(ids), np.int32)
    _look_up_64(ids, low, table, codes)
    return distinct, codes
