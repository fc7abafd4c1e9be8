"""Keys that order items with equal scores: a hash of the user, or of the given history, and the item.

A row of scores has a key, and the tie key of an item in this row is `splitmix64(row_key ^ item_hash)`; of equal scores,
the lower tie key ranks first. Only the ids of the user and of the item, or of the items of the history, are hashed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import I32, I64, OUT_U64, U64, VOID, inline_llvm, kernel
from recctl.kernels.counter_rng import splitmix64

# Separates row keys from item hashes: a user and an item with the same id must not cancel each other out. It spells
# "recctl"; another value would change the order of all ties, and needs another `recctl.ranking.TIE_RULE`.
SALT = np.uint64(0x72656363746C)


@inline_llvm
def tie_key(row_key, item_hash):
    """The tie key of an item in a row."""
    return splitmix64(row_key ^ item_hash)


@kernel(VOID, U64, OUT_U64)
def keys_of_ids(hashes, out):
    """The row key of each hash of an id."""
    for row in range(len(hashes)):
        out[row] = splitmix64(SALT ^ hashes[row])


def mixed(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The hashes of items as the keys of histories add them up."""
    keys = np.empty_like(hashes)
    keys_of_ids(hashes ^ SALT, keys)
    return keys


@kernel(VOID, I64, I32, U64, OUT_U64)
def keys_of_histories(starts, columns, item_hashes, out):
    """The row key of each history, which depends neither on the order nor on the repetition of its items.

    Args:
        starts: Row starts.
        columns: Items of each history.
        item_hashes: Hash of each item's id.
        out: Output, `(n_rows,)`.
    """
    last_row = np.full(len(item_hashes), -1, np.int64)
    for row in range(len(starts) - 1):
        total = np.uint64(0)
        for p in range(starts[row], starts[row + 1]):
            column = columns[p]
            if last_row[column] != row:
                last_row[column] = row
                # A sum of mixed hashes: that of the FNV hashes themselves is the same for {a1, b2} and {a2, b1}.
                total += splitmix64(item_hashes[column])
        out[row] = splitmix64(SALT ^ total)
