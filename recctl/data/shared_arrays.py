"""A data set as plain arrays, so that other processes can have it without a copy."""

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


def to_arrays(dataset: InteractionDataset) -> Arrays:
    """Everything in a data set, its matrix and its history included."""
    arrays: Arrays = {"implicit": np.array(dataset.implicit), "users": dataset.users, "items": dataset.items}
    for side, vocabulary in (("user", dataset.user_vocabulary), ("item", dataset.item_vocabulary)):
        arrays |= {f"{side}_{name}": array for name, array in _ids_to_arrays(vocabulary.ids).items()}
    optional = {"ratings": dataset.ratings, "timestamps": dataset.timestamps}
    arrays |= {name: array for name, array in optional.items() if array is not None}
    matrix = dataset.matrix
    arrays |= {f"matrix_{name}": getattr(matrix, name) for name in ("starts", "columns", "values")}
    if dataset.history is not None:
        arrays |= {f"history.{name}": array for name, array in to_arrays(dataset.history).items()}
    return arrays


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> InteractionDataset:
    """The data set of such arrays; large ones are used as they are, read-only or not."""
    dataset = object.__new__(InteractionDataset)
    dataset.implicit = bool(arrays["implicit"])
    dataset.users, dataset.items = arrays["users"], arrays["items"]
    dataset.user_vocabulary = Vocabulary(_ids_from_arrays(arrays, "user_"))
    dataset.item_vocabulary = Vocabulary(_ids_from_arrays(arrays, "item_"))
    dataset.ratings, dataset.timestamps = arrays.get("ratings"), arrays.get("timestamps")
    starts, columns, values = (arrays[f"matrix_{name}"] for name in ("starts", "columns", "values"))
    vars(dataset)["matrix"] = InteractionMatrix(starts, columns, values, dataset.n_items)
    history = {name.removeprefix("history."): array for name, array in arrays.items() if name.startswith("history.")}
    dataset.history = from_arrays(history) if history else None
    return dataset


def save(dataset: InteractionDataset, folder: Path) -> None:
    """Write the arrays of a data set into a folder, a file each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in to_arrays(dataset).items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


def load(folder: Path) -> InteractionDataset:
    """The data set of a folder, mapped into memory: processes that load it share what they read."""
    arrays = {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in sorted(folder.glob("*.npy"))}
    return from_arrays(arrays)


def _ids_to_arrays(ids: NDArray[Any]) -> Arrays:
    if ids.dtype != object:
        return {"ids": ids}
    text = pa.array(ids, pa.large_string())
    _, offsets, letters = text.buffers()
    return {"offsets": np.frombuffer(offsets, np.int64), "letters": np.frombuffer(letters or b"", np.uint8)}


def _ids_from_arrays(arrays: Mapping[str, NDArray[Any]], prefix: str) -> NDArray[Any]:
    if f"{prefix}ids" in arrays:
        return arrays[f"{prefix}ids"]
    offsets, letters = arrays[f"{prefix}offsets"], arrays[f"{prefix}letters"]
    buffers = pa.py_buffer(np.ascontiguousarray(offsets)), pa.py_buffer(np.ascontiguousarray(letters))
    text = pa.LargeStringArray.from_buffers(len(offsets) - 1, *buffers)
    ids: NDArray[Any] = text.to_numpy(zero_copy_only=False)
    return ids
