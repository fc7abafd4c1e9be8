"""Parsing the cells of a column into ids, ratings or seconds, with the reason for each cell that can't be parsed.

Part of the slow path: whole columns are converted by `readers.values` first, and come here only if that failed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recctl.data.columns import LATEST_TIMESTAMP, RATING, TIMESTAMP
from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers.values import (
    INTEGER,
    LEADING_ZERO,
    NUMBER,
    is_text,
    to_seconds,
    units_per_second,
)
from recctl.errors import DataError

Mask = NDArray[np.bool_]
_INT64 = np.iinfo(np.int64)
_BEYOND_INT64 = "is beyond int64; keep these ids as text (data.id_type: text)"


@dataclass
class ParsedColumn:
    """A parsed column.

    Attributes:
        values: One value per cell, a NumPy array or Arrow text; the values of bad cells are arbitrary.
        problems: Masks of bad cells, shape `(n,)`, each with the reason.
        units_per_second: The resolution of timestamps.
        first_text: Position of the first text cell in a column of ids that also holds whole numbers.
    """

    values: Any
    problems: list[tuple[Mask, str]] = field(default_factory=list)
    units_per_second: int = 1
    first_text: int | None = None

    def select(self, role: str, is_good: Mask) -> Any:
        """The values of the good rows in their final type; timestamps become seconds."""
        if not isinstance(self.values, np.ndarray):
            return self.values.filter(pa.array(is_good))
        values = self.values[is_good]
        return to_seconds(values, self.units_per_second) if role == TIMESTAMP else values


def parse_column(role: str, raw: pa.ChunkedArray, is_good: Mask, options: ReadOptions, source: str) -> ParsedColumn:
    """Parse a column of text or of typed values.

    Args:
        role: `user_id`, `item_id`, `rating` or `timestamp`.
        raw: The cells, shape `(n,)`.
        is_good: Rows not yet known to be bad, shape `(n,)`; only these decide the type of ids.
        options: The unit of timestamps and the type of ids.
        source: Name of the file for error messages.

    Raises:
        DataError: The column has a type that can't hold the role.
    """
    if pa.types.is_dictionary(raw.type):
        raw = raw.cast(raw.type.value_type)
    if is_text(raw.type):
        raw = raw.cast(pa.large_string())
        if options.decimal == "," and (role == RATING or (role == TIMESTAMP and options.timestamp_format is None)):
            raw = _swap_decimal(raw)
    elif role not in (RATING, TIMESTAMP) and not pa.types.is_integer(raw.type):
        raise DataError(f"{source}: {role} is of type {raw.type}; ids must be whole numbers or text")
    is_missing = _to_mask(pc.is_null(raw))
    if is_text(raw.type):
        is_missing |= _to_mask(pc.equal(pc.binary_length(raw), 0))
    if role == RATING:
        column = _parse_ratings(raw, is_missing, source)
    elif role == TIMESTAMP:
        column = _parse_timestamps(raw, is_missing, is_good & ~is_missing, options, source)
    elif is_text(raw.type):
        column = _parse_text_ids(raw, is_missing, is_good & ~is_missing, options)
    else:
        column = _parse_integer_ids(raw, options)
    column.problems.insert(0, (is_missing, "is missing"))
    return column


def _parse_ratings(raw: pa.ChunkedArray, is_missing: Mask, source: str) -> ParsedColumn:
    if is_text(raw.type):
        is_number = _matches(raw, NUMBER) & ~is_missing
        values = _cast_text(raw, is_number, pa.float32())
        return ParsedColumn(
            values, [(~is_number, "is not a number"), (~np.isfinite(values), "is not finite as float32")]
        )
    values = _cast_numbers(raw, pa.float32(), RATING, source)
    return ParsedColumn(values, [(~np.isfinite(values), "is not a finite number")])


def _parse_timestamps(
    raw: pa.ChunkedArray, is_missing: Mask, is_good: Mask, options: ReadOptions, source: str
) -> ParsedColumn:
    if pa.types.is_date(raw.type):
        raw = raw.cast(pa.timestamp("s"))
    units = units_per_second(raw.type, options)
    if pa.types.is_timestamp(raw.type):
        values = raw.cast(pa.int64()).fill_null(0).to_numpy()
        return ParsedColumn(values, _date_range_problems(values / units), units)
    if is_text(raw.type):
        is_number = _matches(raw, NUMBER) & ~is_missing
        mostly_dates = 2 * (is_number & is_good).sum() < is_good.sum()
        if mostly_dates:
            return _parse_dates(raw)
        # Any 18 digits fit in int64; longer numbers and fractions are parsed as float64.
        fits_int64 = _matches(raw, r"^\s*-?[0-9]{1,18}\s*$")
        values = _cast_text(raw, is_number, pa.int64() if fits_int64[is_number].all() else pa.float64())
        problems = [(~is_number, "is not a number")]
    else:
        target = pa.int64() if pa.types.is_integer(raw.type) else pa.float64()
        values = _cast_numbers(raw, target, TIMESTAMP, source)
        problems = [(~np.isfinite(values), "is not a finite number")]
    seconds = np.where(np.isfinite(values), values, 0) / units
    return ParsedColumn(values, problems + _number_range_problems(seconds), units)


def _parse_dates(raw: pa.ChunkedArray) -> ParsedColumn:
    # pandas, because Arrow's parser does not accept a mixture of formats and time zones.
    datetimes = pd.to_datetime(raw.to_pandas(), format="ISO8601", utc=True, errors="coerce")
    exact = datetimes.dt.tz_convert(None).to_numpy()
    is_unreadable = np.isnat(exact)
    exact = np.where(is_unreadable, np.datetime64(0, "s"), exact)
    whole = exact.astype("datetime64[s]")
    seconds: NDArray[Any] = whole.astype(np.int64)
    fractions = (exact - whole) / np.timedelta64(1, "s")
    if fractions.any():
        seconds = seconds + fractions
    problems = [(is_unreadable, "is neither a number nor an ISO 8601 date such as 2024-05-31T18:30:00")]
    return ParsedColumn(seconds, problems + _date_range_problems(seconds))


def _date_range_problems(seconds: NDArray[Any]) -> list[tuple[Mask, str]]:
    return [(seconds < 0, "is before 1970"), (seconds > LATEST_TIMESTAMP, "is after the year 2199")]


def _number_range_problems(seconds: NDArray[Any]) -> list[tuple[Mask, str]]:
    late = "is after the year 2199; if it is in another unit, set it, e.g. data.timestamp_unit: ms"
    return [(seconds < 0, "is negative"), (seconds > LATEST_TIMESTAMP, late)]


def _parse_text_ids(raw: pa.ChunkedArray, is_missing: Mask, is_good: Mask, options: ReadOptions) -> ParsedColumn:
    """Ids given as text become int64 if all good ones are whole numbers without leading zeros, else stay text."""
    if options.id_type == "text":
        return ParsedColumn(raw)
    is_integer = _matches(raw, INTEGER) & ~is_missing
    is_not_number = is_good & ~_matches(raw, NUMBER)
    if options.id_type == "auto":
        has_text = is_not_number.any()
        has_leading_zero = (is_good & _matches(raw, LEADING_ZERO)).any()
        if has_text or has_leading_zero:
            is_mixed = has_text and (is_integer & is_good).any()
            return ParsedColumn(raw, first_text=int(np.argmax(is_not_number)) if is_mixed else None)
    problems = [
        (is_not_number, "is not a whole number"),
        (~is_integer, "looks like a float; ids must be whole numbers or text"),
    ]
    # Comparing decimals is slow, so look for ids beyond int64 only if the cast fails.
    try:
        return ParsedColumn(_cast_text(raw, is_integer, pa.int64()), problems)
    except pa.ArrowInvalid:
        fits = is_integer & _fits_int64(raw, is_integer)
        problems.append((~fits, _BEYOND_INT64))
        return ParsedColumn(_cast_text(raw, fits, pa.int64()), problems)


def _parse_integer_ids(raw: pa.ChunkedArray, options: ReadOptions) -> ParsedColumn:
    if options.id_type == "text":
        return ParsedColumn(raw.cast(pa.large_string()))
    is_beyond = np.zeros(len(raw), bool)
    if pa.types.is_uint64(raw.type):
        is_beyond = _to_mask(pc.greater(raw, pa.scalar(int(_INT64.max), pa.uint64())))
    ids = raw.cast(pa.int64(), safe=False).fill_null(0).to_numpy()
    return ParsedColumn(ids, [(is_beyond, _BEYOND_INT64)])


def _fits_int64(raw: pa.ChunkedArray, is_integer: Mask) -> Mask:
    """Whether each whole number is within int64, compared as decimals of up to 36 digits."""
    is_short = is_integer & _matches(raw, r"^\s*-?[0-9]{1,36}\s*$")
    decimal = pa.decimal128(38, 0)
    numbers = _fill_and_trim(raw, is_short).cast(decimal)
    lowest = pa.scalar(int(_INT64.min)).cast(decimal)
    highest = pa.scalar(int(_INT64.max)).cast(decimal)
    return is_short & _to_mask(pc.and_(pc.greater_equal(numbers, lowest), pc.less_equal(numbers, highest)))


def _cast_text(raw: pa.ChunkedArray, is_valid: Mask, arrow_type: pa.DataType) -> NDArray[Any]:
    """Text as numbers; 0 where not `is_valid`."""
    return np.asarray(_fill_and_trim(raw, is_valid).cast(arrow_type).to_numpy())


def _fill_and_trim(raw: pa.ChunkedArray, is_valid: Mask) -> pa.ChunkedArray:
    """The text without surrounding whitespace; "0" where not `is_valid`."""
    return pc.utf8_trim_whitespace(pc.if_else(pa.array(is_valid), raw, pa.scalar("0", raw.type)))


def _cast_numbers(raw: pa.ChunkedArray, arrow_type: pa.DataType, role: str, source: str) -> NDArray[Any]:
    try:
        return np.asarray(raw.cast(arrow_type, safe=False).fill_null(0).to_numpy())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:  # Arrow has no such cast
        raise DataError(f"{source}: {role} is of type {raw.type}; it must hold numbers") from error


def _swap_decimal(raw: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text with decimal points for commas in numbers, and the other way round: a number with a point is then none."""
    without_points = pc.replace_substring(raw, ".", "\0")
    swapped = pc.replace_substring(pc.replace_substring(without_points, ",", "."), "\0", ",")
    return pc.if_else(pc.match_substring_regex(raw, r"^\s*-?[0-9.,]+([eE][+-]?[0-9]+)?\s*$"), swapped, raw)


def _to_mask(column: pa.ChunkedArray) -> Mask:
    mask: Mask = pc.fill_null(column, False).to_numpy().astype(bool)
    return mask


def _matches(raw: pa.ChunkedArray, pattern: str) -> Mask:
    return _to_mask(pc.match_substring_regex(raw, pattern))
