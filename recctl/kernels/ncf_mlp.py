"""A tower of layers, and a product of vectors, over pairs of a user and an item: losses, gradients, scores.

The logit of a pair is `bias + out_gmf . (p * q) + out . z_L` with `z_0 = relu(a + b + first_bias)` for the user's `a`
and the item's `b` of the first layer, and `z_l = relu(W_l z_(l-1) + b_l)` above it; either part may be left out, with
`p, q` or `widths` of length 0. `upper` holds what is above the first layer in one array: `first_bias`, `out`, `bias`,
the layers' weights `(width, width below)` one after another, then their biases.

Products of matrices are left to BLAS: call this where it keeps to one thread.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import F32, F32_2D, I64, OUT_F32_2D, VOID, inlined, kernel, outlined

# Pairs that go through the tower at once: their outputs, and the gradients of these, stay in the second-level cache.
_PAIRS = 512
_ITEMS = 512
_16, _13, _MIX_1, _MIX_2 = np.uint32(16), np.uint32(13), np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35)
_APART = 0x9E3779B9
# Sums may be taken in any order.
_SUMS = {"contract", "reassoc", "nsz"}


def room_for(widths: NDArray[np.int64]) -> int:
    """How many numbers `losses` needs room for."""
    return int(2 * _PAIRS * widths.sum() + max(widths[1:] * widths[:-1], default=0))


def upper_size(widths: NDArray[np.int64]) -> int:
    """How many numbers `upper` has."""
    if not len(widths):
        return 1
    return int(widths.sum() + widths[-1] + 1 + (widths[1:] * widths[:-1]).sum())


@outlined
def _layer(upper, widths, at):
    """Weights and biases of the layer from width number `at` to the next: views of `upper`, or of its gradient."""
    begin = widths[0] + widths[-1] + 1
    bias = begin
    for i in range(len(widths) - 1):
        bias += widths[i] * widths[i + 1]
    for i in range(at):
        begin += widths[i] * widths[i + 1]
        bias += widths[i + 1]
    n_in, n_out = widths[at], widths[at + 1]
    return upper[begin : begin + n_in * n_out].reshape((n_out, n_in)), upper[bias : bias + n_out]


@outlined
def _room(rooms, widths, at, n):
    """Room for the `n * widths[at]` outputs of one layer."""
    begin = 0
    for i in range(at):
        begin += widths[i]
    return rooms[begin * n : (begin + widths[at]) * n]


@outlined
def _rows(rooms, widths, at, n):
    """The same, as a row for each pair."""
    return _room(rooms, widths, at, n).reshape((n, widths[at]))


@outlined
def _columns(rooms, widths, at, n):
    """The same, as a column for each pair."""
    return _room(rooms, widths, at, n).reshape((widths[at], n))


@inlined
def _rectify(row, bias, number, key, threshold, gain):
    """`row = relu(row + bias)` for the pair of a number; what is dropped becomes 0, what is left has the gain.

    What is dropped follows from the key and the place, by a hash without state.
    """
    if threshold == 0:
        for k in range(len(row)):
            row[k] = max(row[k] + bias[k], np.float32(0))
        return
    place = np.uint32(number * len(row))
    for k in range(len(row)):
        # The finaliser of MurmurHash3 (Appleby, 2011), in 32 bits throughout: as many numbers as a register holds.
        word = np.uint32((place + np.uint32(k)) ^ key)
        word = np.uint32((word ^ (word >> _16)) * _MIX_1)
        word = np.uint32((word ^ (word >> _13)) * _MIX_2)
        value = max(row[k] + bias[k], np.float32(0)) * gain
        row[k] = value if word ^ (word >> _16) >= threshold else np.float32(0)


@inlined
def _forward(users, items, first, n, upper, widths, key, dropout, hidden):
    """Outputs of the tower's layers for n pairs of the batch, from number `first`, in `hidden`."""
    first_bias = upper[: widths[0]]
    threshold, gain = np.uint32(dropout * 4294967296.0), np.float32(1 / (1 - dropout))
    below = _rows(hidden, widths, np.int64(0), n)
    for i in range(n):
        a, b, row = users.half[users.places[first + i]], items.half[items.places[first + i]], below[i]
        for k in range(len(row)):
            row[k] = a[k] + b[k]
        _rectify(row, first_bias, first + i, np.uint32(key), threshold, gain)
    for at in range(len(widths) - 1):
        weights, bias = _layer(upper, widths, at)
        above = _rows(hidden, widths, at + 1, n)
        np.dot(below, weights.T, above)
        for i in range(n):
            # Other places for each layer.
            _rectify(above[i], bias, first + i, np.uint32(key + (at + 1) * _APART), threshold, gain)
        below = above


@inlined
def _descend(gradient, hidden, gain, d_bias):
    """Make gradients of what came out of a layer's `relu` those of what went in; their sum is added to the bias's."""
    for i in range(len(gradient)):
        row, out = gradient[i], hidden[i]
        for k in range(len(d_bias)):
            value = row[k] * gain if out[k] > 0 else np.float32(0)
            row[k] = value
            d_bias[k] += value


