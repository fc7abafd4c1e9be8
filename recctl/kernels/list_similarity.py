"""How alike the items of a list are."""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import I32, I32_2D, I64, INT, OUT_F64_2D, VOID, kernel


@kernel(VOID, I32_2D, I64, I32, INT, OUT_F64_2D)
def similarity_to_earlier(items, starts, users, n_users, out):
    """Sum, for each place of each list, of the cosines of its item with the items before it.

    An item's vector has a one for each of its users. The vectors of the items so far are summed, each divided by its
    length, so that a list costs the users of its items and not the pairs of them.

    Args:
        items: Lists, `(n_lists, k)`; -1 is an empty place, and only empty ones come after it.
        starts: Row starts of the users of each item.
        users: The users of each item.
        n_users: Number of users.
        out: Becomes the sums, `(n_lists, k)`; 0 at empty places.
    """
    summed = np.zeros(n_users, np.float64)
    for row in range(items.shape[0]):
        for at in range(items.shape[1]):
            out[row, at] = 0
            item = items[row, at]
            if item < 0 or starts[item] == starts[item + 1]:
                continue
            weight = 1 / np.sqrt(np.float64(starts[item + 1] - starts[item]))
            total = 0.0
            for p in range(starts[item], starts[item + 1]):
                total += summed[users[p]]
                summed[users[p]] += weight
            out[row, at] = total * weight
        for at in range(items.shape[1]):
            item = items[row, at]
            if item >= 0:
                for p in range(starts[item], starts[item + 1]):
                    summed[users[p]] = 0
