"""How ids, ratings and timestamps are written in files, and the conversion of whole columns of them.

The fast paths of the readers use these functions; none of them looks for single bad values (`bad_rows.parse` does).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recctl.data.columns import LATEST_TIMESTAMP, RATING, TIMESTAMP
from recctl.data.sources.options import ReadOptions
from recctl.data.text_ids import is_text

__all__ = [
    "INTEGER",
    "MISSING",
    "NUMBER",
    "downcast_ids",
    "fits_int32",
    "has_valid_range",
    "is_text",
    "missing_words",
    "to_numpy",
    "to_seconds",
    "units_per_second",
]

# Spellings of a missing value in files written by pandas, R, MySQL, Hive and spreadsheets.
MISSING = ["", "NA", "N/A", "#N/A", "NaN", "nan", "-nan", "null", "NULL", "<NA>", "\\N"]
# Regular expressions that Python's re and Arrow's RE2 both understand.
INTEGER = r"^\s*-?[0-9]+\s*$"
NUMBER = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"

UNITS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_INT32 = np.iinfo(np.int32)


def missing_words(role: str, options: ReadOptions) -> list[str]:
    """The texts that mean that a value of a text file is missing.

    With `id_type: text`, a user may be called NA.
    """
    is_id = role not in (RATING, TIMESTAMP)
    return [""] if is_id and options.id_type == "text" else MISSING


def has_valid_range(role: str, values: NDArray[Any], units_per_second: int) -> bool:
    """Whether all ratings are finite, or all timestamps are between 1970 and 2199. Any id is valid."""
    if role not in (RATING, TIMESTAMP) or not len(values):
        return True
    if values.dtype == np.int64:
        # One pass instead of two: viewed as unsigned, negative values are larger than all valid ones.
        return bool(values.view(np.uint64).max() <= LATEST_TIMESTAMP * units_per_second)
    # Both are NaN if any value is.
    lowest = values.min()
    highest = values.max()
    if role == RATING:
        return bool(np.isfinite(lowest) and np.isfinite(highest))
    return bool(lowest >= 0 and highest <= LATEST_TIMESTAMP * units_per_second)


def to_numpy(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column of numbers or datetimes without missing values as one writable array.

    Shares Arrow's memory if the column has one chunk; else the chunks are copied once.
    """
    is_datetime = pa.types.is_timestamp(column.type)
    # ChunkedArray.to_numpy promises neither a writable result nor shared memory.
    dtype = np.dtype(np.int64 if is_datetime else column.type.to_pandas_dtype())
    pieces = [
        np.frombuffer(chunk.buffers()[1], dtype, len(chunk), chunk.offset * dtype.itemsize)
        for chunk in column.chunks
        if len(chunk)
    ]
    if not pieces:
        return np.empty(0, dtype)
    if len(pieces) == 1 and pieces[0].flags.writeable:
        return pieces[0]
    return np.concatenate(pieces)


def downcast_ids(ids: NDArray[Any]) -> NDArray[Any]:
    """The ids as int32 if all of them fit, else unchanged."""
    return ids.astype(np.int32, copy=False) if fits_int32(ids) else ids


def fits_int32(values: NDArray[Any]) -> bool:
    """Whether all values are within the range of int32."""
    return (
        values.dtype == np.int32 or not len(values) or bool(_INT32.min <= values.min() and values.max() <= _INT32.max)
    )


def units_per_second(arrow_type: pa.DataType, options: ReadOptions) -> int:
    """The resolution of a timestamp column: the unit of its datetime type, else `options.timestamp_unit`."""
    unit = arrow_type.unit if pa.types.is_timestamp(arrow_type) else options.timestamp_unit
    return UNITS_PER_SECOND[unit]


def to_seconds(timestamps: NDArray[Any], units: int) -> NDArray[Any]:
    """Convert timestamps to int64 seconds, or to float64 if any has a fraction.

    Args:
        timestamps: Any numeric dtype.
        units: Units per second.
    """
    if timestamps.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # an infinite value, which the caller rejects afterwards
            has_fraction = np.mod(timestamps, units).any()
        if has_fraction:
            return timestamps / units
        return (timestamps if units == 1 else timestamps / units).astype(np.int64)
    if units == 1:
        return timestamps
    seconds, remainder = np.divmod(timestamps, units)
    # seconds + remainder / units is exact where timestamps / units would round.
    return seconds + remainder / units if remainder.any() else seconds
