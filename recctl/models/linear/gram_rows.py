"""Rows of a Gram matrix in less room than the matrix takes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from recctl.data.matrix import Float32Array, Int32Array, Int64Array, InteractionMatrix
from recctl.engines import map_threads
from recctl.kernels import gram
from recctl.kernels.csr import MatrixWithTranspose
from recctl.kernels.gram import GramRows

__all__ = ["GramRows", "bytes_kept", "gram_rows"]

ByteArray = NDArray[np.uint8]

_ROWS_PER_TASK = 64
# A matrix of so many bytes stays in the third-level cache: read faster than unpacked.
_CACHED = 2**26


_Entries = tuple[Int64Array, Int32Array, Float32Array]
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
    kept = (_bytes if in_bytes else _floats)(_with_transpose(interactions), order, n_top)
    return GramRows(*kept, *_with_transpose(interactions.take_columns(order[n_top:]))), order


def _with_transpose(interactions: InteractionMatrix) -> MatrixWithTranspose:
    by_item = interactions.transpose()
    return MatrixWithTranspose(
        starts=interactions.starts,
        columns=interactions.columns,
        values=interactions.values,
        item_starts=by_item.starts,
        item_users=by_item.columns,
        item_values=by_item.values,
    )


def _floats(matrix: MatrixWithTranspose, order: Int32Array, n_top: int) -> _Kept:
    """What there is to keep of weighted sums, the first seven fields."""
    n = len(order)
    rows, parts = np.empty((n_top, n), np.float32), np.empty((n - n_top, n_top), np.float32)

    def fill(begin: int) -> None:
        out, first = (rows, 0) if begin < n_top else (parts, n_top)
        gram.float_rows(tuple(matrix), order, begin, out[begin - first : begin - first + _ROWS_PER_TASK])

    for _ in map_threads(fill, _blocks(n_top, n)):
        pass
    return rows, parts, _NO_BYTES, _NO_BYTES, *_NO_ENTRIES


def _bytes(matrix: MatrixWithTranspose, order: Int32Array, n_top: int) -> _Kept:
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
        count = gram.byte_rows(tuple(matrix), order, begin, out, ends, columns, values)
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
