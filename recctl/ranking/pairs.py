"""Scores of single pairs from a scorer of whole rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from recctl.data.matrix import Float32Array, Int32Array
from recctl.ranking.blocks import Scorer, map_blocks


def score_pairs(scorer: Scorer, rows: Int32Array, columns: Int32Array, n_columns: int) -> Float32Array:
    """The score of each pair of a row and a column; each distinct row is scored once.

    Args:
        scorer: Scores rows, all `n_columns` of each.
        rows: One for each pair.
        columns: One for each pair.
        n_columns: How many columns a scored row has.

    Returns:
        float32, one value a pair.
    """
    distinct, inverse = np.unique(rows, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    bounds = np.searchsorted(inverse[order], np.arange(len(distinct) + 1))

    def of_block(block: Int32Array) -> tuple[Any, Float32Array]:
        scores = scorer(distinct[block])
        pairs = order[bounds[block[0]] : bounds[block[-1] + 1]]
        return pairs, scores[inverse[pairs] - block[0], columns[pairs]]

    out = np.empty(len(rows), np.float32)
    for pairs, scores in map_blocks(of_block, len(distinct), n_columns):
        out[pairs] = scores
    return out
