"""A tower of layers, and a product of vectors, over pairs of a user and an item: losses, gradients, scores.

The logit of a pair is `bias + out_gmf . (p * q) + out . z_L` with `z_0 = relu(a + b + first_bias)` for the user's `a`
and the item's `b` of the first layer, and `z_l = relu(W_l z_(l-1) + b_l)` above it; either part may be left out, with
`p, q` or `widths` of length 0. `upper` holds what is above the first layer in one array: `out`, `bias`, the layers'
weights `(width, width below)` one after another, then their biases.

Products of matrices are left to BLAS: call these kernels where it keeps to one thread.
"""

from __future__ import annotations

import numba
import numpy as np

from recctl.kernels.compile import (
    BOOL,
    F32,
    F32_2D,
    FLOAT,
    I32,
    I32_2D,
    I64,
    INT,
    OUT_F32,
    OUT_F32_2D,
    OUT_I32,
    VOID,
    kernel,
)
from recctl.kernels.hashing import _GOLDEN, _MIX_1

# Pairs that go through the tower at once: their outputs, and the gradients of these, stay in the second-level cache.
_PAIRS = 256
_ITEMS = 512
# Sums may be taken in any order.
_SUMS = {"contract", "reassoc", "nsz"}


@kernel(INT, I32, OUT_I32, OUT_I32, OUT_I32)
def number(codes, numbers, places, distinct):
    """Number the distinct codes from 0 as they come: `distinct[places] = codes`.

    Args:
        codes: What to number, `(n,)`.
        numbers: Room for each code there is; -1 throughout, before and after.
        places: For the number of each of `codes`.
        distinct: For the code of each number; at least as many as there are.

    Returns:
        How many are distinct.
    """
    count = 0
    for i in range(len(codes)):
        code = codes[i]
        if numbers[code] < 0:
            numbers[code] = count
            distinct[count] = code
            count += 1
        places[i] = numbers[code]
    for i in range(count):
        numbers[distinct[i]] = -1
    return count


@kernel(VOID, I32, F32_2D, OUT_F32_2D)
def take(codes, vectors, out):
    """`out = vectors[codes]`."""
    for i in range(len(codes)):
        row, into = vectors[codes[i]], out[i]
        for k in range(len(row)):
            into[k] = row[k]


@kernel(VOID, F32_2D, F32_2D, OUT_F32_2D)
def halves(taken, layer, out):
    """`out = taken @ layer.T`."""
    np.dot(taken, layer.T, out)


@numba.njit
def _sum_up(begin, end, parts, n, given):
    """Add the rows `begin..end` of several arrays of `n` rows, one after another, to those of the first."""
    for part in range(1, parts):
        for i in range(begin, end):
            row, other = given[i], given[part * n + i]
            for k in range(len(row)):
                row[k] += other[k]


