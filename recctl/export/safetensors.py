"""All that a model has learnt, as a safetensors file; and the way back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recctl.data.vocabulary import Vocabulary
from recctl.engines import available_memory, format_bytes
from recctl.errors import ArtifactError
from recctl.export.base import Context, ExportFormat
from recctl.models.base import Recommender, fitted_values, model_file
from recctl.models.registry import make_model, model_names
from recctl.version import __version__

_FILE = "model.safetensors"


class SafetensorsFormat(ExportFormat):
    """All arrays and ids of a model as a safetensors file, which runs nothing and every framework reads.

    `model.safetensors`: a tensor for each array of `model.state()`; of sparse matrices and ids, a tensor for each part
    (`seen.starts`, `item_vocabulary.ids`). Ids that are text are UTF-8 letters (`.letters`) one after another, and the
    place where each ends (`.ends`). The header's metadata have one entry, `recctl`: the model's name, `hyperparameters`
    and `numbers` as JSON. `recctl.export.safetensors.load` makes the model of it again.
    """

    name = "safetensors"

    def write(self, model: Recommender, folder: Path, context: Context) -> dict[str, Any]:
        """Write the file."""
        from safetensors.numpy import save_file

        tensors, numbers = _flat(model)
        said = {
            "format_version": self.version,
            "recctl_version": __version__,
            "model": model.name,
            "hyperparameters": model.hyperparameters(),
            "numbers": numbers,
        }
        # One entry: several would stand in another order each time, and equal models give equal files.
        save_file(tensors, folder / _FILE, {"recctl": json.dumps(said)})
        return {"tensors": len(tensors), "numbers": len(numbers)}

    @classmethod
    def verify(cls, folder: Path, manifest: Mapping[str, Any], model: Recommender | None = None) -> None:
        """Load the model; right after writing, everything it has learnt must be there bit by bit."""
        loaded = load(folder)
        if model is not None:
            (here, numbers), (there, numbers_there) = _flat(model), _flat(loaded)
            if here.keys() != there.keys() or numbers != numbers_there:
                raise ArtifactError(f"{folder / _FILE}: read back, it holds other tensors or numbers")
            changed = [name for name, array in here.items() if not np.array_equal(array, there[name])]
            if changed:
                raise ArtifactError(f"{folder / _FILE}: read back, {', '.join(changed)} changed")


def load(path: str | Path) -> Recommender:
    """The model of an export, or of its file. Nothing in it is run.

    Args:
        path: The folder, or the file `model.safetensors` in it.

    Raises:
        ArtifactError: No such file, a damaged one, or a model this recctl does not have.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    path = path / _FILE if path.is_dir() else path
    try:
        size = path.stat().st_size
        if size > available_memory():
            raise ArtifactError(
                f"{path}: {format_bytes(size)} to load, {format_bytes(available_memory())} are available"
            )
        with safe_open(path, framework="numpy") as file:
            metadata, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _model_of(path, metadata, tensors)
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror or error}") from error
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path}: damaged: {error}") from error


def _model_of(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, NDArray[Any]]) -> Recommender:
    if "recctl" not in metadata:
        raise ArtifactError(f"{path}: tensors of another program; recctl's have an entry recctl in their metadata")
    said = json.loads(metadata["recctl"])
    if said["format_version"] > SafetensorsFormat.version:
        raise ArtifactError(f"{path}: format version {said['format_version']}; upgrade recctl")
    name = said["model"]
    if name not in model_names():
        raise ArtifactError(f"{path}: holds a model {name!r}, which is not installed here")
    fitted: dict[str, Any] = {}
    for key, value in {**said["numbers"], **tensors}.items():
        whole, dot, part = key.partition(".")
        if dot:
            fitted.setdefault(whole, {})[part] = value
        else:
            fitted[whole] = value
    content = {
        "model": name,
        "hyperparameters": said["hyperparameters"],
        "fitted": {key: _with_text(value) for key, value in fitted.items()},
    }
    return model_file.load_into(make_model(name), path, content)


def _flat(model: Recommender) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays by name, parts of a value after a dot; and numbers by name."""
    tensors: dict[str, NDArray[Any]] = {}
    numbers: dict[str, Any] = {}
    for name, value in model.state().items():
        plain = _without_text(value) if isinstance(value, Vocabulary) else fitted_values.to_plain(value)
        parts = {f"{name}.{part}": each for part, each in plain.items()} if isinstance(plain, dict) else {name: plain}
        for key, each in parts.items():
            if isinstance(each, np.ndarray):
                tensors[key] = np.ascontiguousarray(each)
            else:
                numbers[key] = each
    return tensors, numbers


def _without_text(vocabulary: Vocabulary) -> dict[str, NDArray[Any]]:
    if not vocabulary.is_text:
        return {"ids": vocabulary.ids}
    _, offsets, letters = pa.array(vocabulary.ids, pa.large_string()).buffers()
    ends = np.frombuffer(offsets, np.int64)[1 : len(vocabulary) + 1]
    return {"letters": np.frombuffer(letters or b"", np.uint8)[: ends[-1] if len(ends) else 0], "ends": ends}


def _with_text(value: Any) -> Any:
    if not isinstance(value, dict) or value.keys() != {"letters", "ends"}:
        return value
    letters, ends = value["letters"], value["ends"]
    if letters.dtype != np.uint8 or ends.dtype != np.int64 or letters.ndim != 1 or ends.ndim != 1:
        raise ValueError("ids that are text are uint8 letters and int64 ends")
    offsets = np.concatenate((np.zeros(1, np.int64), ends))
    if (np.diff(offsets) < 0).any() or offsets[-1] != len(letters):
        raise ValueError("the ends of ids that are text don't fit their letters")
    texts = pa.LargeStringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(letters))
    texts.validate(full=True)
    return {"ids": texts.to_numpy(zero_copy_only=False)}
