"""Arrays as plain values: dtype, shape and bytes; arrays of text as UTF-8 and offsets."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recctl.errors import ArtifactError

# Keys of the dicts that stand for arrays.
_ARRAY = "$array"
_TEXTS = "$texts"

_DTYPES = frozenset(("|b1", "|u1", "|i1", "<i2", "<i4", "<i8", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8"))


def to_plain(value: Any) -> Any:
    """Replace the arrays inside dicts and lists by plain values; the bytes of arrays are not copied.

    Raises:
        TypeError: An array has an unsupported dtype, or a dict has a reserved key.
    """
    if isinstance(value, np.ndarray):
        return _texts_to_plain(value) if value.dtype == object else _array_to_plain(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        if _ARRAY in value or _TEXTS in value:
            raise TypeError(f"the keys {_ARRAY} and {_TEXTS} are reserved")
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


def _array_to_plain(array: NDArray[Any]) -> dict[str, Any]:
    # Little-endian and in C order on every machine: equal arrays give equal files.
    array = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    if array.dtype.str not in _DTYPES:
        raise TypeError(f"arrays of type {array.dtype} can't be saved")
    flat: Any = array.reshape(-1).view(np.uint8)
    return {_ARRAY: array.dtype.str, "shape": list(array.shape), "bytes": memoryview(flat)}


def _texts_to_plain(texts: NDArray[Any]) -> dict[str, Any]:
    if texts.ndim != 1 or not all(isinstance(text, str) for text in texts):
        raise TypeError("arrays of objects can't be saved, except one-dimensional ones of str")
    encoded = [text.encode() for text in texts]
    # End offsets instead of terminators: texts may contain any character.
    ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    return {_TEXTS: b"".join(encoded), "ends": _array_to_plain(ends)}


def from_plain(value: Any, name: str) -> Any:
    """Undo `to_plain`. Arrays are read-only views of the bytes that they were read from.

    Args:
        value: Plain values.
        name: Name of the file, for error messages.

    Returns:
        The value with its arrays.

    Raises:
        ArtifactError: A dict that stands for an array does not describe one.
    """
    if isinstance(value, dict):
        if _ARRAY in value:
            return _array_from_plain(value, name)
        if _TEXTS in value:
            return _texts_from_plain(value, name)
        return {key: from_plain(item, name) for key, item in value.items()}
    if isinstance(value, list):
        return [from_plain(item, name) for item in value]
    return bytes(value) if isinstance(value, memoryview) else value


def _array_from_plain(value: dict[str, Any], name: str) -> NDArray[Any]:
    dtype: Any = value[_ARRAY]
    shape: Any = value.get("shape")
    data: Any = value.get("bytes")
    try:
        if not (isinstance(dtype, str) and dtype in _DTYPES):
            raise ValueError
        # NumPy would accept -1 as "whatever fits", and bools as sizes.
        if any(type(size) is not int or size < 0 for size in shape):
            raise ValueError
        array = np.frombuffer(data, dtype).reshape(shape)
    except (TypeError, ValueError, OverflowError):
        raise ArtifactError(
            f"{name}: damaged: an array of type {dtype!r:.40} and shape {shape!r:.60} does not match its bytes"
        ) from None
    # It is a view of the bytes of the file, which other arrays share.
    array.flags.writeable = False
    return array


def _texts_from_plain(value: dict[str, Any], name: str) -> NDArray[Any]:
    data = value[_TEXTS]
    ends = from_plain(value.get("ends"), name)
    if not isinstance(data, memoryview) or not isinstance(ends, np.ndarray) or ends.ndim != 1 or ends.dtype != np.int64:
        raise ArtifactError(f"{name}: damaged: a list of texts has no valid offsets")
    bounds = ends.tolist()
    bounds.insert(0, 0)
    if bounds[-1] != len(data) or any(begin > end for begin, end in pairwise(bounds)):
        raise ArtifactError(f"{name}: damaged: the offsets of a list of texts do not match its bytes")
    texts = np.empty(len(ends), object)
    try:
        texts[:] = [str(data[begin:end], "utf-8") for begin, end in pairwise(bounds)]
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{name}: damaged: a text is not UTF-8") from error
    return texts
