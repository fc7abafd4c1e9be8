"""Stochastic gradient descent on ratings for SVD and SVD++: biases, factors, and implicit factors of histories."""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import (
    BOOL,
    F32,
    F32_2D,
    FLOAT,
    I32,
    I64,
    OUT_F32,
    OUT_F32_2D,
    U8,
    VOID,
    TupleType,
    kernel,
)

# Sums may be reordered, but NaN keeps its meaning: divergence is detected by it.
_RELAXED_SUMS = {"contract", "reassoc"}
# Row starts, columns and values.
_RATINGS = TupleType((I64, I32, F32))
# Row starts and columns.
_HISTORIES = TupleType((I64, I32))
# Biases and factors of users and items, and implicit factors.
_WEIGHTS = TupleType((OUT_F32, OUT_F32, OUT_F32_2D, OUT_F32_2D, OUT_F32_2D))
_FOLDING_WEIGHTS = TupleType((OUT_F32, OUT_F32, OUT_F32_2D, OUT_F32_2D))


@kernel(FLOAT, I32, _RATINGS, _HISTORIES, _WEIGHTS, FLOAT, FLOAT, FLOAT, FLOAT, BOOL, fastmath=_RELAXED_SUMS)
def epoch(order, ratings, histories, weights, mean, lr, reg, scale, implicit):
    """Visit the ratings of each user of `order`, in stored order.

    With `p_u`, `q_i` and `y_j` rows of the factors, N(u) the history of u, and `z = |N(u)|^-1/2 * sum of y_j over N(u)`
    (0 unless `implicit`), the step for a rating r is

        e = r - mean - b_u - b_i - q_i . (p_u + z)
        b_u += lr (e - reg b_u)          b_i += lr (e - reg b_i)
        p_u += lr (e q_i - reg p_u)      q_i += lr (e (p_u + z) - reg q_i)
        y_j += lr (e q_i |N(u)|^-1/2 - reg y_j)    for every j of N(u)

    where all right sides use the values before the step (Koren, 2008, eq. 15), for a `scale` of 1. In general these are
    the steps for ratings divided by `scale`, written for parameters in the units of the ratings: biases are `scale`
    times, factors `sqrt(scale)` times as large. The steps of biases then stay as they are, and in those of factors `e`
    becomes `e / scale`; below, `lr e` stands for `lr e / scale`. Let `a = 1 - lr reg`. Every `y_j` of the
    user receives the same addend and shrinks by the same factor, so `z <- a z + lr e q_i`, which is the step of `p_u`.
    After t steps, with the same sum `c` for both,

        p_u = a^t p_u(0) + c,   z = a^t z(0) + c,   y_j = a^t y_j(0) + |N(u)|^-1/2 c

    A step therefore updates only `s = p_u + z` by `s <- a s + 2 lr e q_i`; after the user's ratings,
    `c = (s - a^t s(0)) / 2` is added to `p_u` and the `y_j`. A rating costs O(n_factors) whatever the length of the
    history.

    Args:
        order: Users in the order in which they are visited, each once.
        ratings: Row starts, items and values of the ratings, users by items.
        histories: Row starts and items of N(u); each item once in a row.
        weights: User biases, item biases, user factors p, item factors q, and implicit factors y; changed in place.
            y is not used unless `implicit`.
        mean: Mean of all ratings.
        lr: Learning rate.
        reg: Regularization.
        scale: What the ratings are divided by for the steps of the factors.
        implicit: Whether the model has implicit factors (SVD++).

    Returns:
        Sum of the squared errors, each measured before its step.
    """
    starts, columns, values = ratings
    history_starts, history_items = histories
    user_biases, item_biases, user_factors, item_factors, implicit_factors = weights
    n_factors = item_factors.shape[1]
    mu = np.float32(mean)
    step = np.float32(lr)
    factor_step = np.float32(lr / scale)
    shrink = np.float32(1 - lr * reg)
    s_step = np.float32(2 * lr / scale) if implicit else factor_step
    s = np.empty(n_factors, np.float32)
    s0 = np.empty(n_factors, np.float32)
    loss = 0.0
    for u in order:
        begin = starts[u]
        end = starts[u + 1]
        first = history_starts[u]
        last = history_starts[u + 1]
        scale = np.float32(1 / np.sqrt(max(1, last - first)))
        for f in range(n_factors):
            s[f] = 0
        if implicit:
            for p in range(first, last):
                j = history_items[p]
                for f in range(n_factors):
                    s[f] += implicit_factors[j, f]
        for f in range(n_factors):
            s[f] = s[f] * scale + user_factors[u, f]
            s0[f] = s[f]
        bias = user_biases[u]
        for p in range(begin, end):
            i = columns[p]
            dot = np.float32(0)
            for f in range(n_factors):
                dot += s[f] * item_factors[i, f]
            error = values[p] - mu - bias - item_biases[i] - dot
            loss += np.float64(error) * np.float64(error)
            delta = step * error
            factor_delta = factor_step * error
            s_delta = s_step * error
            bias = shrink * bias + delta
            item_biases[i] = shrink * item_biases[i] + delta
            for f in range(n_factors):
                q = item_factors[i, f]
                item_factors[i, f] = shrink * q + factor_delta * s[f]
                s[f] = shrink * s[f] + s_delta * q
        user_biases[u] = bias
        total_shrink = np.float32((1 - lr * reg) ** (end - begin))
        if implicit:
            for f in range(n_factors):
                s[f] = np.float32(0.5) * (s[f] - total_shrink * s0[f])  # c of the docstring
                user_factors[u, f] = total_shrink * user_factors[u, f] + s[f]
                s[f] *= scale
            for p in range(first, last):
                j = history_items[p]
                for f in range(n_factors):
                    implicit_factors[j, f] = total_shrink * implicit_factors[j, f] + s[f]
        else:
            for f in range(n_factors):
                user_factors[u, f] = s[f]
    return loss


