"""All fitted values of a model as a safetensors file, and loading such a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recctl import atomic
from recctl.data.vocabulary import Vocabulary
from recctl.engines import available_memory, format_bytes
from recctl.errors import ArtifactError
from recctl.export import _id_files
from recctl.export.base import Context, ExportFormat
from recctl.models.base import Recommender, fitted_values, model_file
from recctl.models.nn import flat_weights
from recctl.models.nn.torch_recommender import TorchRecommender
from recctl.models.registry import make_model, model_names
from recctl.version import __version__

_FILE = "model.safetensors"
# The fitted value that holds all weights of a network.
_WEIGHTS = "weights"


class SafetensorsFormat(ExportFormat):
    """All arrays and ids of a model as a safetensors file, which every framework reads and which cannot execute code.

    `model.safetensors` has one tensor for each array of the model file, one for each part of sparse matrices and ids
    (`seen.starts`, `item_vocabulary.ids`), and one for each weight of a network, with its name in the network and its
    shape (`weights.blocks.0.qkv`). Text ids are stored as concatenated UTF-8 bytes (`.letters`) and the end offset of
    each id (`.ends`); `users.json` and `items.json` have the ids as well. The header's metadata has one entry,
    `recctl`: the model's name, `hyperparameters`, `numbers` and `layers`, the names of the weights in the order of the
    model file, as JSON. `recctl.export.safetensors.load` restores the model.
    """

    name = "safetensors"
    # The weights of a network were one flat tensor in version 1.
    version = 2
    libraries = ("safetensors",)
    read_with: ClassVar[Mapping[str, str]] = {
        "model.safetensors": "safetensors, for NumPy, PyTorch, JAX, Rust and others",
        "users.json": _id_files.READ_WITH["users.json"],
        "items.json": _id_files.READ_WITH["items.json"],
    }

    def write(self, model: Recommender, folder: Path, context: Context) -> dict[str, Any]:
        """Write the file."""
        from safetensors.numpy import save_file

        tensors, numbers = _flatten_state(model)
        layers = _layers(model)
        if layers:
            del tensors[_WEIGHTS]
            tensors |= {f"{_WEIGHTS}.{name}": weights for name, weights in layers.items()}
        header = {
            "format_version": self.version,
            "recctl_version": __version__,
            "model": model.name,
            "hyperparameters": model.hyperparameters(),
            "numbers": numbers,
            "layers": list(layers),
        }
        # A single entry: several would be written in varying order, and equal models must give equal files.
        save_file(tensors, folder / _FILE, {"recctl": json.dumps(header)})
        atomic.set_default_mode(folder / _FILE)
        _id_files.write_json(folder, model)
        return {"tensors": len(tensors), "numbers": len(numbers)}

    @classmethod
    def verify(cls, folder: Path, manifest: Mapping[str, Any], model: Recommender | None = None) -> None:
        """Load the model; right after writing, its state must equal the exported model's bit by bit."""
        loaded = load(folder)
        _id_files.check_json(folder, manifest, model)
        if model is None:
            return
        expected, expected_numbers = _flatten_state(model)
        tensors, numbers = _flatten_state(loaded)
        if tensors.keys() != expected.keys() or numbers != expected_numbers:
            raise ArtifactError(f"{folder / _FILE}: when read back, it holds other tensors or numbers")
        changed = [
            tensor_name
            for tensor_name, expected_array in expected.items()
            if not np.array_equal(expected_array, tensors[tensor_name])
        ]
        if changed:
            raise ArtifactError(f"{folder / _FILE}: when read back, {', '.join(changed)} changed")


