"""Random weights of users for bootstrap and randomization tests."""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import INT, OUT_F32_2D, VOID, kernel
from recctl.kernels.counter_rng import splitmix64

_32_BITS = np.uint64(32)
_LOW_32 = np.uint64(0xFFFFFFFF)


@kernel(VOID, INT, OUT_F32_2D)
def draw_counts(key, out):
    """Bootstrap counts: for each row, draw `n_columns` columns with replacement and count each column.

    A draw takes the upper 32 bits of `number * n_columns` for a 32-bit random number (Lemire, 2019, without rejection):
    the probabilities of columns differ by a relative `n_columns / 2^32` at most.

    Args:
        key: Key of the random numbers, at least 0.
        out: Counts, `(n_rows, n_columns)`; fewer than 2^32 columns.
    """
    n_rows, n_columns = out.shape
    n = np.uint64(n_columns)
    state = splitmix64(np.uint64(key) + np.uint64(1))
    for row in range(n_rows):
        for column in range(n_columns):
            out[row, column] = 0
        for draw in range(0, n_columns, 2):
            state += np.uint64(1)
            # One 64-bit word serves two draws.
            word = splitmix64(state)
            out[row, ((word >> _32_BITS) * n) >> _32_BITS] += 1
            if draw + 1 < n_columns:
                out[row, ((word & _LOW_32) * n) >> _32_BITS] += 1


@kernel(VOID, INT, OUT_F32_2D)
def draw_signs(key, out):
    """Fill `out` with 1 and -1, each with probability 1/2.

    Args:
        key: Key of the random numbers, at least 0.
        out: Signs, `(n_rows, n_columns)`.
    """
    n_rows, n_columns = out.shape
    state = splitmix64(np.uint64(key) + np.uint64(1))
    for row in range(n_rows):
        for first in range(0, n_columns, 64):
            state += np.uint64(1)
            word = splitmix64(state)
            for bit in range(min(64, n_columns - first)):
                out[row, first + bit] = np.float32(2 * np.int32((word >> np.uint64(bit)) & np.uint64(1)) - 1)
