"""Stochastic gradient descent on pairs of items for BPR."""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import (
    F32,
    F32_2D,
    FLOAT,
    I32,
    I64,
    INT,
    OUT_F32,
    OUT_F32_2D,
    OUT_F64,
    OUT_I32,
    OUT_I64,
    U8,
    VOID,
    TupleType,
    inline_ir,
    inline_llvm,
    kernel,
)
from recctl.kernels.counter_rng import splitmix64
from recctl.kernels.negative_sampling import item_from_word
from recctl.kernels.prefetching import prefetch, prefetch_row

# Sums may be reordered, but NaN keeps its meaning: divergence is detected by it.
_RELAXED_SUMS = {"contract", "reassoc"}
# A user may have nearly all candidates: after this many of them, the step is left out.
_MAX_TRIES = 100
# Negatives are sampled, and rows of factors fetched from memory, for so many pairs before their steps.
_PAIRS_AHEAD = 16
# User factors, item factors and item biases.
_WEIGHTS = TupleType((OUT_F32_2D, OUT_F32_2D, OUT_F32))
# Row starts and items of the interactions.
_SEEN = TupleType((I64, I32))


@kernel(VOID, I32, I32, I32, U8, U8, INT, OUT_I32, OUT_I32, OUT_I64)
def order_by_block(rows, columns, order, group_of_user, group_of_item, n_groups, users, items, ends):
    """Pairs in a given order, sorted by block: a group of users and a group of items. The sort is stable.

    Args:
        rows: User of each pair, `(n,)`.
        columns: Item of each pair, `(n,)`.
        order: The order, a permutation of `n`.
        group_of_user: Group of each user.
        group_of_item: Group of each item.
        n_groups: Number of groups of each.
        users: Output: the users, `(n,)`.
        items: Output: the items, `(n,)`.
        ends: Output: the end of each block in `users` and `items`, `(n_groups**2,)`.
    """
    ends[:] = 0
    for pair in range(len(rows)):
        ends[group_of_user[rows[pair]] * n_groups + group_of_item[columns[pair]]] += 1
    begin = 0
    for block in range(len(ends)):
        n_pairs = ends[block]
        ends[block] = begin
        begin += n_pairs
    for pair in order:
        user = rows[pair]
        item = columns[pair]
        block = group_of_user[user] * n_groups + group_of_item[item]
        position = ends[block]
        users[position] = user
        items[position] = item
        ends[block] = position + 1


@inline_llvm
def _negative(state, columns, begin, end, candidates, uniform):
    """A candidate that is not among the sorted `columns[begin:end]`; -1 if none is found."""
    for _ in range(_MAX_TRIES):
        item = candidates[item_from_word(state, len(candidates), uniform)]
        # A search without branches, which would be mispredicted: the last column that is not beyond the item.
        position = begin
        n_left = end - begin
        while n_left > 1:
            half = n_left >> 1
            position += half * (columns[position + half] <= item)
            n_left -= half
        if begin == end or columns[position] != item:
            return item
        state = splitmix64(state)
    return -1


@inline_ir
def _difference(user, item, negative, item_bias, negative_bias):
    """The score of the item minus that of the negative."""
    total = item_bias - negative_bias
    for f in range(len(user)):
        total += user[f] * (item[f] - negative[f])
    return total


