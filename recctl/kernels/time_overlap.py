"""How the parts of a split overlap in time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import F64, FLOAT, I32, INT, OUT_F64, OUT_I64, U8, VOID, kernel


class TimeOverlap(NamedTuple):
    """Overlap of a part with train and with all known parts.

    Attributes:
        first_time: Time of the part's first interaction; infinity if it has none.
        n_train_later: Interactions of train after `first_time`.
        n_train_tied: Interactions of train at `first_time`.
        n_known_later: Known interactions after the same user's first interaction in the part.
        n_tied_users: Users whose last known interaction and first interaction in the part have the same time.
    """

    first_time: float
    n_train_later: int
    n_train_tied: int
    n_known_later: int
    n_tied_users: int


@kernel(VOID, U8, I32, F64, INT, INT, OUT_F64, OUT_F64)
def _first_and_last(parts, users, times, part, known, first, last):
    # The first time of each user in `part`, and the last time in the known parts.
    for row in range(len(parts)):
        user = users[row]
        if parts[row] == part:
            first[user] = min(first[user], times[row])
        elif known >> parts[row] & 1:
            last[user] = max(last[user], times[row])


@kernel(VOID, U8, I32, F64, INT, F64, FLOAT, OUT_I64)
def _count(parts, users, times, known, first, earliest, counts):
    for row in range(len(parts)):
        if parts[row] == 0:
            counts[0] += times[row] > earliest
            counts[1] += times[row] == earliest
        if known >> parts[row] & 1:
            counts[2] += times[row] > first[users[row]]


def overlaps(
    parts: NDArray[np.uint8], users: NDArray[np.int32], n_users: int, times: NDArray[np.float64], part: int, known: int
) -> TimeOverlap:
    """Measure how a part of a split overlaps in time with the parts that are known before it.

    Args:
        parts: Part of each row; 0 is train.
        users: User of each row.
        n_users: Number of users.
        times: Time of each row.
        part: The part to measure.
        known: Bit mask of the parts that are known before it: bit `p` for part `p`.

    Returns:
        The overlap.
    """
    first = np.full(n_users, np.inf)
    last = np.full(n_users, -np.inf)
    _first_and_last(parts, users, times, part, known, first, last)
    counts = np.zeros(3, np.int64)
    earliest = float(first.min())
    _count(parts, users, times, known, first, earliest, counts)
    n_train_later, n_train_tied, n_known_later = counts.tolist()
    n_tied_users = int((first == last).sum())
    return TimeOverlap(earliest, n_train_later, n_train_tied, n_known_later, n_tied_users)