@inlined
def _backward(upper, widths, dropout, hidden, deltas, product, d_first, d_upper):
    """Gradients of all below, given those of the last layer's outputs; those of weights and biases are added.

    Those of layers' outputs are in `deltas`, but of the first in `d_first`; `product` has room for a layer's weights.
    """
    gain, n = np.float32(1 / (1 - dropout)), len(d_first)
    for at in range(len(widths) - 1, 0, -1):
        weights, _ = _layer(upper, widths, at - 1)
        d_weights, d_bias = _layer(d_upper, widths, at - 1)
        above, below = _rows(deltas, widths, at, n), _rows(deltas, widths, at - 1, n) if at > 1 else d_first
        _descend(above, _rows(hidden, widths, at, n), gain, d_bias)
        of_block = product[: d_weights.size].reshape(d_weights.shape)
        np.dot(above.T, _rows(hidden, widths, at - 1, n), of_block)
        d_weights += of_block
        np.dot(above, weights, below)
    _descend(d_first, _rows(hidden, widths, np.int64(0), n), gain, d_upper[: widths[0]])


@inlined
def _entropy(logit, target):
    """The binary cross-entropy and its derivative."""
    e = np.exp(-abs(logit))
    likely = (np.float32(1) if logit >= 0 else e) / (1 + e)
    return max(logit, np.float32(0)) - logit * target + np.log1p(e), likely - target


@inlined(fastmath=_SUMS)
def _tell(p, q, out_gmf, z, last, target, apart, dz, d_last):
    """The loss of a pair, and its derivative by the product; those by the tower go to `dz` and `d_last`.

    `last` are the weights of what comes out of the tower, and the bias.
    """
    n_out = len(z)
    bias = last[n_out]
    product = tower = np.float32(0)
    for k in range(len(out_gmf)):
        product += p[k] * q[k] * out_gmf[k]
    for k in range(n_out):
        tower += z[k] * last[k]
    if apart:
        loss, of_product = _entropy(product + bias, target)
        other, of_tower = _entropy(tower + bias, target)
        loss, of_product, of_tower = (loss + other) / 2, of_product / 2, of_tower / 2
        d_last[n_out] += of_product + of_tower
    else:
        loss, of_product = _entropy(product + tower + bias, target)
        of_tower = of_product
        d_last[n_out] += of_product
    for k in range(n_out):
        d_last[k] += of_tower * z[k]
        dz[k] = of_tower * last[k]
    return loss, of_product


@inlined(fastmath=_SUMS)
def losses(
    users, items, first, end, m, out_gmf, upper, widths, key, dropout, apart, d_products, d_first, d_upper, room
):
    """The binary cross-entropy of some pairs, of which each `m`th of the batch is one that was; and its gradients.

    Args:
        users: The users' side, `half` filled in.
        items: The items' side.
        first: The first of the pairs.
        end: One past the last.
        m: The numbers of pairs that were are its multiples.
        out_gmf: Weights of the product, `(d,)`.
        upper: What is above the first layer, and biases.
        widths: Of the layers.
        key: What is dropped follows from it.
        dropout: Share of outputs that is dropped.
        apart: Whether product and tower are to be right each for itself: the loss is the mean of theirs.
        d_products: For the gradient of each pair's product, `(n_pairs,)`.
        d_first: For that of what goes into the first layer's `relu`, `(n_pairs, width)`.
        d_upper: For that of `upper`, from these pairs alone.
        room: `room_for` numbers.

    Returns:
        The sum of the losses.
    """
    size = 0
    for width in widths:
        size += width
    n_out, first_width = (widths[-1], widths[0]) if len(widths) else (0, 0)
    last_of, d_last = upper[first_width : first_width + n_out + 1], d_upper[first_width : first_width + n_out + 1]
    hidden, deltas, product = room[: _PAIRS * size], room[_PAIRS * size : 2 * _PAIRS * size], room[2 * _PAIRS * size :]
    d_upper[:] = 0
    total = 0.0
    for begin in range(first, end, _PAIRS):
        n = min(_PAIRS, end - begin)
        if n_out:
            _forward(users, items, begin, n, upper, widths, key, dropout, hidden)
        last, delta = hidden[(size - n_out) * n : size * n].reshape((n, n_out)), d_first[begin : begin + n]
        if len(widths) > 1:
            delta = _rows(deltas, widths, len(widths) - 1, n)
        for i in range(n):
            pair = begin + i
            p, q, target = users.factors[users.codes[pair]], items.factors[items.codes[pair]], np.float32(pair % m == 0)
            loss, d_products[pair] = _tell(p, q, out_gmf, last[i], last_of, target, apart, delta[i], d_last)
            total += loss
        if n_out:
            _backward(upper, widths, dropout, hidden, deltas, product, d_first[begin : begin + n], d_upper)
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
    n_out, first_width = (widths[-1], widths[0]) if len(widths) else (0, 0)
    last_weights, last_bias = upper[first_width : first_width + n_out], upper[first_width + n_out]
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
            below = _columns(hidden, widths, np.int64(0), n)
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
