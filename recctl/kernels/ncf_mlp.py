"""Logits of NCF's multilayer perceptron (MLP) for every user and item.

The logit of a user and an item is `out . z_L` with `z_0 = relu(a + b)` and `z_l = relu(W_l z_(l-1) + b_l)`. `a` and `b`
are the contributions of the user and of the item to the first layer; `a` includes the layer's bias.

The array `upper` holds the weights above the first layer, in the order of the model's weights: the first layer's bias,
`out`, the bias of the model, the weights of every layer `(width, width below)`, then their biases.

The matrix products of the layers call BLAS: call this with BLAS limited to one thread.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import F32, F32_2D, I64, OUT_F32_2D, VOID, kernel, outlined

# Items per block: the outputs of all layers for one block stay in the second-level cache.
_ITEMS = 512
# The order of summation is free, so that the compiler can vectorize sums.
_REORDER_SUMS = {"contract", "reassoc", "nsz"}


def upper_size(widths: NDArray[np.int64]) -> int:
    """Number of weights in `upper` for layers of these widths."""
    n_products = (widths[1:] * widths[:-1]).sum()
    return int(widths.sum() + widths[-1] + 1 + n_products)


@outlined
def _layer(upper, widths, number):
    """Weights and bias of the layer from `widths[number]` to `widths[number + 1]`, as views of `upper`."""
    begin = widths[0] + widths[-1] + 1
    bias = begin
    for i in range(len(widths) - 1):
        bias += widths[i] * widths[i + 1]
    for i in range(number):
        begin += widths[i] * widths[i + 1]
        bias += widths[i + 1]
    n_in, n_out = widths[number], widths[number + 1]
    return upper[begin : begin + n_in * n_out].reshape((n_out, n_in)), upper[bias : bias + n_out]


@outlined
def _outputs(buffer, widths, number, n):
    """The part of a buffer that holds the outputs of one layer for n items, `(widths[number], n)`."""
    begin = 0
    for i in range(number):
        begin += widths[i]
    return buffer[begin * n : (begin + widths[number]) * n].reshape((widths[number], n))


@kernel(VOID, F32_2D, F32_2D, F32, I64, OUT_F32_2D, fastmath=_REORDER_SUMS)
def add_logits(user_halves, item_halves, upper, widths, scores):
    """Add the logit of the MLP to the score of every user and item.

    The arrays of the items are transposed: the inner loops then run over items, which are adjacent in memory.

    Args:
        user_halves: Contributions of users to the first layer, with its bias, `(n_users, width)`.
        item_halves: Contributions of items to the first layer, transposed, `(width, n_items)`.
        upper: Weights above the first layer; see the module.
        widths: Widths of the layers.
        scores: The scores, `(n_users, n_items)`.
    """
    last_weights = upper[widths[0] : widths[0] + widths[-1]]
    size = 0
    for width in widths:
        size += width
    buffer = np.empty(_ITEMS * size, np.float32)
    for begin in range(0, scores.shape[1], _ITEMS):
        n = min(_ITEMS, scores.shape[1] - begin)
        for user in range(len(scores)):
            below = _outputs(buffer, widths, np.int64(0), n)
            for k in range(len(below)):
                user_value = user_halves[user, k]
                row = item_halves[k, begin : begin + n]
                output = below[k]
                for i in range(n):
                    output[i] = max(user_value + row[i], np.float32(0))
            for number in range(len(widths) - 1):
                weights, bias = _layer(upper, widths, number)
                above = _outputs(buffer, widths, number + 1, n)
                np.dot(weights, below, above)
                for k in range(len(above)):
                    row = above[k]
                    for i in range(n):
                        row[i] = max(row[i] + bias[k], np.float32(0))
                below = above
            logits = scores[user, begin : begin + n]
            for k in range(len(below)):
                weight = last_weights[k]
                row = below[k]
                for i in range(n):
                    logits[i] += weight * row[i]
