"""The Gram matrix of interactions: how often, or how strongly, two items occur with the same users."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import numpy as np

from recctl.data.matrix import Float32Array, InteractionMatrix
from recctl.engines import available_memory, map_threads
from recctl.kernels import gram as kernels

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
    by_item, positions = interactions.transpose_with_positions()
    n = interactions.n_columns
    gram = np.zeros((n, n), np.float32)

    def fill(begin: int) -> None:
        kernels.upper_rows(
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


def mirror_scaled(upper: Float32Array, scale: Float32Array) -> None:
    """Make a symmetric matrix whole in place, scale its columns, and set its diagonal to zero."""
    tiles = range(0, -(-len(upper) // kernels.MIRROR_TILE), _TILES_PER_TASK)
    for _ in map_threads(lambda tile: kernels.mirror_scaled(upper, scale, tile, tile + _TILES_PER_TASK), tiles):
        pass
