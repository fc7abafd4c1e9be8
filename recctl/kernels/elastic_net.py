"""Elastic nets of many targets over one Gram matrix: coordinate descent on working sets, stopped by the duality gap.

For a target `y` among the columns of `X`, all other columns as features, `q = X.T y` and `G = X.T X`, minimise

    1/2 |y - X w|^2 + l1 |w|_1 + l2/2 |w|^2

The Fenchel dual at the residual `y - X w` gives the duality gap as a sum over features, with the gradient
`g = q - G w`, `t = soft(g, l1) / l2` and `c = clip(g, -l1, l1)` (`min(g, l1)` for weights that may not be negative):

    gap = sum_i  l2/2 (w_i - t_i)^2 + l1 |w_i| - c_i w_i

No term is negative and nothing cancels, so float32 can tell a small gap from none; a feature's term says how much is
to be gained there, which makes it the measure by which features enter the working set.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from recctl.kernels.compile import (
    BOOL,
    F32,
    F32_2D,
    FLOAT,
    I32,
    I64,
    INT,
    OUT_F32,
    OUT_I32,
    OUT_I64,
    U8_2D,
    inline_llvm,
    kernel,
)
from recctl.kernels.gram import n_kept, put_row

# A working set's own Gram matrix stays in the second-level cache. A solution with more weights is found in turns, each
# over the features where most is to be gained.
_LARGEST_SET = 512
_SMALLEST_STEP = 32
# Rows of a Gram matrix that stays in the third-level cache are read whole, unless few of their elements count.
_CACHED = 4096
_GATHERING = 8
_APART = 256
_RELAXED = {"contract", "reassoc", "nsz"}


@inline_llvm(fastmath=_RELAXED)
def _gap(g, w, n, l1, l2, signed, terms):
    a = np.float32(l1)
    b = np.float32(l2)
    low = -a if signed else np.float32(-3e38)
    total = np.float32(0)
    for i in range(n):
        c = min(max(g[i], low), a)
        x = w[i] - (g[i] - c) / b
        term = np.float32(0.5) * b * x * x + a * abs(w[i]) - c * w[i]
        terms[i] = term
        total += term
    return total


@inline_llvm(fastmath=_RELAXED)
def _take_steps(g, n, row_p, row_q, row_r, row_s, p, q, r, s):
    """Bring the gradient up to date with four steps."""
    for j in range(n):
        g[j] -= p * row_p[j] + q * row_q[j] + r * row_r[j] + s * row_s[j]


@inline_llvm(fastmath=_RELAXED)
def _descend(gram, n, g, w, l1, l2, signed, sweeps, enough, terms):
    """Sweep over the `n` features of a working set until its gap is at most `enough`; how many sweeps it took."""
    a = np.float32(l1)
    b = np.float32(l2)
    low = -a if signed else np.float32(-3e38)
    inverse = np.empty(n, np.float32)
    for i in range(n):
        inverse[i] = np.float32(1) / (gram[i, i] + b)
    for sweep in range(sweeps):
        # What steps do to the gradient is put off until there are four, which then cost hardly more than one: of those
        # that wait, a feature is told when its turn comes.
        waiting, p, q, r = 0, 0, 0, 0
        step_p = step_q = step_r = np.float32(0)
        for i in range(n):
            old = w[i]
            z = g[i] + gram[i, i] * old - step_p * gram[p, i] - step_q * gram[q, i] - step_r * gram[r, i]
            new = (z - min(max(z, low), a)) * inverse[i]
            step = new - old
            if step == 0:
                continue
            w[i] = new
            if waiting == 0:
                p, step_p = i, step
            elif waiting == 1:
                q, step_q = i, step
            elif waiting == 2:
                r, step_r = i, step
            else:
                _take_steps(g, n, gram[p], gram[q], gram[r], gram[i], step_p, step_q, step_r, step)
                waiting = -1
                step_p = step_q = step_r = np.float32(0)
            waiting += 1
        if waiting:
            _take_steps(g, n, gram[p], gram[q], gram[r], gram[r], step_p, step_q, step_r, np.float32(0))
        if _gap(g, w, n, l1, l2, signed, terms) <= enough:
            return sweep + 1
    return sweeps


@inline_llvm()
def _kth_largest(values, n, k):
    """The k-th largest of `n` values, none negative, as bits: these are ordered as the values are."""
    bits = values.view(np.int32)
    found = np.int32(0)
    for place in range(30, -1, -1):
        higher = found | np.int32(1 << place)
        count = 0
        for i in range(n):
            count += bits[i] >= higher
        if count >= k:
            found = higher
    return found


@inline_llvm()
def _candidates(row, target, l1, screened, found):
    """The features a target may take, in ascending order; how many. `row` is the target's of the Gram matrix.

    Where nothing in X is negative, a weight that may not be negative stays zero unless `q_i > l1`. If so many remain
    that it is faster to read whole rows of the Gram matrix, all are given, the target too.
    """
    n = len(row)
    count = 0
    for i in range(n):
        found[count] = i
        count += i != target and not (screened and row[i] <= np.float32(l1))
    if count * _GATHERING <= n or (n > _CACHED and 2 * count <= n):
        return count
    for i in range(n):
        found[i] = i
    return n


@inline_llvm()
def _enlarge(terms, n, inside, step, members, size):
    """Take the `step` features with the largest terms into the working set; its new size.

    Of equal ones the last are taken: where features are in the order of their norms, the largest first, these lower the
    objective more.
    """
    for i in range(n):
        terms[i] = np.float32(0) if inside[i] else terms[i]
    bits = terms.view(np.int32)
    least = max(_kth_largest(terms, n, step), np.int32(1))
    for i in range(n - 1, -1, -1):
        if bits[i] >= least and step > 0:
            inside[i] = 1
            members[size] = i
            size += 1
            step -= 1
    return size


@inline_llvm()
def _pack(gram, features, members, begin, end, rows, made):
    """Put what counts of the rows of the members `begin..end` side by side, unless it is kept so."""
    everything = len(features) == len(made)
    for a in range(begin, end):
        item = np.int64(features[members[a]])
        if everything and item < n_kept(gram):
            continue
        put_row(gram, item, made)
        for i in range(len(features)):
            rows[a, i] = made[features[i]]


@inline_llvm()
def _in_place(gram, n, made):
    """Whether all rows are there as they are used. Of short ones, views cost as much as what is done with them."""
    return n == len(made) and len(gram[0]) == n


@inline_llvm()
def _row(gram, n, members, a, rows, made):
    """What counts of a member's row."""
    if n == len(made) and members[a] < n_kept(gram):
        put_row(gram, np.int64(members[a]), made)
        return made
    return rows[a, :n]


