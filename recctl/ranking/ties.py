"""Items with equal scores are ordered by a hash of the user and the item.

The order depends on these two ids alone: not on the model, a seed, the other users and items of the data, the order of
rows, threads, nodes or blocks. It differs from user to user, so that no item gains from ties: a model that gives all
items the same score is no better than random.

Hashes are unsigned 64-bit integers, computed modulo 2**64. `fnv1a` is the FNV-1a hash of an id's text in UTF-8, so that
7 and "7" have the same hash. `mix(x)` is element `x` of the SplitMix64 sequence with seed 0. The lower tie key ranks
first:

    tie_key(user, item) = mix(row_key ^ fnv1a(item))
    row_key             = mix(salt ^ fnv1a(user))                          salt = 0x72656363746C, "recctl" in ASCII
    row_key of history  = mix(salt ^ sum over items i of mix(fnv1a(i)))
    mix(x)              = z ^ (z >> 31)  with  z = (y ^ (y >> 27)) * 0x94D049BB133111EB
                                               y = (w ^ (w >> 30)) * 0xBF58476D1CE4E5B9
                                               w = x * 0x9E3779B97F4A7C15

Users that the model was not fitted on have the key of the history that they are scored by: of its distinct items that
the model knows, in any order, also for models that read the order. Where similar items are ranked, the given item takes
the place of the user. Popular items for unknown users follow the same rule.

This is rule 2 of evaluations. By rule 1, that of recctl before 0.3, the item with the lower id ranked first, which
favored popular items wherever these have low ids. The ONNX graph with `k` ranks the lower item code first, because ONNX
has no hash of ids; an ANN index returns ties in any order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recctl.data.id_hashes import UInt64Array
from recctl.data.matrix import Int32Array, InteractionMatrix
from recctl.kernels import tie_keys as kernels

# Version of the rule; evaluations record it and are compared only with evaluations under the same rule.
TIE_RULE = 2


@dataclass(frozen=True, eq=False)
class TieBreaker:
    """Orders the items with equal scores in each of some rows.

    Attributes:
        row_keys: Key of each row, `(n_rows,)`.
        item_hashes: Hash of each item's id, `(n_items,)`.
    """

    row_keys: UInt64Array
    item_hashes: UInt64Array

    @classmethod
    def of_ids(cls, id_hashes: UInt64Array, item_hashes: UInt64Array) -> TieBreaker:
        """For rows of users, or of items that are compared with others, by the hashes of their ids."""
        row_keys = np.empty(len(id_hashes), np.uint64)
        kernels.keys_of_ids(id_hashes, row_keys)
        return cls(row_keys, item_hashes)

    @classmethod
    def of_histories(cls, histories: InteractionMatrix, item_hashes: UInt64Array) -> TieBreaker:
        """For rows of given histories, `(n_rows, n_items)`: equal sets of items have equal keys."""
        row_keys = np.empty(histories.n_rows, np.uint64)
        kernels.keys_of_histories(histories.starts, histories.columns, item_hashes, row_keys)
        return cls(row_keys, item_hashes)

    def take(self, rows: Int32Array) -> TieBreaker:
        """Select rows."""
        return TieBreaker(self.row_keys[rows], self.item_hashes)