@kernel(VOID, I32, INT, INT, FLOAT, OUT_F32_2D, OUT_F32_2D)
def add_rows(codes, begin, end, factor, given, into):
    """`into[codes] += factor * sum of given` for the codes `begin..end`; `given` is one array of all after another."""
    _sum_up(begin, end, len(given) // len(codes), len(codes), given)
    by = np.float32(factor)
    for i in range(begin, end):
        row, out = given[i], into[codes[i]]
        for k in range(len(row)):
            out[k] += by * row[k]


@kernel(VOID, *(I32, INT, INT, FLOAT, F32_2D, F32_2D), *(OUT_F32_2D, OUT_F32_2D, OUT_F32_2D, OUT_F32))
def add_halves(codes, begin, end, factor, layer, taken, given, into, layer_gradient, bias_gradient):
    """What follows from gradients of `halves`: those of vectors are added to theirs, those of the layer put down.

    Args:
        codes: Whose vectors were taken, `(n,)`.
        begin: The first of those that are to be done.
        end: One past the last of them.
        factor: What to multiply gradients by.
        layer: As for `halves`.
        taken: As for `halves`.
        given: Gradients of its `out`, `(parts * n, width)`: one array after another, whose sum counts; changed.
        into: Gradients of all vectors, to add to.
        layer_gradient: For the gradient of the layer.
        bias_gradient: For the sum of the gradients given.
    """
    _sum_up(begin, end, len(given) // len(codes), len(codes), given)
    by = np.float32(factor)
    bias_gradient[:] = 0
    summed = given[begin:end]
    for i in range(end - begin):
        row = summed[i]
        for k in range(len(row)):
            row[k] *= by
            bias_gradient[k] += row[k]
    vectors = np.dot(summed, layer)
    np.dot(summed.T, taken[begin:end], layer_gradient)
    for i in range(end - begin):
        row, out = vectors[i], into[codes[begin + i]]
        for k in range(len(row)):
            out[k] += row[k]


@numba.njit
def _layer(upper, widths, at):
    """Weights and biases of the layer from width number `at` to the next: views of `upper`, or of its gradient."""
    begin = widths[-1] + 1
    bias = begin
    for i in range(len(widths) - 1):
        bias += widths[i] * widths[i + 1]
    for i in range(at):
        begin += widths[i] * widths[i + 1]
        bias += widths[i + 1]
    n_in, n_out = widths[at], widths[at + 1]
    return upper[begin : begin + n_in * n_out].reshape((n_out, n_in)), upper[bias : bias + n_out]


@numba.njit
def _room(rooms, widths, at, n):
    """Room for the `n * widths[at]` outputs of one layer."""
    begin = 0
    for i in range(at):
        begin += widths[i]
    return rooms[begin * n : (begin + widths[at]) * n]


@numba.njit
def _rows(rooms, widths, at, n):
    """The same, as a row for each pair."""
    return _room(rooms, widths, at, n).reshape((n, widths[at]))


@numba.njit
def _columns(rooms, widths, at, n):
    """The same, as a column for each pair."""
    return _room(rooms, widths, at, n).reshape((widths[at], n))


@numba.njit
def _rectify(hidden, bias, key, first, dropout):
    """`hidden = relu(hidden + bias)`; a share is dropped, what is left made larger.

    What is dropped follows from the key and the place, the first row's number being `first`: a hash without state is
    done for as many numbers at once as a register holds.
    """
    width = hidden.shape[1]
    threshold = np.uint64(dropout * 4294967296.0)
    gain = np.float32(1 / (1 - dropout))
    for i in range(len(hidden)):
        row = hidden[i]
        if threshold == 0:
            for k in range(width):
                row[k] = max(row[k] + bias[k], np.float32(0))
            continue
        place = np.uint64((first + i) * width)
        for k in range(width):
            word = (place + np.uint64(k)) * _GOLDEN ^ np.uint64(key)
            word = (word ^ (word >> np.uint64(32))) * _MIX_1
            value = max(row[k] + bias[k], np.float32(0)) * gain
            row[k] = value if word >> np.uint64(32) >= threshold else np.float32(0)


@numba.njit
def _where_positive(gradient, hidden, gain):
    """The gradient of what went into `_rectify`, in place."""
    n, width = hidden.shape
    for i in range(n):
        for k in range(width):
            gradient[i, k] = gradient[i, k] * gain if hidden[i, k] > 0 else np.float32(0)


@numba.njit
def _forward(users, items, user_half, item_half, first_bias, upper, widths, key, first, dropout, hidden):
    """Outputs of the tower's layers for pairs, in `hidden`; the first interaction's number is `first`."""
    m = items.shape[1]
    n = len(users) * m
    below = _rows(hidden, widths, 0, n)
    for i in range(len(users)):
        a = user_half[users[i]]
        for j in range(m):
            b, out = item_half[items[i, j]], below[i * m + j]
            for k in range(len(out)):
                out[k] = a[k] + b[k]
    _rectify(below, first_bias, key, first * m, dropout)
    for at in range(len(widths) - 1):
        weights, bias = _layer(upper, widths, at)
        above = _rows(hidden, widths, at + 1, n)
        np.dot(below, weights.T, above)
        # Another sequence of numbers for each layer.
        _rectify(above, bias, key ^ (at + 1), first * m, dropout)
        below = above


@numba.njit
def _backward(users, items, upper, widths, dropout, hidden, deltas, d_user_half, d_item_half, d_upper):
    """Add gradients, given those of the last layer's outputs in `deltas`; these are for those of the layers below."""
    m = items.shape[1]
    n = len(users) * m
    gain = np.float32(1 / (1 - dropout))
    for at in range(len(widths) - 2, -1, -1):
        weights, _ = _layer(upper, widths, at)
        d_weights, d_bias = _layer(d_upper, widths, at)
        above, below = _rows(deltas, widths, at + 1, n), _rows(deltas, widths, at, n)
        _where_positive(above, _rows(hidden, widths, at + 1, n), gain)
        for i in range(n):
            for k in range(len(d_bias)):
                d_bias[k] += above[i, k]
        d_weights += np.dot(above.T, _rows(hidden, widths, at, n))
        np.dot(above, weights, below)
    delta = _rows(deltas, widths, 0, n)
    _where_positive(delta, _rows(hidden, widths, 0, n), gain)
    for i in range(len(users)):
        a = d_user_half[users[i]]
        for j in range(m):
            b, row = d_item_half[items[i, j]], delta[i * m + j]
            for k in range(len(row)):
                a[k] += row[k]
                b[k] += row[k]


@numba.njit
def _entropy(logit, target):
    """The binary cross-entropy and its derivative."""
    e = np.exp(-abs(logit))
    likely = (np.float32(1) if logit >= 0 else e) / (1 + e)
    return max(logit, np.float32(0)) - logit * target + np.log1p(e), likely - target


@kernel(
    *(FLOAT, I32, I32_2D, INT, F32_2D, F32_2D, F32_2D, F32_2D, F32, F32, F32, I64, INT, FLOAT, BOOL),
    *(OUT_F32_2D, OUT_F32_2D, OUT_F32_2D, OUT_F32_2D, OUT_F32, OUT_F32),
    fastmath=_SUMS,
)
def losses(
    users, items, first, user_gmf, item_gmf, user_half, item_half, out_gmf, first_bias, upper, widths, key, dropout,
    apart, d_user_gmf, d_item_gmf, d_user_half, d_item_half, d_out_gmf, d_upper,
):  # fmt: skip
    """The binary cross-entropy of pairs, of which the first item of each row is the one that was; and its gradients.

    Args:
        users: Rows of what there is of users, `(n,)`.
        items: Rows of what there is of items, `(n, m)`.
        first: Number of the first of these interactions in the batch.
        user_gmf: Vectors of users for the product, `(n_users, d)`.
        item_gmf: Vectors of items for the product, `(n_items, d)`.
        user_half: What users give to the first layer, `(n_users, width)`.
        item_half: What items give to the first layer, `(n_items, width)`.
        out_gmf: Weights of the product, `(d,)`.
        first_bias: Bias of the first layer.
        upper: What is above the first layer, and the bias of all.
        widths: Of the layers.
        key: What is dropped follows from it.
        dropout: Share of outputs that is dropped.
        apart: Whether product and tower are to be right each for itself: the loss is the mean of theirs.
        d_user_gmf: For the gradients of `user_gmf`, which are put down afresh; so are those that follow.
        d_item_gmf: For those of `item_gmf`.
        d_user_half: For those of `user_half`; their sum is that of `first_bias`.
        d_item_half: For those of `item_half`.
        d_out_gmf: For those of `out_gmf`.
        d_upper: For those of `upper`.

    Returns:
        The sum of the losses.
    """
    m, d = items.shape[1], len(out_gmf)
    n_rows = max(1, _PAIRS // m)
    size = 0
    for width in widths:
        size += width
    hidden, deltas = np.empty(n_rows * m * size, np.float32), np.empty(n_rows * m * size, np.float32)
    n_out = widths[-1] if len(widths) else 0
    out, bias = upper[:n_out], upper[n_out]
    d_user_gmf[:], d_item_gmf[:], d_user_half[:], d_item_half[:] = 0, 0, 0, 0
    d_out_gmf[:], d_upper[:] = 0, 0
    total = 0.0
    for begin in range(0, len(users), n_rows):
        rows = slice(begin, min(begin + n_rows, len(users)))
        of_users, of_items = users[rows], items[rows]
        n = len(of_users) * m
        if n_out:
            _forward(
                of_users, of_items, user_half, item_half, first_bias, upper, widths, key, first + begin, dropout, hidden
            )  # fmt: skip
        top = slice((size - n_out) * n, size * n)
        last, delta = hidden[top].reshape((n, n_out)), deltas[top].reshape((n, n_out))
        for i in range(len(of_users)):
            p, dp = user_gmf[of_users[i]], d_user_gmf[of_users[i]]
            for j in range(m):
                q, dq = item_gmf[of_items[i, j]], d_item_gmf[of_items[i, j]]
                z, dz = last[i * m + j], delta[i * m + j]
                product = tower = np.float32(0)
                for k in range(d):
                    product += p[k] * q[k] * out_gmf[k]
                for k in range(n_out):
                    tower += z[k] * out[k]
                target = np.float32(j == 0)
                if apart:
                    loss, of_product = _entropy(product + bias, target)
                    other, of_tower = _entropy(tower + bias, target)
                    loss, of_product, of_tower = (loss + other) / 2, of_product / 2, of_tower / 2
                    d_upper[n_out] += of_product + of_tower
                else:
                    loss, of_product = _entropy(product + tower + bias, target)
                    of_tower = of_product
                    d_upper[n_out] += of_product
                total += loss
                for k in range(d):
                    a, b, c = p[k], q[k], of_product * out_gmf[k]
                    dp[k] += c * b
                    dq[k] += c * a
                    d_out_gmf[k] += of_product * a * b
                for k in range(n_out):
                    d_upper[k] += of_tower * z[k]
                    dz[k] = of_tower * out[k]
        if n_out:
            _backward(
                of_users, of_items, upper, widths, dropout, hidden, deltas, d_user_half, d_item_half, d_upper
            )  # fmt: skip
    return total


@kernel(VOID, F32_2D, F32_2D, F32_2D, F32_2D, F32, I64, OUT_F32_2D, fastmath=_SUMS)
def scores(weighed, items_gmf, user_halves, item_halves, upper, widths, out):
    """The logit of every user with every item.

    The items' side is turned: what is added up for a pair then lies apart, and many pairs are done at once.

    Args:
        weighed: Vectors of users for the product, times its weights, `(n_users, d)`.
        items_gmf: Vectors of items for the product, turned, `(d, n_items)`.
        user_halves: What users give to the first layer, its bias included, `(n_users, width)`.
        item_halves: What items give to the first layer, turned, `(width, n_items)`.
        upper: What is above the first layer, and the bias of all.
        widths: Of the layers.
        out: For the logits, `(n_users, n_items)`.
    """
    n_out = widths[-1] if len(widths) else 0
    last_weights, last_bias = upper[:n_out], upper[n_out]
    size = 0
    for width in widths:
        size += width
    hidden = np.empty(_ITEMS * size, np.float32)
    for begin in range(0, out.shape[1], _ITEMS):
        n = min(_ITEMS, out.shape[1] - begin)
        for user in range(len(out)):
            sums = out[user, begin : begin + n]
            sums[:] = last_bias
            for k in range(weighed.shape[1]):
                weight, row = weighed[user, k], items_gmf[k, begin : begin + n]
                for i in range(n):
                    sums[i] += weight * row[i]
            if not n_out:
                continue
            below = _columns(hidden, widths, 0, n)
            for k in range(len(below)):
                of_user, row, into = user_halves[user, k], item_halves[k, begin : begin + n], below[k]
                for i in range(n):
                    into[i] = max(of_user + row[i], np.float32(0))
            for at in range(len(widths) - 1):
                weights, bias = _layer(upper, widths, at)
                above = _columns(hidden, widths, at + 1, n)
                np.dot(weights, below, above)
                for k in range(len(above)):
                    row = above[k]
                    for i in range(n):
                        row[i] = max(row[i] + bias[k], np.float32(0))
                below = above
            for k in range(n_out):
                weight, row = last_weights[k], below[k]
                for i in range(n):
                    sums[i] += weight * row[i]
