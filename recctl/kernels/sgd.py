"""Stochastic gradient descent on ratings, one after another: biases, factors, and what a history says by itself."""

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
    kernel,
)

# Only sums may be taken in another order: a NaN must stay one, as it is how divergence shows.
_SUMS = {"contract", "reassoc"}


@kernel(
    FLOAT,
    *(I32, I64, I32, F32, I64, I32),
    *(OUT_F32, OUT_F32, OUT_F32_2D, OUT_F32_2D, OUT_F32_2D),
    *(FLOAT, FLOAT, FLOAT, BOOL),
    fastmath=_SUMS,
)
def epoch(
    order,
    starts,
    columns,
    ratings,
    history_starts,
    history_items,
    user_biases,
    item_biases,
    user_factors,
    item_factors,
    implicit_factors,
    mean,
    lr,
    reg,
    implicit,
):
    """Visit the ratings of each user of `order`, in stored order; returns the sum of squared errors.

    An error is taken before its step. With `p_u`, `q_i` and `y_j` rows of the factors and `z = |N(u)|^-1/2 * sum of y_j
    over N(u)` (0 unless `implicit`), a step is

        e = r - mean - b_u - b_i - q_i . (p_u + z)
        b_u += lr (e - reg b_u)          b_i += lr (e - reg b_i)
        p_u += lr (e q_i - reg p_u)      q_i += lr (e (p_u + z) - reg q_i)
        y_j += lr (e q_i |N(u)|^-1/2 - reg y_j)    for every j of N(u)

    all with the values before it. Let `a = 1 - lr reg`. Every `y_j` of the user gets the same addend and shrinks alike,
    so `z <- a z + lr e q_i`: the very step of `p_u`. It follows that after t steps, for one and the same sum `c`,

        p_u = a^t p_u(0) + c,   z = a^t z(0) + c,   y_j = a^t y_j(0) + |N(u)|^-1/2 c

    A step needs only `s = p_u + z`, which follows `s <- a s + 2 lr e q_i`; `c = (s - a^t s(0)) / 2` is given to `p_u`
    and the `y_j` when the user's ratings are through. A rating costs O(n_factors) for any length of the history.

    Args:
        order: Users, in the order they are visited; each once.
        starts: Row starts of the ratings, users by items.
        columns: Items of the ratings.
        ratings: Their values.
        history_starts: Row starts of N(u).
        history_items: Items of N(u); each once in a row.
        user_biases: b, changed.
        item_biases: b, changed.
        user_factors: p, changed.
        item_factors: q, changed.
        implicit_factors: y, changed if `implicit`; else not looked at.
        mean: The overall mean.
        lr: Step size.
        reg: Weight of the squares.
        implicit: Whether there are y.
    """
    n_factors = item_factors.shape[1]
    mu, step, keep = np.float32(mean), np.float32(lr), np.float32(1 - lr * reg)
    gain = np.float32(2 * lr) if implicit else step
    s = np.empty(n_factors, np.float32)
    s0 = np.empty(n_factors, np.float32)
    loss = 0.0
    for u in order:
        begin, end = starts[u], starts[u + 1]
        first, last = history_starts[u], history_starts[u + 1]
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
            error = ratings[p] - mu - bias - item_biases[i] - dot
            loss += np.float64(error) * np.float64(error)
            move = step * error
            both = gain * error
            bias = keep * bias + move
            item_biases[i] = keep * item_biases[i] + move
            for f in range(n_factors):
                q = item_factors[i, f]
                item_factors[i, f] = keep * q + move * s[f]
                s[f] = keep * s[f] + both * q
        user_biases[u] = bias
        shrunk = np.float32((1 - lr * reg) ** (end - begin))
        if implicit:
            for f in range(n_factors):
                s[f] = np.float32(0.5) * (s[f] - shrunk * s0[f])  # c of the docstring
                user_factors[u, f] = shrunk * user_factors[u, f] + s[f]
                s[f] *= scale
            for p in range(first, last):
                j = history_items[p]
                for f in range(n_factors):
                    implicit_factors[j, f] = shrunk * implicit_factors[j, f] + s[f]
        else:
            for f in range(n_factors):
                user_factors[u, f] = s[f]
    return loss


@kernel(VOID, I64, I32, F32_2D, OUT_F32_2D, fastmath=_SUMS)
def add_history(starts, items, implicit_factors, out):
    """Add `|N(u)|^-1/2 * sum of y_j over N(u)` to each row of `out`, `(n, n_factors)`."""
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


@kernel(
    FLOAT,
    *(I64, I32, F32, U8),
    *(OUT_F32, OUT_F32, OUT_F32_2D, OUT_F32_2D, F32_2D),
    *(FLOAT, FLOAT, FLOAT),
    fastmath=_SUMS,
)
def folding_epoch(starts, columns, ratings, free, biases, item_biases, factors, item_factors, implicit, mean, lr, reg):
    """`epoch` for people who come when most items are known, and these are held; returns the sum of squared errors.

    The steps are those of `epoch` for `b_u` and `p_u` of everyone here, and for `b_i` and `q_i` of the free items. `z`
    is held, as every `y_j` is.

    Args:
        starts: Row starts of the ratings, people by items.
        columns: Items of the ratings.
        ratings: Their values.
        free: 1 for the items that learn, 0 for those that are held, `(n_items,)`; empty where all are held.
        biases: The people's b, changed.
        item_biases: b; those of free items are changed.
        factors: The people's p, changed.
        item_factors: q; those of free items are changed.
        implicit: The people's z.
        mean: The overall mean.
        lr: Step size.
        reg: Weight of the squares.
    """
    n_factors = item_factors.shape[1]
    mu, step, keep = np.float32(mean), np.float32(lr), np.float32(1 - lr * reg)
    loss = 0.0
    for row in range(len(starts) - 1):
        bias = biases[row]
        for at in range(starts[row], starts[row + 1]):
            i = columns[at]
            dot = np.float32(0)
            for f in range(n_factors):
                dot += (factors[row, f] + implicit[row, f]) * item_factors[i, f]
            error = ratings[at] - mu - bias - item_biases[i] - dot
            loss += np.float64(error) * np.float64(error)
            move = step * error
            bias = keep * bias + move
            if len(free) and free[i]:
                item_biases[i] = keep * item_biases[i] + move
                for f in range(n_factors):
                    q, p = item_factors[i, f], factors[row, f]
                    factors[row, f] = keep * p + move * q
                    item_factors[i, f] = keep * q + move * (p + implicit[row, f])
            else:
                for f in range(n_factors):
                    factors[row, f] = keep * factors[row, f] + move * item_factors[i, f]
        biases[row] = bias
    return loss
