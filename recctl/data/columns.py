"""The border between a user's table and recctl's arrays: which columns there are, and what may stand in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from recctl.errors import DataError

USER, ITEM, RATING, TIMESTAMP = "user_id", "item_id", "rating", "timestamp"
COLUMNS = (USER, ITEM, RATING, TIMESTAMP)

# Seconds. Beyond it a column almost surely holds milliseconds: 2200-01-01 is 7.3e9 seconds after 1970.
LATEST_TIMESTAMP = 7_258_118_400

_INT64 = np.iinfo(np.int64)


def require_columns(frame: pd.DataFrame, *needed: str, place: str = "interactions") -> None:
    """Check that a table has the columns a step needs.

    Raises:
        DataError: Naming the missing columns and those that are there.
    """
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        there = ", ".join(map(str, frame.columns)) or "none"
        raise DataError(f"{place}: no column {', '.join(missing)}; the columns are {there}")
    twice = [name for name in needed if isinstance(frame[name], pd.DataFrame)]
    if twice:
        raise DataError(f"{place}: more than one column is called {twice[0]}")


def ids_of(column: pd.Series[Any], name: str) -> NDArray[np.int64] | pa.Array:
    """A column of ids as int64, or as an Arrow array of text (dictionary-encoded if the column was).

    Raises:
        DataError: A missing id, one that is neither int nor str, both types mixed, or an int beyond int64.
    """
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iu":
        return _within_int64(column.to_numpy(), name)
    _require_values(column, name)
    try:
        ids = pa.array(column)
    except (pa.ArrowException, OverflowError, UnicodeError):
        raise _refusal(column, name) from None
    kind = ids.type.value_type if pa.types.is_dictionary(ids.type) else ids.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return ids
    if pa.types.is_integer(kind):
        return _within_int64((ids if ids.type == kind else ids.cast(kind)).to_numpy(zero_copy_only=False), name)
    if len(ids):
        raise _refusal(column, name)
    return np.empty(0, np.int64)


def _within_int64(values: NDArray[Any], name: str) -> NDArray[np.int64]:
    if values.dtype == np.uint64 and len(values) and values.max() > _INT64.max:
        row = int(np.argmax(values > _INT64.max))
        raise DataError(f"{name}: row {row}: {values[row]} is beyond int64; give these ids as text")
    return np.ascontiguousarray(values, np.int64)


def _refusal(column: pd.Series[Any], name: str) -> DataError:
    """The error that names the first id that may not be one."""
    first: Any = column.iloc[0]
    for row, value in enumerate(column):
        place = f"{name}: row {row}: {_shown(value)}"
        if isinstance(value, float) and value.is_integer():
            return DataError(f"{place} is a float; ids are int or str: frame['{name}'].astype('int64')")
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | str | np.integer):
            return DataError(f"{place} is of type {type(value).__name__}; ids are int or str")
        if isinstance(value, str) != isinstance(first, str):
            return DataError(
                f"{place} is {type(value).__name__}, row 0 ({_shown(first)}) is {type(first).__name__}; "
                f"make all ids of one type: frame['{name}'].astype(str)"
            )
        if isinstance(value, str):
            if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
                return DataError(f"{place} is no valid Unicode text; read the file with its right encoding")
        elif not _INT64.min <= value <= _INT64.max:
            return DataError(f"{place} is beyond int64; give these ids as text")
    return DataError(f"{name}: column of type {column.dtype}; ids are int or str")


def ratings_of(column: pd.Series[Any]) -> NDArray[np.float32]:
    """Ratings as float32.

    Raises:
        DataError: A value that is missing, no number, or not finite as float32.
    """
    with np.errstate(over="ignore"):
        values = _numbers(column, RATING).astype(np.float32)
    _check(np.isfinite(values), column, RATING, "is not a finite number")
    return values


def timestamps_of(column: pd.Series[Any]) -> NDArray[Any]:
    """Timestamps in seconds since 1970: int64 where all are whole, else float64.

    Datetimes of any unit are taken; those without a time zone count as UTC.

    Raises:
        DataError: A value that is missing, negative, or so late that it must be in another unit.
    """
    dates = pd.api.types.is_datetime64_any_dtype(column.dtype)
    values = _seconds(column) if dates else _numbers(column, TIMESTAMP)
    _check(
        (values >= 0) & (values <= LATEST_TIMESTAMP),
        column,
        TIMESTAMP,
        "is before 1970 or after 2199"
        if dates
        else "is not in seconds since 1970; if the unit is another one, say so (data.timestamp_unit: ms)",
    )
    if values.dtype.kind == "f" and np.mod(values, 1).any():
        return values.astype(np.float64)
    return values.astype(np.int64, copy=False)


def _seconds(column: pd.Series[Any]) -> NDArray[Any]:
    _require_values(column, TIMESTAMP)
    # NumPy's own casts: pandas' difference to 1970 overflows for far dates in fine units.
    moments = pd.DatetimeIndex(column)
    exact = (moments if moments.tz is None else moments.tz_convert(None)).to_numpy()
    whole = exact.astype("datetime64[s]")
    seconds = whole.astype(np.int64)
    fraction = (exact - whole) / np.timedelta64(1, "s")
    return seconds + fraction if fraction.any() else seconds


def _numbers(column: pd.Series[Any], name: str) -> NDArray[Any]:
    """A column as numbers; text that reads as a number counts as one."""
    dtype = column.dtype
    _require_values(column, name)
    if isinstance(dtype, np.dtype) and dtype.kind in "iufb":
        return column.to_numpy()
    if isinstance(dtype, pd.CategoricalDtype):
        column = column.astype(dtype.categories.dtype)
    readable = pd.api.types.is_string_dtype(column.dtype) or pd.api.types.is_object_dtype(column.dtype)
    if not readable and not pd.api.types.is_any_real_numeric_dtype(column.dtype):
        raise DataError(f"{name}: column of type {dtype}; it must hold numbers")
    try:
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    except (OverflowError, TypeError, ValueError) as error:
        raise DataError(f"{name}: not all values are numbers: {error}") from error
    way_out = "; turn dates into datetimes: pd.to_datetime(frame['timestamp'])" if name == TIMESTAMP else ""
    _check(~np.isnan(numbers), column, name, f"is not a number{way_out}")
    return numbers


def _require_values(column: pd.Series[Any], name: str) -> None:
    _check(~column.isna().to_numpy(dtype=bool), column, name, "is missing")


def _check(good: NDArray[np.bool_], column: pd.Series[Any], name: str, complaint: str) -> None:
    if not good.all():
        row, count = int(np.argmin(good)), int(len(good) - good.sum())
        more = f" ({count} such values)" if count > 1 else ""
        raise DataError(f"{name}: row {row}: {_shown(column.iloc[row])} {complaint}{more}")


def _shown(value: Any) -> str:
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 60 else text[:57] + "..."
