"""Scoring and ranking in blocks of rows that fit in the processor's cache; the full score matrix is never allocated.

Tie-breaking: items with equal scores are ranked by a hash of user and item, see `recctl.ranking.ties`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import numpy as np

from recctl import engines
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.kernels import top_k as kernels
from recctl.ranking.ties import TieBreaker

Result = TypeVar("Result")

# 4 MB of scores per block: small enough for the cache, large enough that a block's fixed costs do not matter.
_SCORES_PER_BLOCK = 1 << 20
_MAX_ROWS = 1024
# At least this many blocks, so that several threads finish at about the same time, unless a block would have less than
# `_MIN_ROWS` rows.
_MIN_BLOCKS = 8
_MIN_ROWS = 64


class Scorer(Protocol):
    """Computes the scores of a block of rows.

    The result is float32, `(len(rows), n_items)` and C-contiguous; the caller may modify it.
    """

    def __call__(self, rows: Int32Array, /) -> Float32Array:
        """Scores of these rows."""
        ...


def cut(n_rows: int, n_columns: int) -> list[Int32Array]:
    """Cut rows into blocks.

    Args:
        n_rows: Number of rows.
        n_columns: Number of scores of a row.

    Returns:
        The row numbers of each block. They depend on the sizes alone, so that results do not depend on the threads.
    """
    rows_for_threads = max(_MIN_ROWS, -(-n_rows // _MIN_BLOCKS))
    block_size = max(1, min(_MAX_ROWS, _SCORES_PER_BLOCK // max(1, n_columns), rows_for_threads))
    return [np.arange(begin, min(begin + block_size, n_rows), dtype=np.int32) for begin in range(0, n_rows, block_size)]


def map_blocks(
    function: Callable[[Int32Array], Result], n_rows: int, n_columns: int, name: str | None = None
) -> Iterator[Result]:
    """Results of `function` for each block of row numbers, in order, computed by the current engine.

    Args:
        function: Computes a block; see `recctl.engines.Engine.map`.
        n_rows: Number of rows.
        n_columns: Number of scores of a row.
        name: What the blocks are computed for, for the tools of a cluster.
    """
    return engines.current().map(function, cut(n_rows, n_columns), name)


def rank_block(
    scores: Float32Array, k: int, masked: InteractionMatrix | None, ties: TieBreaker
) -> tuple[Int32Array, Float32Array]:
    """The k best items of each row of a block.

    Args:
        scores: Scores, `(n_rows, n_items)`; those of masked items are set to minus infinity.
        k: Length of the lists.
        masked: Items to leave out, a row for each row of scores.
        ties: Orders items with equal scores, a key for each row of scores.

    Returns:
        Items and their scores, both `(n_rows, k)`, best first; -1 and minus infinity where fewer than k items are left.
    """
    if masked is not None:
        kernels.mask(scores, masked.starts, masked.columns)
    return kernels.top_k(scores, k, ties.row_keys, ties.item_hashes)


def rank(
    scorer: Scorer, n_rows: int, n_items: int, k: int, masked: InteractionMatrix | None, ties: TieBreaker
) -> tuple[Int32Array, Float32Array]:
    """The k best items of all rows, computed in blocks by the current engine.

    Args:
        scorer: Computes the scores of a block.
        n_rows: Number of rows.
        n_items: Number of items.
        k: Length of the lists; at most `n_items` items are ranked.
        masked: Items to leave out, a row for each row.
        ties: Orders items with equal scores, a key for each row.

    Returns:
        Items and scores as of `rank_block`, both `(n_rows, min(k, n_items))`.
    """
    k = min(k, n_items)

    def rank_rows(rows: Int32Array) -> tuple[Int32Array, Float32Array]:
        masked_rows = None if masked is None else masked.take(rows)
        return rank_block(scorer(rows), k, masked_rows, ties.take(rows))

    items = np.empty((n_rows, k), np.int32)
    scores = np.empty((n_rows, k), np.float32)
    begin = 0
    for block_items, block_scores in map_blocks(rank_rows, n_rows, n_items, "ranks of items"):
        end = begin + len(block_items)
        items[begin:end] = block_items
        scores[begin:end] = block_scores
        begin = end
    return items, scores