@inline_llvm()
def _fill_in(own, a, row, members):
    for b in range(a + 1):
        value = row[members[b]]
        own[a, b] = value
        own[b, a] = value


@inline_llvm()
def _extend(gram, n, members, begin, end, rows, made, own):
    """Fill in a working set's own Gram matrix for the members `begin..end`."""
    in_place = _in_place(gram, n, made)
    for a in range(begin, end):
        if in_place:
            _fill_in(own, a, gram[0][members[a]], members)
        else:
            _fill_in(own, a, _row(gram, n, members, a, rows, made), members)


@inline_llvm(fastmath=_RELAXED)
def _take_two_steps(g, n, p, row_p, q, row_q):
    for i in range(n):
        g[i] -= p * row_p[i] + q * row_q[i]


@inline_llvm()
def _take_over(gram, n, members, size, rows, made, other_made, own_w, w, g):
    """Bring the weights of a working set to all features, and their gradient up to date, two rows at a time."""
    in_place = _in_place(gram, n, made)
    last: Any = np.int64(-1)
    last_step = np.float32(0)
    for a in range(size):
        step = own_w[a] - w[members[a]]
        w[members[a]] = own_w[a]
        if step != 0 and last < 0:
            last, last_step = a, step
        elif step != 0 and in_place:
            _take_two_steps(g, n, step, gram[0][members[a]], last_step, gram[0][members[last]])
            last = -1
        elif step != 0:
            row = _row(gram, n, members, a, rows, made)
            _take_two_steps(g, n, step, row, last_step, _row(gram, n, members, last, rows, other_made))
            last = -1
    if last >= 0:
        row = _row(gram, n, members, last, rows, made)
        _take_two_steps(g, n, last_step, row, np.float32(0), row)


@inline_llvm()
def _drop_unused(gram, members, size, w, inside, rows, n):
    """Leave those without a weight out of a working set, and their packed rows; its new size."""
    everything = n == len(inside)
    kept = 0
    for a in range(size):
        feature = members[a]
        inside[feature] = w[feature] != 0
        if inside[feature]:
            members[kept] = feature
            if not everything or feature >= n_kept(gram):
                for i in range(n):
                    rows[kept, i] = rows[a, i]
            kept += 1
    return kept


