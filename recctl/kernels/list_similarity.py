"""Similarity between the items of a list."""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import I32, I32_2D, I64, INT, OUT_F64_2D, VOID, kernel


@kernel(VOID, I32_2D, I64, I32, INT, OUT_F64_2D)
def similarity_to_earlier(items, starts, users, n_users, out):
    """For each rank of each list, sum the cosine similarities of its item with the items at better ranks.

    The vector of an item has a one for each of its users. The normalized vectors of the items so far are summed, so
    that the cost of a list depends on the number of users of its items, and not on the number of item pairs.

    Args:
        items: Ranked lists, `(n_lists, k)`; -1 for an empty rank, which only empty ranks follow.
        starts: Row starts of the users of each item, `(n_items + 1,)`.
        users: Users of each item.
        n_users: Number of users.
        out: Output: the sums, `(n_lists, k)`; 0 at empty ranks.
    """
    summed = np.zeros(n_users, np.float64)
    for row in range(items.shape[0]):
        for rank in range(items.shape[1]):
            out[row, rank] = 0
            item = items[row, rank]
            if item < 0 or starts[item] == starts[item + 1]:
                continue
            weight = 1 / np.sqrt(np.float64(starts[item + 1] - starts[item]))
            total = 0.0
            for p in range(starts[item], starts[item + 1]):
                total += summed[users[p]]
                summed[users[p]] += weight
            out[row, rank] = total * weight
        # Clear only what this list has set.
        for rank in range(items.shape[1]):
            item = items[row, rank]
            if item >= 0:
                for p in range(starts[item], starts[item + 1]):
                    summed[users[p]] = 0
