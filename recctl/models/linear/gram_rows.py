"""Rows of a Gram matrix in less memory than the matrix takes."""

from __future__ import annotations

import math
from typing import NamedTuple

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
# A float32 matrix of up to this many bytes fits in the third-level cache, where it is read faster than unpacked bytes.
_CACHED = 2**26


class _StoredRows(NamedTuple):
    """The entries of the Gram matrix that are stored: the first seven fields of `GramRows`."""

    top_floats: Float32Array
    rest_floats: Float32Array
    top_bytes: ByteArray
    rest_bytes: ByteArray
    large_starts: Int64Array
    large_columns: Int32Array
    large_values: Float32Array


_LargeValues = tuple[Int64Array, Int32Array, Float32Array]
"""Values above 254 of some rows: the number of each row, their columns, and the values."""

_NO_FLOATS = np.empty((0, 0), np.float32)
_NO_BYTES = np.empty((0, 0), np.uint8)


def bytes_kept(n_items: int, limit: int) -> int:
    """The bytes that `gram_rows` stores of a Gram matrix of counts, without the values above 254."""
    if _fits_in_cache(n_items, limit):
        return 4 * n_items**2
    return min(n_items**2, limit)


def _fits_in_cache(n_items: int, limit: int) -> bool:
    return 4 * n_items**2 <= min(limit, _CACHED)


def gram_rows(interactions: InteractionMatrix, limit: int) -> tuple[GramRows, Int32Array]:
    """Compute the Gram matrix, or as much of it as fits in about `limit` bytes.

    The limit does not include 8 bytes for each value above 254, and twice the interactions with items that are not top
    items.

    Args:
        interactions: The interactions, `(n_users, n_items)`.
        limit: The memory limit in bytes.

    Returns:
        The matrix, and the item of each of its rows and columns, `(n_items,)`.
    """
    n_items = interactions.n_columns
    order = np.argsort(-interactions.column_counts(), kind="stable").astype(np.int32)
    in_bytes = interactions.is_binary and not _fits_in_cache(n_items, limit)
    n_entries = limit if in_bytes else limit // 4
    if n_entries >= n_items**2:
        n_top = n_items
    else:
        # The largest n_top whose rows and columns, n_top (2 n_items - n_top) entries, fit.
        n_top = n_items - 1 - math.isqrt(n_items**2 - n_entries - 1)
    matrix = _with_transpose(interactions)
    stored = _bytes(matrix, order, n_top) if in_bytes else _floats(matrix, order, n_top)
    rare = _with_transpose(interactions.take_columns(order[n_top:]))
    return GramRows(*stored, *rare), order


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


def _floats(matrix: MatrixWithTranspose, order: Int32Array, n_top: int) -> _StoredRows:
    n_items = len(order)
    rows = np.empty((n_top, n_items), np.float32)
    parts = np.empty((n_items - n_top, n_top), np.float32)

    def fill_rows(begin: int) -> None:
        gram.float_rows(tuple(matrix), order, begin, _block(rows, parts, begin))

    for _ in map_threads(fill_rows, _block_starts(n_top, n_items)):
        pass
    return _StoredRows(
        top_floats=rows,
        rest_floats=parts,
        top_bytes=_NO_BYTES,
        rest_bytes=_NO_BYTES,
        large_starts=np.empty(0, np.int64),
        large_columns=np.empty(0, np.int32),
        large_values=np.empty(0, np.float32),
    )


def _bytes(matrix: MatrixWithTranspose, order: Int32Array, n_top: int) -> _StoredRows:
    n_items = len(order)
    rows = np.empty((n_top, n_items), np.uint8)
    parts = np.empty((n_items - n_top, n_top), np.uint8)

    def fill_rows(begin: int) -> _LargeValues:
        block = _block(rows, parts, begin)
        ends = np.empty(len(block), np.int64)
        columns = np.empty(block.size, np.int32)
        values = np.empty(block.size, np.float32)
        n_large = gram.byte_rows(tuple(matrix), order, begin, block, ends, columns, values)
        return np.diff(ends, prepend=0), columns[:n_large].copy(), values[:n_large].copy()

    large = list(map_threads(fill_rows, _block_starts(n_top, n_items)))
    counts, columns, values = (np.concatenate(arrays) for arrays in zip(*large, strict=True))
    return _StoredRows(
        top_floats=_NO_FLOATS,
        rest_floats=_NO_FLOATS,
        top_bytes=rows,
        rest_bytes=parts,
        large_starts=np.concatenate((np.zeros(1, np.int64), np.cumsum(counts))),
        large_columns=columns,
        large_values=values,
    )


def _block_starts(n_top: int, n_items: int) -> list[int]:
    """The first row of each block. No block has rows both of top items and of other items."""
    top = range(0, n_top, _ROWS_PER_TASK)
    others = range(n_top, n_items, _ROWS_PER_TASK)
    return list(top) + list(others)


def _block(rows: NDArray[np.generic], parts: NDArray[np.generic], begin: int) -> NDArray[np.generic]:
    """The output of the block of rows that starts at `begin`: of the top items, or of the others."""
    n_top = len(rows)
    if begin < n_top:
        return rows[begin : begin + _ROWS_PER_TASK]
    return parts[begin - n_top : begin - n_top + _ROWS_PER_TASK]
