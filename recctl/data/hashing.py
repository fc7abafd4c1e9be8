"""Hashing a data set: equal hashes mean equal interactions."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recctl.data.interactions import Interactions
from recctl.data.vocabulary import Vocabulary


def content_hash(dataset: Interactions) -> str:
    """SHA-256 of the ids, ratings and timestamps of all rows, in their order.

    The hash does not depend on the types that the data came in, because a data set's arrays are canonical: ids are
    int64 or UTF-8 in ascending order, codes are int32, ratings float32, and timestamps int64 if all are whole seconds.
    """
    # The names and their order are part of the hash; runs store it, so they must not change.
    digest = hashlib.sha256()
    _add_ids(digest, "users", dataset.user_vocabulary, dataset.users)
    _add_ids(digest, "items", dataset.item_vocabulary, dataset.items)
    if dataset.ratings is not None:
        _add_array(digest, "ratings", dataset.ratings + np.float32(0))  # -0 + 0 is 0, which equals it
    if dataset.timestamps is not None:
        _add_array(digest, "timestamps", dataset.timestamps)
    return digest.hexdigest()


def _add_ids(digest: Any, name: str, vocabulary: Vocabulary, codes: NDArray[np.int32]) -> None:
    for number, array in enumerate(_id_arrays(vocabulary)):
        _add_array(digest, f"{name} ids {number}", array)
    _add_array(digest, name, codes)


def _id_arrays(vocabulary: Vocabulary) -> list[NDArray[Any]]:
    """The ids as arrays of numbers; text as offsets and UTF-8 bytes."""
    if not vocabulary.is_text:
        return [vocabulary.ids]
    _, offsets, characters = pa.array(vocabulary.ids, pa.large_string()).buffers()
    return [np.frombuffer(offsets, np.int64), np.frombuffer(characters or b"", np.uint8)]


def _add_array(digest: Any, name: str, array: NDArray[Any]) -> None:
    """Add an array, preceded by its name, type and length: moving bytes between arrays then changes the hash."""
    little_endian = array.dtype.newbyteorder("<")
    digest.update(f"{name} {little_endian.str} {len(array)}\n".encode())
    digest.update(np.ascontiguousarray(array, little_endian).view(np.uint8).data)
