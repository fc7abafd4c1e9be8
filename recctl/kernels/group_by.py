"""Group-by operations on rows, by counting sort: linear time and stable."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import I32, I64, INT, OUT_I32, OUT_I64, OUT_I64_2D, OUT_U8, U8, VOID, kernel


@kernel(VOID, I32, I64, OUT_I32, OUT_I32)
def _cumulative_count(groups, order, counts, out):
    for row in order:
        out[row] = counts[groups[row]]
        counts[groups[row]] += 1


@kernel(VOID, U8, I32, OUT_I64_2D)
def _count_by_part(parts, groups, counts):
    for row in range(len(parts)):
        counts[parts[row], groups[row]] += 1


@kernel(INT, I32, I32, INT, INT, OUT_I64, OUT_I64, OUT_U8)
def _peel(users, items, min_user, min_item, user_counts, item_counts, alive):
    # One pass of k-core filtering; returns the number of rows removed.
    n_removed = 0
    for row in range(len(users)):
        if alive[row] and (user_counts[users[row]] < min_user or item_counts[items[row]] < min_item):
            alive[row] = 0
            user_counts[users[row]] -= 1
            item_counts[items[row]] -= 1
            n_removed += 1
    return n_removed


def count_by_part(
    parts: NDArray[np.uint8], n_parts: int, groups: NDArray[np.int32], n_groups: int
) -> NDArray[np.int64]:
    """Number of rows of each group in each part, `(n_parts, n_groups)`.

    Args:
        parts: Part of each row.
        n_parts: Number of parts.
        groups: Group of each row.
        n_groups: Number of groups.

    Returns:
        Counts.
    """
    counts = np.zeros((n_parts, n_groups), np.int64)
    _count_by_part(parts, groups, counts)
    return counts


def stable_argsort(values: NDArray[Any]) -> NDArray[np.int64]:
    """Stable argsort: positions of `values` in ascending order; ties keep their original order."""
    n = len(values)
    if n and values.dtype == np.int64:
        low = int(values.min())
        high = int(values.max())
        if (high - low + 1) * n < 2**63:
            # Pack value and position into one integer: NumPy sorts integers many times faster than it argsorts them.
            packed = (values - low) * n + np.arange(n)
            packed.sort()
            packed %= n
            return packed
    return np.argsort(values, kind="stable")


def cumulative_count(groups: NDArray[np.int32], n_groups: int, order: NDArray[np.int64]) -> NDArray[np.int32]:
    """Cumulative count: for each row, the number of rows of its group that precede it in `order`.

    Args:
        groups: Group of each row.
        n_groups: Number of groups.
        order: A permutation of the rows.

    Returns:
        Counts from 0, one for each row.
    """
    numbers = np.empty(len(order), np.int32)
    _cumulative_count(groups, order, np.zeros(n_groups, np.int32), numbers)
    return numbers


def group_pairs(
    users: NDArray[np.int32], items: NDArray[np.int32], n_items: int, order: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Group rows by (user, item) pair.

    Args:
        users: User of each row.
        items: Item of each row.
        n_items: Number of items.
        order: Order of the rows within a pair; the order of the rows by default.

    Returns:
        Row numbers with equal pairs adjacent, and the position at which each pair begins.
    """
    keys = users * np.int64(n_items) + items
    rows = stable_argsort(keys) if order is None else order[stable_argsort(keys[order])]
    sorted_keys = keys[rows]
    is_first = np.ones(len(rows), bool)
    np.not_equal(sorted_keys[1:], sorted_keys[:-1], out=is_first[1:])
    return rows, np.flatnonzero(is_first)


def k_core(
    users: NDArray[np.int32], items: NDArray[np.int32], n_users: int, n_items: int, min_user: int, min_item: int
) -> NDArray[np.bool_]:
    """K-core of the interactions: the largest subset in which every user and every item has enough rows.

    Args:
        users: User of each row.
        items: Item of each row.
        n_users: Number of users.
        n_items: Number of items.
        min_user: Minimum number of rows of a user.
        min_item: Minimum number of rows of an item.

    Returns:
        Whether each row is in the core.
    """
    alive = np.ones(len(users), np.uint8)
    user_counts = np.bincount(users, minlength=n_users)
    item_counts = np.bincount(items, minlength=n_items)
    while _peel(users, items, min_user, min_item, user_counts, item_counts, alive):
        pass
    return alive.view(bool)
