"""Scores of individual pairs, from a scorer of whole rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from recctl.data.matrix import Float32Array, Int32Array
from recctl.ranking.blocks import Scorer, map_blocks


def score_pairs(scorer: Scorer, rows: Int32Array, columns: Int32Array, n_columns: int) -> Float32Array:
    """Scores of (row, column) pairs; each distinct row is scored once.

    Args:
        scorer: Computes all `n_columns` scores of a row.
        rows: Row of each pair.
        columns: Column of each pair.
        n_columns: Number of scores of a row.

    Returns:
        float32, one score per pair.
    """
    distinct_rows, row_numbers = np.unique(rows, return_inverse=True)
    # Pairs grouped by row: those of distinct row i are order[bounds[i]:bounds[i + 1]].
    order = np.argsort(row_numbers, kind="stable")
    bounds = np.searchsorted(row_numbers[order], np.arange(len(distinct_rows) + 1))

    def score_block(block: Int32Array) -> tuple[Any, Float32Array]:
        block_scores = scorer(distinct_rows[block])
        pairs = order[bounds[block[0]] : bounds[block[-1] + 1]]
        return pairs, block_scores[row_numbers[pairs] - block[0], columns[pairs]]

    scores = np.empty(len(rows), np.float32)
    for pairs, block_scores in map_blocks(score_block, len(distinct_rows), n_columns, "scores of pairs"):
        scores[pairs] = block_scores
    return scores
