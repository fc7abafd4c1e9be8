"""The Gram matrix of interactions: how often, or how strongly, two items occur with the same users."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from recctl.data.matrix import Float32Array, Int32Array, Int64Array, InteractionMatrix
from recctl.engines import available_memory, map_threads
from recctl.kernels import products

_ROWS_PER_TASK = 64
_TILES_PER_TASK = 8

_kept: WeakKeyDictionary[InteractionMatrix, Float32Array] = WeakKeyDictionary()
_keeping = False


@contextmanager
def reused() -> Iterator[None]:
    """A block in which the Gram matrix of the same interactions is made once, where there is room for a second one.

    It is kept for as long as the interactions are, for other such blocks: a search fits on them again and again.
    """
    global _keeping
    before, _keeping = _keeping, True
    try:
        yield
    finally:
        _keeping = before


def upper_gram(interactions: InteractionMatrix) -> Float32Array:
    """The upper triangle of `X.T @ X`, diagonal included, `(n_items, n_items)`; zero below."""
    if interactions in _kept:
        return _kept[interactions].copy()
    gram = _upper_gram(interactions)
    # The copy, and what the fit itself and its evaluation may need.
    if _keeping and 3 * gram.nbytes < available_memory():
        _kept[interactions] = gram.copy()
    return gram


def _upper_gram(interactions: InteractionMatrix) -> Float32Array:
    by_item, positions = interactions.transposed()
    n = interactions.n_columns
    gram = np.zeros((n, n), np.float32)

    def fill(begin: int) -> None:
        products.gram_rows(
            interactions.starts,
            interactions.columns,
            interactions.values,
            by_item.starts,
            by_item.columns,
            positions,
            gram,
            begin,
            min(begin + _ROWS_PER_TASK, n),
        )

    for _ in map_threads(fill, range(0, n, _ROWS_PER_TASK)):
        pass
    return gram


def whole_gram(interactions: InteractionMatrix) -> Float32Array:
    """`X.T @ X`, `(n_items, n_items)`."""
    gram = upper_gram(interactions)
    diagonal = gram.diagonal().copy()
    mirror_scaled(gram, np.ones(len(gram), np.float32))
    gram[np.diag_indices_from(gram)] = diagonal
    return gram


class GramRows(NamedTuple):
    """Rows of `X.T @ X` (n_items, n_items): some or all, and what the others are made from when they are needed.

    Its fields are what kernels take, in their order.
    """

    kept: Float32Array
    place: Int32Array
    starts: Int64Array
    columns: Int32Array
    values: Float32Array
    item_starts: Int64Array
    item_users: Int32Array
    item_values: Float32Array

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.place)


def gram_rows(interactions: InteractionMatrix, room: int) -> GramRows:
    """The whole Gram matrix, if that takes no more than `room` bytes; else as many rows of it as do.

    These are the rows of the items with the most interactions, which are asked for most often and take longest to make.
    """
    n = interactions.n_columns
    n_kept = room // (4 * n)
    if n_kept >= n:
        none = InteractionMatrix.from_rows([], n)
        sparse = (none.starts, none.columns, none.values)
        return GramRows(whole_gram(interactions), np.arange(n, dtype=np.int32), *sparse, *sparse)
    by_item = interactions.turned()
    sparse = (interactions.starts, interactions.columns, interactions.values)
    turned = (by_item.starts, by_item.columns, by_item.values)
    items = np.sort(np.argsort(-interactions.column_counts(), kind="stable")[:n_kept]).astype(np.int32)
    place = np.full(n, -1, np.int32)
    place[items] = np.arange(n_kept)
    kept = np.empty((n_kept, n), np.float32)

    def fill(begin: int) -> None:
        part = slice(begin, begin + _ROWS_PER_TASK)
        products.gram_rows_of(*sparse, *turned, items[part], kept[part])

    for _ in map_threads(fill, range(0, n_kept, _ROWS_PER_TASK)):
        pass
    return GramRows(kept, place, *sparse, *turned)


def mirror_scaled(upper: Float32Array, scale: Float32Array) -> None:
    """Make a symmetric matrix whole in place, scale its columns, and set its diagonal to zero."""
    tiles = range(0, -(-len(upper) // products.MIRROR_TILE), _TILES_PER_TASK)
    for _ in map_threads(lambda tile: products.mirror_scaled(upper, scale, tile, tile + _TILES_PER_TASK), tiles):
        pass
