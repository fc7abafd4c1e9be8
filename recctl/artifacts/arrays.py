"""Arrays as plain values: dtype, shape and bytes; text as UTF-8 and offsets."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recctl.errors import ArtifactError

_ARRAY, _TEXTS = "$array", "$texts"
_DTYPES = frozenset(("|b1", "|u1", "|i1", "<i2", "<i4", "<i8", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8"))


def to_plain(value: Any) -> Any:
    """Replace the arrays inside dicts and lists by plain values; the bytes of arrays are not copied.

    Raises:
        TypeError: An array of objects other than str, or of another exotic type; or a key that means an array.
    """
    if isinstance(value, np.ndarray):
        return _texts_to_plain(value) if value.dtype == object else _array_to_plain(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        if _ARRAY in value or _TEXTS in value:
            raise TypeError(f"the keys {_ARRAY} and {_TEXTS} are taken")
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


def _array_to_plain(array: NDArray[Any]) -> dict[str, Any]:
    array = np.asarray(array, array.dtype.newbyteorder("<"), order="C")
    if array.dtype.str not in _DTYPES:
        raise TypeError(f"arrays of type {array.dtype} can't be saved")
    flat: Any = array.reshape(-1).view(np.uint8)
    return {_ARRAY: array.dtype.str, "shape": list(array.shape), "bytes": memoryview(flat)}


def _texts_to_plain(texts: NDArray[Any]) -> dict[str, Any]:
    if texts.ndim != 1 or not all(isinstance(text, str) for text in texts):
        raise TypeError("arrays of objects other than a list of str can't be saved")
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    return {_TEXTS: b"".join(encoded), "ends": _array_to_plain(ends)}


def from_plain(value: Any, name: str) -> Any:
    """Undo `to_plain`; arrays are read-only views of the bytes they were read from.

    Raises:
        ArtifactError: What claims to be an array is none.
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
        # NumPy takes -1 for "whatever fits", and refuses sizes beyond the address space.
        if not (isinstance(dtype, str) and dtype in _DTYPES) or any(type(n) is not int or n < 0 for n in shape):
            raise ValueError
        array = np.frombuffer(data, dtype).reshape(shape)
    except (TypeError, ValueError, OverflowError):
        said = f"type {dtype!r:.40} and shape {shape!r:.60}"
        raise ArtifactError(f"{name}: damaged: an array of {said} doesn't fit its bytes") from None
    array.flags.writeable = False
    return array


def _texts_from_plain(value: dict[str, Any], name: str) -> NDArray[Any]:
    data, ends = value[_TEXTS], from_plain(value.get("ends"), name)
    if not isinstance(data, memoryview) or not isinstance(ends, np.ndarray) or ends.ndim != 1 or ends.dtype != np.int64:
        raise ArtifactError(f"{name}: damaged: a list of texts has no ends")
    bounds = [0, *ends.tolist()]
    if bounds[-1] != len(data) or any(a > b for a, b in pairwise(bounds)):
        raise ArtifactError(f"{name}: damaged: the ends of a list of texts don't fit its bytes")
    texts = np.empty(len(ends), object)
    try:
        texts[:] = [str(data[a:b], "utf-8") for a, b in pairwise(bounds)]
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{name}: damaged: a text is not UTF-8") from error
    return texts
