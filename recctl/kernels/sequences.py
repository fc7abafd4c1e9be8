"""Pack histories one after another, as models of sequences take them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import I32, I64, OUT_I64, VOID, kernel

# Shorter rows are as wide as this in a table: to cut finer costs more than the gaps.
_NARROWEST = 8


@kernel(VOID, I64, I32, I64, I64, I64, OUT_I64, OUT_I64, OUT_I64, OUT_I64)
def _pack(starts, items, rows, lengths, begins, inputs, targets, positions, places):
    at = 0
    for row in range(len(rows)):
        begin = starts[rows[row] + 1] - 1 - lengths[row]
        for step in range(lengths[row]):
            inputs[at] = items[begin + step]
            targets[at] = items[begin + step + 1]
            positions[at] = step
            places[at] = begins[row] + step
            at += 1


def pack(
    starts: NDArray[np.int64], items: NDArray[np.int32], rows: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], list[tuple[int, int]]]:
    """Inputs and targets of the ends of some rows, and where they lie in tables of rows of like length.

    Args:
        starts: Row `u` lies at `starts[u]:starts[u + 1]`.
        items: Oldest first within a row.
        rows: Which.
        lengths: How many inputs of each, ascending; a row has one item more.

    Returns:
        For each of n inputs, all `(n,)`: the item, the item after it, its position from the oldest input, and its place
        in the tables, one after another; then the shapes of the tables. A row stands in its table from the left.
    """
    widest = int(lengths.max(initial=1))
    widths = np.clip(1 << np.ceil(np.log2(np.maximum(lengths, 1))).astype(np.int64), min(_NARROWEST, widest), widest)
    out = tuple(np.empty(int(lengths.sum()), np.int64) for _ in range(4))
    _pack(starts, items, rows, lengths, np.cumsum(widths) - widths, *out)
    shapes = [(int(count), int(width)) for width, count in zip(*np.unique(widths, return_counts=True), strict=True)]
    return (*out, shapes)  # type: ignore[return-value]
