"""Pack histories of different lengths one after another, as input of sequence models."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import I32, I64, OUT_I64, VOID, kernel

# Minimum width of a table: splitting into narrower tables costs more than the padding.
_NARROWEST = 8


class PackedHistories(NamedTuple):
    """Inputs and targets of windows, and their layout in padded tables; n is the number of inputs.

    Attributes:
        inputs: The item of each input, `(n,)`.
        targets: The item that follows each input, `(n,)`.
        positions: Position of each input in its window, from the oldest, `(n,)`.
        places: Index of each input in the tables, stored one after another and flattened, `(n,)`. A window is padded on
            the right.
        shapes: Rows and columns of each table; windows of similar length share a table.
    """

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    positions: NDArray[np.int64]
    places: NDArray[np.int64]
    shapes: list[tuple[int, int]]


@kernel(VOID, I32, I64, I64, I64, OUT_I64, OUT_I64, OUT_I64, OUT_I64)
def _pack(items, begins, lengths, rows, inputs, targets, positions, places):
    n_packed = 0
    for window in range(len(begins)):
        for step in range(lengths[window]):
            inputs[n_packed] = items[begins[window] + step]
            targets[n_packed] = items[begins[window] + step + 1]
            positions[n_packed] = step
            places[n_packed] = rows[window] + step
            n_packed += 1


def pack(items: NDArray[np.int32], begins: NDArray[np.int64], lengths: NDArray[np.int64]) -> PackedHistories:
    """Pack windows of histories.

    Args:
        items: Histories one after another, each oldest first.
        begins: Position in `items` at which each window begins.
        lengths: Number of inputs of each window, ascending; a window has one item more, its last target.

    Returns:
        The packed windows.
    """
    widest = int(lengths.max(initial=1))
    # The width of a window's table is its length, rounded up to a power of two.
    powers = 1 << np.ceil(np.log2(np.maximum(lengths, 1))).astype(np.int64)
    widths = np.clip(powers, min(_NARROWEST, widest), widest)
    row_begins = np.cumsum(widths) - widths
    n_inputs = int(lengths.sum())
    inputs = np.empty(n_inputs, np.int64)
    targets = np.empty(n_inputs, np.int64)
    positions = np.empty(n_inputs, np.int64)
    places = np.empty(n_inputs, np.int64)
    _pack(items, begins, lengths, row_begins, inputs, targets, positions, places)
    table_widths, table_heights = np.unique(widths, return_counts=True)
    shapes = list(zip(table_heights.tolist(), table_widths.tolist(), strict=True))
    return PackedHistories(inputs, targets, positions, places, shapes)


class PackedInputs(NamedTuple):
    """The latest items of histories, and their layout in padded tables; n is the number of items.

    Attributes:
        inputs: The items, `(n,)`.
        positions: Position of each item, from the oldest of its history, `(n,)`.
        places: Index of each item in the tables, as in `PackedHistories`, `(n,)`.
        shapes: Rows and columns of each table.
        lengths: Number of items of each history, `(n_histories,)`.
    """

    inputs: NDArray[np.int64]
    positions: NDArray[np.int64]
    places: NDArray[np.int64]
    shapes: list[tuple[int, int]]
    lengths: NDArray[np.int64]

    @property
    def table_size(self) -> int:
        """Number of places in all tables."""
        return sum(n_rows * width for n_rows, width in self.shapes)


def pack_inputs(starts: NDArray[np.int64], items: NDArray[np.int32], max_length: int) -> PackedInputs:
    """Pack the latest items of histories.

    Args:
        starts: Position in `items` at which each history begins, and the end of the last one. None is empty, and none
            has more of its latest `max_length` items than the next one.
        items: Histories one after another, each oldest first.
        max_length: Maximum number of items of a history.

    Returns:
        The packed items.
    """
    ends = starts[1:]
    lengths = np.minimum(ends - starts[:-1], max_length)
    # `pack` also reads the item after each input, its target: the last history needs one more.
    packed = pack(np.append(items, np.int32(0)), ends - lengths, lengths)
    return PackedInputs(packed.inputs, packed.positions, packed.places, packed.shapes, lengths)
