"""Fitted values as plain values and back, and the checks that nothing of another shape or type gets into a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from recctl.data.matrix import InteractionMatrix
from recctl.data.vocabulary import Vocabulary
from recctl.models.base.hyperparameters import Fitted

_MATRIX = ("starts", "columns", "values", "n_columns")


def to_plain(value: Any) -> Any:
    """What a file holds for a fitted value."""
    if isinstance(value, InteractionMatrix):
        return {name: getattr(value, name) for name in _MATRIX}
    return {"ids": value.ids} if isinstance(value, Vocabulary) else value


def from_plain(value: Any) -> Any:
    """Undo `to_plain`.

    Raises:
        ValueError: What claims to be a matrix or ids can't be used as such.
    """
    if isinstance(value, dict) and value.keys() == {"ids"}:
        return Vocabulary(_checked_ids(value["ids"]))
    if isinstance(value, dict) and value.keys() == set(_MATRIX):
        return _checked_matrix(InteractionMatrix(**value))
    return value


def check(declared: Mapping[str, Fitted], values: Mapping[str, Any], hyperparameters: Mapping[str, Any]) -> None:
    """Compare values with their declarations.

    Args:
        declared: Declarations by name.
        values: A value for each.
        hyperparameters: The model's: the whole numbers among them are sizes that shapes may name.

    Raises:
        ValueError: A value is of another type, or its shape contradicts its declaration or another value's shape.
    """
    sizes = {name: value for name, value in hyperparameters.items() if type(value) is int}
    for name, declaration in declared.items():
        value = values[name]
        if not _has_declared_type(value, declaration):
            raise ValueError(f"{name} is of another type than declared ({_type_in_words(value)})")
        shape = _shape(value)
        names = [part.strip() for part in declaration.shape.strip("()").split(",") if part.strip()]
        expected = [sizes.setdefault(part, size) for part, size in zip(names, shape, strict=False)]
        if len(names) != len(shape) or expected != list(shape):
            raise ValueError(f"{name} has shape {shape}, not {declaration.shape or 'that of a number'} with {sizes}")


def is_finite(value: Any) -> bool:
    """Whether no part of a value is infinite or NaN.

    A sum is not finite if any part is not; or if it overflows, which is just as broken.
    """
    if isinstance(value, InteractionMatrix):
        value = value.values
    if isinstance(value, np.ndarray):
        with np.errstate(all="ignore"):
            return value.dtype.kind != "f" or bool(np.isfinite(value.sum()))
    return not isinstance(value, float) or bool(np.isfinite(value))


def _has_declared_type(value: Any, declaration: Fitted) -> bool:
    if not declaration.is_array:
        return type(value) is declaration.annotation
    if not isinstance(value, np.ndarray):
        return False
    return declaration.dtype is None or value.dtype == declaration.dtype


def _type_in_words(value: Any) -> str:
    return str(value.dtype) if isinstance(value, np.ndarray) else type(value).__name__


def _shape(value: Any) -> tuple[int, ...]:
    if isinstance(value, InteractionMatrix):
        return value.n_rows, value.n_columns
    return (len(value),) if isinstance(value, Vocabulary) else np.shape(value)


def _checked_ids(ids: Any) -> Any:
    if not isinstance(ids, np.ndarray) or ids.ndim != 1 or ids.dtype not in (np.int64, object):
        raise ValueError("ids are no list of int64 or text")
    if (ids[1:] <= ids[:-1]).any():
        raise ValueError("ids are not in ascending order")
    return ids


def _checked_matrix(matrix: InteractionMatrix) -> InteractionMatrix:
    """Kernels trust these: an index out of range would read or write foreign memory."""
    starts, columns, values = matrix.starts, matrix.columns, matrix.values
    for array, dtype in ((starts, np.int64), (columns, np.int32), (values, np.float32)):
        if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
            raise ValueError(f"a sparse matrix has an index or values of another type than {dtype.__name__}")
    if type(matrix.n_columns) is not int or not len(starts) or starts[0] != 0 or starts[-1] != len(columns):
        raise ValueError("the rows of a sparse matrix don't fit its columns")
    if (starts[1:] < starts[:-1]).any() or len(values) not in (0, len(columns)):
        raise ValueError("the rows of a sparse matrix don't fit its columns")
    if len(columns) and not 0 <= columns.min() <= columns.max() < matrix.n_columns:
        raise ValueError("a sparse matrix has a column out of range")
    return matrix
