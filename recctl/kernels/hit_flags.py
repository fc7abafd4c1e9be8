"""Which ranked items are relevant, and how relevant items rank against all others."""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import (
    F32_2D,
    F64,
    I32,
    I32_2D,
    I64,
    INT,
    OUT_F64,
    OUT_F64_2D,
    OUT_I64,
    OUT_U8,
    VOID,
    kernel,
)


@kernel(VOID, I64, I32, I32, I64, I32, INT, OUT_U8)
def contained(starts, columns, rows, seen_starts, seen_columns, n_columns, out):
    """Flag the entries of a matrix that are also in `seen`.

    Args:
        starts: Row starts.
        columns: Columns.
        rows: Row of `seen` that each row is compared with.
        seen_starts: Row starts of `seen`.
        seen_columns: Columns of `seen`.
        n_columns: Number of columns of both matrices.
        out: 1 for entries that `seen` contains, else 0; as long as `columns`.
    """
    is_seen = np.zeros(n_columns, np.uint8)
    for row in range(len(starts) - 1):
        begin = seen_starts[rows[row]]
        end = seen_starts[rows[row] + 1]
        for p in range(begin, end):
            is_seen[seen_columns[p]] = 1
        for p in range(starts[row], starts[row + 1]):
            out[p] = is_seen[columns[p]]
        for p in range(begin, end):
            is_seen[seen_columns[p]] = 0


@kernel(VOID, I32_2D, I64, I32, INT, OUT_F64_2D)
def hits(items, starts, columns, n_columns, out):
    """Flag the ranked items that are relevant.

    Args:
        items: Ranked items, `(n_rows, k)`; -1 for an empty rank.
        starts: Row starts of the relevant items.
        columns: Relevant items.
        n_columns: Number of items.
        out: 1 where the ranked item is relevant, else 0, `(n_rows, k)`.
    """
    is_relevant = np.zeros(n_columns, np.uint8)
    for row in range(items.shape[0]):
        for p in range(starts[row], starts[row + 1]):
            is_relevant[columns[p]] = 1
        for rank in range(items.shape[1]):
            out[row, rank] = is_relevant[items[row, rank]] if items[row, rank] >= 0 else 0
        for p in range(starts[row], starts[row + 1]):
            is_relevant[columns[p]] = 0


@kernel(VOID, I32_2D, I64, I32, F64, INT, OUT_F64_2D)
def gains_of_hits(items, starts, columns, gains, n_columns, out):
    """Look up the gains of the ranked items that are relevant.

    Args:
        items: Ranked items, `(n_rows, k)`; -1 for an empty rank.
        starts: Row starts of the relevant items.
        columns: Relevant items.
        gains: The gain of each relevant item.
        n_columns: Number of items.
        out: The gain of the ranked item if it is relevant, else 0, `(n_rows, k)`.
    """
    gain_of = np.zeros(n_columns, np.float64)
    for row in range(items.shape[0]):
        for p in range(starts[row], starts[row + 1]):
            gain_of[columns[p]] = gains[p]
        for rank in range(items.shape[1]):
            out[row, rank] = gain_of[items[row, rank]] if items[row, rank] >= 0 else 0.0
        for p in range(starts[row], starts[row + 1]):
            gain_of[columns[p]] = 0.0


@kernel(VOID, F32_2D, I64, I32, OUT_F64, OUT_I64)
def ordered_pairs(scores, starts, columns, ordered, others):
    """Count the pairs of a relevant and an irrelevant item in which the relevant one scores higher (AUC's numerator).

    A tie counts as half a pair. Items that score minus infinity are no candidates and are in no pair.

    Args:
        scores: Scores, `(n_rows, n_items)`.
        starts: Row starts of the relevant items.
        columns: Relevant items.
        ordered: Output: the number of correctly ordered pairs of each row.
        others: Output: the number of irrelevant candidates of each row.
    """
    for row in range(scores.shape[0]):
        begin = starts[row]
        end = starts[row + 1]
        n_others = 0
        for j in range(scores.shape[1]):
            n_others += scores[row, j] > -np.inf
        for p in range(begin, end):
            n_others -= scores[row, columns[p]] > -np.inf
        total = 0.0
        for p in range(begin, end):
            score = scores[row, columns[p]]
            if score == -np.inf:
                continue
            # Compare with all items, then take out the comparisons with relevant ones.
            n_higher = 0
            n_equal = 0
            for j in range(scores.shape[1]):
                n_higher += scores[row, j] > score
                n_equal += scores[row, j] == score
            for q in range(begin, end):
                n_higher -= scores[row, columns[q]] > score
                n_equal -= scores[row, columns[q]] == score
            total += n_others - n_higher - 0.5 * n_equal
        ordered[row] = total
        others[row] = n_others
