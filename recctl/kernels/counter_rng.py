"""Numbers that look random and follow from their place alone: no state, so no order in which they are drawn."""

from __future__ import annotations

import numba
import numpy as np

from recctl.kernels.compile import I32, I64, INT, OUT_F32_2D, VOID, kernel

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_24_BITS = np.float32(2.0**-24)


@numba.njit
def _splitmix64(counter):
    """The number of place `counter` in the SplitMix64 sequence of seed 0 (Steele, Lea & Flood, 2014)."""
    z = counter * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


@kernel(VOID, INT, I64, I32, OUT_F32_2D)
def uniform(seed, starts, columns, out):
    """Fill each row with uniform numbers in [0, 1) that follow from the seed, the row's set of columns and the place.

    Args:
        seed: At least 0.
        starts: Row starts.
        columns: Columns of each row, in any order.
        out: `(n_rows, n_columns)`.
    """
    seed_hash = _splitmix64(np.uint64(seed) + np.uint64(1))
    for row in range(len(starts) - 1):
        # A sum, so that the order of the columns doesn't matter.
        total = np.uint64(0)
        for p in range(starts[row], starts[row + 1]):
            total += _splitmix64(seed_hash ^ np.uint64(columns[p]))
        key = _splitmix64(seed_hash ^ total)
        for j in range(out.shape[1]):
            out[row, j] = np.float32(_splitmix64(key + np.uint64(j)) >> np.uint64(40)) * _24_BITS