def load(path: str | Path) -> Recommender:
    """Load the model of an export. Nothing in the file is executed.

    Args:
        path: The folder, or its file `model.safetensors`.

    Raises:
        ArtifactError: The file is missing or damaged, or its model is not installed.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    path = path / _FILE if path.is_dir() else path
    try:
        file_size = path.stat().st_size
        if file_size > available_memory():
            raise ArtifactError(
                f"{path}: {format_bytes(file_size)} to load, {format_bytes(available_memory())} are available"
            )
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {tensor_name: file.get_tensor(tensor_name) for tensor_name in file.keys()}  # noqa: SIM118 - it cannot be iterated
        return _model_of(path, metadata, tensors)
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror or error}") from error
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path}: damaged: {error}") from error


def _model_of(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, NDArray[Any]]) -> Recommender:
    if "recctl" not in metadata:
        raise ArtifactError(f"{path}: written by another program: its metadata has no entry recctl")
    header = json.loads(metadata["recctl"])
    if header["format_version"] > SafetensorsFormat.version:
        raise ArtifactError(f"{path}: format version {header['format_version']}; upgrade recctl")
    model_name = header["model"]
    if model_name not in model_names():
        raise ArtifactError(f"{path}: holds a model {model_name!r}, which is not installed here")
    # Version 1 has no layers: all weights of a network are one tensor, as in the model.
    layers = {name: tensors[f"{_WEIGHTS}.{name}"] for name in header.get("layers", [])}
    fitted: dict[str, Any] = {}
    for key, value in (header["numbers"] | dict(tensors)).items():
        value_name, dot, part = key.partition(".")
        if dot:
            fitted.setdefault(value_name, {})[part] = value
        else:
            fitted[value_name] = value
    content = {
        "model": model_name,
        "hyperparameters": header["hyperparameters"],
        "fitted": {key: _join_text_ids(value) for key, value in fitted.items()},
    }
    if layers:
        flat_layers = [weights.reshape(-1) for weights in layers.values()]
        content["fitted"][_WEIGHTS] = flat_weights.align(np.concatenate(flat_layers))
    model = model_file.load_into(make_model(model_name), path, content)
    _check_shapes(path, model, layers)
    return model


def _layers(model: Recommender) -> dict[str, NDArray[Any]]:
    """The weights of a network by name; empty for other models."""
    return dict(model.named_weights()) if isinstance(model, TorchRecommender) else {}


def _check_shapes(path: Path, model: Recommender, layers: Mapping[str, NDArray[Any]]) -> None:
    """Check that layers of a file are those of the network: the model has only their values."""
    if not layers:
        return
    expected = {name: weights.shape for name, weights in _layers(model).items()}
    actual = {name: weights.shape for name, weights in layers.items()}
    if list(actual.items()) != list(expected.items()):
        differing = sorted(name for name in actual | expected if actual.get(name) != expected.get(name))
        raise ArtifactError(
            f"{path}: damaged: layers of another network or in another order: {', '.join(differing or actual)}"
        )


def _flatten_state(model: Recommender) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Fitted values as arrays and numbers by name; parts of a value are named `VALUE.PART`."""
    tensors: dict[str, NDArray[Any]] = {}
    numbers: dict[str, Any] = {}
    for value_name, value in model_file.values_by_key(model).items():
        plain_value = _split_text_ids(value) if isinstance(value, Vocabulary) else fitted_values.to_plain(value)
        parts = {value_name: plain_value}
        if isinstance(plain_value, dict):
            parts = {f"{value_name}.{part}": content for part, content in plain_value.items()}
        for part_key, content in parts.items():
            if isinstance(content, np.ndarray):
                tensors[part_key] = np.ascontiguousarray(content)
            else:
                numbers[part_key] = content
    return tensors, numbers


def _split_text_ids(vocabulary: Vocabulary) -> dict[str, NDArray[Any]]:
    if not vocabulary.is_text:
        return {"ids": vocabulary.ids}
    _, offsets, letters = pa.array(vocabulary.ids, pa.large_string()).buffers()
    id_ends = np.frombuffer(offsets, np.int64)[1 : len(vocabulary) + 1]
    n_bytes = id_ends[-1] if len(id_ends) else 0
    return {"letters": np.frombuffer(letters or b"", np.uint8)[:n_bytes], "ends": id_ends}


def _join_text_ids(value: Any) -> Any:
    if not isinstance(value, dict) or value.keys() != {"letters", "ends"}:
        return value
    letters = value["letters"]
    ends = value["ends"]
    if letters.dtype != np.uint8 or ends.dtype != np.int64 or letters.ndim != 1 or ends.ndim != 1:
        raise ValueError("text ids must be uint8 letters and int64 ends")
    offsets = np.concatenate((np.zeros(1, np.int64), ends))
    if (np.diff(offsets) < 0).any() or offsets[-1] != len(letters):
        raise ValueError("the ends of text ids do not match their letters")
    id_texts = pa.LargeStringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(letters))
    id_texts.validate(full=True)
    return {"ids": id_texts.to_numpy(zero_copy_only=False)}
