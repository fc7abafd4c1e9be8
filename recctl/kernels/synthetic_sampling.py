"""The items that generated users take, one after the other."""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import F64, FLOAT, I32, I64, INT, OUT_F64_2D, OUT_I32, VOID, kernel


@kernel(INT, FLOAT, INT, FLOAT)
def _power_law(u, size, exponent):
    # Inverse of the continuous law x ** -exponent on [1, size + 1), cut to whole numbers from 0.
    if abs(exponent - 1) < 1e-6:
        x = (size + 1.0) ** u
    else:
        x = (1 + u * ((size + 1.0) ** (1 - exponent) - 1)) ** (1 / (1 - exponent))
    return min(size - 1, int(x) - 1)


@kernel(VOID, I64, I32, I32, I64, I32, I32, F64, OUT_F64_2D, FLOAT, FLOAT, FLOAT, FLOAT, OUT_I32)
def walk(starts, main, second, bounds, next_item, by_season, times, draws, taste, sequence, drift, exponent, out):
    """Fill `out` with each user's items in order of time; no user takes an item twice.

    Args:
        starts: User `u` has rows `starts[u]:starts[u + 1]`, shape `(n_users + 1,)`.
        main: Each user's favourite cluster, shape `(n_users,)`.
        second: Each user's second one, shape `(n_users,)`.
        bounds: Cluster `c` has items `bounds[c]:bounds[c + 1]`, the most popular first, shape `(n_clusters + 1,)`.
        next_item: What tends to follow each item, shape `(n_items,)`.
        by_season: The items of each cluster in the order in which they have their time, shape `(n_items,)`.
        times: When each interaction happens, in [0, 1), shape `(n_rows,)`.
        draws: Uniform numbers, shape `(n_rows, 3)`.
        taste: Probability of an own cluster.
        sequence: Probability of what follows the item before.
        drift: Probability of an item whose time it is.
        exponent: Of the law of popularity.
        out: The items, shape `(n_rows,)`.
    """
    n_clusters, n_items = len(bounds) - 1, len(next_item)
    taken_by = np.full(n_items, -1, np.int32)
    for user in range(len(starts) - 1):
        for row in range(starts[user], starts[user + 1]):
            if row > starts[user] and draws[row, 0] < sequence:
                item = next_item[out[row - 1]]
            else:
                if draws[row, 1] < taste:
                    cluster = main[user] if draws[row, 1] < 0.7 * taste else second[user]
                    place = _power_law(draws[row, 2], bounds[cluster + 1] - bounds[cluster], exponent)
                else:  # rank after rank of all items, dealt out to the clusters in turn
                    rank = _power_law(draws[row, 2], n_items, exponent)
                    cluster = rank % n_clusters
                    place = rank // n_clusters
                first, size = bounds[cluster], bounds[cluster + 1] - bounds[cluster]
                if draws[row, 0] >= 1 - drift:
                    item = by_season[first + (int(times[row] * size) - place) % size]
                else:
                    item = first + min(place, size - 1)
            while taken_by[item] == user:  # the next less popular one; ends, as no user takes all
                item = item + 1 if item + 1 < n_items else 0
            taken_by[item] = user
            out[row] = item
