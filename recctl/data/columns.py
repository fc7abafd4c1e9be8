"""The border between a user's table and recctl's arrays: which columns there are, and what may stand in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recctl.errors import DataError

USER, ITEM, RATING, TIMESTAMP = "user_id", "item_id", "rating", "timestamp"
COLUMNS = (USER, ITEM, RATING, TIMESTAMP)

# Seconds. Beyond it a column almost surely holds milliseconds: 2200-01-01 is 7.3e9 seconds after 1970.
LATEST_TIMESTAMP = 7_258_118_400


def require_columns(frame: pd.DataFrame, *needed: str, place: str = "interactions") -> None:
    """Check that a table has the columns a step needs.

    Raises:
        DataError: Naming the missing columns and those that are there.
    """
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        there = ", ".join(map(str, frame.columns)) or "none"
        raise DataError(f"{place}: no column {', '.join(missing)}; the columns are {there}")


def ids_of(column: pd.Series[Any], name: str) -> NDArray[Any]:
    """A column of ids as int64, or as object dtype of str.

    Raises:
        DataError: A missing id, one that is neither int nor str, both types mixed, or an int beyond int64.
    """
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind == "i":
        return column.to_numpy().astype(np.int64, copy=False)
    if isinstance(dtype, np.dtype) and dtype.kind == "u":
        values = column.to_numpy()
        if dtype.itemsize == 8 and len(values) and values.max() > np.iinfo(np.int64).max:
            row = int(np.argmax(values > np.iinfo(np.int64).max))
            raise DataError(f"{name}: row {row}: {values[row]} is beyond int64; give these ids as text")
        return values.astype(np.int64)
    missing = column.isna().to_numpy()
    if missing.any():
        raise DataError(f"{name}: row {int(np.argmax(missing))}: missing value; {int(missing.sum())} of them in all")
    if isinstance(dtype, pd.CategoricalDtype):
        return ids_of(pd.Series(dtype.categories), name)[column.cat.codes.to_numpy()]
    kind = pd.api.types.infer_dtype(column, skipna=False)
    if kind == "string":
        return column.to_numpy(dtype=object)
    if kind == "integer":
        try:
            return column.to_numpy(dtype=np.int64)
        except OverflowError:
            values = column.to_numpy(dtype=object)
            row = next(r for r, v in enumerate(values) if not -(2**63) <= v < 2**63)
            raise DataError(f"{name}: row {row}: {values[row]} is beyond int64; give these ids as text") from None
    values = column.to_numpy(dtype=object)
    if kind in ("floating", "mixed-integer-float"):
        raise DataError(f"{name}: row 0: {values[0]!r} is a float; ids are int or str")
    first = type(values[0])
    for row, value in enumerate(values):
        if not isinstance(value, int | str | np.integer) or isinstance(value, bool):
            raise DataError(f"{name}: row {row}: {value!r} is of type {type(value).__name__}; ids are int or str")
        if isinstance(value, str) != issubclass(first, str):
            raise DataError(
                f"{name}: row {row}: {value!r} is {type(value).__name__}, row 0 ({values[0]!r}) is "
                f"{first.__name__}; make all ids of one type, e.g. frame['{name}'].astype(str)"
            )
    raise DataError(f"{name}: column of type {dtype}; ids are int or str")


def ratings_of(column: pd.Series[Any]) -> NDArray[np.float32]:
    """Ratings as float32.

    Raises:
        DataError: A value that is missing, infinite or no number.
    """
    values = _numbers(column, RATING)
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(f"{RATING}: row {row}: {column.iloc[row]!r} is not a finite number; {int(bad.sum())} in all")
    return values.astype(np.float32)


def timestamps_of(column: pd.Series[Any]) -> NDArray[Any]:
    """Timestamps in seconds since 1970: int64 where all are whole, else float64. Datetimes of any unit are taken.

    Raises:
        DataError: A value that is missing, negative, or so late that it must be in another unit.
    """
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        missing = column.isna().to_numpy()
        if missing.any():
            raise DataError(f"{TIMESTAMP}: row {int(np.argmax(missing))}: missing value")
        if isinstance(column.dtype, pd.DatetimeTZDtype):
            column = column.dt.tz_convert("UTC").dt.tz_localize(None)
        values = (column - pd.Timestamp(0)).dt.total_seconds().to_numpy()
    else:
        values = _numbers(column, TIMESTAMP)
    if values.dtype.kind == "f":
        bad = ~np.isfinite(values)
        if bad.any():
            row = int(np.argmax(bad))
            raise DataError(f"{TIMESTAMP}: row {row}: {column.iloc[row]!r} is not a finite number")
        if not np.mod(values, 1).any():
            values = values.astype(np.int64)
    if len(values) and (values.min() < 0 or values.max() > LATEST_TIMESTAMP):
        row = int(np.argmax((values < 0) | (values > LATEST_TIMESTAMP)))
        raise DataError(
            f"{TIMESTAMP}: row {row}: {values[row]} is not in seconds since 1970; if the unit is another one, say so "
            "(data.timestamp_unit: ms)"
        )
    return values


def _numbers(column: pd.Series[Any], name: str) -> NDArray[Any]:
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "iu":
        return column.to_numpy().astype(np.int64, copy=False) if name == TIMESTAMP else column.to_numpy()
    if isinstance(dtype, np.dtype) and dtype.kind in "fb":
        return column.to_numpy().astype(np.float64 if name == TIMESTAMP else column.to_numpy().dtype, copy=False)
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    bad = np.isnan(numbers)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(f"{name}: row {row}: {column.iloc[row]!r} is not a number; {int(bad.sum())} in all")
    return numbers
