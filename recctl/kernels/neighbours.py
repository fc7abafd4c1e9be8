"""The most similar items of each item by the users they share, and products of sparse matrices."""

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
    U64,
    VOID,
    inline_ir,
    kernel,
)
from recctl.kernels.csr import MATRIX_WITH_TRANSPOSE
from recctl.kernels.tie_keys import tie_key

_HALF = np.uint64(32)

# A binary heap of the k best (score, item) pairs in two arrays, with the worst pair at the root. Ties are broken by the
# item: of equal scores the lower item is better, whatever order they are pushed in.


@inline_ir
def _sift_down(scores, items, size, score, item):
    """Replace the root of a heap."""
    slot = 0
    while 2 * slot + 1 < size:
        child = 2 * slot + 1
        sibling = child + 1
        if sibling < size and (
            scores[sibling] < scores[child] or (scores[sibling] == scores[child] and items[sibling] > items[child])
        ):
            child = sibling
        if score < scores[child] or (score == scores[child] and item > items[child]):
            break
        scores[slot] = scores[child]
        items[slot] = items[child]
        slot = child
    scores[slot] = score
    items[slot] = item


# Inlined: a call would count references to its arrays, which costs several times as much as the work itself.
@inline_ir
def heap_push(scores, items, size, score, item):
    """Add a pair to a heap of at most `len(scores)` pairs, or drop the worst one; returns the heap's new size."""
    if size < len(scores):  # sift up from a new leaf
        slot = size
        while slot > 0:
            parent = (slot - 1) >> 1
            if scores[parent] < score or (scores[parent] == score and items[parent] > item):
                break
            scores[slot] = scores[parent]
            items[slot] = items[parent]
            slot = parent
        scores[slot] = score
        items[slot] = item
        return size + 1
    if score < scores[0] or (score == scores[0] and item > items[0]):
        return size
    _sift_down(scores, items, size, score, item)
    return size


@inline_ir
def heap_sort(scores, items, size):
    """Sort a heap in place, best first."""
    for last in range(size - 1, 0, -1):
        score = scores[last]
        item = items[last]
        scores[last] = scores[0]
        items[last] = items[0]
        _sift_down(scores, items, last, score, item)


@kernel(VOID, MATRIX_WITH_TRANSPOSE, F32, BOOL, FLOAT, U64, U64, INT, OUT_I32_2D, OUT_F32_2D, OUT_I64)
def nearest(matrix, sizes, union, shrinkage, row_keys, item_hashes, begin, items, scores, counts):
    """Find the most similar items of the items `begin..begin + len(items)`; only similarities above 0, unsorted.

    Of equal similarities those with the lowest tie keys are found.

    With `dot` the sum of products over the users that items i and j share, the similarity is
    `dot / (sizes[i] * sizes[j] + shrinkage)`, or with `union` `dot / (sizes[i] + sizes[j] - dot + shrinkage)`. The time
    depends on the number of item pairs that share users; no row over all items is scanned.

    Args:
        matrix: Interactions X and their transpose.
        sizes: Size of each item: its norm, or its number of users, `(n_items,)`.
        union: Which denominator to use.
        shrinkage: At least 0.
        row_keys: Key of each item as the one that others are compared with, see `recctl.kernels.tie_keys`.
        item_hashes: Hash of each item's id.
        begin: First item.
        items: Output: the neighbors, `(n, k)`.
        scores: Output: their similarities, `(n, k)`.
        counts: Output: the number of neighbors of each item, `(n,)`.
    """
    starts, columns, values, item_starts, item_users, item_values = matrix
    weighted = len(values) > 0
    h = np.float32(shrinkage)
    dots = np.zeros(len(sizes), np.float32)
    untouched = np.ones(len(sizes), np.uint8)
    touched = np.empty(len(sizes) + 1, np.int32)
    similarity = np.empty(1, np.float32)
    similarity_bits = similarity.view(np.uint32)
    # Similarities in the upper half, because positive floats have the order of their bits; inverted tie keys in the
    # lower half.
    values_of_best = np.empty(items.shape[1], np.uint64)
    for row in range(len(items)):
        i = begin + row
        n_touched = 0
        for q in range(item_starts[i], item_starts[i + 1]):
            user = item_users[q]
            value = item_values[q] if weighted else np.float32(1)
            for p in range(starts[user], starts[user + 1]):
                j = columns[p]
                # Always written, and counted only if new: a branch would be mispredicted too often.
                touched[n_touched] = j
                n_touched += untouched[j]
                untouched[j] = 0
                dots[j] += value * values[p] if weighted else np.float32(1)
        size = 0
        for t in range(n_touched):
            j = touched[t]
            dot = dots[j]
            dots[j] = 0
            untouched[j] = 1
            if j != i and dot > 0:
                denominator = sizes[i] + sizes[j] - dot if union else sizes[i] * sizes[j]
                similarity[0] = dot / (denominator + h)
                value = np.uint64(similarity_bits[0]) << _HALF
                if size < len(values_of_best) or value >= values_of_best[0] >> _HALF << _HALF:
                    value |= ~tie_key(row_keys[i], item_hashes[j]) >> _HALF
                    size = heap_push(values_of_best, items[row], size, value, j)
        for p in range(size):
            similarity_bits[0] = values_of_best[p] >> _HALF
            scores[row, p] = similarity[0]
        counts[row] = size


@kernel(VOID, I64, I32, F32, I64, I32, F32, OUT_F32_2D)
def sparse_sparse(starts, columns, values, right_starts, right_columns, right_values, out):
    """`out = left @ right` for two sparse matrices and a dense result.

    Args:
        starts: Row starts of the left matrix.
        columns: Columns of the left matrix.
        values: Values of the left matrix; empty if all are one.
        right_starts: Row starts of the right matrix.
        right_columns: Columns of the right matrix.
        right_values: Values of the right matrix.
        out: Output, `(n_rows, n_columns)`.
    """
    weighted = len(values) > 0
    for row in range(len(starts) - 1):
        for j in range(out.shape[1]):
            out[row, j] = 0
        for p in range(starts[row], starts[row + 1]):
            value = values[p] if weighted else np.float32(1)
            for q in range(right_starts[columns[p]], right_starts[columns[p] + 1]):
                out[row, right_columns[q]] += value * right_values[q]
