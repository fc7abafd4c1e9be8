"""The nearest items of each item, from what users they share."""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import (
    BOOL,
    F32,
    FLOAT,
    I32,
    I64,
    INT,
    OUT_F32_2D,
    OUT_I32_2D,
    OUT_I64,
    VOID,
    inline_ir,
    kernel,
)


@inline_ir
def _sink(scores, items, size, score, item):
    """Put an item in place of the root of a heap."""
    at = 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        other = child + 1
        if other < size and (
            scores[other] < scores[child] or (scores[other] == scores[child] and items[other] > items[child])
        ):
            child = other
        if score < scores[child] or (score == scores[child] and item > items[child]):
            break
        scores[at], items[at] = scores[child], items[child]
        at = child
    scores[at], items[at] = score, item


# A call would count references to its arrays, at several times the cost of the work.
@inline_ir
def offer(scores, items, size, score, item):
    """Put an item into a heap of the best, its worst at the root, or not; returns the heap's new size.

    Of equal scores the lower item is the better one, whatever order they are offered in.
    """
    if size < len(scores):  # from a new leaf up
        at = size
        while at > 0:
            parent = (at - 1) >> 1
            if scores[parent] < score or (scores[parent] == score and items[parent] > item):
                break
            scores[at], items[at] = scores[parent], items[parent]
            at = parent
        scores[at], items[at] = score, item
        return size + 1
    if score < scores[0] or (score == scores[0] and item > items[0]):
        return size
    _sink(scores, items, size, score, item)
    return size


@inline_ir
def put_in_order(scores, items, size):
    """Make of a heap a list, the best first."""
    for last in range(size - 1, 0, -1):
        score, item = scores[last], items[last]
        scores[last], items[last] = scores[0], items[0]
        _sink(scores, items, last, score, item)


@kernel(VOID, I64, I32, F32, I64, I32, F32, F32, BOOL, FLOAT, INT, OUT_I32_2D, OUT_F32_2D, OUT_I64)
def nearest(
    starts, columns, values, item_starts, item_users, item_values, sizes, union, shrinkage, begin, items, scores, found
):
    """The most similar items of items `begin..begin + len(items)`, in no order; only those with a positive similarity.

    With `dot` the sum of products over the users two items share, the similarity is `dot / (sizes[i] * sizes[j] +
    shrinkage)`, or with `union` `dot / (sizes[i] + sizes[j] - dot + shrinkage)`. Work and memory follow the pairs that
    do share users: no row of all items is ever looked through.

    Args:
        starts: Row starts of X, users by items.
        columns: Columns of X.
        values: Values of X; empty for ones.
        item_starts: Row starts of X.T.
        item_users: Columns of X.T.
        item_values: Values of X.T; empty for ones.
        sizes: Each item's size: norm, or number of users.
        union: Which of the denominators.
        shrinkage: At least 0.
        begin: The first item.
        items: For the neighbours, `(n, k)`.
        scores: For their similarities, `(n, k)`.
        found: For how many neighbours each item has, `(n,)`.
    """
    weighted = len(values) > 0
    h = np.float32(shrinkage)
    dots = np.zeros(len(sizes), np.float32)
    fresh = np.ones(len(sizes), np.uint8)
    touched = np.empty(len(sizes) + 1, np.int32)
    for row in range(len(items)):
        i = begin + row
        n_touched = 0
        for q in range(item_starts[i], item_starts[i + 1]):
            user = item_users[q]
            v = item_values[q] if weighted else np.float32(1)
            for p in range(starts[user], starts[user + 1]):
                j = columns[p]
                # Written always and kept if new: a branch here is guessed wrong too often.
                touched[n_touched] = j
                n_touched += fresh[j]
                fresh[j] = 0
                dots[j] += v * values[p] if weighted else np.float32(1)
        size = 0
        for t in range(n_touched):
            j = touched[t]
            dot = dots[j]
            dots[j] = 0
            fresh[j] = 1
            if j != i and dot > 0:
                denominator = sizes[i] + sizes[j] - dot if union else sizes[i] * sizes[j]
                size = offer(scores[row], items[row], size, dot / (denominator + h), j)
        found[row] = size


@kernel(VOID, I64, I32, F32, I64, I32, F32, OUT_F32_2D)
def sparse_sparse(starts, columns, values, right_starts, right_columns, right_values, out):
    """`out = left @ right`, both sparse; empty `values` of the left one stand for ones."""
    weighted = len(values) > 0
    for row in range(len(starts) - 1):
        for j in range(out.shape[1]):
            out[row, j] = 0
        for p in range(starts[row], starts[row + 1]):
            v = values[p] if weighted else np.float32(1)
            for q in range(right_starts[columns[p]], right_starts[columns[p] + 1]):
                out[row, right_columns[q]] += v * right_values[q]
