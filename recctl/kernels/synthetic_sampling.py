"""Sampling of the item sequences of synthetic users."""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import F64, FLOAT, I32, I64, INT, OUT_F64_2D, OUT_I32, VOID, TupleType, kernel

# Probability that a user stays in the favorite cluster rather than the second one, if in one of the two.
_MAIN_SHARE = 0.7

_CLUSTERS = TupleType((I32, I32))
_CATALOG = TupleType((I64, I32, I32))
_PROBABILITIES = TupleType((FLOAT, FLOAT, FLOAT))


@kernel(INT, FLOAT, INT, FLOAT)
def _power_law(u, size, exponent):
    # Inverse of the continuous distribution x ** -exponent on [1, size + 1), rounded down and counted from 0.
    if abs(exponent - 1) < 1e-6:
        x = (size + 1.0) ** u
    else:
        x = (1 + u * ((size + 1.0) ** (1 - exponent) - 1)) ** (1 / (1 - exponent))
    return min(size - 1, int(x) - 1)


@kernel(VOID, I64, _CLUSTERS, _CATALOG, F64, OUT_F64_2D, _PROBABILITIES, FLOAT, OUT_I32)
def sample_items(starts, user_clusters, catalog, times, draws, probabilities, exponent, out):
    """Fill `out` with the items of each user in order of time; no user has an item twice.

    Args:
        starts: User `u` has rows `starts[u]:starts[u + 1]`, shape `(n_users + 1,)`.
        user_clusters: Favorite cluster of each user, and second favorite, both of shape `(n_users,)`.
        catalog: Three arrays. Cluster starts: cluster `c` has items `starts[c]:starts[c + 1]`, the most popular first,
            shape `(n_clusters + 1,)`. The item that tends to follow each item, shape `(n_items,)`. The items of each
            cluster in the order of their seasons, shape `(n_items,)`.
        times: Time of each interaction, in [0, 1), shape `(n_rows,)`.
        draws: Uniform random numbers, shape `(n_rows, 3)`.
        probabilities: Of an item from one of the user's clusters, of the item that follows the previous one, and of an
            item in season.
        exponent: Exponent of the power law of popularity.
        out: Output: items, shape `(n_rows,)`.
    """
    main, second = user_clusters
    bounds, next_item, by_season = catalog
    taste, sequence, drift = probabilities
    n_clusters = len(bounds) - 1
    n_items = len(next_item)
    last_user = np.full(n_items, -1, np.int32)
    for user in range(len(starts) - 1):
        for row in range(starts[user], starts[user + 1]):
            if row > starts[user] and draws[row, 0] < sequence:
                item = next_item[out[row - 1]]
            else:
                if draws[row, 1] < taste:
                    cluster = main[user] if draws[row, 1] < _MAIN_SHARE * taste else second[user]
                    place = _power_law(draws[row, 2], bounds[cluster + 1] - bounds[cluster], exponent)
                else:  # popularity ranks of all items are dealt out to the clusters round-robin
                    rank = _power_law(draws[row, 2], n_items, exponent)
                    cluster = rank % n_clusters
                    place = rank // n_clusters
                first = bounds[cluster]
                size = bounds[cluster + 1] - bounds[cluster]
                if draws[row, 0] >= 1 - drift:
                    item = by_season[first + (int(times[row] * size) - place) % size]
                else:
                    item = first + min(place, size - 1)
            # If the user has the item already, take the next less popular one. This ends: no user has all items.
            while last_user[item] == user:
                item = item + 1 if item + 1 < n_items else 0
            last_user[item] = user
            out[row] = item
