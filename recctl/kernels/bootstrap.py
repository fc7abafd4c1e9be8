"""Random weights of users, for bootstraps and tests by randomisation."""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import INT, OUT_F32_2D, VOID, kernel
from recctl.kernels.counter_rng import splitmix64

_32_BITS = np.uint64(32)
_LOW_32 = np.uint64(0xFFFFFFFF)


@kernel(VOID, INT, OUT_F32_2D)
def draw_counts(key, out):
    """How often each column is drawn when as many are drawn, with replacement, as there are: for each row anew.

    Places are the upper 32 bits of `number * n_columns`, the number of 32 bits: chances of columns differ by at most
    `n_columns / 2^32` of themselves.

    Args:
        key: All draws follow from it; at least 0.
        out: `(n_rows, n_columns)`, fewer than 2^32 columns.
    """
    n_rows, n_columns = out.shape
    n = np.uint64(n_columns)
    state = splitmix64(np.uint64(key) + np.uint64(1))
    for row in range(n_rows):
        for column in range(n_columns):
            out[row, column] = 0
        for draw in range(0, n_columns, 2):
            state += np.uint64(1)
            word = splitmix64(state)
            out[row, ((word >> _32_BITS) * n) >> _32_BITS] += 1
            if draw + 1 < n_columns:
                out[row, ((word & _LOW_32) * n) >> _32_BITS] += 1


@kernel(VOID, INT, OUT_F32_2D)
def draw_signs(key, out):
    """1 or -1 at every place, each as likely.

    Args:
        key: All draws follow from it; at least 0.
        out: `(n_rows, n_columns)`.
    """
    n_rows, n_columns = out.shape
    state = splitmix64(np.uint64(key) + np.uint64(1))
    for row in range(n_rows):
        for first in range(0, n_columns, 64):
            state += np.uint64(1)
            word = splitmix64(state)
            for at in range(min(64, n_columns - first)):
                out[row, first + at] = np.float32(2 * np.int32((word >> np.uint64(at)) & np.uint64(1)) - 1)
