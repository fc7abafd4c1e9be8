"""The Gram matrix of interactions: for each pair of items, the sum over users of the products of their values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from recctl.data.matrix import Float32Array, InteractionMatrix
from recctl.engines import available_memory, map_threads
from recctl.kernels import gram as kernels

Float64Array = NDArray[np.float64]

_ROWS_PER_TASK = 64
_TILES_PER_TASK = 8

# The Gram matrices computed within `reused`, for as long as their interactions exist.
_cache: WeakKeyDictionary[InteractionMatrix, Float32Array] = WeakKeyDictionary()
_is_caching = False


@contextmanager
def reused() -> Iterator[None]:
    """Compute the Gram matrix of the same interactions only once, if there is memory for a second one.

    For a search, which fits on the same interactions repeatedly. The matrix is cached for as long as the interactions
    exist, beyond the end of the block.
    """
    global _is_caching
    before = _is_caching
    _is_caching = True
    try:
        yield
    finally:
        _is_caching = before


def upper_gram(interactions: InteractionMatrix) -> Float32Array:
    """The upper triangle of `X.T @ X` with the diagonal, `(n_items, n_items)`; 0 below the diagonal."""
    if interactions in _cache:
        return _cache[interactions].copy()
    gram = _upper_gram(interactions)
    # Three matrices: the cached copy, and what the fit and its evaluation may need.
    if _is_caching and 3 * gram.nbytes < available_memory():
        _cache[interactions] = gram.copy()
    return gram


def upper_gram_in_double(interactions: InteractionMatrix) -> Float64Array:
    """As `upper_gram`, in float64, and never cached."""
    n_items = interactions.n_columns
    gram = np.zeros((n_items, n_items))
    _fill_upper_gram(interactions, kernels.upper_rows_in_double, gram)
    return gram


def _upper_gram(interactions: InteractionMatrix) -> Float32Array:
    n_items = interactions.n_columns
    gram = np.zeros((n_items, n_items), np.float32)
    _fill_upper_gram(interactions, kernels.upper_rows, gram)
    return gram


def _fill_upper_gram(
    interactions: InteractionMatrix, fill: Callable[..., None], gram: Float32Array | Float64Array
) -> None:
    by_item, positions = interactions.transpose_with_positions()
    n_items = len(gram)

    def fill_rows(begin: int) -> None:
        fill(
            interactions.starts,
            interactions.columns,
            interactions.values,
            by_item.starts,
            by_item.columns,
            positions,
            gram,
            begin,
            min(begin + _ROWS_PER_TASK, n_items),
        )

    for _ in map_threads(fill_rows, range(0, n_items, _ROWS_PER_TASK)):
        pass


def mirror_scaled(upper: Float32Array, scale: Float32Array) -> None:
    """Mirror the upper triangle of a symmetric matrix, scale its columns, and set its diagonal to 0, in place.

    Args:
        upper: The matrix, `(n, n)`; its lower triangle is overwritten.
        scale: The factor of each column, `(n,)`.
    """
    n_tiles = -(-len(upper) // kernels.MIRROR_TILE)  # rounded up

    def mirror_tiles(tile: int) -> None:
        kernels.mirror_scaled(upper, scale, tile, tile + _TILES_PER_TASK)

    for _ in map_threads(mirror_tiles, range(0, n_tiles, _TILES_PER_TASK)):
        pass
