"""Parsing the cells of a column into ids, ratings or seconds, with the reason for each cell that can't be parsed.

Part of the slow path: whole columns are converted by `readers.values` first, and come here only if that failed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recctl.data import text_ids, timestamps
from recctl.data.columns import LATEST_TIMESTAMP, RATING, TIMESTAMP
from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers import timestamp_checks
from recctl.data.sources.readers.values import (
    NUMBER,
    UNITS_PER_SECOND,
    is_text,
    missing_words,
    to_seconds,
    units_per_second,
)
from recctl.errors import DataError

Mask = NDArray[np.bool_]
_INT64 = np.iinfo(np.int64)
_BEYOND_INT64 = "is beyond int64; keep these ids as text (data.id_type: text)"
_N_SAMPLED = 1000


class Source(NamedTuple):
    """Where a column comes from, for messages.

    Attributes:
        name: The name of the file.
        label_cell: Returns the location of a cell of the column, given its position: `ratings.csv: row 17`.
    """

    name: str
    label_cell: Callable[[int], str]


@dataclass
class ParsedColumn:
    """A parsed column.

    Attributes:
        values: One value per cell, a NumPy array or Arrow text; the values of bad cells are arbitrary.
        problems: Masks of bad cells, shape `(n,)`, each with the reason.
        units_per_second: The resolution of timestamps.
        is_count: Whether timestamps are numbers in the file, not dates.
    """

    values: Any
    problems: list[tuple[Mask, str]] = field(default_factory=list)
    units_per_second: int = 1
    is_count: bool = False

    def select(self, role: str, is_good: Mask) -> Any:
        """The values of the good rows in their final type; timestamps become seconds."""
        if not isinstance(self.values, np.ndarray):
            return self.values.filter(pa.array(is_good))
        values = self.values[is_good]
        return to_seconds(values, self.units_per_second) if role == TIMESTAMP else values


def parse_column(role: str, raw: pa.ChunkedArray, is_good: Mask, options: ReadOptions, source: Source) -> ParsedColumn:
    """Parse a column of text or of typed values.

    Args:
        role: `user_id`, `item_id`, `rating` or `timestamp`.
        raw: The cells, shape `(n,)`.
        is_good: Rows not yet known to be bad, shape `(n,)`; only these decide the type of ids.
        options: The unit and format of timestamps, and the type of ids.
        source: Where the column comes from.

    Raises:
        DataError: The column has a type that can't hold the role, or none of its timestamps has the specified format.
    """
    if pa.types.is_dictionary(raw.type):
        raw = raw.cast(raw.type.value_type)
    if is_text(raw.type):
        raw = text_ids.trim(raw.cast(pa.large_string()))
    elif role not in (RATING, TIMESTAMP) and not pa.types.is_integer(raw.type):
        raise DataError(f"{source.name}: {role} is of type {raw.type}; ids must be whole numbers or text")
    is_missing = _to_mask(pc.is_null(raw))
    if is_text(raw.type):
        is_missing |= _to_mask(pc.is_in(raw, pa.array(missing_words(role, options), raw.type)))
    if role == RATING:
        column = _parse_ratings(raw, is_missing, options, source)
    elif role == TIMESTAMP:
        column = _parse_timestamps(raw, is_missing, is_good & ~is_missing, options, source)
    elif is_text(raw.type):
        column = _parse_text_ids(raw, is_missing, is_good & ~is_missing, options)
    else:
        column = _parse_integer_ids(raw, options)
    column.problems.insert(0, (is_missing, "is missing"))
    return column


def _parse_ratings(raw: pa.ChunkedArray, is_missing: Mask, options: ReadOptions, source: Source) -> ParsedColumn:
    if is_text(raw.type):
        raw = _with_decimal_points(raw, options)
        is_number = _matches(raw, NUMBER) & ~is_missing
        values = _cast_text(raw, is_number, pa.float32())
        return ParsedColumn(
            values, [(~is_number, "is not a number"), (~np.isfinite(values), "is not finite as float32")]
        )
    values = _cast_numbers(raw, pa.float32(), RATING, source)
    return ParsedColumn(values, [(~np.isfinite(values), "is not a finite number")])


def _parse_timestamps(
    raw: pa.ChunkedArray, is_missing: Mask, is_good: Mask, options: ReadOptions, source: Source
) -> ParsedColumn:
    if pa.types.is_date(raw.type):
        raw = raw.cast(pa.timestamp("s"))
    if options.timestamp_format is not None:
        return _parse_formatted(raw, is_missing, is_good, options.timestamp_format, source)
    units = units_per_second(raw.type, options)
    if pa.types.is_timestamp(raw.type):
        values = raw.cast(pa.int64()).fill_null(0).to_numpy()
        return ParsedColumn(values, _date_range_problems(values / units), units)
    if is_text(raw.type):
        numbers = _with_decimal_points(raw, options)
        is_number = _matches(numbers, NUMBER) & ~is_missing
        mostly_dates = 2 * (is_number & is_good).sum() < is_good.sum()
        if mostly_dates:
            return _parse_dates(raw, is_number, is_good, source)
        numbers = pc.replace_substring_regex(numbers, r"^\+", "")
        # Any 18 digits fit in int64; longer numbers and fractions are parsed as float64.
        fits_int64 = _matches(numbers, r"^-?[0-9]{1,18}$")
        values = _cast_text(numbers, is_number, pa.int64() if fits_int64[is_number].all() else pa.float64())
        is_unreadable = ~is_number
        problems = [(is_unreadable, "is not a number")]
    else:
        target = pa.int64() if pa.types.is_integer(raw.type) else pa.float64()
        values = _cast_numbers(raw, target, TIMESTAMP, source)
        is_unreadable = ~np.isfinite(values)
        problems = [(is_unreadable, "is not a finite number")]
    is_used = is_good & ~is_unreadable
    if options.timestamp_unit == "s":
        timestamp_checks.reject_calendar_numbers(values[is_used], lambda: source.label_cell(int(np.argmax(is_used))))
    seconds = np.where(is_unreadable, 0, values) / units
    return ParsedColumn(values, problems + _number_range_problems(seconds, units), units, is_count=True)


def _parse_formatted(
    raw: pa.ChunkedArray, is_missing: Mask, is_good: Mask, timestamp_format: str, source: Source
) -> ParsedColumn:
    texts = formatted_texts(raw, source.name)
    seconds, is_unreadable = timestamps.parse_with_format(texts.fill_null(""), timestamp_format)
    if is_good.any() and is_unreadable[is_good].all():
        position = int(np.argmax(is_good))
        value = texts[position].as_py()
        raise timestamp_checks.wrong_format_error(source.label_cell(position), value, timestamp_format)
    problem = f"is not of the format {timestamp_format!r} (data.timestamp_format)"
    return ParsedColumn(seconds, [(is_unreadable & ~is_missing, problem), *_date_range_problems(seconds)])


def formatted_texts(raw: pa.ChunkedArray, source: str) -> pa.ChunkedArray:
    """Timestamps as text without surrounding white space, to be parsed by a format.

    Numbers are accepted too, because 20200105 may be stored as one.

    Raises:
        DataError: The column holds something else, such as datetimes.
    """
    if is_text(raw.type):
        return text_ids.trim(raw.cast(pa.large_string()))
    if pa.types.is_floating(raw.type):
        # A cast of 20200105.0 to text would keep the fraction; numbers with another one do not match any format.
        whole = pc.if_else(pc.equal(raw, pc.floor(raw)), raw, None)
        texts = whole.cast(pa.int64(), safe=False).cast(pa.large_string())
        return pc.coalesce(texts, raw.cast(pa.large_string()))
    if pa.types.is_integer(raw.type):
        return raw.cast(pa.large_string())
    raise DataError(
        f"{source}: timestamp is of type {raw.type}; data.timestamp_format is for text and numbers, leave it out"
    )


def _parse_dates(raw: pa.ChunkedArray, is_number: Mask, is_good: Mask, source: Source) -> ParsedColumn:
    # pandas, because Arrow's parser does not accept a mixture of formats and time zones.
    datetimes = pd.to_datetime(raw.to_pandas(), format="ISO8601", utc=True, errors="coerce")
    exact = datetimes.dt.tz_convert(None).to_numpy()
    # pandas would read a number as a year, and the words now and today.
    is_unreadable = np.isnat(exact) | is_number | ~_matches(raw, r"^[0-9]")
    seconds = timestamps.datetimes_to_seconds(exact, is_unreadable)
    if is_good.any() and is_unreadable[is_good].all():
        positions = np.flatnonzero(is_good)[:_N_SAMPLED]
        sample = raw.take(pa.array(positions)).to_pylist()
        raise timestamp_checks.unreadable_dates_error(source.label_cell(int(positions[0])), sample)
    problem = f"is neither a number nor {timestamp_checks.ISO_DATE}"
    return ParsedColumn(seconds, [(is_unreadable, problem), *_date_range_problems(seconds)])


def _date_range_problems(seconds: NDArray[Any]) -> list[tuple[Mask, str]]:
    return [(seconds < 0, "is before 1970"), (seconds > LATEST_TIMESTAMP, "is after the year 2199")]


def _number_range_problems(seconds: NDArray[Any], units: int) -> list[tuple[Mask, str]]:
    late = "is after the year 2199"
    unit = _likely_unit(seconds * units)
    if unit is not None:
        late += f"; if it is in another unit, set it, e.g. data.timestamp_unit: {unit}"
    return [(seconds < 0, "is negative"), (seconds > LATEST_TIMESTAMP, late)]


def _likely_unit(timestamps: NDArray[Any]) -> str | None:
    """The unit in which the latest of these timestamps is before the year 2200; None if there is none."""
    latest = timestamps.max(initial=0)
    for unit in ("ms", "us", "ns"):
        if latest <= LATEST_TIMESTAMP * UNITS_PER_SECOND[unit]:
            return unit
    return None


def _parse_text_ids(raw: pa.ChunkedArray, is_missing: Mask, is_good: Mask, options: ReadOptions) -> ParsedColumn:
    """Ids given as text become int64 if all good ones are whole numbers by the rule of `text_ids`, else stay text."""
    if options.id_type == "text":
        return ParsedColumn(raw)
    is_integer = text_ids.are_integers(raw) & ~is_missing
    if options.id_type == "auto" and (is_good & ~is_integer).any():
        return ParsedColumn(raw)
    has_leading_zero = _matches(raw, r"^-?0[0-9]+$")
    problems = [
        (has_leading_zero, "has a leading zero; keep these ids as text (data.id_type: text)"),
        (~is_integer, "is not a whole number"),
    ]
    # Comparing decimals is slow, so look for ids beyond int64 only if the cast fails.
    try:
        return ParsedColumn(_cast_ids(raw, is_integer), problems)
    except pa.ArrowInvalid:
        fits = is_integer & _fits_int64(raw, is_integer)
        problems.append((~fits, _BEYOND_INT64))
        return ParsedColumn(_cast_ids(raw, fits), problems)


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
    is_short = is_integer & _matches(raw, r"^-?[0-9]{1,36}(\.0+)?$")
    decimal = pa.decimal128(38, 0)
    digits = pc.replace_substring_regex(_fill(raw, is_short), r"\.0+$", "")
    numbers = digits.cast(decimal)
    lowest = pa.scalar(int(_INT64.min)).cast(decimal)
    highest = pa.scalar(int(_INT64.max)).cast(decimal)
    return is_short & _to_mask(pc.and_(pc.greater_equal(numbers, lowest), pc.less_equal(numbers, highest)))


def _with_decimal_points(raw: pa.ChunkedArray, options: ReadOptions) -> pa.ChunkedArray:
    """Numbers as text with decimal points; those that had a point already become unreadable."""
    if options.decimal == ".":
        return raw
    points_removed = pc.replace_substring(raw, ".", "?")
    return pc.replace_substring(points_removed, options.decimal, ".")


def _cast_ids(raw: pa.ChunkedArray, is_valid: Mask) -> NDArray[np.int64]:
    """Ids as int64; 0 where not `is_valid`."""
    return text_ids.cast_integers(_fill(raw, is_valid))


def _cast_text(raw: pa.ChunkedArray, is_valid: Mask, arrow_type: pa.DataType) -> NDArray[Any]:
    """Text as numbers; 0 where not `is_valid`."""
    return np.asarray(_fill(raw, is_valid).cast(arrow_type).to_numpy())


def _fill(raw: pa.ChunkedArray, is_valid: Mask) -> pa.ChunkedArray:
    """The text, with "0" where not `is_valid`."""
    return pc.if_else(pa.array(is_valid), raw, pa.scalar("0", raw.type))


def _cast_numbers(raw: pa.ChunkedArray, arrow_type: pa.DataType, role: str, source: Source) -> NDArray[Any]:
    try:
        return np.asarray(raw.cast(arrow_type, safe=False).fill_null(0).to_numpy())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:  # Arrow has no such cast
        raise DataError(f"{source.name}: {role} is of type {raw.type}; it must hold numbers") from error


def _to_mask(column: pa.ChunkedArray) -> Mask:
    mask: Mask = pc.fill_null(column, False).to_numpy().astype(bool)
    return mask


def _matches(raw: pa.ChunkedArray, pattern: str) -> Mask:
    return _to_mask(pc.match_substring_regex(raw, pattern))
