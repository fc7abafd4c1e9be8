"""Dense codes for integer ids by a table over their range: linear, no hashing."""

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


_mark_32, _mark_64 = (kernel(VOID, ids, INT, OUT_U8)(_mark) for ids in (I32, I64))
_look_up_32, _look_up_64 = (kernel(VOID, ids, INT, I32, OUT_I32)(_look_up) for ids in (I32, I64))


def encode_dense(ids: NDArray[Any], low: int, high: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The distinct ids of `low..high` in ascending order, and the place of each id among them.

    Ids that are int32 are overwritten by their places, which takes no more room.
    """
    present = np.zeros(high - low + 1, np.uint8)
    narrow = ids.dtype == np.int32
    (_mark_32 if narrow else _mark_64)(ids, low, present)
    distinct = np.flatnonzero(present) + low
    table = np.cumsum(present, dtype=np.int32) - np.int32(1)
    codes = ids if narrow else np.empty(len(ids), np.int32)
    (_look_up_32 if narrow else _look_up_64)(ids, low, table, codes)
    return distinct, codes