@inline_llvm()
def _solve(
    gram, target, l1, l2, signed, screened, limit, max_iter, tol, features, w, g, terms, inside,
    own, rows, members, own_w, own_g, own_terms, made, other_made, told,
):  # fmt: skip
    """Solve for one target; how many features it has. `told` becomes the number of sweeps and the relative gap."""
    put_row(gram, target, made)
    n = _candidates(made, target, l1, screened, features)
    whole = made[target]
    everything = n == len(made)
    for i in range(n):
        w[i] = 0
        inside[i] = 0
        g[i] = made[features[i]]
    if everything:
        inside[target] = 1
    told[:] = 0
    if whole <= 0:
        return 0
    enough = tol * whole
    most = min(limit, len(members)) if limit > 0 else len(members)
    size: Any = np.int64(0)
    sweeps = 0
    gap = 0.0
    full = False
    while not full:
        if everything:
            g[target] = 0  # nothing to be gained from itself
        gap = _gap(g, w, n, l1, l2, signed, terms)
        if gap <= enough or sweeps >= max_iter:
            break
        begin = size
        if size == most:
            size = _drop_unused(gram, members, size, w, inside, rows, n)
            full = size == most and limit == most
            if size == most and not full:
                for a in range(size):
                    inside[members[a]] = 0
                size = 0
            begin = 0
        packed = size
        if not full:
            size = _enlarge(terms, n, inside, min(max(size, _SMALLEST_STEP), most - size), members, size)
        _pack(gram, features[:n], members, packed, size, rows, made)
        _extend(gram, n, members, begin, size, rows, made, own)
        for a in range(size):
            own_w[a] = w[members[a]]
            own_g[a] = g[members[a]]
        # What is left for the others is not yet known: solving the set much better than them is wasted.
        goal = enough if full else max(0.2 * enough, 0.02 * gap)
        sweeps += _descend(own, size, own_g, own_w, l1, l2, signed, max_iter - sweeps, goal, own_terms)
        _take_over(gram, n, members, size, rows, made, other_made, own_w, w, g)
        if full:
            gap = _gap(own_g, own_w, size, l1, l2, signed, own_terms)
    told[0] = sweeps
    told[1] = gap / whole
    return n


@kernel(
    INT,
    *(F32_2D, F32_2D, U8_2D, U8_2D, I64, I32, F32, I64, I32, F32, I64, I32, F32),
    *(INT, INT, FLOAT, FLOAT, BOOL, BOOL, INT, INT, FLOAT),
    *(OUT_I64, OUT_I32, OUT_F32, OUT_I32, OUT_F32),
)
def elastic_nets(
    floats, float_parts, bytes_, byte_parts, large_starts, large_columns, large,
    starts, columns, values, item_starts, item_users, item_values,
    begin, end, l1, l2, signed, screened, limit, max_iter, tol, ends, features, weights, sweeps, gaps,
):  # fmt: skip
    """Solve for the targets `begin..end`.

    Args:
        floats: This and all up to `item_values` are the Gram matrix of X, the fields of `GramRows`.
        float_parts: As there.
        bytes_: As there.
        byte_parts: As there.
        large_starts: As there.
        large_columns: As there.
        large: As there.
        starts: As there.
        columns: As there.
        values: As there.
        item_starts: As there.
        item_users: As there.
        item_values: As there.
        begin: First target.
        end: One past the last target.
        l1: Weight of `|w|_1`, at least 0.
        l2: Weight of `|w|^2 / 2`, above 0.
        signed: Whether weights may be negative.
        screened: Whether features with `q_i <= l1` may be left out from the start: weights and X are not negative.
        limit: How many weights a target may have; 0 for any number. Those in use are exchanged for others as long as
            some come out as zero; the gap is then that of the problem with these features only.
        max_iter: How many sweeps over working sets a target may take.
        tol: A target is solved when its duality gap is at most `tol` times its squared norm.
        ends: For where each target's weights end in `features` and `weights`.
        features: For the features with a weight other than zero, ascending within a target.
        weights: For their weights.
        sweeps: For the number of sweeps of each target.
        gaps: For the duality gap of each target over its squared norm.

    Returns:
        How many weights there are.
    """
    n = max(floats.shape[1], bytes_.shape[1])
    gram = (
        floats, float_parts, bytes_, byte_parts, large_starts, large_columns, large,
        starts, columns, values, item_starts, item_users, item_values,
    )  # fmt: skip
    largest = min(max(_LARGEST_SET, limit), n)
    found = np.empty(n, np.int32)
    # Vectorised sums run in another order if what they read and write is close together: results would depend on where
    # arrays happen to lie.
    arrays = np.empty((6, n + _APART), np.float32)
    w, g, terms, own_w, own_g, own_terms = arrays[0], arrays[1], arrays[2], arrays[3], arrays[4], arrays[5]
    inside = np.empty(n, np.uint8)
    # Rows a power of two apart would share their place in the cache.
    own = np.empty((largest, largest + 16), np.float32)
    rows = np.empty((largest, n), np.float32)
    members = np.empty(largest, np.int32)
    made, other_made = np.empty(n, np.float32), np.empty(n, np.float32)
    told = np.empty(2, np.float64)
    total = 0
    for target in range(begin, end):
        count = _solve(
            gram, target, l1, l2, signed, screened, limit, max_iter, tol,
            found, w, g, terms, inside, own, rows, members, own_w, own_g, own_terms, made, other_made, told,
        )  # fmt: skip
        for i in range(count):
            if w[i] != 0:
                features[total] = found[i]
                weights[total] = w[i]
                total += 1
        ends[target - begin] = total
        sweeps[target - begin] = np.int32(told[0])
        gaps[target - begin] = np.float32(told[1])
    return total
