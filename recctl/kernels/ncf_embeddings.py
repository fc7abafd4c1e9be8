"""What pairs of a user and an item share: each distinct user and item of a batch is dealt with once, forward and back.

Pairs are grouped by their user, and by their item, so that gradients of one are summed where they are wanted, in an
order that is the batch's own. All of it are parts of `recctl.kernels.pair_training`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from recctl.kernels.compile import OUT_F32_2D, OUT_F32_3D, OUT_I32, NamedTupleType, inlined


class Side(NamedTuple):
    """The users, or the items: their weights and gradients, and room for those of a batch of at most `most` pairs.

    Attributes:
        factors: Vectors for the product, `(n, d)`; d is 0 where there is none.
        vectors: Vectors for the tower, `(n, dim)`.
        layer: Their half of its first layer, `(width, dim)`.
        d_factors: Gradients, to add to; so are the next two.
        d_vectors: See there.
        d_layer: See there.
        numbers: -1 for each of `n`, before and after a batch.
        codes: The user, or item, of each pair, `(most,)`: what is given.
        places: Of each pair, the row of its user, or item, in what follows, `(most,)`.
        order: Pairs by row, those of a row ascending, `(most,)`.
        distinct: The code of each row, as they come, `(n_rows,)` of at most `min(n, most)`.
        starts: Where each row's pairs begin in `order`, and where the last one's end.
        taken: Their vectors for the tower, `(n_rows, dim)`; then gradients of these.
        half: What they give to the first layer, `(n_rows, width)`; then gradients of it.
        of_weights: What follows for the product's weights from some rows, `(n_tasks, d)`.
        of_layer: What follows for `layer`, `(n_tasks, width, dim)`.
    """

    factors: Any
    vectors: Any
    layer: Any
    d_factors: Any
    d_vectors: Any
    d_layer: Any
    numbers: Any
    codes: Any
    places: Any
    order: Any
    distinct: Any
    starts: Any
    taken: Any
    half: Any
    of_weights: Any
    of_layer: Any


SIDE = NamedTupleType(Side, (*[OUT_F32_2D] * 6, *[OUT_I32] * 6, *[OUT_F32_2D] * 3, OUT_F32_3D))


@inlined
def group(side, n):
    """Number the distinct codes of n pairs as they come, and group the pairs; returns how many are distinct."""
    count = 0
    side.starts[0] = 0
    for i in range(n):
        code = side.codes[i]
        if side.numbers[code] < 0:
            side.numbers[code] = count
            side.distinct[count] = code
            count += 1
            side.starts[count] = 0
        side.places[i] = side.numbers[code]
        side.starts[side.places[i] + 1] += 1
    for row in range(count):
        side.numbers[side.distinct[row]] = side.starts[row]
        side.starts[row + 1] += side.starts[row]
    for i in range(n):
        code = side.codes[i]
        side.order[side.numbers[code]] = i
        side.numbers[code] += 1
    for row in range(count):
        side.numbers[side.distinct[row]] = -1
    return count


@inlined
def halve(side, begin, end):
    """What some rows give to the first layer: `half = taken @ layer.T`."""
    for i in range(begin, end):
        row, into = side.vectors[side.distinct[i]], side.taken[i]
        for k in range(len(row)):
            into[k] = row[k]
    np.dot(side.taken[begin:end], side.layer.T, side.half[begin:end])


@inlined
def add_products(side, begin, end, factor, given, other, weights, total, of_weights):
    """Add, for some rows, what follows from gradients of pairs' `weights . (factors * other's factors)`.

    Args:
        side: Whose gradients they are.
        begin: The first row.
        end: One past the last.
        factor: What to multiply gradients by.
        given: The gradient of each pair's product.
        other: The other side.
        weights: The weights of the product, `(d,)`.
        total: Room, `(d,)`.
        of_weights: For the gradient of the weights, from these alone, `(d,)`.
    """
    of_weights[:] = 0
    for i in range(begin, end):
        total[:] = 0
        for at in range(side.starts[i], side.starts[i + 1]):
            pair = side.order[at]
            weight, partner = given[pair] * factor, other.factors[other.codes[pair]]
            for k in range(len(total)):
                total[k] += weight * partner[k]
        vector, out = side.factors[side.distinct[i]], side.d_factors[side.distinct[i]]
        for k in range(len(total)):
            out[k] += total[k] * weights[k]
            of_weights[k] += total[k] * vector[k]


@inlined
def add_halves(side, begin, end, factor, given, of_layer):
    """Add, for some rows, what follows from gradients of what each pair took of them.

    Args:
        side: Whose gradients they are.
        begin: The first row.
        end: One past the last.
        factor: What to multiply gradients by.
        given: Of each pair, `(n_pairs, width)`.
        of_layer: For the gradient of the layer, from these alone.
    """
    for i in range(begin, end):
        total = side.half[i]
        total[:] = 0
        for at in range(side.starts[i], side.starts[i + 1]):
            row = given[side.order[at]]
            for k in range(len(total)):
                total[k] += row[k]
        for k in range(len(total)):
            total[k] *= factor
    np.dot(side.half[begin:end].T, side.taken[begin:end], of_layer)
    np.dot(side.half[begin:end], side.layer, side.taken[begin:end])
    for i in range(begin, end):
        row, out = side.taken[i], side.d_vectors[side.distinct[i]]
        for k in range(len(row)):
            out[k] += row[k]
