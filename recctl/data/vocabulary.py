"""Ids of users or items and the dense codes that stand for them in arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recctl.data.matrix import Int32Array
from recctl.errors import DataError
from recctl.kernels import factorize

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
        self._cached_index: pd.Index[Any] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_text(self) -> bool:
        """Whether the ids are str."""
        return self.ids.dtype == object

    @property
    def _index(self) -> pd.Index[Any]:
        if self._cached_index is None:
            self._cached_index = pd.Index(self.ids)
        return self._cached_index

    @classmethod
    def encode(cls, ids: NDArray[Any] | pa.Array) -> tuple[Vocabulary, Int32Array]:
        """The vocabulary of `ids`, and the code of each.

        Args:
            ids: int64; or int32, whose memory then holds the codes; or text, as an Arrow array or as object dtype
                holding str.

        Raises:
            DataError: More than 2**31 - 1 distinct ids.
        """
        if isinstance(ids, np.ndarray) and ids.dtype != object:
            distinct, codes = _encode_integers(ids)
        else:
            distinct, codes = _encode_text(pa.array(ids, pa.large_string()) if isinstance(ids, np.ndarray) else ids)
        if len(distinct) > MAX_CODES:
            raise DataError(f"{len(distinct)} distinct ids; at most {MAX_CODES} are supported")
        return cls(distinct), codes

    def codes(self, ids: Iterable[Any]) -> Int32Array:
        """The code of each id, -1 for ids that are not here (or of another type).

        Raises:
            DataError: Something that can't be an id, such as a list.
        """
        wanted = ids if isinstance(ids, np.ndarray | pd.Series | pd.Index) else _column_of(list(ids))
        try:
            return self._index.get_indexer(pd.Index(wanted)).astype(np.int32)
        except (TypeError, ValueError) as error:  # unhashable, nested, or text that is no Unicode
            raise DataError(f"ids are int or str, one beside the other: {error}") from error

    def decode(self, codes: Int32Array) -> NDArray[Any]:
        """The id of each code."""
        return self.ids[codes]

    def column(self, codes: Int32Array) -> pd.Index[Any]:
        """The id of each code as a column for a table: int64, or pandas' type for text."""
        return self._index.take(codes)

    def recode(self, codes: Int32Array, given: Vocabulary) -> Int32Array:
        """What codes of another vocabulary are in this one; -1 for ids that are not here."""
        return codes if given is self else self.codes(given.ids)[codes]

    def subset(self, codes: Int32Array) -> tuple[Vocabulary, Int32Array]:
        """The vocabulary of only those ids that occur in `codes`, and the codes in it."""
        present = np.zeros(len(self), bool)
        present[codes] = True
        if present.all():
            return self, codes
        renumbered = np.cumsum(present, dtype=np.int32) - np.int32(1)
        return Vocabulary(self.ids[present]), renumbered[codes]


def _encode_integers(ids: NDArray[Any]) -> tuple[NDArray[np.int64], Int32Array]:
    if not len(ids):
        return ids.astype(np.int64), np.empty(0, np.int32)
    low, high = int(ids.min()), int(ids.max())
    if high - low < max(4 * len(ids), 1 << 20):  # else the table over the range would dwarf the data
        return factorize.encode_dense(ids, low, high)
    codes, distinct = pd.factorize(ids)
    order = np.argsort(distinct)
    return distinct[order].astype(np.int64), _inverse(order)[codes]


def _encode_text(ids: pa.Array) -> tuple[NDArray[Any], Int32Array]:
    if pa.types.is_dictionary(ids.type):
        encoded = ids.unify_dictionaries().combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    else:
        encoded = ids.dictionary_encode()
        encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    order = pc.sort_indices(encoded.dictionary)  # by UTF-8 bytes, which is the order of code points
    everything = Vocabulary(encoded.dictionary.take(order).to_numpy(zero_copy_only=False))
    used, codes = everything.subset(_inverse(order.to_numpy())[encoded.indices.to_numpy()])
    return used.ids, codes


def _inverse(order: NDArray[Any]) -> Int32Array:
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    return place


def _column_of(ids: list[Any]) -> NDArray[Any]:
    """A list of ids as an array that keeps str and int apart (`np.asarray` would turn `[1, "a"]` into text)."""
    if all(isinstance(i, int | np.integer) and not isinstance(i, bool) and abs(int(i)) < 2**63 for i in ids):
        return np.asarray(ids, np.int64)
    out = np.empty(len(ids), object)
    out[:] = ids
    return out
