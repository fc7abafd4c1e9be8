"""Pack histories one after another, as models of sequences take them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import I32, I64, OUT_I64, VOID, kernel

# Shorter rows are as wide as this in a table: to cut finer costs more than the gaps.
_NARROWEST = 8


@kernel(VOID, I32, I64, I64, I64, OUT_I64, OUT_I64, OUT_I64, OUT_I64)
def _pack(items, begins, lengths, rows, inputs, targets, positions, places):
    at = 0
    for window in range(len(begins)):
        for step in range(lengths[window]):
            inputs[at] = items[begins[window] + step]
            targets[at] = items[begins[window] + step + 1]
            positions[at] = step
            places[at] = rows[window] + step
            at += 1


def pack(
    items: NDArray[np.int32], begins: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], list[tuple[int, int]]]:
    """Inputs and targets of windows of histories, and where they lie in tables of rows of like length.

    Args:
        items: Histories one after another, each oldest first.
        begins: Where in `items` each window begins.
        lengths: How many inputs of each, ascending; a window has one item more.

    Returns:
        For each of n inputs, all `(n,)`: the item, the item after it, its position from the oldest input, and its place
        in the tables, one after another; then the shapes of the tables. A window stands in its table from the left.
    """
    widest = int(lengths.max(initial=1))
    widths = np.clip(1 << np.ceil(np.log2(np.maximum(lengths, 1))).astype(np.int64), min(_NARROWEST, widest), widest)
    out = tuple(np.empty(int(lengths.sum()), np.int64) for _ in range(4))
    _pack(items, begins, lengths, np.cumsum(widths) - widths, *out)
    shapes = [(int(count), int(width)) for width, count in zip(*np.unique(widths, return_counts=True), strict=True)]
    return (*out, shapes)  # type: ignore[return-value]
