"""The most similar rows of sparse matrices by the features they share, and products of sparse matrices."""

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
    TupleType,
    inline_ir,
    inline_llvm,
    kernel,
    outlined,
)
from recctl.kernels.tie_keys import tie_key

# A sparse matrix as an argument: row starts, columns, and values, which are empty if all are one.
CSR = TupleType((I64, I32, F32))
_HALF = np.uint64(32)
# Columns whose similarities are computed together.
_CHUNK = 64
# To list a column takes about as long as to compute the similarities of this many columns of chunks.
_LISTING_COST = 4
# Up to this number of neighbors, counting lower columns is faster than sorting.
_MOST_RANKED = 1024
# The smallest positive similarity.
_LEAST = np.finfo(np.float32).smallest_subnormal

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


@inline_ir
def _add_products(rows, by_feature, row, dots):
    """Add the products of a row with all columns to `dots`."""
    starts, features, values = rows
    feature_starts, columns, column_values = by_feature
    if len(values) == 0 and len(column_values) == 0:
        for q in range(starts[row], starts[row + 1]):
            for p in range(feature_starts[features[q]], feature_starts[features[q] + 1]):
                dots[columns[p]] += np.float32(1)
    else:
        for q in range(starts[row], starts[row + 1]):
            value = values[q] if len(values) > 0 else np.float32(1)
            for p in range(feature_starts[features[q]], feature_starts[features[q] + 1]):
                dots[columns[p]] += value * column_values[p] if len(column_values) > 0 else value


@inline_ir
def _add_and_list_products(rows, by_feature, row, dots, listed):
    """Add the products of a row with all columns to `dots`, and list the columns; returns the number of these.

    A column whose products cancel each other out is listed again by the next one.
    """
    starts, features, values = rows
    feature_starts, columns, column_values = by_feature
    n_listed = 0
    for q in range(starts[row], starts[row + 1]):
        value = values[q] if len(values) > 0 else np.float32(1)
        for p in range(feature_starts[features[q]], feature_starts[features[q] + 1]):
            column = columns[p]
            dot = dots[column]
            # Always written, and counted only if new: a branch would be mispredicted too often.
            listed[n_listed] = column
            n_listed += dot == 0
            dots[column] = dot + (value * column_values[p] if len(column_values) > 0 else value)
    return n_listed


@outlined
def _select(values, columns, n, k):
    """Move the k highest of the first n values to the front, with their columns; returns the k-th highest."""
    first = 0
    last = n - 1
    while first < last:
        # Hoare's partition around the median of three; values are distinct, except for equal tie keys.
        low = min(values[first], values[last])
        high = max(values[first], values[last])
        pivot = max(low, min(high, values[(first + last) >> 1]))
        i = first
        j = last
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                value = values[i]
                values[i] = values[j]
                values[j] = value
                column = columns[i]
                columns[i] = columns[j]
                columns[j] = column
                i += 1
                j -= 1
        if k - 1 <= j:
            last = j
        elif k - 1 >= i:
            first = i
        else:
            break
    return values[k - 1]


@outlined
def _sort_by_column(columns, values, n, out_columns, out_values):
    """Sort n pairs by their distinct columns; the first two arrays are overwritten."""
    if n > _MOST_RANKED:
        # By the lowest byte of the columns, then by the next one, and so on. `np.argsort` takes as long, and some
        # seconds to compile.
        sorted_columns = np.empty(n, np.int32)
        sorted_values = np.empty(n, np.float32)
        starts = np.empty(257, np.int64)
        highest = np.int32(0)
        for p in range(n):
            highest = max(highest, columns[p])
        for shift in range(0, 31, 8):
            if highest >> shift == 0:
                break
            for byte in range(257):
                starts[byte] = 0
            for p in range(n):
                starts[((columns[p] >> shift) & 255) + 1] += 1
            for byte in range(256):
                starts[byte + 1] += starts[byte]
            for p in range(n):
                byte = (columns[p] >> shift) & 255
                sorted_columns[starts[byte]] = columns[p]
                sorted_values[starts[byte]] = values[p]
                starts[byte] += 1
            for p in range(n):
                columns[p] = sorted_columns[p]
                values[p] = sorted_values[p]
        for p in range(n):
            out_columns[p] = columns[p]
            out_values[p] = values[p]
        return
    # The rank of a column is the number of lower ones, which LLVM counts many at a time.
    for p in range(n):
        column = columns[p]
        rank = np.int32(0)
        for q in range(n):
            rank += np.int32(columns[q] < column)
        out_columns[rank] = column
        out_values[rank] = values[p]


@inline_llvm
def _order(similarity_bits, row_key, column_hash):
    """The order of neighbors as an integer: the similarity in the upper half, the inverted tie key in the lower half.

    Positive floats have the order of their bits.
    """
    return (np.uint64(similarity_bits) << _HALF) | (~tie_key(row_key, column_hash) >> _HALF)


