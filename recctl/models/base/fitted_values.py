"""Conversion of fitted values to plain values and back, and checks of their types and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from recctl.data.matrix import InteractionMatrix
from recctl.data.vocabulary import Vocabulary
from recctl.models.base.hyperparameters import Fitted

_MATRIX_FIELDS = ("starts", "columns", "values", "n_columns")


def to_plain(value: Any) -> Any:
    """The plain form of a fitted value, as stored in a file."""
    if isinstance(value, InteractionMatrix):
        return {name: getattr(value, name) for name in _MATRIX_FIELDS}
    if isinstance(value, Vocabulary):
        return {"ids": value.ids}
    return value


def from_plain(value: Any) -> Any:
    """The inverse of `to_plain`.

    Raises:
        ValueError: A matrix or ids are invalid.
    """
    if isinstance(value, dict) and value.keys() == {"ids"}:
        return Vocabulary(_checked_ids(value["ids"]))
    if isinstance(value, dict) and value.keys() == set(_MATRIX_FIELDS):
        return _checked_matrix(InteractionMatrix(**value))
    return value


def check(declared: Mapping[str, Fitted], values: Mapping[str, Any], hyperparameters: Mapping[str, Any]) -> None:
    """Check values against their declarations.

    Args:
        declared: Declarations by name.
        values: A value for each declaration.
        hyperparameters: The hyperparameters of the model; shapes can name the integers among them.

    Raises:
        ValueError: A value has another type than declared, or a shape that contradicts its declaration or the shape of
            another value.
    """
    sizes = {name: value for name, value in hyperparameters.items() if type(value) is int}
    for name, declaration in declared.items():
        value = values[name]
        if not _has_declared_type(value, declaration):
            raise ValueError(f"{name} has another type than declared ({_type_name(value)})")
        shape = _shape(value)
        dimensions = declaration.dimensions
        # The first value with a dimension defines its size for all others.
        expected = [sizes.setdefault(dimension, size) for dimension, size in zip(dimensions, shape, strict=False)]
        if len(dimensions) != len(shape) or expected != list(shape):
            raise ValueError(f"{name} has shape {shape}, not {declaration.shape or 'that of a number'} with {sizes}")


def is_finite(value: Any) -> bool:
    """Whether a value contains neither infinity nor NaN.

    An array is tested by its sum, which takes one pass and no memory. A sum that overflows counts as not finite, too.
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


def _type_name(value: Any) -> str:
    return str(value.dtype) if isinstance(value, np.ndarray) else type(value).__name__


def _shape(value: Any) -> tuple[int, ...]:
    if isinstance(value, InteractionMatrix):
        return value.n_rows, value.n_columns
    if isinstance(value, Vocabulary):
        return (len(value),)
    return np.shape(value)


def _checked_ids(ids: Any) -> Any:
    if not isinstance(ids, np.ndarray) or ids.ndim != 1 or ids.dtype not in (np.int64, object):
        raise ValueError("ids are not an array of int64 or text")
    if (ids[1:] <= ids[:-1]).any():
        raise ValueError("ids are not in ascending order")
    return ids


def _checked_matrix(matrix: InteractionMatrix) -> InteractionMatrix:
    """Check a sparse matrix. Kernels do not check indices: one out of range would access memory of other arrays."""
    starts = matrix.starts
    columns = matrix.columns
    values = matrix.values
    for array, dtype in ((starts, np.int64), (columns, np.int32), (values, np.float32)):
        if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
            raise ValueError(f"a sparse matrix has indices or values of another type than {dtype.__name__}")
    if type(matrix.n_columns) is not int or not len(starts) or starts[0] != 0 or starts[-1] != len(columns):
        raise ValueError("the row starts of a sparse matrix do not match its columns")
    if (starts[1:] < starts[:-1]).any() or len(values) not in (0, len(columns)):
        raise ValueError("the row starts of a sparse matrix do not match its columns")
    if len(columns) and not 0 <= columns.min() <= columns.max() < matrix.n_columns:
        raise ValueError("a sparse matrix has a column out of range")
    return matrix
