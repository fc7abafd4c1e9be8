"""Rows of a Gram matrix in less room than the matrix takes."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recctl.data.matrix import Float32Array, Int32Array, Int64Array, InteractionMatrix
from recctl.engines import map_threads
from recctl.kernels import gram

ByteArray = NDArray[np.uint8]

_ROWS_PER_TASK = 64
# A matrix of so many bytes stays in the third-level cache: read faster than unpacked.
_CACHED = 2**26


class GramRows(NamedTuple):
    """The Gram matrix `X.T @ X` (n_items, n_items) in little room; its fields are what kernels take.

    Items are in the order of their interactions, most first. Of the first `n_top`, or all, there are whole rows, of the
    others these items' columns. What else is in a row are meetings of two rare items: they are added up when the row is
    wanted, and are few. Sums of ones are kept as bytes, and apart from these what no byte can hold; weighted sums, and
    small matrices, are floats.

    Attributes:
        floats: Rows of the top items, `(n_top, n_items)`. Empty, and so the next, where there are bytes.
        float_parts: Of the other items' rows the top columns, `(n_items - n_top, n_top)`.
        bytes_: As `floats`; 255 for all that is larger.
        byte_parts: As `float_parts`.
        large_starts: Where each item's values above 254 begin, `(n_items + 1,)`. Empty where there are floats.
        large_columns: Their columns.
        large: These values.
        starts: Row starts of the interactions with other items, users by these items.
        columns: Their items, counted from the first that is not a top one.
        values: Their weights; empty for ones.
        item_starts: Row starts of the same, items by users.
        item_users: Their users, ascending within a row.
        item_values: Their weights; empty for ones.
    """

    floats: Float32Array
    float_parts: Float32Array
    bytes_: ByteArray
    byte_parts: ByteArray
    large_starts: Int64Array
    large_columns: Int32Array
    large: Float32Array
    starts: Int64Array
    columns: Int32Array
    values: Float32Array
    item_starts: Int64Array
    item_users: Int32Array
    item_values: Float32Array

    @property
    def n_items(self) -> int:
        """Number of items."""
        return int(max(self.floats.shape[1], self.bytes_.shape[1]))


_Entries = tuple[Int64Array, Int32Array, Float32Array]
_Sides = tuple[Int64Array, Int32Array, Float32Array, Int64Array, Int32Array, Float32Array]
_Kept = tuple[Float32Array, Float32Array, ByteArray, ByteArray, Int64Array, Int32Array, Float32Array]

_NO_FLOATS, _NO_BYTES = np.empty((0, 0), np.float32), np.empty((0, 0), np.uint8)
_NO_ENTRIES: _Entries = (np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))


def bytes_kept(n_items: int, room: int) -> int:
    """How many bytes `gram_rows` keeps of the Gram matrix of ones, but for the values above 254."""
    return 4 * n_items**2 if _in_cache(n_items, room) else min(n_items**2, room)


def _in_cache(n_items: int, room: int) -> bool:
    return 4 * n_items**2 <= min(room, _CACHED)


def gram_rows(interactions: InteractionMatrix, room: int) -> tuple[GramRows, Int32Array]:
    """The Gram matrix in about `room` bytes: all of it, or for as many top items as there is room for.

    On top of them come 8 bytes for each value above 254, and twice the interactions with other items.

    Returns:
        The matrix, and which item each of its rows and columns is of, `(n_items,)`.
    """
    n = interactions.n_columns
    order = np.argsort(-interactions.column_counts(), kind="stable").astype(np.int32)
    in_bytes = interactions.is_binary and not _in_cache(n, room)
    cells = room if in_bytes else room // 4
    # There are n_top (2 n - n_top) cells in the rows and columns of the top items.
    n_top = n if cells >= n**2 else n - 1 - math.isqrt(n**2 - cells - 1)
    kept = (_bytes if in_bytes else _floats)(_sides(interactions), order, n_top)
    return GramRows(*kept, *_sides(interactions.take_columns(order[n_top:]))), order


def _sides(interactions: InteractionMatrix) -> _Sides:
    """Users by items, and items by users."""
    by_item = interactions.transpose()
    return (
        *(interactions.starts, interactions.columns, interactions.values),
        *(by_item.starts, by_item.columns, by_item.values),
    )


def _floats(sides: _Sides, order: Int32Array, n_top: int) -> _Kept:
    """What there is to keep of weighted sums, the first seven fields."""
    n = len(order)
    rows, parts = np.empty((n_top, n), np.float32), np.empty((n - n_top, n_top), np.float32)

    def fill(begin: int) -> None:
        out, first = (rows, 0) if begin < n_top else (parts, n_top)
        gram.float_rows(*sides, order, begin, out[begin - first : begin - first + _ROWS_PER_TASK])

    for _ in map_threads(fill, _blocks(n_top, n)):
        pass
    return rows, parts, _NO_BYTES, _NO_BYTES, *_NO_ENTRIES


def _bytes(sides: _Sides, order: Int32Array, n_top: int) -> _Kept:
    """What there is to keep of sums of ones, the first seven fields."""
    n = len(order)
    rows, parts = np.empty((n_top, n), np.uint8), np.empty((n - n_top, n_top), np.uint8)

    def fill(begin: int) -> _Entries:
        of_kind, first = (rows, 0) if begin < n_top else (parts, n_top)
        out = of_kind[begin - first : begin - first + _ROWS_PER_TASK]
        ends, columns, values = (
            np.empty(len(out), np.int64),
            np.empty(out.size, np.int32),
            np.empty(out.size, np.float32),
        )
        count = gram.byte_rows(*sides, order, begin, out, ends, columns, values)
        return np.diff(ends, prepend=0), columns[:count].copy(), values[:count].copy()

    large = list(map_threads(fill, _blocks(n_top, n)))
    counts, columns, values = (np.concatenate(arrays) for arrays in zip(*large, strict=True))
    return (
        _NO_FLOATS,
        _NO_FLOATS,
        rows,
        parts,
        np.concatenate((np.zeros(1, np.int64), np.cumsum(counts))),
        columns,
        values,
    )


def _blocks(n_top: int, n: int) -> list[int]:
    """Where blocks of rows begin, none of them both of top items and of others."""
    return [*range(0, n_top, _ROWS_PER_TASK), *range(n_top, n, _ROWS_PER_TASK)]
