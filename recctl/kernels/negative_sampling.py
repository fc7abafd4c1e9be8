"""Items that a user has not had, drawn at random: negatives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recctl.engines import map_threads
from recctl.kernels.compile import (
    F32_2D,
    F64,
    I32,
    I64,
    I64_2D,
    INT,
    OUT_I32,
    OUT_I32_2D,
    OUT_I64,
    VOID,
    kernel,
    outlined,
)
from recctl.kernels.counter_rng import splitmix64

_53_BITS = 2.0**-53
# Rows of a task: fixed, so that what is drawn doesn't depend on the threads.
_ROWS = 8192
_CHOICES = 1024
_UNIFORM = np.empty(0)


@outlined
def _holds(columns, begin, end, item):
    """Whether a sorted row holds an item."""
    while begin < end:
        middle = (begin + end) >> 1
        if columns[middle] < item:
            begin = middle + 1
        elif columns[middle] > item:
            end = middle
        else:
            return True
    return False


@outlined
def _drawn(word, n_items, cumulative):
    """An item from 64 random bits: each alike, or by weights whose running sums end in 1."""
    u = np.float64(word >> np.uint64(11)) * _53_BITS
    if len(cumulative) == 0:
        return min(n_items - 1, int(u * n_items))
    return min(n_items - 1, np.searchsorted(cumulative, u, side="right"))


@kernel(VOID, INT, INT, I64, I32, I32, INT, F64, OUT_I32_2D)
def _fill(key, first, starts, columns, users, n_items, cumulative, out):
    # Every cell draws from a sequence of its own, `key` and its place: no state is shared between rows or tasks.
    width = out.shape[1]
    for row in range(len(users)):
        begin, end = starts[users[row]], starts[users[row] + 1]
        everything = end - begin >= n_items
        for j in range(width):
            state = splitmix64(np.uint64(key) ^ splitmix64(np.uint64((first + row) * width + j)))
            item = _drawn(state, n_items, cumulative)
            tries = 0
            while not everything and _holds(columns, begin, end, item):
                state = splitmix64(state)
                # By popularity a user may have nearly all that is likely: then every item is as good.
                item = _drawn(state, n_items, cumulative if tries < 100 else cumulative[:0])
                tries += 1
            out[row, j] = item


def sample_negatives(
    key: int,
    starts: NDArray[np.int64],
    columns: NDArray[np.int32],
    users: NDArray[np.int32],
    n_items: int,
    n_negatives: int,
    weights: NDArray[np.float64] | None = None,
    first: int = 0,
) -> NDArray[np.int32]:
    """Items drawn for users, none of which the user had; with repeats.

    Costs a binary search in the user's row a try. Users who had everything get any item.

    Args:
        key: All draws follow from it, whatever the threads: `rng.key` of a stream.
        starts: Row starts of what users had.
        columns: Items, ascending in each row.
        users: For whom to draw, `(n,)`; repeats are drawn for again.
        n_items: Items are drawn from 0 to here.
        n_negatives: How many for each of `users`.
        weights: How likely each item is, `(n_items,)`; all alike if None.
        first: Where `users` begin among all those that are drawn for by `key`, where not all are drawn for at once.

    Returns:
        `(n, n_negatives)` int32.
    """
    cumulative = _UNIFORM if weights is None else np.cumsum(weights / weights.sum())
    out = np.empty((len(users), n_negatives), np.int32)

    def fill(begin: int) -> None:
        rows = slice(begin, begin + _ROWS)
        _fill(key, first + begin, starts, columns, users[rows], n_items, cumulative, out[rows])

    for _ in map_threads(fill, range(0, len(users), _ROWS)):
        pass
    return out


@kernel(VOID, F32_2D, I64, I64_2D, OUT_I64, fastmath={"contract", "reassoc"})
def _hardest(vectors, users, candidates, out):
    for row in range(len(users)):
        user, most = users[row], np.float32(-np.inf)
        out[row] = candidates[row, 0]
        for j in range(candidates.shape[1]):
            item, score = candidates[row, j], np.float32(0)
            for k in range(vectors.shape[1]):
                score += vectors[user, k] * vectors[item, k]
            if score > most:
                out[row], most = item, score


def hardest(vectors: NDArray[np.float32], users: NDArray[np.int64], candidates: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of the items drawn for a user, the one whose vector has the largest product with the user's; the first of equals.

    Args:
        vectors: Of users and items, `(n, d)`.
        users: Rows of `vectors`, `(b,)`.
        candidates: Rows of `vectors`, `(b, m)`, m at least 1.

    Returns:
        `(b,)` int64.
    """
    out = np.empty(len(users), np.int64)

    def choose(begin: int) -> None:
        rows = slice(begin, begin + _CHOICES)
        _hardest(vectors, users[rows], candidates[rows], out[rows])

    for _ in map_threads(choose, range(0, len(users), _CHOICES)):
        pass
    return out


@kernel(VOID, I64, I32, I32, I32, OUT_I64)
def _count_had(starts, columns, users, slots, had_starts):
    had_starts[0] = 0
    for row in range(len(users)):
        n = 0
        for p in range(starts[users[row]], starts[users[row] + 1]):
            n += slots[columns[p]] >= 0
        had_starts[row + 1] = had_starts[row] + n


@kernel(VOID, I64, I32, I32, I32, I64, OUT_I32)
def _fill_had(starts, columns, users, slots, had_starts, had):
    for row in range(len(users)):
        at = had_starts[row]
        for p in range(starts[users[row]], starts[users[row] + 1]):
            slot = slots[columns[p]]
            if slot >= 0:
                had[at] = slot
                at += 1


def had_among(
    starts: NDArray[np.int64],
    columns: NDArray[np.int32],
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    n_items: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Which of some distinct items each user had.

    Args:
        starts: Row starts of what users had.
        columns: Items.
        users: Whom to ask for, `(n,)`; repeats are answered again.
        items: The items, each once.
        n_items: How many there are in all.

    Returns:
        Row starts `(n + 1,)`, and positions in `items`.
    """
    slots = np.full(n_items, -1, np.int32)
    slots[items] = np.arange(len(items), dtype=np.int32)
    had_starts = np.empty(len(users) + 1, np.int64)
    _count_had(starts, columns, users, slots, had_starts)
    had = np.empty(had_starts[-1], np.int32)
    _fill_had(starts, columns, users, slots, had_starts, had)
    return had_starts, had
