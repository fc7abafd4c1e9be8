"""Steps of training on pairs of a user and an item, by several threads that go through them together.

Each thread calls `take_part` and stays there: the first, of rank 0, once for each thing that is to be done; the others
once, until it is `LEAVE`. What each does follows from the batch and its rank, and is summed in the batch's order, so
that results do not depend on how many they are.

Products of matrices are left to BLAS: call this where it keeps to one thread. Nothing is allocated on the way: a thread
that failed would leave the others waiting.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from recctl.kernels import adam, ncf_embeddings, ncf_mlp
from recctl.kernels.compile import (
    INT,
    OUT_F32,
    OUT_F32_2D,
    OUT_F64,
    OUT_I64,
    VOID,
    NamedTupleType,
    inlined,
    kernel,
    merged,
    outlined,
)
from recctl.kernels.meeting import FREE, announce, hear, meet

# What may be done.
LEAVE, COMPUTE, ADD, STEP = 0, 1, 2, 3
# Where it stands on the board, and what it is to be done with: the pairs of the batch, how many of them share a user,
# into how many parts they are cut, the key of what is dropped, whether product and tower are apart. Then what is found
# out on the way: how many users and items are distinct.
WHAT, N, M, N_PARTS, KEY, APART = range(FREE, FREE + 6)
_N_USERS, _N_ITEMS = FREE + 16, FREE + 32
N_ON_BOARD = 48
# Numbers beside: the factor of gradients, the share that is dropped, and what `adam.step` has from `rate` to `epsilon`.
FACTOR, DROPOUT, ADAM, N_SETTINGS = 0, 1, 2, 7

# About how many users or items a task takes through the first layer, and how many weights one takes a step with: with
# gradients and moments these are what a second-level cache holds.
_ROWS, _WEIGHTS = 768, 1 << 14


class Pairs(NamedTuple):
    """What is for all pairs: weights, and room for what follows from a batch of at most `most`.

    Attributes:
        out_gmf: Weights of the product, `(d,)`.
        d_out_gmf: Their gradient, to add to.
        upper: As `recctl.kernels.ncf_mlp` has it.
        d_upper: Its gradient, to add to.
        widths: Of the layers.
        losses: The loss of each part, `(n_parts,)`.
        d_products: Of each pair, `(most,)`.
        d_first: Of each pair, `(most, width)`.
        of_upper: What follows for `upper` from each part, `(n_parts, len(upper))`.
        rooms: For each thread, `pair_tower.room_for` numbers, and at least `d`.
    """

    out_gmf: Any
    d_out_gmf: Any
    upper: Any
    d_upper: Any
    widths: Any
    losses: Any
    d_products: Any
    d_first: Any
    of_upper: Any
    rooms: Any


class Moments(NamedTuple):
    """All weights in one array each, for Adam: their gradient, its moments, and themselves."""

    gradient: Any
    mean: Any
    square: Any
    weights: Any


_PAIRS = NamedTupleType(Pairs, (*[OUT_F32] * 4, OUT_I64, OUT_F64, OUT_F32, OUT_F32_2D, OUT_F32_2D, OUT_F32_2D))
_MOMENTS = NamedTupleType(Moments, (OUT_F32,) * 4)


@outlined
def n_tasks(n_rows):
    """How many tasks so many users or items make: an even number, so that two threads have alike to do."""
    return 2 * ((n_rows + 2 * _ROWS - 1) // (2 * _ROWS))


@inlined
def _share(rank, size, count):
    """The tasks of a thread, side by side: pairs come sorted by user, so what they need was mostly made by it."""
    return range(rank * count // size, (rank + 1) * count // size)


@merged
def _compute(rank, size, board, settings, users, items, pairs):
    """The losses of a batch, and its gradients as far as they are the pairs' own."""
    n, n_parts = board[N], board[N_PARTS]
    if rank == 0:
        board[_N_USERS] = ncf_embeddings.group(users, n)
    if rank == 1 % size:
        board[_N_ITEMS] = ncf_embeddings.group(items, n)
    meet(board, size)
    if len(pairs.widths):
        for side, n_rows in ((users, board[_N_USERS]), (items, board[_N_ITEMS])):
            count = n_tasks(n_rows)
            for task in _share(rank, size, count):
                ncf_embeddings.halve(side, task * n_rows // count, (task + 1) * n_rows // count)
        meet(board, size)
    for part in _share(rank, size, n_parts):
        pairs.losses[part] = ncf_mlp.losses(
            users, items, part * n // n_parts, (part + 1) * n // n_parts, board[M], pairs.out_gmf, pairs.upper,
            pairs.widths, board[KEY], settings[DROPOUT], board[APART] != 0, pairs.d_products, pairs.d_first,
            pairs.of_upper[part], pairs.rooms[rank],
        )  # fmt: skip


@merged
def _add(rank, size, board, settings, users, items, pairs):
    """Add a factor times the gradients of the batch that was computed."""
    factor = np.float32(settings[FACTOR])
    for side, other, n_rows in ((users, items, board[_N_USERS]), (items, users, board[_N_ITEMS])):
        count = n_tasks(n_rows)
        for task in _share(rank, size, count):
            begin, end = task * n_rows // count, (task + 1) * n_rows // count
            if len(pairs.out_gmf):
                room = pairs.rooms[rank, : len(pairs.out_gmf)]
                ncf_embeddings.add_products(
                    side, begin, end, factor, pairs.d_products, other, pairs.out_gmf, room, side.of_weights[task]
                )
            if len(pairs.widths):
                ncf_embeddings.add_halves(side, begin, end, factor, pairs.d_first, side.of_layer[task])
    meet(board, size)
    if rank == 0:
        # Each pair has one user and one item: gradients that are summed up over either's are those of all pairs.
        for task in range(n_tasks(board[_N_USERS])):
            for k in range(len(pairs.d_out_gmf)):
                pairs.d_out_gmf[k] += users.of_weights[task, k]
    for side, n_rows in ((users, board[_N_USERS]), (items, board[_N_ITEMS])):
        for row in _share(rank, size, len(side.d_layer)):
            for task in range(n_tasks(n_rows)):
                for k in range(side.d_layer.shape[1]):
                    side.d_layer[row, k] += side.of_layer[task, row, k]
    for k in _share(rank, size, len(pairs.upper)):
        total = np.float32(0)
        for part in range(board[N_PARTS]):
            total += pairs.of_upper[part, k]
        pairs.d_upper[k] += total * factor


@merged
def _step(rank, size, settings, moments):
    """A step of Adam."""
    rate, beta_1, beta_2, n_steps, epsilon = settings[ADAM : ADAM + 5]
    n = len(moments.weights)
    count = (n + _WEIGHTS - 1) // _WEIGHTS
    for block in _share(rank, size, count):
        begin, end = block * n // count, (block + 1) * n // count
        adam.part(
            moments.gradient[begin:end], rate, beta_1, beta_2, n_steps, epsilon, moments.mean[begin:end],
            moments.square[begin:end], moments.weights[begin:end],
        )  # fmt: skip


@kernel(VOID, INT, INT, OUT_I64, OUT_F64, ncf_embeddings.SIDE, ncf_embeddings.SIDE, _PAIRS, _MOMENTS)
def take_part(rank, size, board, settings, users, items, pairs, moments):
    """Do one thing with the others, as rank 0, or what is announced until it is `LEAVE`, as another rank.

    Args:
        rank: Of this thread.
        size: How many they are.
        board: What they meet at; see above what is to stand there.
        settings: See above.
        users: The users' side, the codes of the batch filled in.
        items: The items' side.
        pairs: What is for all pairs.
        moments: For `STEP`.
    """
    number = 0
    if rank == 0:
        announce(board)
    while True:
        if rank != 0:
            number += 1
            hear(board, number)
        what = board[WHAT]
        if what == LEAVE:
            return
        if what == COMPUTE:
            _compute(rank, size, board, settings, users, items, pairs)
        elif what == ADD:
            _add(rank, size, board, settings, users, items, pairs)
        elif what == STEP:
            _step(rank, size, settings, moments)
        meet(board, size)
        if rank == 0:
            return
