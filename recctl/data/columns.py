"""The columns of an interaction table, and their conversion from pandas to checked NumPy arrays."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recctl import progress
from recctl.data import text_ids
from recctl.data.timestamps import SECONDS_OF_1970, calendar_format, suggest_formats
from recctl.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

USER = "user_id"
ITEM = "item_id"
RATING = "rating"
TIMESTAMP = "timestamp"
COLUMNS = (USER, ITEM, RATING, TIMESTAMP)

# 2200-01-01 in seconds since 1970. Larger values are almost certainly milliseconds.
LATEST_TIMESTAMP = 7_258_118_400

_INT64 = np.iinfo(np.int64)
_MAX_VALUE_LENGTH = 60
_N_SAMPLED = 1000
_MAX_UNUSED = 10


@dataclass(frozen=True)
class UnusedColumns:
    """The columns without a role of data that have no timestamps.

    Attributes:
        names: Their names, or positions if they have none; those that may hold times come first.
        hint: How to read the first one as timestamps; None if none is likely to hold times.
    """

    names: tuple[str | int, ...]
    hint: str | None


def missing_timestamps(unused: UnusedColumns | None, alternative: str = "") -> str:
    """Say that data have no timestamps, which columns may be meant, and how to name one.

    Args:
        unused: The columns without a role, if they are known.
        alternative: What can be done instead, e.g. `, or use another strategy`.
    """
    problem = f"the data has no column {TIMESTAMP}"
    hint = "name it, e.g. `data.columns: {timestamp: time}`"
    if unused is None or not unused.names:
        return f"{problem}; {hint}{alternative}"
    return f"{problem}; not used: {list_unused(unused)}; {unused.hint or hint}{alternative}"


def list_unused(unused: UnusedColumns) -> str:
    """The names of unused columns, at most `_MAX_UNUSED` of them."""
    more = ", ..." if len(unused.names) > _MAX_UNUSED else ""
    return ", ".join(map(str, unused.names[:_MAX_UNUSED])) + more


def require_columns(frame: pd.DataFrame, *needed: str, source: str = "interactions") -> None:
    """Check that a table has the columns a step needs, and no column of an interaction table more than once.

    Args:
        frame: The table.
        needed: Column names.
        source: Name of the table in error messages.

    Raises:
        DataError: A column is missing or occurs more than once.
    """
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        existing = ", ".join(map(str, frame.columns)) or "none"
        raise DataError(f"{source}: no column {', '.join(missing)}; the columns are {existing}")
    names = list(frame.columns)
    for name in dict.fromkeys((*needed, *COLUMNS)):
        if names.count(name) > 1:
            raise DataError(f"{source}: more than one column is called {name}; keep one of them")


def ids_of(column: pd.Series[Any], name: str) -> NDArray[np.int64] | pa.Array:
    """Convert a column of ids to int64, or to Arrow text (dictionary-encoded if the column was).

    White space around text is removed. Floats and decimals become int64 if all are whole numbers; integers read with
    missing values among them often end up as floats.

    Raises:
        DataError: An id is missing, empty, neither a whole number nor str, or beyond int64, or the column mixes whole
            numbers and str.
    """
    # NumPy integers need only a range check; Arrow tells other columns of int, of text and of both apart.
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iu":
        return _to_int64(column.to_numpy(), name)
    _require_no_missing(column, name)
    try:
        ids = pa.array(column)
    except (pa.ArrowException, OverflowError, UnicodeError):
        raise _id_error(column, name) from None
    value_type = ids.type.value_type if pa.types.is_dictionary(ids.type) else ids.type
    if text_ids.is_text(value_type):
        return _trim(ids, name)
    if ids.type != value_type:
        ids = ids.cast(value_type)
    if pa.types.is_integer(value_type):
        return _to_int64(ids.to_numpy(zero_copy_only=False), name)
    if pa.types.is_floating(value_type) and len(ids):
        return _floats_to_int64(ids.to_numpy(zero_copy_only=False), column, name)
    if pa.types.is_decimal(value_type):
        with suppress(pa.ArrowInvalid):  # a fraction, or beyond int64
            return np.asarray(ids.cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64)
    if len(ids):
        raise _id_error(column, name)
    return np.empty(0, np.int64)


def ratings_of(column: pd.Series[Any]) -> NDArray[np.float32]:
    """Convert a column of ratings to float32.

    Raises:
        DataError: A value is missing, not a number, or not finite as float32.
    """
    with np.errstate(over="ignore"):
        ratings = _to_numbers(column, RATING).astype(np.float32)
    _require_all(np.isfinite(ratings), column, RATING, "is not a finite number")
    return ratings


def timestamps_of(column: pd.Series[Any]) -> NDArray[Any]:
    """Convert a column of timestamps to seconds since 1970: int64, or float64 if any has a fraction.

    Datetimes of any resolution are accepted; those without a time zone are read as UTC.

    Raises:
        DataError: A value is missing, negative, or so large that it must be in another unit, or all of them are dates
            such as 20200105.
    """
    if _are_datetimes(column):
        seconds = _datetimes_to_seconds(column)
        problem = "is before 1970 or after 2199"
    else:
        seconds = _to_numbers(column, TIMESTAMP)
        problem = (
            "is not in seconds since 1970; if it is in another unit, convert it, e.g. "
            "pd.to_datetime(frame['timestamp'], unit='ms')"
        )
        _reject_calendar_numbers(seconds, column)
    _require_all((seconds >= 0) & (seconds <= LATEST_TIMESTAMP), column, TIMESTAMP, problem)
    if seconds.dtype.kind == "f" and np.mod(seconds, 1).any():
        return seconds.astype(np.float64)
    return seconds.astype(np.int64, copy=False)


def notice_year_1970(column: pd.Series[Any], seconds: NDArray[Any]) -> None:
    """Send a notice if all timestamps are numbers of less than a year, which may be in another unit.

    Args:
        column: The column as it was given.
        seconds: Its timestamps.
    """
    if _are_datetimes(column) or not len(seconds):
        return
    if seconds.max() < SECONDS_OF_1970:
        progress.notice(
            "timestamp: all timestamps are in 1970, if they are in seconds; if they are not, convert them, e.g. "
            "pd.to_datetime(frame['timestamp'], unit='ms'). Small step numbers can stay as they are"
        )


def format_value(value: Any) -> str:
    """A value as error messages show it: text in quotes, and at most 60 characters."""
    text = repr(value) if isinstance(value, str | bytes) else str(value)
    return text if len(text) <= _MAX_VALUE_LENGTH else f"{text[: _MAX_VALUE_LENGTH - 3]}..."


def _to_int64(values: NDArray[Any], name: str) -> NDArray[np.int64]:
    if values.dtype == np.uint64 and len(values) and values.max() > _INT64.max:
        row = int(np.argmax(values > _INT64.max))
        raise DataError(f"{name}: row {row}: {values[row]} is beyond int64; convert these ids to text")
    return np.ascontiguousarray(values, np.int64)


def _floats_to_int64(values: NDArray[Any], column: pd.Series[Any], name: str) -> NDArray[np.int64]:
    """Floats that are all whole numbers as int64."""
    problem = "is a float; ids must be whole numbers or str, and a float holds those up to 2**53 only"
    _require_all(text_ids.whole_numbers(values), column, name, problem)
    return values.astype(np.int64)


def _trim(ids: pa.Array | pa.ChunkedArray, name: str) -> pa.Array | pa.ChunkedArray:
    """Text without surrounding white space, none of it empty."""
    chunked = ids if isinstance(ids, pa.ChunkedArray) else pa.chunked_array([ids])
    trimmed = text_ids.trim(chunked)
    if trimmed is chunked:
        return ids
    plain = trimmed.cast(pa.large_string())
    if text_ids.has_empty(plain):
        row = plain.index(pa.scalar("", plain.type)).as_py()
        value = format_value(chunked[row].as_py())
        raise DataError(f"{name}: row {row}: {value} is empty; each interaction needs an id")
    return trimmed


def _reject_calendar_numbers(values: NDArray[Any], column: pd.Series[Any]) -> None:
    timestamp_format = calendar_format(values)
    if timestamp_format:
        raise DataError(
            f"{TIMESTAMP}: row 0: {format_value(column.iloc[0])} looks like a date, as all others do, not like seconds "
            f"since 1970; convert dates to datetimes: pd.to_datetime(frame['timestamp'], format='{timestamp_format}')"
        )


def _conversion_hint(column: pd.Series[Any]) -> str:
    """How to convert a column of dates, with the format if it is a common one."""
    texts = [value.strip() for value in column[:_N_SAMPLED] if isinstance(value, str)]
    formats = suggest_formats(texts)
    if len(formats) == 2:
        return (
            f"pd.to_datetime(frame['timestamp'], format='{formats[0]}') or '{formats[1]}': the day or the month may "
            "come first"
        )
    arguments = "".join(f", format='{each}'" for each in formats)
    return f"pd.to_datetime(frame['timestamp']{arguments})"


def _id_error(column: pd.Series[Any], name: str) -> DataError:
    """The error that names the first invalid id of a column."""
    first: Any = column.iloc[0]
    for row, value in enumerate(column):
        location = f"{name}: row {row}: {format_value(value)}"
        if isinstance(value, Decimal) and value % 1 == 0:
            continue
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | str | np.integer):
            return DataError(f"{location} is of type {type(value).__name__}; ids must be int or str")
        if isinstance(value, str) != isinstance(first, str):
            return DataError(
                f"{location} is {type(value).__name__}, row 0 ({format_value(first)}) is {type(first).__name__}; "
                f"convert all ids to one type: frame['{name}'].astype(str)"
            )
        if isinstance(value, str):
            if _has_lone_surrogate(value):
                return DataError(f"{location} is not valid Unicode; read the file with its correct encoding")
        elif not _INT64.min <= value <= _INT64.max:
            return DataError(f"{location} is beyond int64; convert these ids to text")
    return DataError(f"{name}: column of type {column.dtype}; ids must be int or str")


def _has_lone_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _are_datetimes(column: pd.Series[Any]) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_datetime64_any_dtype(column.dtype))


def _datetimes_to_seconds(column: pd.Series[Any]) -> NDArray[Any]:
    import pandas as pd

    _require_no_missing(column, TIMESTAMP)
    datetimes = pd.DatetimeIndex(column)
    if datetimes.tz is not None:
        datetimes = datetimes.tz_convert(None)
    # NumPy's casts, because pandas' difference to 1970 overflows for dates far away in fine resolutions.
    exact = datetimes.to_numpy()
    whole = exact.astype("datetime64[s]")
    seconds = whole.astype(np.int64)
    fractions = (exact - whole) / np.timedelta64(1, "s")
    return seconds + fractions if fractions.any() else seconds


def _to_numbers(column: pd.Series[Any], name: str) -> NDArray[Any]:
    """A column as numbers; text that can be parsed as a number is converted."""
    import pandas as pd

    dtype = column.dtype
    _require_no_missing(column, name)
    if isinstance(dtype, np.dtype) and dtype.kind in "iufb":
        return column.to_numpy()
    if name == RATING and pd.api.types.is_bool_dtype(dtype):
        return column.to_numpy(dtype=np.float32)
    if isinstance(dtype, pd.CategoricalDtype):
        column = column.astype(dtype.categories.dtype)
    is_text = pd.api.types.is_string_dtype(column.dtype) or pd.api.types.is_object_dtype(column.dtype)
    if not is_text and not pd.api.types.is_any_real_numeric_dtype(column.dtype):
        raise DataError(f"{name}: column of type {dtype}; it must hold numbers")
    try:
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    except (OverflowError, TypeError, ValueError) as error:
        raise DataError(f"{name}: not all values are numbers: {error}") from error
    is_number = ~np.isnan(numbers)
    hint = ""
    if name == TIMESTAMP and not is_number.all():
        hint = f"; convert dates to datetimes: {_conversion_hint(column)}"
    _require_all(is_number, column, name, f"is not a number{hint}")
    return numbers


def _require_no_missing(column: pd.Series[Any], name: str) -> None:
    _require_all(~column.isna().to_numpy(dtype=bool), column, name, "is missing")


def _require_all(is_valid: NDArray[np.bool_], column: pd.Series[Any], name: str, problem: str) -> None:
    """Raise for the first value that is not valid."""
    if is_valid.all():
        return
    row = int(np.argmin(is_valid))
    n_invalid = int(len(is_valid) - is_valid.sum())
    more = f" ({n_invalid} such values)" if n_invalid > 1 else ""
    raise DataError(f"{name}: row {row}: {format_value(column.iloc[row])} {problem}{more}")
