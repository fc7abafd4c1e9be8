"""The hash that says whether two data sets hold the same interactions."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recctl.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    from recctl.data.dataset import InteractionDataset


def content_hash(dataset: InteractionDataset) -> str:
    """SHA-256 of the ids, ratings and timestamps of all rows, in their order.

    Canonical, because the data set's arrays are: ids are int64 or UTF-8 in ascending order, codes int32, ratings
    float32, timestamps int64 where all are whole.
    """
    digest = hashlib.sha256()
    for name, vocabulary, codes in (
        ("users", dataset.user_vocabulary, dataset.users),
        ("items", dataset.item_vocabulary, dataset.items),
    ):
        for part, array in enumerate(_arrays(vocabulary)):
            _add(digest, f"{name} ids {part}", array)
        _add(digest, name, codes)
    if dataset.ratings is not None:
        _add(digest, "ratings", dataset.ratings + np.float32(0))  # so that -0 is 0
    if dataset.timestamps is not None:
        _add(digest, "timestamps", dataset.timestamps)
    return digest.hexdigest()


def _arrays(vocabulary: Vocabulary) -> list[NDArray[Any]]:
    if not vocabulary.is_text:
        return [vocabulary.ids]
    _, offsets, letters = pa.array(vocabulary.ids, pa.large_string()).buffers()
    return [np.frombuffer(offsets, np.int64), np.frombuffer(letters or b"", np.uint8)]


def _add(digest: Any, name: str, array: NDArray[Any]) -> None:
    """The name, type and length go first, so that nothing can pass from the end of one array into the next."""
    digest.update(f"{name} {array.dtype.newbyteorder('<').str} {len(array)}\n".encode())
    digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).view(np.uint8).data)
