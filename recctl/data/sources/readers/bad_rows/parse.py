"""Turning the cells of a column into ids, ratings and seconds, with the reason for each cell that can't be.

This is the careful reading: it is used only after the fast one met something it could not take.
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
from recctl.data.sources.readers.csv_dialect import INTEGER, LEADING_ZERO, NUMBER
from recctl.errors import DataError

Mask = NDArray[np.bool_]
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_INT32, _INT64 = np.iinfo(np.int32), np.iinfo(np.int64)
_BEYOND = "is beyond int64; keep these ids as text (data.id_type: text)"


@dataclass
class ParsedColumn:
    """A column as read.

    Attributes:
        values: One value per cell, a NumPy array or Arrow text; what stands at bad cells means nothing.
        faults: Masks of bad cells with what is wrong with them.
        per_second: The unit of timestamps.
        first_text: The first cell that is text in a column of ids that holds ints as well.
    """

    values: Any
    faults: list[tuple[Mask, str]] = field(default_factory=list)
    per_second: int = 1
    first_text: int | None = None

    def kept(self, role: str, good: Mask) -> Any:
        """The values of the good rows."""
        if not isinstance(self.values, np.ndarray):
            return self.values.filter(pa.array(good))
        return in_seconds(self.values[good], self.per_second) if role == TIMESTAMP else self.values[good]


def parse(role: str, raw: pa.ChunkedArray, good: Mask, options: ReadOptions, place: str) -> ParsedColumn:
    """Read a column, text or typed.

    Args:
        role: `user_id`, `item_id`, `rating` or `timestamp`.
        raw: The cells, shape `(n,)`.
        good: Rows not yet known to be bad, shape `(n,)`; only they decide which type ids have.
        options: The unit of timestamps and the type of ids.
        place: The file, for messages.

    Raises:
        DataError: The column is of a type that can't hold the role.
    """
    if pa.types.is_dictionary(raw.type):
        raw = raw.cast(raw.type.value_type)
    if is_text(raw.type):
        raw = raw.cast(pa.large_string())
    elif role not in (RATING, TIMESTAMP) and not pa.types.is_integer(raw.type):
        raise DataError(f"{place}: {role} is of type {raw.type}; ids are whole numbers or text")
    missing = _mask(pc.is_null(raw))
    if is_text(raw.type):
        missing |= _mask(pc.equal(pc.binary_length(raw), 0))
    if role == RATING:
        cells = _ratings(raw, missing, place)
    elif role == TIMESTAMP:
        cells = _timestamps(raw, missing, good & ~missing, options, place)
    elif is_text(raw.type):
        cells = _text_ids(raw, missing, good & ~missing, options)
    else:
        cells = _integer_ids(raw, options)
    cells.faults.insert(0, (missing, "is missing"))
    return cells


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type is one of text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or str(kind) == "string_view"


def is_fit(role: str, values: NDArray[Any], unit: int) -> bool:
    """Whether all numbers of a column are fit for its role: finite ratings, timestamps between 1970 and 2199."""
    if role not in (RATING, TIMESTAMP) or not len(values):
        return True
    if values.dtype == np.int64:  # one look at each: as unsigned, negative ones are larger than all others
        return bool(values.view(np.uint64).max() <= LATEST_TIMESTAMP * unit)
    low, high = values.min(), values.max()  # NaN if any is
    if role == RATING:
        return bool(np.isfinite(low) and np.isfinite(high))
    return bool(low >= 0 and high <= LATEST_TIMESTAMP * unit)


def as_array(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column of numbers or moments without missing values as one array, which may be written to.

    Arrow's own memory is used if the column is in one piece; else it is copied once, piece by piece.
    """
    dtype = np.dtype(np.int64 if pa.types.is_timestamp(column.type) else column.type.to_pandas_dtype())
    pieces = [
        np.frombuffer(chunk.buffers()[1], dtype, len(chunk), chunk.offset * dtype.itemsize)
        for chunk in column.chunks
        if len(chunk)
    ]
    if len(pieces) == 1 and pieces[0].flags.writeable:
        return pieces[0]
    return np.concatenate(pieces) if pieces else np.empty(0, dtype)


def narrow(values: NDArray[Any]) -> NDArray[Any]:
    """Ids as int32 where they all fit."""
    return values.astype(np.int32) if fit_int32(values) else values


def fit_int32(values: NDArray[Any]) -> bool:
    """Whether whole numbers are all within 32 bits."""
    return not len(values) or bool(_INT32.min <= values.min() and values.max() <= _INT32.max)


def per_second(kind: pa.DataType, options: ReadOptions) -> int:
    """How many units of a column of that type make a second, if it holds timestamps."""
    return PER_SECOND[kind.unit if pa.types.is_timestamp(kind) else options.timestamp_unit]


def in_seconds(values: NDArray[Any], unit: int) -> NDArray[Any]:
    """Timestamps as int64 seconds, or float64 where some are fractions."""
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # of an infinite one, which is refused later
            fractions = np.mod(values, unit).any()
        if fractions:
            return values / unit
        return (values if unit == 1 else values / unit).astype(np.int64)
    if unit == 1:
        return values
    whole, rest = np.divmod(values, unit)
    return whole + rest / unit if rest.any() else whole  # exact, where values / unit would not be


def _mask(answers: pa.ChunkedArray) -> Mask:
    mask: Mask = pc.fill_null(answers, False).to_numpy().astype(bool)
    return mask


def _matches(raw: pa.ChunkedArray, pattern: str) -> Mask:
    return _mask(pc.match_substring_regex(raw, pattern))


