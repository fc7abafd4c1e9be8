"""Data sets as plain arrays, to share them between processes without copying."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import InteractionMatrix
from recctl.data.vocabulary import Vocabulary

Arrays = dict[str, NDArray[Any]]

_HISTORY_PREFIX = "history."


def to_arrays(dataset: InteractionDataset) -> Arrays:
    """All arrays of a data set, its matrix and its history included."""
    # The matrix is shared as well, so that no process builds its own copy. Building it frees the codes of a part.
    matrix = dataset.matrix
    arrays: Arrays = {
        "implicit": np.array(dataset.implicit),
        "users": dataset.users,
        "items": dataset.items,
        "matrix_starts": matrix.starts,
        "matrix_columns": matrix.columns,
        "matrix_values": matrix.values,
    }
    arrays |= _ids_to_arrays(dataset.user_vocabulary.ids, "user_")
    arrays |= _ids_to_arrays(dataset.item_vocabulary.ids, "item_")
    if dataset.ratings is not None:
        arrays["ratings"] = dataset.ratings
    if dataset.timestamps is not None:
        arrays["timestamps"] = dataset.timestamps
    if dataset.history is not None:
        history = to_arrays(dataset.history)
        arrays |= {f"{_HISTORY_PREFIX}{name}": array for name, array in history.items()}
    return arrays


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> InteractionDataset:
    """The data set of the arrays from `to_arrays`; the arrays are not copied, and may be read-only."""
    dataset = object.__new__(InteractionDataset)
    dataset.implicit = bool(arrays["implicit"])
    dataset.users = arrays["users"]
    dataset.items = arrays["items"]
    dataset.user_vocabulary = Vocabulary(_ids_from_arrays(arrays, "user_"))
    dataset.item_vocabulary = Vocabulary(_ids_from_arrays(arrays, "item_"))
    dataset.ratings = arrays.get("ratings")
    dataset.timestamps = arrays.get("timestamps")
    dataset.matrix = InteractionMatrix(
        arrays["matrix_starts"], arrays["matrix_columns"], arrays["matrix_values"], dataset.n_items
    )
    history = {
        name.removeprefix(_HISTORY_PREFIX): array for name, array in arrays.items() if name.startswith(_HISTORY_PREFIX)
    }
    dataset.history = from_arrays(history) if history else None
    return dataset


def save(dataset: InteractionDataset, folder: Path) -> None:
    """Write the arrays of a data set to a folder, one file each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in to_arrays(dataset).items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


def load(folder: Path) -> InteractionDataset:
    """Load a data set from a folder as memory-mapped arrays; processes that load it share the memory."""
    arrays = {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in sorted(folder.glob("*.npy"))}
    return from_arrays(arrays)


def _ids_to_arrays(ids: NDArray[Any], prefix: str) -> Arrays:
    """Ids as arrays of numbers; text as offsets and UTF-8 bytes."""
    if ids.dtype != object:
        return {f"{prefix}ids": ids}
    _, offsets, characters = pa.array(ids, pa.large_string()).buffers()
    return {
        f"{prefix}offsets": np.frombuffer(offsets, np.int64),
        f"{prefix}letters": np.frombuffer(characters or b"", np.uint8),
    }


def _ids_from_arrays(arrays: Mapping[str, NDArray[Any]], prefix: str) -> NDArray[Any]:
    if f"{prefix}ids" in arrays:
        return arrays[f"{prefix}ids"]
    offsets = np.ascontiguousarray(arrays[f"{prefix}offsets"])
    characters = np.ascontiguousarray(arrays[f"{prefix}letters"])
    # Text must become Python objects, which can't be shared; only numbers are used in place.
    text = pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(characters))
    ids: NDArray[Any] = text.to_numpy(zero_copy_only=False)
    return ids
