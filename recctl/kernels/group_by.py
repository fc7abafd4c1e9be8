"""Order, rank and count rows within groups by counting: linear in the rows, stable, no comparison of groups."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import I32, I64, INT, OUT_I32, OUT_I64, OUT_I64_2D, OUT_U8, U8, VOID, kernel


@kernel(VOID, I32, I64, OUT_I32, OUT_I32)
def _number(groups, order, counts, out):
    for row in order:
        out[row] = counts[groups[row]]
        counts[groups[row]] += 1


@kernel(VOID, U8, I32, OUT_I64_2D)
def _count(parts, groups, counts):
    for row in range(len(parts)):
        counts[parts[row], groups[row]] += 1


@kernel(INT, I32, I32, INT, INT, OUT_I64, OUT_I64, OUT_U8)
def _peel(users, items, min_user, min_item, user_counts, item_counts, alive):
    removed = 0
    for row in range(len(users)):
        if alive[row] and (user_counts[users[row]] < min_user or item_counts[items[row]] < min_item):
            alive[row] = 0
            user_counts[users[row]] -= 1
            item_counts[items[row]] -= 1
            removed += 1
    return removed


def count(parts: NDArray[np.uint8], n_parts: int, groups: NDArray[np.int32], n_groups: int) -> NDArray[np.int64]:
    """How many rows of each group are in each part, shape `(n_parts, n_groups)`."""
    counts = np.zeros((n_parts, n_groups), np.int64)
    _count(parts, groups, counts)
    return counts


def ascending(values: NDArray[Any]) -> NDArray[np.int64]:
    """Positions of `values` in ascending order; equal values stay in the order they came."""
    n = len(values)
    if n and values.dtype == np.int64:
        low, high = int(values.min()), int(values.max())
        if (high - low + 1) * n < 2**63:
            # Value and position in one number: NumPy sorts plain integers many times faster than it argsorts.
            packed = (values - low) * n + np.arange(n)
            packed.sort()
            packed %= n
            return packed
    return np.argsort(values, kind="stable")


def number(groups: NDArray[np.int32], n_groups: int, order: NDArray[np.int64]) -> NDArray[np.int32]:
    """For each row, how many rows of its group stand before it in `order`."""
    out = np.empty(len(order), np.int32)
    _number(groups, order, np.zeros(n_groups, np.int32), out)
    return out


def pairs(
    users: NDArray[np.int32], items: NDArray[np.int32], n_items: int, order: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows with equal pairs side by side, each pair's in the order of `order`, and where each pair begins."""
    keys = users * np.int64(n_items) + items
    rows = ascending(keys) if order is None else order[ascending(keys[order])]
    new = np.ones(len(rows), bool)
    keys = keys[rows]
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    return rows, np.flatnonzero(new)


def core(
    users: NDArray[np.int32], items: NDArray[np.int32], n_users: int, n_items: int, min_user: int, min_item: int
) -> NDArray[np.bool_]:
    """The rows of the largest part in which each user has `min_user` rows and each item `min_item`."""
    alive = np.ones(len(users), np.uint8)
    user_counts = np.bincount(users, minlength=n_users)
    item_counts = np.bincount(items, minlength=n_items)
    while _peel(users, items, min_user, min_item, user_counts, item_counts, alive):
        pass
    return alive.view(bool)
