"""Dense codes for integer ids by a table over their range: linear, no hashing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import I64, INT, OUT_I32, OUT_U8, VOID, kernel


@kernel(VOID, I64, INT, OUT_U8)
def _mark(ids, low, present):
    for i in ids:
        present[i - low] = 1


@kernel(VOID, I64, INT, OUT_I32, OUT_I32)
def _look_up(ids, low, table, codes):
    for p in range(len(ids)):
        codes[p] = table[ids[p] - low]


def encode_dense(ids: NDArray[np.int64], low: int, high: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The distinct ids of `low..high` in ascending order, and the place of each id among them."""
    present = np.zeros(high - low + 1, np.uint8)
    _mark(ids, low, present)
    distinct = np.flatnonzero(present) + low
    table = np.cumsum(present, dtype=np.int32) - np.int32(1)
    codes = np.empty(len(ids), np.int32)
    _look_up(ids, low, table, codes)
    return distinct, codes
