"""Hashes of ids, which depend on nothing but the id."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recctl.kernels import id_hashes as kernels

UInt64Array = NDArray[np.uint64]

# More texts are encoded by Arrow, three times as fast; it imports pandas, for which a short command must not wait.
_MAX_ENCODED = 50_000


def hash_ids(ids: NDArray[Any]) -> UInt64Array:
    """The 64-bit FNV-1a hash of each id's text in UTF-8; the int 7 has the hash of the text "7".

    Args:
        ids: int64, or object dtype holding str.
    """
    hashes = np.empty(len(ids), np.uint64)
    if ids.dtype != object:
        kernels.hash_integers(np.ascontiguousarray(ids, np.int64), hashes)
        return hashes
    if not len(ids):
        return hashes
    kernels.hash_texts(*_offsets_and_characters(ids), hashes)
    return hashes


def _offsets_and_characters(ids: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """The bytes of all texts in UTF-8, one after the other, and where each begins, `(len(ids) + 1,)`."""
    if len(ids) > _MAX_ENCODED:
        _, offsets, characters = pa.array(ids, pa.large_string()).buffers()
        return np.frombuffer(offsets, np.int64), np.frombuffer(characters or b"", np.uint8)
    encoded = [text.encode() for text in ids.tolist()]
    begins = np.zeros(len(ids) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=begins[1:])
    return begins, np.frombuffer(b"".join(encoded), np.uint8)


def hash_id_list(ids: Iterable[Any]) -> UInt64Array:
    """The hashes of ids of any types, by their text; as `hash_ids`."""
    return hash_ids(np.array([str(id_) for id_ in ids], object))
