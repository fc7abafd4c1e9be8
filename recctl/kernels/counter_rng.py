"""Counter-based random numbers: a hash of the position, without state, so that the drawing order does not matter."""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import I32, I64, INT, OUT_F32_2D, VOID, kernel, outlined

# Constants of SplitMix64.
GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)

_FLOAT32_STEP = np.float32(2.0**-24)


@outlined
def splitmix64(counter):
    """Element number `counter` (uint64) of the SplitMix64 sequence with seed 0 (Steele, Lea & Flood, 2014)."""
    z = counter * GOLDEN_GAMMA
    z = (z ^ (z >> np.uint64(30))) * MIX_1
    z = (z ^ (z >> np.uint64(27))) * MIX_2
    return z ^ (z >> np.uint64(31))


@kernel(VOID, INT, I64, I32, OUT_F32_2D)
def uniform(seed, starts, columns, out):
    """Fill each row with uniform numbers in [0, 1) that depend on the seed, the row's set of columns and the position.

    Args:
        seed: At least 0.
        starts: Row starts, `(n_rows + 1,)`.
        columns: Columns of each row, in any order.
        out: Output, `(n_rows, n_columns)`.
    """
    seed_hash = splitmix64(np.uint64(seed) + np.uint64(1))
    for row in range(len(starts) - 1):
        # A sum of hashes does not depend on the order of the columns.
        total = np.uint64(0)
        for p in range(starts[row], starts[row + 1]):
            total += splitmix64(seed_hash ^ np.uint64(columns[p]))
        row_key = splitmix64(seed_hash ^ total)
        for j in range(out.shape[1]):
            # The upper 24 bits: as many as the significand of a float32 holds.
            out[row, j] = np.float32(splitmix64(row_key + np.uint64(j)) >> np.uint64(40)) * _FLOAT32_STEP
