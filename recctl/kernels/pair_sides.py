"""What pairs of a user and an item share: each distinct user and item of a batch is dealt with once, forward and back.

Pairs are grouped by their user, and by their item, so that gradients of one are summed where they are wanted, in an
order that is the batch's own. Products of matrices are left to BLAS: call these kernels where it keeps to one thread.
"""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import F32, F32_2D, FLOAT, I32, INT, OUT_F32, OUT_F32_2D, OUT_I32, VOID, kernel


@kernel(INT, I32, OUT_I32, OUT_I32, OUT_I32, OUT_I32, OUT_I32)
def group(codes, numbers, places, distinct, starts, order):
    """Number the distinct codes from 0 as they come, `distinct[places] = codes`, and group their positions.

    Args:
        codes: What to number, `(n,)`.
        numbers: Room for each code there is; -1 throughout, before and after.
        places: For the number of each of `codes`.
        distinct: For the code of each number; at least as many as there are.
        starts: For where each number's positions begin in `order`; one more than there are.
        order: For the positions, `(n,)`; those of a number ascend.

    Returns:
        How many are distinct.
    """
    count = 0
    starts[0] = 0
    for i in range(len(codes)):
        code = codes[i]
        if numbers[code] < 0:
            numbers[code] = count
            distinct[count] = code
            count += 1
            starts[count] = 0
        places[i] = numbers[code]
        starts[places[i] + 1] += 1
    for row in range(count):
        numbers[distinct[row]] = starts[row]
        starts[row + 1] += starts[row]
    for i in range(len(codes)):
        order[numbers[codes[i]]] = i
        numbers[codes[i]] += 1
    for row in range(count):
        numbers[distinct[row]] = -1
    return count


@kernel(VOID, I32, F32_2D, F32_2D, OUT_F32_2D, OUT_F32_2D)
def halves(codes, vectors, layer, taken, out):
    """`taken = vectors[codes]` and `out = taken @ layer.T`."""
    for i in range(len(codes)):
        row, into = vectors[codes[i]], taken[i]
        for k in range(len(row)):
            into[k] = row[k]
    np.dot(taken, layer.T, out)


@kernel(
    *(VOID, I32, INT, INT, FLOAT, I32, I32, F32, I32, F32_2D, F32_2D, F32),
    *(OUT_F32_2D, OUT_F32),
)
def add_products(
    codes, begin, end, factor, starts, order, given, partners, others, vectors, weights, into, weights_gradient
):  # fmt: skip
    """What follows from gradients of `weights . (vector * other)`: those of vectors are added to theirs.

    Args:
        codes: Whose vectors they are, `(n,)`.
        begin: The first of those that are to be done.
        end: One past the last of them.
        factor: What to multiply gradients by.
        starts: Where the pairs of each of `codes` begin in `order`.
        order: Numbers of pairs.
        given: The gradient of each pair's product.
        partners: Of each pair, the row of `others`.
        others: The vectors of the other side.
        vectors: The vectors of this one.
        weights: The weights of the product.
        into: Gradients of all of `vectors`, to add to.
        weights_gradient: For the gradient of the weights, from these alone.
    """
    by = np.float32(factor)
    total = np.empty(len(weights), np.float32)
    weights_gradient[:] = 0
    for i in range(begin, end):
        total[:] = 0
        for at in range(starts[i], starts[i + 1]):
            weight, other = given[order[at]] * by, others[partners[order[at]]]
            for k in range(len(total)):
                total[k] += weight * other[k]
        vector, out = vectors[codes[i]], into[codes[i]]
        for k in range(len(total)):
            out[k] += total[k] * weights[k]
            weights_gradient[k] += total[k] * vector[k]


@kernel(VOID, *(I32, INT, INT, FLOAT, I32, I32, F32_2D, F32_2D, F32_2D), OUT_F32_2D, OUT_F32_2D)
def add_halves(codes, begin, end, factor, starts, order, given, layer, taken, into, layer_gradient):
    """What follows from gradients of `halves`: those of vectors are added to theirs, those of the layer put down.

    Args:
        codes: As for `add_products`; so are those up to `order`.
        begin: See there.
        end: See there.
        factor: See there.
        starts: See there.
        order: See there.
        given: The gradient of what each pair takes, `(n_pairs, width)`.
        layer: As for `halves`.
        taken: As for `halves`.
        into: Gradients of all vectors, to add to.
        layer_gradient: For the gradient of the layer, from these alone.
    """
    by = np.float32(factor)
    summed = np.zeros((end - begin, len(layer)), np.float32)
    for i in range(end - begin):
        total = summed[i]
        for at in range(starts[begin + i], starts[begin + i + 1]):
            row = given[order[at]]
            for k in range(len(total)):
                total[k] += row[k]
        for k in range(len(total)):
            total[k] *= by
    vectors = np.dot(summed, layer)
    np.dot(summed.T, taken[begin:end], layer_gradient)
    for i in range(end - begin):
        row, out = vectors[i], into[codes[begin + i]]
        for k in range(len(row)):
            out[k] += row[k]
