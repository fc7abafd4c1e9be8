"""Vocabularies: the ids of users or items, and the dense codes that represent them in arrays."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recctl.data.id_hashes import UInt64Array, hash_ids
from recctl.data.matrix import Int32Array
from recctl.data.pandas_types import is_column
from recctl.errors import DataError
from recctl.kernels import factorize

if TYPE_CHECKING:
    import pandas as pd

MAX_CODES = 2**31 - 1

# Integer ids are encoded by a table over their range, if it is at most this many times as long as the ids, or short.
_MAX_RANGE_PER_ID = 4
_SHORT_RANGE = 1 << 20

# So many ids are looked up one by one; more, with an index of the whole vocabulary.
_MAX_SEARCHED = 1000


class Vocabulary:
    """The distinct ids of users or items in ascending order; the code of an id is its position.

    Codes therefore depend on the set of ids only, not on the order of the rows. Ids are all int (int64) or all str.

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

    # Building the index takes time and memory; many vocabularies are only decoded.
    @property
    def _index(self) -> pd.Index[Any]:
        if self._cached_index is None:
            import pandas as pd

            self._cached_index = pd.Index(self.ids)
        return self._cached_index

    @cached_property
    def hashes(self) -> UInt64Array:
        """The hash of each id, `(n,)`, which depends on the id alone; see `hash_ids`."""
        return hash_ids(self.ids)

    @classmethod
    def encode(cls, ids: NDArray[Any] | pa.Array) -> tuple[Vocabulary, Int32Array]:
        """Build the vocabulary of `ids`, and encode them.

        Args:
            ids: int64, or int32, whose memory is reused for the codes; or text, as an Arrow array or with object dtype.

        Returns:
            The vocabulary, and the code of each id, shape `(len(ids),)`.

        Raises:
            DataError: There are more than 2**31 - 1 distinct ids.
        """
        if not isinstance(ids, np.ndarray):
            distinct, codes = _encode_text(ids)
        elif ids.dtype == object:
            distinct, codes = _encode_text(pa.array(ids, pa.large_string()))
        else:
            distinct, codes = _encode_integers(ids)
        if len(distinct) > MAX_CODES:
            raise DataError(f"{len(distinct)} distinct ids; at most {MAX_CODES} are supported")
        return cls(distinct), codes

    def codes(self, ids: Iterable[Any] | pa.Array) -> Int32Array:
        """The code of each id; -1 for ids that are not in the vocabulary or have another type.

        Raises:
            DataError: A value can't be an id, such as a list.
        """
        if isinstance(ids, pa.Array | pa.ChunkedArray):
            # Iterated, they yield scalars of Arrow, which equal no id.
            plain_ids = ids.dictionary_decode() if pa.types.is_dictionary(ids.type) else ids
            ids = plain_ids.to_pandas()
        if not isinstance(ids, np.ndarray) and not is_column(ids):
            id_list = list(ids)
            if len(id_list) <= _MAX_SEARCHED and self._has_type_of(id_list):
                return self._search(id_list)
            ids = _to_array(id_list)
        import pandas as pd

        try:
            return self._index.get_indexer(pd.Index(ids)).astype(np.int32)
        except (TypeError, ValueError) as error:  # unhashable or nested values, or invalid Unicode
            raise DataError(f"ids must be int or str, in one dimension: {error}") from error

    def _has_type_of(self, ids: list[Any]) -> bool:
        """Whether values are of the exact type of the ids, and not of one that may equal them, such as True and 1.0."""
        if self.is_text:
            return all(type(id_) is str and _is_unicode(id_) for id_ in ids)
        return all(type(id_) is int and abs(id_) < 2**63 for id_ in ids)

    def _search(self, ids: list[Any]) -> Int32Array:
        """The codes of ids by binary search. For a few ids this is faster than to build the index of all."""
        codes = np.full(len(ids), -1, np.int32)
        for row, id_ in enumerate(ids):
            position = bisect_left(self.ids, id_)
            if position < len(self) and self.ids[position] == id_:
                codes[row] = position
        return codes

    def decode(self, codes: Int32Array) -> NDArray[Any]:
        """The id of each code."""
        return self.ids[codes]

    def column(self, codes: Int32Array) -> pd.Index[Any]:
        """The id of each code as a table column: int64, or pandas' text type."""
        return self._index.take(codes)

    def recode(self, codes: Int32Array, other: Vocabulary) -> Int32Array:
        """Convert codes of another vocabulary to codes of this one; -1 for ids that are not in this one."""
        return codes if other is self else self.codes(other.ids)[codes]

    def subset(self, codes: Int32Array) -> tuple[Vocabulary, Int32Array]:
        """The vocabulary of the ids that occur in `codes`, and `codes` converted to it."""
        occurs = np.zeros(len(self), bool)
        occurs[codes] = True
        if occurs.all():
            return self, codes
        new_codes = np.cumsum(occurs, dtype=np.int32) - np.int32(1)
        return Vocabulary(self.ids[occurs]), new_codes[codes]


def _is_unicode(text: str) -> bool:
    """Whether a text has no lone surrogates, which no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _encode_integers(ids: NDArray[Any]) -> tuple[NDArray[np.int64], Int32Array]:
    if not len(ids):
        return ids.astype(np.int64), np.empty(0, np.int32)
    lowest = int(ids.min())
    highest = int(ids.max())
    if highest - lowest < max(_MAX_RANGE_PER_ID * len(ids), _SHORT_RANGE):
        return factorize.encode_dense(ids, lowest, highest)
    import pandas as pd

    # Ids far apart: hashing, then sorting the distinct ids only.
    codes, distinct = pd.factorize(ids)
    order = np.argsort(distinct)
    return distinct[order].astype(np.int64), _inverse_permutation(order)[codes]


def _encode_text(ids: pa.Array) -> tuple[NDArray[Any], Int32Array]:
    if not pa.types.is_dictionary(ids.type):
        ids = ids.dictionary_encode()
    elif isinstance(ids, pa.ChunkedArray):
        ids = ids.unify_dictionaries()
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks()
    import pyarrow.compute as pc  # slow to import, and not needed for integer ids

    order = pc.sort_indices(ids.dictionary)  # by UTF-8 bytes, which is the order of code points
    vocabulary = Vocabulary(ids.dictionary.take(order).to_numpy(zero_copy_only=False))
    codes = _inverse_permutation(order.to_numpy())[ids.indices.to_numpy()]
    # A dictionary may hold values that do not occur.
    vocabulary, codes = vocabulary.subset(codes)
    return vocabulary.ids, codes


def _inverse_permutation(order: NDArray[Any]) -> Int32Array:
    positions = np.empty(len(order), np.int32)
    positions[order] = np.arange(len(order), dtype=np.int32)
    return positions


def _to_array(ids: list[Any]) -> NDArray[Any]:
    """A list of ids as an array that keeps str and int apart; `np.asarray` would convert `[1, "a"]` to text."""
    are_int64 = all(isinstance(i, int | np.integer) and not isinstance(i, bool) and abs(int(i)) < 2**63 for i in ids)
    if are_int64:
        return np.asarray(ids, np.int64)
    array = np.empty(len(ids), object)
    array[:] = ids
    return array