@kernel(VOID, I32, I32, INT, INT, _SEEN, I32, _WEIGHTS, FLOAT, FLOAT, OUT_F64, fastmath=_RELAXED_SUMS)
def train(users, items, first, key, seen, candidates, weights, learning_rate, reg, totals):
    """One step for each of some pairs of a user and an item.

    With the score `x_ui = b_i + p_u . q_i`, a sampled item `j` that the user has not interacted with, and
    `e = sigmoid(x_uj - x_ui)` (Rendle et al., 2009, section 4.3.1)

        p_u += lr (e (q_i - q_j) - reg p_u)
        q_i += lr (e p_u - reg q_i)          b_i += lr (e - reg b_i)
        q_j += lr (-e p_u - reg q_j)         b_j += lr (-e - reg b_j)

    where all right sides use the values before the step.

    Args:
        users: User of each pair, `(n,)`.
        items: Item of each pair, `(n,)`.
        first: Number of the first pair in the epoch; with the key it decides the sampled items.
        key: Key of the random numbers, see `rng.key`.
        seen: Row starts and items of the interactions, ascending in each row.
        candidates: The items to sample from.
        weights: User factors p, item factors q and item biases b; changed in place.
        learning_rate: Step size lr.
        reg: L2 regularization.
        totals: Output: the sum of `-log(1 - e)`, measured before each step, and the number of steps. A pair without a
            step is one whose user has all candidates, or nearly all.
    """
    starts, columns = seen
    user_factors, item_factors, item_biases = weights
    n_factors = item_factors.shape[1]
    rate = np.float32(learning_rate)
    shrink = np.float32(1 - learning_rate * reg)
    one = np.float32(1)
    uniform = np.empty(0)
    negatives = np.empty(_PAIRS_AHEAD, np.int32)
    loss = 0.0
    n_steps = 0
    for begin in range(0, len(users), _PAIRS_AHEAD):
        end = min(begin + _PAIRS_AHEAD, len(users))
        for row in range(begin, end):
            u = users[row]
            prefetch_row(user_factors, u)
            prefetch_row(item_factors, items[row])
            prefetch(columns, (starts[u] + starts[u + 1]) >> 1)
        for row in range(begin, end):
            u = users[row]
            state = splitmix64(np.uint64(key) ^ splitmix64(np.uint64(first + row)))
            j = _negative(state, columns, starts[u], starts[u + 1], candidates, uniform)
            negatives[row - begin] = j
            if j >= 0:
                prefetch_row(item_factors, j)
        # The product of `1 + exp(-|difference|)`, at most 2 each, for one logarithm in place of many.
        product = 1.0
        for row in range(begin, end):
            u = users[row]
            i = items[row]
            j = negatives[row - begin]
            if j < 0:
                continue
            # Views, so that indices start at 0: otherwise they might be negative for LLVM, which would not vectorize.
            user = user_factors[u]
            item = item_factors[i]
            negative = item_factors[j]
            difference = item_biases[i] - item_biases[j]
            for f in range(n_factors):
                difference += user[f] * (item[f] - negative[f])
            # softplus(-difference), without overflow.
            loss += max(np.float64(-difference), 0.0)
            product *= 1.0 + np.exp(-np.abs(np.float64(difference)))
            n_steps += 1
            delta = rate / (one + np.exp(difference))
            item_biases[i] = shrink * item_biases[i] + delta
            item_biases[j] = shrink * item_biases[j] - delta
            for f in range(n_factors):
                p = user[f]
                q_i = item[f]
                q_j = negative[f]
                user[f] = shrink * p + delta * (q_i - q_j)
                item[f] = shrink * q_i + delta * p
                negative[f] = shrink * q_j - delta * p
        loss += np.log(product)
    totals[0] = loss
    totals[1] = n_steps


@kernel(VOID, I64, I32, INT, I32, F32_2D, F32, INT, FLOAT, FLOAT, OUT_F32_2D, fastmath=_RELAXED_SUMS)
def fold_in(starts, columns, key, candidates, item_factors, item_biases, n_epochs, learning_rate, reg, user_factors):
    """Learn the factors of new users by the steps of `train`, with fixed items.

    Args:
        starts: Row starts of the histories, `(n + 1,)`.
        columns: Items of the histories, ascending in each row.
        key: Key of the random numbers, which depend on the items of a history, not on its row.
        candidates: All items.
        item_factors: q, `(n_items, n_factors)`.
        item_biases: b, `(n_items,)`.
        n_epochs: Number of times that each history is visited.
        learning_rate: Step size.
        reg: L2 regularization.
        user_factors: Output, `(n, n_factors)`.
    """
    n_factors = item_factors.shape[1]
    rate = np.float32(learning_rate)
    shrink = np.float32(1 - learning_rate * reg)
    one = np.float32(1)
    uniform = np.empty(0)
    for row in range(len(starts) - 1):
        user = user_factors[row]
        begin = starts[row]
        end = starts[row + 1]
        total = np.uint64(key)
        for position in range(begin, end):
            total += splitmix64(np.uint64(columns[position]))
        for f in range(n_factors):
            user[f] = 0
        for epoch in range(n_epochs):
            for position in range(begin, end):
                number = np.uint64(epoch * (end - begin) + position - begin)
                j = _negative(splitmix64(total ^ splitmix64(number)), columns, begin, end, candidates, uniform)
                if j < 0:
                    continue
                i = columns[position]
                item = item_factors[i]
                negative = item_factors[j]
                difference = _difference(user, item, negative, item_biases[i], item_biases[j])
                delta = rate / (one + np.exp(difference))
                for f in range(n_factors):
                    user[f] = shrink * user[f] + delta * (item[f] - negative[f])
