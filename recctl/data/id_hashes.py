"""Hashes of ids, which depend on nothing but the id."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recctl.kernels import id_hashes as kernels

UInt64Array = NDArray[np.uint64]


def hash_ids(ids: NDArray[Any]) -> UInt64Array:
    """The 64-bit FNV-1a hash of each id's text in UTF-8; the int 7 has the hash of the text "7".

    Args:
        ids: int64, or object dtype holding str.
    """
    hashes = np.empty(len(ids), np.uint64)
    if ids.dtype != object:
        kernels.hash_integers(np.ascontiguousarray(ids, np.int64), hashes)
        return hashes
    _, offsets, characters = pa.array(ids, pa.large_string()).buffers()
    if len(ids):
        kernels.hash_texts(np.frombuffer(offsets, np.int64), np.frombuffer(characters or b"", np.uint8), hashes)
    return hashes


def hash_id_list(ids: Iterable[Any]) -> UInt64Array:
    """The hashes of ids of any types, by their text; as `hash_ids`."""
    return hash_ids(np.array([str(id_) for id_ in ids], object))
