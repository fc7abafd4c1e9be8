"""Scores are made and used up in blocks of rows that fit in the processor's cache; the full matrix never exists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import numpy as np

from recctl import engines
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.kernels import top_k as kernels

Result = TypeVar("Result")

# 4 MB of scores a block: small enough for the cache, large enough that a block's fixed costs don't matter.
_SCORES_PER_BLOCK = 1 << 20
_MOST_ROWS = 1024
# Blocks are enough for several threads to end at about the same time, where that leaves each some rows.
_BLOCKS, _FEW_ROWS = 8, 64


class Scorer(Protocol):
    """Makes the scores of a block of rows: float32, `(len(rows), n_items)`, C-contiguous, the caller's to change."""

    def __call__(self, rows: Int32Array, /) -> Float32Array:
        """Scores of these rows."""
        ...


def cut(n_rows: int, n_columns: int) -> list[Int32Array]:
    """The row numbers of each block. They depend on the sizes alone, so that results don't depend on the threads."""
    size = max(1, min(_MOST_ROWS, _SCORES_PER_BLOCK // max(1, n_columns), max(_FEW_ROWS, -(-n_rows // _BLOCKS))))
    return [np.arange(begin, min(begin + size, n_rows), dtype=np.int32) for begin in range(0, n_rows, size)]


def map_blocks(function: Callable[[Int32Array], Result], n_rows: int, n_columns: int) -> Iterator[Result]:
    """Results of `function` for each block of row numbers, in order, computed on the engine in use."""
    return engines.current().map(function, cut(n_rows, n_columns))


def rank_block(scores: Float32Array, k: int, masked: InteractionMatrix | None) -> tuple[Int32Array, Float32Array]:
    """The k best items of each row of a block, best first, without those of the same row of `masked`.

    Equal scores rank in ascending order of item code. Rows with fewer than k items left end in -1 and minus infinity.
    `scores` is changed: masked items become minus infinity.
    """
    if masked is not None:
        kernels.mask(scores, masked.starts, masked.columns)
    return kernels.top_k(scores, k)


def rank(
    scorer: Scorer, n_rows: int, n_items: int, k: int, masked: InteractionMatrix | None
) -> tuple[Int32Array, Float32Array]:
    """`rank_block` for all rows, in blocks, on the engine in use; both results `(n_rows, min(k, n_items))`."""
    k = min(k, n_items)

    def of_block(rows: Int32Array) -> tuple[Int32Array, Float32Array]:
        return rank_block(scorer(rows), k, None if masked is None else masked.take(rows))

    items, scores = np.empty((n_rows, k), np.int32), np.empty((n_rows, k), np.float32)
    done = 0
    for block_items, block_scores in map_blocks(of_block, n_rows, n_items):
        items[done : done + len(block_items)] = block_items
        scores[done : done + len(block_items)] = block_scores
        done += len(block_items)
    return items, scores
