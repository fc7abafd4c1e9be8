"""Pack histories one after another, as models of sequences take them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import I32, I64, INT, OUT_I64, VOID, kernel


@kernel(VOID, I64, I32, I64, INT, INT, OUT_I64, OUT_I64, OUT_I64, OUT_I64)
def _pack(starts, items, rows, longest, width, inputs, targets, positions, places):
    at = 0
    for row in range(len(rows)):
        end = starts[rows[row] + 1] - 1
        begin = max(starts[rows[row]], end - longest)
        for step in range(end - begin):
            inputs[at] = items[begin + step]
            targets[at] = items[begin + step + 1]
            positions[at] = step
            places[at] = row * width + step
            at += 1


def pack(
    starts: NDArray[np.int64], items: NDArray[np.int32], rows: NDArray[np.int64], longest: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], int]:
    """Inputs and targets of some rows' last `longest + 1` items; rows have at least two.

    Args:
        starts: Row `u` lies at `starts[u]:starts[u + 1]`.
        items: Oldest first within a row.
        rows: Which.
        longest: Inputs of a row, at most.

    Returns:
        For each of n inputs, all `(n,)`: the item, the item after it, its position from the oldest input, and its place
        in a `(len(rows), width)` table; then `width`, the length of the longest row.
    """
    lengths = np.minimum(starts[rows + 1] - starts[rows] - 1, longest)
    width = int(lengths.max(initial=0))
    out = tuple(np.empty(int(lengths.sum()), np.int64) for _ in range(4))
    _pack(starts, items, rows, longest, width, *out)
    return (*out, width)  # type: ignore[return-value]