def _cast(raw: pa.ChunkedArray, ok: Mask, kind: pa.DataType) -> NDArray[Any]:
    """Text as numbers; 0 where not `ok`."""
    trimmed = pc.utf8_trim_whitespace(pc.if_else(pa.array(ok), raw, pa.scalar("0", raw.type)))
    return np.asarray(trimmed.cast(kind).to_numpy())


def _ratings(raw: pa.ChunkedArray, missing: Mask, place: str) -> ParsedColumn:
    if is_text(raw.type):
        ok = _matches(raw, NUMBER) & ~missing
        values = _cast(raw, ok, pa.float32())
        return ParsedColumn(values, [(~ok, "is not a number"), (~np.isfinite(values), "is not finite as float32")])
    values = _numbers(raw, pa.float32(), RATING, place)
    return ParsedColumn(values, [(~np.isfinite(values), "is not a finite number")])


def _numbers(raw: pa.ChunkedArray, kind: pa.DataType, role: str, place: str) -> NDArray[Any]:
    try:
        return np.asarray(raw.cast(kind, safe=False).fill_null(0).to_numpy())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:  # Arrow has no such cast
        raise DataError(f"{place}: {role} is of type {raw.type}; it must hold numbers") from error


def _timestamps(raw: pa.ChunkedArray, missing: Mask, good: Mask, options: ReadOptions, place: str) -> ParsedColumn:
    if pa.types.is_date(raw.type):
        raw = raw.cast(pa.timestamp("s"))
    unit = per_second(raw.type, options)
    if pa.types.is_timestamp(raw.type):
        values = raw.cast(pa.int64()).fill_null(0).to_numpy()
        return ParsedColumn(values, _out_of_range(values / unit, dates=True), unit)
    if is_text(raw.type):
        numeric = _matches(raw, NUMBER) & ~missing
        if 2 * (numeric & good).sum() < good.sum():
            return _dates(raw)
        short = _matches(raw, r"^\s*-?[0-9]{1,18}\s*$")
        values = _cast(raw, numeric, pa.int64() if short[numeric].all() else pa.float64())
        faults = [(~numeric, "is not a number")]
    else:
        values = _numbers(raw, pa.int64() if pa.types.is_integer(raw.type) else pa.float64(), TIMESTAMP, place)
        faults = [(~np.isfinite(values), "is not a finite number")]
    seconds = np.where(np.isfinite(values), values, 0) / unit
    return ParsedColumn(values, faults + _out_of_range(seconds, dates=False), unit)


def _dates(raw: pa.ChunkedArray) -> ParsedColumn:
    moments = pd.to_datetime(raw.to_pandas(), format="ISO8601", utc=True, errors="coerce")
    exact = moments.dt.tz_convert(None).to_numpy()
    unreadable = np.isnat(exact)
    exact = np.where(unreadable, np.datetime64(0, "s"), exact)
    whole = exact.astype("datetime64[s]")
    fraction = (exact - whole) / np.timedelta64(1, "s")
    seconds = whole.astype(np.int64) + fraction if fraction.any() else whole.astype(np.int64)
    wrong = "is neither a number nor an ISO 8601 date such as 2024-05-31T18:30:00"
    return ParsedColumn(seconds, [(unreadable, wrong), *_out_of_range(seconds, dates=True)])


def _out_of_range(seconds: NDArray[Any], *, dates: bool) -> list[tuple[Mask, str]]:
    late = "lies after the year 2199" + (
        "" if dates else "; if it is not in this unit, say e.g. data.timestamp_unit: ms"
    )
    return [(seconds < 0, "lies before 1970" if dates else "is negative"), (seconds > LATEST_TIMESTAMP, late)]


def _text_ids(raw: pa.ChunkedArray, missing: Mask, good: Mask, options: ReadOptions) -> ParsedColumn:
    if options.id_type == "text":
        return ParsedColumn(raw)
    whole = _matches(raw, INTEGER) & ~missing
    text = good & ~_matches(raw, NUMBER)
    if options.id_type == "auto" and (text.any() or (good & _matches(raw, LEADING_ZERO)).any()):
        return ParsedColumn(raw, first_text=int(np.argmax(text)) if text.any() and (whole & good).any() else None)
    faults = [(text, "is not a whole number"), (~whole, "looks like a float; ids are whole numbers or text")]
    try:
        return ParsedColumn(_cast(raw, whole, pa.int64()), faults)
    except pa.ArrowInvalid:
        fits = whole & _within_int64(raw, whole)
        return ParsedColumn(_cast(raw, fits, pa.int64()), [*faults, (~fits, _BEYOND)])


def _within_int64(raw: pa.ChunkedArray, whole: Mask) -> Mask:
    short = whole & _matches(raw, r"^\s*-?[0-9]{1,36}\s*$")
    filled = pc.utf8_trim_whitespace(pc.if_else(pa.array(short), raw, pa.scalar("0", raw.type)))
    numbers = filled.cast(pa.decimal128(38, 0))
    low, high = (pa.scalar(int(bound)).cast(pa.decimal128(38, 0)) for bound in (_INT64.min, _INT64.max))
    return short & _mask(pc.and_(pc.greater_equal(numbers, low), pc.less_equal(numbers, high)))


def _integer_ids(raw: pa.ChunkedArray, options: ReadOptions) -> ParsedColumn:
    if options.id_type == "text":
        return ParsedColumn(raw.cast(pa.large_string()))
    beyond = np.zeros(len(raw), bool)
    if pa.types.is_uint64(raw.type):
        beyond = _mask(pc.greater(raw, pa.scalar(int(_INT64.max), pa.uint64())))
    return ParsedColumn(raw.cast(pa.int64(), safe=False).fill_null(0).to_numpy(), [(beyond, _BEYOND)])