@kernel(VOID, CSR, CSR, F32, F32, BOOL, FLOAT, BOOL, U64, U64, INT, OUT_I32_2D, OUT_F32_2D, OUT_I64)
def nearest(
    rows,
    by_feature,
    row_sizes,
    column_sizes,
    union,
    shrinkage,
    without_diagonal,
    row_keys,
    column_hashes,
    begin,
    neighbors,
    similarities,
    counts,
):
    """Find the columns most similar to the rows `begin..begin + len(neighbors)`; only similarities above 0, by column.

    Rows and columns have the same features: items have users, or users have items. Of equal similarities those with
    the lowest tie keys are found. With `dot` the sum of the products over the features of row i and column j, their
    similarity is

        dot / (row_sizes[i] * column_sizes[j] + shrinkage)           or, with `union`,
        dot / (row_sizes[i] + column_sizes[j] - dot + shrinkage)

    The time depends on the number of pairs that share features. The matrix of all similarities is never built.

    Args:
        rows: The rows, `(n_rows, n_features)`.
        by_feature: The columns, `(n_features, n_columns)`.
        row_sizes: Size of each row, such as its norm, `(n_rows,)`.
        column_sizes: Size of each column, `(n_columns,)`.
        union: Which denominator to use.
        shrinkage: At least 0.
        without_diagonal: Whether column i is not a neighbor of row i: they are the same item or user.
        row_keys: Key of each row, see `recctl.kernels.tie_keys`.
        column_hashes: Hash of each column's id.
        begin: First row.
        neighbors: Output: the neighbors, `(n, k)`.
        similarities: Output: their similarities, `(n, k)`.
        counts: Output: the number of neighbors of each row, `(n,)`.
    """
    starts, features, _ = rows
    feature_starts, _, _ = by_feature
    n_columns = len(column_sizes)
    n_chunks = -(-n_columns // _CHUNK)
    h = np.float32(shrinkage)
    # In chunks of a constant size, whose similarities LLVM computes many at a time.
    dots_of_chunks = np.zeros((n_chunks, _CHUNK), np.float32)
    sizes_of_chunks = np.ones((n_chunks, _CHUNK), np.float32)
    dots = dots_of_chunks.reshape(-1)
    sizes = sizes_of_chunks.reshape(-1)
    for j in range(n_columns):  # an assignment to a slice takes seconds to compile
        sizes[j] = column_sizes[j]
    listed = np.empty(n_columns + 1, np.int32)
    chunk = np.empty(_CHUNK, np.float32)
    chunk_bits = chunk.view(np.uint32)
    bits = np.empty(1, np.uint32)
    float_of_bits = bits.view(np.float32)
    # Candidates are collected, and reduced to the k best whenever there is no space left: a heap would take longer.
    k = neighbors.shape[1]
    capacity = 2 * k + _CHUNK
    orders = np.empty(capacity, np.uint64)
    candidates = np.empty(capacity, np.int32)
    found = np.empty(k, np.float32)
    for row in range(len(neighbors)):
        i = begin + row
        size_of_row = row_sizes[i]
        row_key = row_keys[i]
        n_products = 0
        for q in range(starts[i], starts[i + 1]):
            n_products += feature_starts[features[q] + 1] - feature_starts[features[q]]
        n_found = 0
        # Similarities of at least this one can be among the best: every positive one until k are found.
        floor = _LEAST
        if n_products * _LISTING_COST < n_columns:
            # Few products: only the columns that share features are looked at.
            n_listed = _add_and_list_products(rows, by_feature, i, dots, listed)
            for t in range(n_listed):
                j = listed[t]
                dot = dots[j]
                dots[j] = 0
                denominator = size_of_row + column_sizes[j] - dot if union else size_of_row * column_sizes[j]
                chunk[0] = dot / (denominator + h)
                if chunk[0] >= floor and not (without_diagonal and j == i):
                    orders[n_found] = _order(chunk_bits[0], row_key, column_hashes[j])
                    candidates[n_found] = j
                    n_found += 1
                    if n_found == capacity:
                        bits[0] = _select(orders, candidates, n_found, k) >> _HALF
                        floor = float_of_bits[0]
                        n_found = k
        else:
            _add_products(rows, by_feature, i, dots)
            if without_diagonal:
                dots[i] = 0
            for c in range(n_chunks):
                n_similar = 0
                for t in range(_CHUNK):
                    dot = dots_of_chunks[c, t]
                    dots_of_chunks[c, t] = 0
                    size = sizes_of_chunks[c, t]
                    denominator = size_of_row + size - dot if union else size_of_row * size
                    chunk[t] = dot / (denominator + h)
                    n_similar += chunk[t] >= floor
                if n_similar == 0:
                    continue
                if n_found + n_similar > capacity:
                    bits[0] = _select(orders, candidates, n_found, k) >> _HALF
                    floor = float_of_bits[0]
                    n_found = k
                for t in range(_CHUNK):
                    if chunk[t] >= floor:
                        j = c * _CHUNK + t
                        orders[n_found] = _order(chunk_bits[t], row_key, column_hashes[j])
                        candidates[n_found] = j
                        n_found += 1
        if n_found > k:
            _select(orders, candidates, n_found, k)
            n_found = k
        for p in range(n_found):
            bits[0] = orders[p] >> _HALF
            found[p] = float_of_bits[0]
        _sort_by_column(candidates, found, n_found, neighbors[row], similarities[row])
        counts[row] = n_found


@kernel(VOID, I64, I32, F32, I64, I32, F32, OUT_F32_2D)
def sparse_sparse(starts, columns, values, right_starts, right_columns, right_values, out):
    """`out = left @ right` for two sparse matrices and a dense result.

    Args:
        starts: Row starts of the left matrix.
        columns: Columns of the left matrix.
        values: Values of the left matrix; empty if all are one.
        right_starts: Row starts of the right matrix.
        right_columns: Columns of the right matrix.
        right_values: Values of the right matrix; empty if all are one.
        out: Output, `(n_rows, n_columns)`.
    """
    weighted = len(values) > 0
    right_weighted = len(right_values) > 0
    for row in range(len(starts) - 1):
        for j in range(out.shape[1]):
            out[row, j] = 0
        for p in range(starts[row], starts[row + 1]):
            value = values[p] if weighted else np.float32(1)
            for q in range(right_starts[columns[p]], right_starts[columns[p] + 1]):
                out[row, right_columns[q]] += value * right_values[q] if right_weighted else value
