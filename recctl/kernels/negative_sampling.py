"""Negative sampling: random items that a user has not interacted with."""

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
# Rows per task. Constant, so that tasks do not depend on the number of threads.
_ROWS_PER_TASK = 8192
_HARDEST_ROWS_PER_TASK = 1024
# After this many rejections, popularity weights are ignored.
_MAX_WEIGHTED_TRIES = 100
_UNIFORM = np.empty(0)


@outlined
def contains(columns, begin, end, item):
    """Whether the sorted columns `begin..end` contain an item; binary search."""
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
def item_from_word(word, n_items, cumulative):
    """An item from 64 random bits: uniform if `cumulative` is empty, else by weights with these cumulative sums."""
    u = np.float64(word >> np.uint64(11)) * _53_BITS
    if len(cumulative) == 0:
        return min(n_items - 1, int(u * n_items))
    return min(n_items - 1, np.searchsorted(cumulative, u, side="right"))


@kernel(VOID, INT, INT, I64, I32, I32, INT, F64, OUT_I32_2D)
def _sample(key, first, starts, columns, users, n_items, cumulative, out):
    # Each element has its own random sequence, by key and position: rows and tasks share no state.
    width = out.shape[1]
    for row in range(len(users)):
        begin = starts[users[row]]
        end = starts[users[row] + 1]
        has_all_items = end - begin >= n_items
        for j in range(width):
            state = splitmix64(np.uint64(key) ^ splitmix64(np.uint64((first + row) * width + j)))
            item = item_from_word(state, n_items, cumulative)
            n_tries = 0
            while not has_all_items and contains(columns, begin, end, item):
                state = splitmix64(state)
                # A user may have seen nearly all items that have a noticeable weight: fall back to uniform sampling.
                item = item_from_word(state, n_items, cumulative if n_tries < _MAX_WEIGHTED_TRIES else cumulative[:0])
                n_tries += 1
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
    """Sample items, with replacement, that the user has not interacted with.

    Rejection sampling; each try costs a binary search in the user's row. Users who have interacted with all items get
    any item.

    Args:
        key: Key of the random numbers, see `rng.key`; the result does not depend on the number of threads.
        starts: Row starts of the interactions.
        columns: Items of the interactions, ascending in each row.
        users: Users to sample for, `(n,)`; may repeat.
        n_items: Number of items.
        n_negatives: Number of negatives for each element of `users`.
        weights: Sampling weight of each item, `(n_items,)`; uniform by default.
        first: Position of `users` in the sequence of all users that are sampled for with `key`, if it is sampled in
            pieces.

    Returns:
        `(n, n_negatives)` int32.
    """
    cumulative = _UNIFORM if weights is None else np.cumsum(weights / weights.sum())
    out = np.empty((len(users), n_negatives), np.int32)

    def sample(begin: int) -> None:
        rows = slice(begin, begin + _ROWS_PER_TASK)
        _sample(key, first + begin, starts, columns, users[rows], n_items, cumulative, out[rows])

    for _ in map_threads(sample, range(0, len(users), _ROWS_PER_TASK)):
        pass
    return out


@kernel(VOID, F32_2D, I64, I64_2D, OUT_I64, fastmath={"contract", "reassoc"})
def _hardest(vectors, users, candidates, out):
    for row in range(len(users)):
        user = users[row]
        highest = np.float32(-np.inf)
        out[row] = candidates[row, 0]
        for j in range(candidates.shape[1]):
            item = candidates[row, j]
            score = np.float32(0)
            for k in range(vectors.shape[1]):
                score += vectors[user, k] * vectors[item, k]
            if score > highest:
                out[row] = item
                highest = score


def hardest(vectors: NDArray[np.float32], users: NDArray[np.int64], candidates: NDArray[np.int64]) -> NDArray[np.int64]:
    """Hard negatives: the candidate of each row with the largest dot product with the user; the first one of a tie.

    Args:
        vectors: Embeddings of users and items, `(n, d)`.
        users: Row of `vectors` of each user, `(b,)`.
        candidates: Rows of `vectors`, `(b, m)`, m at least 1.

    Returns:
        Rows of `vectors`, `(b,)` int64.
    """
    out = np.empty(len(users), np.int64)

    def choose(begin: int) -> None:
        rows = slice(begin, begin + _HARDEST_ROWS_PER_TASK)
        _hardest(vectors, users[rows], candidates[rows], out[rows])

    for _ in map_threads(choose, range(0, len(users), _HARDEST_ROWS_PER_TASK)):
        pass
    return out


@kernel(VOID, I64, I32, I32, I32, OUT_I64)
def _count_seen(starts, columns, users, slots, seen_starts):
    seen_starts[0] = 0
    for row in range(len(users)):
        n_seen = 0
        for p in range(starts[users[row]], starts[users[row] + 1]):
            n_seen += slots[columns[p]] >= 0
        seen_starts[row + 1] = seen_starts[row] + n_seen


@kernel(VOID, I64, I32, I32, I32, I64, OUT_I32)
def _fill_seen(starts, columns, users, slots, seen_starts, seen):
    for row in range(len(users)):
        n_filled = seen_starts[row]
        for p in range(starts[users[row]], starts[users[row] + 1]):
            slot = slots[columns[p]]
            if slot >= 0:
                seen[n_filled] = slot
                n_filled += 1


def seen_among(
    starts: NDArray[np.int64],
    columns: NDArray[np.int32],
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    n_items: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Which of some distinct items each user has interacted with.

    Args:
        starts: Row starts of the interactions.
        columns: Items of the interactions.
        users: Users to look up, `(n,)`; may repeat.
        items: Distinct items.
        n_items: Number of items in the catalog.

    Returns:
        Row starts `(n + 1,)`, and positions in `items`.
    """
    slots = np.full(n_items, -1, np.int32)
    slots[items] = np.arange(len(items), dtype=np.int32)
    seen_starts = np.empty(len(users) + 1, np.int64)
    _count_seen(starts, columns, users, slots, seen_starts)
    seen = np.empty(seen_starts[-1], np.int32)
    _fill_seen(starts, columns, users, slots, seen_starts, seen)
    return seen_starts, seen
