"""Ids of users or items and the dense codes that stand for them in arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recctl.data.matrix import Int32Array
from recctl.errors import DataError
from recctl.kernels import encoding

MAX_CODES = 2**31 - 1


class Vocabulary:
    """The distinct ids of one side in ascending order; the code of an id is its place in that order.

    Codes therefore depend on the set of ids alone, not on the order of the rows they came from. Ids are all int
    (int64) or all str.

    Attributes:
        ids: The ids, shape `(n,)`: int64, or object dtype holding str.
    """

    def __init__(self, ids: NDArray[Any]) -> None:
        self.ids = ids
        self._index: pd.Index[Any] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_text(self) -> bool:
        """Whether the ids are str."""
        return self.ids.dtype == object

    @classmethod
    def encode(cls, ids: NDArray[Any]) -> tuple[Vocabulary, Int32Array]:
        """The vocabulary of `ids` (int64, or object dtype of str), and the code of each.

        Raises:
            DataError: More than 2**31 - 1 distinct ids.
        """
        if not len(ids):
            return cls(ids), np.empty(0, np.int32)
        if ids.dtype != object:
            low, high = int(ids.min()), int(ids.max())
            if high - low < max(4 * len(ids), 1 << 20):  # else the table over the range would dwarf the data
                dense_ids, dense_codes = encoding.encode_dense(ids, low, high)
                return cls(dense_ids), dense_codes
        codes, distinct = pd.factorize(ids)
        if len(distinct) > MAX_CODES:
            raise DataError(f"{len(distinct)} distinct ids; at most {MAX_CODES} are supported")
        order = np.argsort(distinct)
        rank = np.empty(len(order), np.int32)
        rank[order] = np.arange(len(order), dtype=np.int32)
        return cls(distinct[order]), rank[codes]

    def codes(self, ids: Iterable[Any]) -> Int32Array:
        """The code of each id, -1 for ids that are not here (or of another type)."""
        wanted = ids if isinstance(ids, np.ndarray | pd.Series | pd.Index) else _column_of(list(ids))
        if self._index is None:
            self._index = pd.Index(self.ids)
        return self._index.get_indexer(pd.Index(wanted)).astype(np.int32)

    def decode(self, codes: Int32Array) -> NDArray[Any]:
        """The id of each code."""
        return self.ids[codes]

    def subset(self, codes: Int32Array) -> tuple[Vocabulary, Int32Array]:
        """The vocabulary of only those ids that occur in `codes`, and the codes in it."""
        present = np.zeros(len(self), bool)
        present[codes] = True
        if present.all():
            return self, codes
        renumbered = np.cumsum(present, dtype=np.int64).astype(np.int32) - np.int32(1)
        return Vocabulary(self.ids[present]), renumbered[codes]


def _column_of(ids: list[Any]) -> NDArray[Any]:
    """A list of ids as an array that keeps str and int apart (`np.asarray` would turn `[1, "a"]` into text)."""
    if all(isinstance(i, int | np.integer) and not isinstance(i, bool) for i in ids):
        return np.asarray(ids, np.int64)
    out = np.empty(len(ids), object)
    out[:] = ids
    return out
