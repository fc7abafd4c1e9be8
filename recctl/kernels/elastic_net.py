"""Elastic nets of many targets over one Gram matrix: coordinate descent on working sets, stopped by the duality gap.

For a target `y` among the columns of `X`, with all other columns as features, `q = X.T y` and `G = X.T X`, minimize

    1/2 |y - X w|^2 + l1 |w|_1 + l2/2 |w|^2

The Fenchel dual at the residual `y - X w` gives the duality gap as a sum over features, with the gradient
`g = q - G w`, `t = soft(g, l1) / l2` and `c = clip(g, -l1, l1)` (`min(g, l1)` for weights that may not be negative):

    gap = sum_i  l2/2 (w_i - t_i)^2 + l1 |w_i| - c_i w_i

No term is negative and nothing cancels, so float32 is precise enough to measure a small gap. The term of a feature
bounds how much the objective can decrease by changing its weight: features enter the working set in this order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import (
    BOOL,
    FLOAT,
    INT,
    OUT_F32,
    OUT_I32,
    OUT_I64,
    TupleType,
    inline_ir,
    inline_llvm,
    kernel,
)
from recctl.kernels.gram import GRAM_ROWS, GramRows, n_stored_rows, put_row

# The Gram matrix of a working set stays in the second-level cache. A solution with more weights is found in several
# rounds, each over the features with the largest terms of the gap.
_LARGEST_SET = 512
# A working set grows by at least this many features.
_SMALLEST_GROWTH = 32
# A Gram matrix of this many items stays in the third-level cache: rows are then read whole, unless few of their
# elements are needed.
_CACHED_ITEMS = 4096
# Whole rows are read if more than one in this many features remains after screening.
_GATHER_RATIO = 8
# Padding in elements between the arrays of a workspace.
_PADDING = 256
# Sums may be reordered and contracted; infinity and NaN keep their meaning.
_RELAXED_SUMS = {"contract", "reassoc", "nsz"}
# Below every gradient: no lower bound for `c` if weights may not be negative.
_NO_BOUND = np.float32(-3e38)


class ElasticNetOptions(NamedTuple):
    """The problem and when to stop.

    Attributes:
        l1: Weight of `|w|_1`, at least 0.
        l2: Weight of `|w|^2 / 2`, above 0.
        signed: Whether weights may be negative.
        screened: Whether features with `q_i <= l1` can be left out from the start: X has no negative values, and
            weights may not be negative.
        limit: Maximum number of weights per target; 0 for no limit. Features are exchanged as long as some weights
            become zero; the gap is then that of the problem restricted to the features of the last working set.
        max_iter: Maximum number of sweeps over working sets per target.
        tol: A target is solved when its duality gap is at most `tol` times its squared norm.
    """

    l1: float
    l2: float
    signed: bool
    screened: bool
    limit: int
    max_iter: int
    tol: float


_OPTIONS = TupleType((FLOAT, FLOAT, BOOL, BOOL, INT, INT, FLOAT))


class ElasticNetSolutions(NamedTuple):
    """The solutions of consecutive targets.

    Attributes:
        counts: Number of nonzero weights of each target.
        features: Features of these weights, target by target, ascending within a target.
        weights: The weights.
        sweeps: Number of sweeps of each target.
        gaps: Duality gap of each target, divided by its squared norm.
    """

    counts: NDArray[np.int64]
    features: NDArray[np.int32]
    weights: NDArray[np.float32]
    sweeps: NDArray[np.int32]
    gaps: NDArray[np.float32]


class _Workspace(NamedTuple):
    """Arrays that are allocated once for all targets; n is the number of items, m the largest working set.

    Attributes:
        features: Items that are features of the target, `(n,)`; the arrays up to `in_set` are indexed by position in
            `features`.
        w: Weights, `(n,)`.
        g: Gradient, `(n,)`.
        terms: Terms of the gap, `(n,)`.
        in_set: Whether each feature is in the working set, `(n,)`.
        members: Positions in `features` of the working set, `(m,)`.
        gram_block: Gram matrix of the working set, `(m, m)` and padding.
        packed_rows: For each member, its row of the Gram matrix restricted to the features, `(m, n)`.
        block_w: Weights of the working set, `(m,)`.
        block_g: Their gradient, `(m,)`.
        block_terms: Their terms of the gap, `(m,)`.
        row_buffer: A restored row of the Gram matrix, `(n,)`.
        other_row_buffer: A second one, `(n,)`.
        result: Number of sweeps, and the relative gap, `(2,)`.
    """

    features: Any
    w: Any
    g: Any
    terms: Any
    in_set: Any
    members: Any
    gram_block: Any
    packed_rows: Any
    block_w: Any
    block_g: Any
    block_terms: Any
    row_buffer: Any
    other_row_buffer: Any
    result: Any


# The functions below are inlined into one kernel: those that only copy or compare in numba's representation, which
# compiles faster, those that add in LLVM, because their sums would otherwise change in the last bits. Those with the
# innermost loops take arrays instead of the workspace, and use the names of the formulas above.


@inline_llvm(fastmath=_RELAXED_SUMS)
def _gap(g, w, n, options, terms):
    """Duality gap of the first `n` features; `terms` is set to its terms."""
    l1 = np.float32(options.l1)
    l2 = np.float32(options.l2)
    low = -l1 if options.signed else _NO_BOUND
    total = np.float32(0)
    for i in range(n):
        c = min(max(g[i], low), l1)
        x = w[i] - (g[i] - c) / l2
        term = np.float32(0.5) * l2 * x * x + l1 * abs(w[i]) - c * w[i]
        terms[i] = term
        total += term
    return total


@inline_llvm(fastmath=_RELAXED_SUMS)
def _apply_four_steps(g, n, row_p, row_q, row_r, row_s, p, q, r, s):
    """Update the gradient for steps `p, q, r, s` of four features with the given rows of the Gram matrix."""
    for j in range(n):
        g[j] -= p * row_p[j] + q * row_q[j] + r * row_r[j] + s * row_s[j]


@inline_llvm(fastmath=_RELAXED_SUMS)
def _descend(gram, n, g, w, options, max_sweeps, max_gap, terms):
    """Sweep over the `n` features of a working set until its gap is at most `max_gap`; returns the number of sweeps."""
    l1 = np.float32(options.l1)
    l2 = np.float32(options.l2)
    low = -l1 if options.signed else _NO_BOUND
    inverse = np.empty(n, np.float32)
    for i in range(n):
        inverse[i] = np.float32(1) / (gram[i, i] + l2)
    for sweep in range(max_sweeps):
        # The gradient is updated for four steps at a time, which costs hardly more than for one. Up to three steps, of
        # the features p, q and r, are pending; the gradient of the current feature is corrected for them.
        n_pending = 0
        p = 0
        q = 0
        r = 0
        step_p = step_q = step_r = np.float32(0)
        for i in range(n):
            old = w[i]
            z = g[i] + gram[i, i] * old - step_p * gram[p, i] - step_q * gram[q, i] - step_r * gram[r, i]
            new = (z - min(max(z, low), l1)) * inverse[i]
            step = new - old
            if step == 0:
                continue
            w[i] = new
            if n_pending == 0:
                p = i
                step_p = step
            elif n_pending == 1:
                q = i
                step_q = step
            elif n_pending == 2:
                r = i
                step_r = step
            else:
                _apply_four_steps(g, n, gram[p], gram[q], gram[r], gram[i], step_p, step_q, step_r, step)
                n_pending = -1
                step_p = step_q = step_r = np.float32(0)
            n_pending += 1
        if n_pending:
            _apply_four_steps(g, n, gram[p], gram[q], gram[r], gram[r], step_p, step_q, step_r, np.float32(0))
        if _gap(g, w, n, options, terms) <= max_gap:
            return sweep + 1
    return max_sweeps


@inline_ir
def _kth_largest_bits(values, n, k):
    """Bits of the k-th largest of `n` nonnegative float32 values: as integers they have the order of the values."""
    bits = values.view(np.int32)
    result = np.int32(0)
    for place in range(30, -1, -1):
        candidate = result | np.int32(1 << place)
        count = 0
        for i in range(n):
            count += bits[i] >= candidate
        if count >= k:
            result = candidate
    return result


@inline_ir
def _screen(row, target, options, features):
    """Write the features of a target in ascending order; returns their number. `row` is its row of the Gram matrix.

    If X has no negative values, a weight that may not be negative stays zero unless `q_i > l1`. If so many features
    remain that reading whole rows of the Gram matrix is faster, all items become features, the target included.
    """
    n_items = len(row)
    count = 0
    for i in range(n_items):
        features[count] = i
        count += i != target and not (options.screened and row[i] <= np.float32(options.l1))
    if count * _GATHER_RATIO <= n_items or (n_items > _CACHED_ITEMS and 2 * count <= n_items):
        return count
    for i in range(n_items):
        features[i] = i
    return n_items


@inline_ir
def _grow_set(work, n, growth, size):
    """Add the `growth` features with the largest terms to the working set; returns its new size.

    Ties are broken in favor of the last features: items are ordered by descending norm, and of equal terms those of
    items with a small norm lower the objective more.
    """
    terms = work.terms
    for i in range(n):
        terms[i] = np.float32(0) if work.in_set[i] else terms[i]
    bits = terms.view(np.int32)
    threshold = max(_kth_largest_bits(terms, n, growth), np.int32(1))
    for i in range(n - 1, -1, -1):
        if bits[i] >= threshold and growth > 0:
            work.in_set[i] = 1
            work.members[size] = i
            size += 1
            growth -= 1
    return size


@inline_ir
def _pack_rows(gram, n, work, begin, end):
    """Store the rows of the members `begin..end`, restricted to the features, unless the stored rows serve as such."""
    all_items = n == len(work.row_buffer)
    for a in range(begin, end):
        item = np.int64(work.features[work.members[a]])
        if all_items and item < n_stored_rows(gram):
            continue
        put_row(gram, item, work.row_buffer)
        for i in range(n):
            work.packed_rows[a, i] = work.row_buffer[work.features[i]]


@inline_llvm()
def _rows_in_place(gram, n, work):
    """Whether all rows of the Gram matrix can be used as they are stored.

    Otherwise a view of each row would be needed; for short rows a view costs as much as the work on it.
    """
    return n == len(work.row_buffer) and len(gram.top_floats) == n


@inline_llvm()
def _member_row(gram, n, members, a, packed_rows, row_buffer):
    """Row of member `a`, restricted to the features."""
    if n == len(row_buffer) and members[a] < n_stored_rows(gram):
        put_row(gram, np.int64(members[a]), row_buffer)
        return row_buffer
    return packed_rows[a, :n]


@inline_llvm()
def _fill_gram_block(gram_block, a, row, members):
    for b in range(a + 1):
        value = row[members[b]]
        gram_block[a, b] = value
        gram_block[b, a] = value


@inline_ir
def _extend_gram_block(gram, n, work, begin, end):
    """Fill the Gram matrix of the working set for the members `begin..end`."""
    in_place = _rows_in_place(gram, n, work)
    for a in range(begin, end):
        if in_place:
            _fill_gram_block(work.gram_block, a, gram.top_floats[work.members[a]], work.members)
        else:
            row = _member_row(gram, n, work.members, a, work.packed_rows, work.row_buffer)
            _fill_gram_block(work.gram_block, a, row, work.members)


@inline_llvm(fastmath=_RELAXED_SUMS)
def _apply_two_steps(g, n, p, row_p, q, row_q):
    for i in range(n):
        g[i] -= p * row_p[i] + q * row_q[i]


@inline_ir
def _write_back(gram, n, work, size):
    """Copy the weights of the working set to all features and update the gradient, two rows at a time."""
    in_place = _rows_in_place(gram, n, work)
    pending: Any = np.int64(-1)
    pending_step = np.float32(0)
    for a in range(size):
        step = work.block_w[a] - work.w[work.members[a]]
        work.w[work.members[a]] = work.block_w[a]
        if step != 0 and pending < 0:
            pending = a
            pending_step = step
        elif step != 0 and in_place:
            row = gram.top_floats[work.members[a]]
            _apply_two_steps(work.g, n, step, row, pending_step, gram.top_floats[work.members[pending]])
            pending = -1
        elif step != 0:
            row = _member_row(gram, n, work.members, a, work.packed_rows, work.row_buffer)
            pending_row = _member_row(gram, n, work.members, pending, work.packed_rows, work.other_row_buffer)
            _apply_two_steps(work.g, n, step, row, pending_step, pending_row)
            pending = -1
    if pending >= 0:
        row = _member_row(gram, n, work.members, pending, work.packed_rows, work.row_buffer)
        _apply_two_steps(work.g, n, pending_step, row, np.float32(0), row)


@inline_ir
def _drop_zeros(gram, n, work, size):
    """Remove the features with weight zero from the working set, with their packed rows; returns its new size."""
    all_items = n == len(work.in_set)
    n_members = 0
    for a in range(size):
        feature = work.members[a]
        work.in_set[feature] = work.w[feature] != 0
        if work.in_set[feature]:
            work.members[n_members] = feature
            if not all_items or feature >= n_stored_rows(gram):
                for i in range(n):
                    work.packed_rows[n_members, i] = work.packed_rows[a, i]
            n_members += 1
    return n_members


@inline_llvm()
def _solve(gram, target, options, work):
    """Solve for one target; returns its number of features, and sets `work.result`."""
    put_row(gram, target, work.row_buffer)
    n = _screen(work.row_buffer, target, options, work.features)
    squared_norm = work.row_buffer[target]
    all_items = n == len(work.row_buffer)
    for i in range(n):
        work.w[i] = 0
        work.in_set[i] = 0
        work.g[i] = work.row_buffer[work.features[i]]
    if all_items:
        work.in_set[target] = 1  # never added to the working set
    work.result[0] = 0
    work.result[1] = 0
    if squared_norm <= 0:
        return 0
    max_gap = options.tol * squared_norm
    largest = min(options.limit, len(work.members)) if options.limit > 0 else len(work.members)
    size: Any = np.int64(0)
    sweeps = 0
    gap = 0.0
    is_full = False
    while not is_full:
        if all_items:
            work.g[target] = 0  # the target is no feature of itself
        gap = _gap(work.g, work.w, n, options, work.terms)
        if gap <= max_gap or sweeps >= options.max_iter:
            break
        begin = size
        if size == largest:
            size = _drop_zeros(gram, n, work, size)
            # At the user's limit, and every weight is in use: solve for these features and stop.
            is_full = size == largest and options.limit == largest
            if size == largest and not is_full:
                for a in range(size):
                    work.in_set[work.members[a]] = 0
                size = 0
            begin = 0
        n_packed = size
        if not is_full:
            size = _grow_set(work, n, min(max(size, _SMALLEST_GROWTH), largest - size), size)
        _pack_rows(gram, n, work, n_packed, size)
        _extend_gram_block(gram, n, work, begin, size)
        for a in range(size):
            work.block_w[a] = work.w[work.members[a]]
            work.block_g[a] = work.g[work.members[a]]
        # Solving the set much more precisely than the features outside of it would be wasted.
        goal = max_gap if is_full else max(0.2 * max_gap, 0.02 * gap)
        max_sweeps = options.max_iter - sweeps
        sweeps += _descend(
            work.gram_block, size, work.block_g, work.block_w, options, max_sweeps, goal, work.block_terms
        )
        _write_back(gram, n, work, size)
        if is_full:
            gap = _gap(work.block_g, work.block_w, size, options, work.block_terms)
    work.result[0] = sweeps
    work.result[1] = gap / squared_norm
    return n


@kernel(INT, GRAM_ROWS, INT, INT, _OPTIONS, OUT_I64, OUT_I32, OUT_F32, OUT_I32, OUT_F32)
def _solve_targets(gram_fields, begin, end, option_fields, ends, features, weights, sweeps, gaps):
    # Solves for the targets `begin..end`; returns the number of weights. `ends` receives where each target's end.
    gram = GramRows(*gram_fields)
    options = ElasticNetOptions(*option_fields)
    n = max(gram.top_floats.shape[1], gram.top_bytes.shape[1])
    largest = min(max(_LARGEST_SET, options.limit), n)
    # Vectorized loops add up in another order if the arrays that they read and write are close together: without the
    # padding, results would depend on where the arrays are in memory.
    arrays = np.empty((6, n + _PADDING), np.float32)
    work = _Workspace(
        features=np.empty(n, np.int32),
        w=arrays[0],
        g=arrays[1],
        terms=arrays[2],
        in_set=np.empty(n, np.uint8),
        members=np.empty(largest, np.int32),
        # The padding avoids rows whose distance is a power of two: they would compete for the same cache sets.
        gram_block=np.empty((largest, largest + 16), np.float32),
        packed_rows=np.empty((largest, n), np.float32),
        block_w=arrays[3],
        block_g=arrays[4],
        block_terms=arrays[5],
        row_buffer=np.empty(n, np.float32),
        other_row_buffer=np.empty(n, np.float32),
        result=np.empty(2, np.float64),
    )
    n_weights = 0
    for target in range(begin, end):
        n_features = _solve(gram, target, options, work)
        for i in range(n_features):
            if work.w[i] != 0:
                features[n_weights] = work.features[i]
                weights[n_weights] = work.w[i]
                n_weights += 1
        ends[target - begin] = n_weights
        sweeps[target - begin] = np.int32(work.result[0])
        gaps[target - begin] = np.float32(work.result[1])
    return n_weights


def elastic_nets(gram: GramRows, begin: int, end: int, options: ElasticNetOptions) -> ElasticNetSolutions:
    """Solve for the targets `begin..end`, each an item of the Gram matrix.

    Args:
        gram: Gram matrix of X.
        begin: First target.
        end: One past the last target.
        options: The problem and when to stop.

    Returns:
        The solutions.
    """
    n_targets = end - begin
    max_weights = n_targets * min(options.limit or gram.n_items, gram.n_items)
    ends = np.empty(n_targets, np.int64)
    features = np.empty(max_weights, np.int32)
    weights = np.empty(max_weights, np.float32)
    sweeps = np.empty(n_targets, np.int32)
    gaps = np.empty(n_targets, np.float32)
    n_weights = _solve_targets(tuple(gram), begin, end, tuple(options), ends, features, weights, sweeps, gaps)
    # Copies, because `max_weights` elements may be far more than needed.
    return ElasticNetSolutions(
        np.diff(ends, prepend=0), features[:n_weights].copy(), weights[:n_weights].copy(), sweeps, gaps
    )
