"""First and last moments of users in the parts of a split, and what overlaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import F64, I32, INT, OUT_F64, OUT_I64, U8, VOID, kernel


@kernel(VOID, U8, I32, F64, INT, INT, OUT_F64, OUT_F64)
def _borders(parts, users, times, part, known, first, last):
    for row in range(len(parts)):
        user = users[row]
        if parts[row] == part:
            first[user] = min(first[user], times[row])
        elif known >> parts[row] & 1:
            last[user] = max(last[user], times[row])


@kernel(VOID, U8, I32, F64, INT, F64, OUT_I64)
def _overlaps(parts, users, times, known, first, counts):
    earliest = first.min()
    for row in range(len(parts)):
        if parts[row] == 0:
            counts[0] += times[row] > earliest
            counts[1] += times[row] == earliest
        if known >> parts[row] & 1:
            counts[2] += times[row] > first[users[row]]


def overlaps(
    parts: NDArray[np.uint8], users: NDArray[np.int32], n_users: int, times: NDArray[np.float64], part: int, known: int
) -> tuple[float, list[int]]:
    """How one part of a split and what is known before it overlap in time.

    Args:
        parts: Part of each row; 0 is train.
        users: User of each row.
        n_users: Number of users.
        times: Time of each row.
        part: The part that is looked at.
        known: The parts that are known before it, bit `p` for part `p`.

    Returns:
        The part's first moment, and four counts: rows of train after it; rows of train at it; known rows after the
        first moment of the same user in the part; users whose last known moment is their first in the part.
    """
    first, last = np.full(n_users, np.inf), np.full(n_users, -np.inf)
    _borders(parts, users, times, part, known, first, last)
    counts = np.zeros(3, np.int64)
    _overlaps(parts, users, times, known, first, counts)
    return float(first.min()), [*counts.tolist(), int((first == last).sum())]
