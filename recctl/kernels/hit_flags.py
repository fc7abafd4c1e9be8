"""Which of the ranked items are relevant, and how relevant items stand against all others."""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import F32_2D, I32, I32_2D, I64, INT, OUT_F64, OUT_F64_2D, OUT_I64, OUT_U8, VOID, kernel


@kernel(VOID, I64, I32, I32, I64, I32, INT, OUT_U8)
def contained(starts, columns, rows, seen_starts, seen_columns, n_columns, out):
    """Mark with 1 the entries of each row that row `rows[row]` of `seen` has too."""
    marked = np.zeros(n_columns, np.uint8)
    for row in range(len(starts) - 1):
        begin, end = seen_starts[rows[row]], seen_starts[rows[row] + 1]
        for p in range(begin, end):
            marked[seen_columns[p]] = 1
        for p in range(starts[row], starts[row + 1]):
            out[p] = marked[columns[p]]
        for p in range(begin, end):
            marked[seen_columns[p]] = 0


@kernel(VOID, I32_2D, I64, I32, INT, OUT_F64_2D)
def hits(items, starts, columns, n_columns, out):
    """1 where the ranked item is one of the row's columns, else 0; -1 in `items` is an empty place."""
    relevant = np.zeros(n_columns, np.uint8)
    for row in range(items.shape[0]):
        for p in range(starts[row], starts[row + 1]):
            relevant[columns[p]] = 1
        for at in range(items.shape[1]):
            out[row, at] = relevant[items[row, at]] if items[row, at] >= 0 else 0
        for p in range(starts[row], starts[row + 1]):
            relevant[columns[p]] = 0


@kernel(VOID, F32_2D, I64, I32, OUT_F64, OUT_I64)
def ordered_pairs(scores, starts, columns, ordered, others):
    """Count, per row, the pairs of a relevant and another item in which the relevant one scores higher; ties are half.

    Items that score minus infinity can't be recommended: they are in no pair.

    Args:
        scores: Scores, `(n_rows, n_items)`.
        starts: Row starts of the relevant items.
        columns: The relevant items.
        ordered: Becomes the number of rightly ordered pairs of each row.
        others: Becomes the number of candidates of each row that are not relevant.
    """
    for row in range(scores.shape[0]):
        begin, end = starts[row], starts[row + 1]
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
            higher = 0
            equal = 0
            for j in range(scores.shape[1]):
                higher += scores[row, j] > score
                equal += scores[row, j] == score
            for q in range(begin, end):
                higher -= scores[row, columns[q]] > score
                equal -= scores[row, columns[q]] == score
            total += n_others - higher - 0.5 * equal
        ordered[row] = total
        others[row] = n_others