@kernel(VOID, I64, I32, F32_2D, OUT_F32_2D, fastmath=_RELAXED_SUMS)
def add_history(starts, items, implicit_factors, out):
    """Add `|N(u)|^-1/2 * sum of y_j over N(u)` to each row of `out`.

    Args:
        starts: Row starts of the histories N(u), `(n + 1,)`.
        items: Items of the histories.
        implicit_factors: y, `(n_items, n_factors)`.
        out: Output, `(n, n_factors)`.
    """
    n_factors = implicit_factors.shape[1]
    total = np.empty(n_factors, np.float32)
    for row in range(len(starts) - 1):
        for f in range(n_factors):
            total[f] = 0
        for p in range(starts[row], starts[row + 1]):
            for f in range(n_factors):
                total[f] += implicit_factors[items[p], f]
        scale = np.float32(1 / np.sqrt(max(1, starts[row + 1] - starts[row])))
        for f in range(n_factors):
            out[row, f] += scale * total[f]


@kernel(FLOAT, _RATINGS, U8, _FOLDING_WEIGHTS, F32_2D, FLOAT, FLOAT, FLOAT, FLOAT, fastmath=_RELAXED_SUMS)
def folding_epoch(ratings, trainable, weights, implicit, mean, lr, reg, scale):
    """`epoch` for new users of a trained model: known items are fixed, new items are trained.

    The steps are those of `epoch` for `b_u` and `p_u` of all rows, and for `b_i` and `q_i` of the trainable items. `z`
    is fixed, because every `y_j` is.

    Args:
        ratings: Row starts, items and values of the ratings, users by items.
        trainable: 1 for items that are trained, 0 for fixed ones, `(n_items,)`; empty if all are fixed.
        weights: User biases, item biases, user factors p and item factors q; changed in place.
        implicit: z of each user, `(n_users, n_factors)`.
        mean: Mean of all ratings.
        lr: Learning rate.
        reg: Regularization.
        scale: As in `epoch`.

    Returns:
        Sum of the squared errors, each measured before its step.
    """
    starts, columns, values = ratings
    user_biases, item_biases, user_factors, item_factors = weights
    n_factors = item_factors.shape[1]
    mu = np.float32(mean)
    step = np.float32(lr)
    factor_step = np.float32(lr / scale)
    shrink = np.float32(1 - lr * reg)
    loss = 0.0
    for row in range(len(starts) - 1):
        bias = user_biases[row]
        for position in range(starts[row], starts[row + 1]):
            i = columns[position]
            dot = np.float32(0)
            for f in range(n_factors):
                dot += (user_factors[row, f] + implicit[row, f]) * item_factors[i, f]
            error = values[position] - mu - bias - item_biases[i] - dot
            loss += np.float64(error) * np.float64(error)
            delta = step * error
            factor_delta = factor_step * error
            bias = shrink * bias + delta
            if len(trainable) and trainable[i]:
                item_biases[i] = shrink * item_biases[i] + delta
                for f in range(n_factors):
                    q = item_factors[i, f]
                    p = user_factors[row, f]
                    user_factors[row, f] = shrink * p + factor_delta * q
                    item_factors[i, f] = shrink * q + factor_delta * (p + implicit[row, f])
            else:
                for f in range(n_factors):
                    user_factors[row, f] = shrink * user_factors[row, f] + factor_delta * item_factors[i, f]
        user_biases[row] = bias
    return loss
