"""Converting typed columns (Parquet, Arrow, JSON) to ids, ratings and seconds.

Whole columns are converted at once; a column with a value that does not fit goes to `bad_rows.slow_path`.

Ids are whole numbers or text. Decimals and floating-point numbers are whole numbers if every value is one that their
type holds exactly; a UUID is text; text stays text, also if it looks like numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recctl import progress
from recctl.data import text_ids
from recctl.data.arrow_columns import decode, is_uuid, uuids_to_text, value_type
from recctl.data.columns import COLUMNS, RATING, TIMESTAMP, format_value
from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers.bad_rows.rows import BadRows
from recctl.data.sources.readers.bad_rows.slow_path import parse_rows
from recctl.data.sources.readers.interface import Columns, ReadResult, RowLabeler
from recctl.data.sources.readers.timestamp_checks import check_timestamps
from recctl.data.sources.readers.values import (
    downcast_ids,
    has_valid_range,
    is_text,
    to_numpy,
    to_seconds,
    units_per_second,
)
from recctl.errors import DataError
from recctl.suggest import did_you_mean

# Up to these limits, every whole number is exact in the type.
_LARGEST_EXACT = {"halffloat": 2**11, "float": 2**24, "double": 2**53}
_WHOLE_DECIMAL = pa.decimal256(76, 0)

# Role -> the Arrow type that the fast path casts its column to; None if only the slow path can convert it.
Targets = dict[str, pa.DataType | None]


def target_type(role: str, arrow_type: pa.DataType, options: ReadOptions) -> pa.DataType | None:
    """The type that the fast path casts a column of this type to; None if only the slow path can convert it."""
    arrow_type = value_type(arrow_type)
    is_float = pa.types.is_floating(arrow_type)
    is_number = pa.types.is_integer(arrow_type) or is_float or _is_decimal(arrow_type)
    if role == RATING:
        return pa.float32() if is_number or pa.types.is_boolean(arrow_type) else None
    if role == TIMESTAMP:
        if options.timestamp_format is not None:
            return None
        if pa.types.is_timestamp(arrow_type) or pa.types.is_date(arrow_type) or pa.types.is_integer(arrow_type):
            return None if pa.types.is_uint64(arrow_type) else pa.int64()
        return pa.float64() if is_float else None
    if is_text(arrow_type) or is_uuid(arrow_type):
        return pa.large_string() if options.id_type != "int" else None
    if not is_number or options.id_type == "text" or pa.types.is_uint64(arrow_type):
        return None
    return pa.int32() if _is_within_int32(arrow_type) else pa.int64()


def convert_column(
    role: str, column: pa.ChunkedArray, target: pa.DataType | None, options: ReadOptions
) -> NDArray[Any] | pa.ChunkedArray | None:
    """A column as a NumPy array or as Arrow text; None if a value or the type needs the slow path.

    Timestamps keep their unit, see `column_units`.
    """
    if target is None or column.null_count:
        return None
    column = decode(column)
    if is_text(target):
        return _dictionary_encode(column)
    if _is_decimal(column.type) or pa.types.is_float16(column.type) or pa.types.is_date(column.type):
        try:
            column = _cast_exotic(role, column)
        except pa.ArrowInvalid:
            return None
    if role not in (RATING, TIMESTAMP) and pa.types.is_floating(column.type):
        return _whole_floats(column)
    values = to_numpy(column.cast(target, safe=False))
    return values if has_valid_range(role, values, column_units(column.type, options)) else None


def check_typed_timestamps(
    seconds: NDArray[Any], arrow_type: pa.DataType, options: ReadOptions, source: str, label_rows: RowLabeler
) -> None:
    """Check timestamps that are numbers in the file; see `timestamp_checks`."""
    arrow_type = value_type(arrow_type)
    if pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type):
        check_timestamps(seconds, options, source, lambda: label_rows([0])[0])


def column_units(arrow_type: pa.DataType, options: ReadOptions) -> int:
    """The number of units per second of a column of timestamps."""
    arrow_type = value_type(arrow_type)
    return 1 if pa.types.is_date(arrow_type) else units_per_second(arrow_type, options)


def convert_table(
    raw: Mapping[str, pa.ChunkedArray],
    extra: Mapping[str, pa.ChunkedArray],
    options: ReadOptions,
    source: str,
    label_rows: RowLabeler,
) -> ReadResult:
    """Convert whole columns, by the slow path if any value needs it.

    Args:
        raw: Each role's column, shape `(n,)`.
        extra: The extra columns, shape `(n,)`.
        options: How to convert, and what to do with bad rows.
        source: Name of the file for messages.
        label_rows: Turns row numbers into locations.

    Raises:
        DataError: A column has a type that can't hold its role, or there are bad rows and these are errors.
    """
    extra_text = {name: extra_to_text(name, column, source) for name, column in extra.items()}
    columns: Columns = {}
    for role, column in raw.items():
        values = convert_column(role, column, target_type(role, column.type, options), options)
        if values is None:
            return _convert_slowly(raw, extra_text, options, source, label_rows)
        if role == TIMESTAMP:
            values = to_seconds(values, column_units(column.type, options))
            check_typed_timestamps(values, column.type, options, source, label_rows)
        elif role != RATING and isinstance(values, np.ndarray):
            values = downcast_ids(values)
        columns[role] = values
    return ReadResult(columns | extra_text)


def extra_to_text(name: str, column: pa.ChunkedArray, source: str) -> pa.ChunkedArray:
    """A column without a role as text; missing values are empty.

    Raises:
        DataError: The column holds lists or other values that are no text.
    """
    try:
        return uuids_to_text(decode(column)).cast(pa.large_string()).fill_null("")
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):  # Arrow has no such cast
        raise DataError(f"{source}: column {name!r} is of type {column.type}, which has no form as text") from None


def extra_positions(
    names: Sequence[str], roles: Mapping[str, int], options: ReadOptions, source: str
) -> dict[str, int]:
    """The positions of the extra columns; a name of a role means its column.

    Args:
        names: The names of all columns.
        roles: The position of each role.
        options: The names of the extra columns.
        source: Name of the file for messages.

    Raises:
        DataError: There is no such column, there are several, or it is read for a role.
    """
    positions = {}
    for name in options.extra_columns:
        if name in roles:
            continue  # read as the column of the role
        if name in COLUMNS and name in options.columns:
            raise DataError(f"{source}: data.columns.{name} is null, so the column {name} is not read")
        if name not in names:
            raise DataError(f"{source}: no column {name!r}{did_you_mean(name, names)}")
        if names.count(name) > 1:
            raise DataError(f"{source}: {names.count(name)} columns are called {name!r}; rename all but one of them")
        positions[name] = names.index(name)
        for role, used in roles.items():
            if used == positions[name]:
                raise DataError(f"{source}: the column {name!r} is read as {role}; use the name {role}")
    return positions


def label_by_number(source: str) -> RowLabeler:
    """Locations of the rows of a file without lines, counted from 1."""

    def label_rows(rows: Sequence[int]) -> list[str]:
        return [f"{source}: row {row + 1}" for row in rows]

    return label_rows


def _is_within_int32(arrow_type: pa.DataType) -> bool:
    """Whether each value of the type is a value of int32, so that ids need no check and no cast to int64."""
    is_unsigned = pa.types.is_unsigned_integer(arrow_type)
    return bool(pa.types.is_integer(arrow_type) and arrow_type.bit_width <= (16 if is_unsigned else 32))


def _is_decimal(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_decimal(arrow_type))


def _cast_exotic(role: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Columns of decimals, half-precision numbers and dates as types that NumPy has."""
    if pa.types.is_date(column.type):
        return column.cast(pa.timestamp("s"))
    if pa.types.is_float16(column.type):
        # Half precision can hold 2,048 as a rounded 2,049, float32 can't; so the limit is checked here.
        limit = _LARGEST_EXACT["halffloat"]
        column = column.cast(pa.float32())
        if role not in (RATING, TIMESTAMP) and len(column) and pc.max(pc.abs(column)).as_py() > limit:
            raise pa.ArrowInvalid("beyond the whole numbers that half precision holds exactly")
        return column
    if role == RATING:
        return column.cast(pa.float32())
    # Through the widest decimal: the narrow ones can't be rescaled, and hence not cast to int64.
    return column.cast(pa.decimal256(76, max(column.type.scale, 0))).cast(pa.int64())


def _whole_floats(column: pa.ChunkedArray) -> NDArray[np.int64] | None:
    """Floating-point ids as int64; None if one is not a whole number that its type holds exactly."""
    values = to_numpy(column)
    with np.errstate(invalid="ignore"):
        is_whole = (np.abs(values) <= _LARGEST_EXACT[str(column.type)]) & (np.floor(values) == values)
    return values.astype(np.int64) if is_whole.all() else None


def _dictionary_encode(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Text as indices into its distinct values, without surrounding whitespace; None if any is empty or missing."""
    if is_uuid(column.type):
        column = uuids_to_text(column)
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    column = text_ids.trim(column)
    chunks = []
    for chunk in column.chunks:
        dictionary = chunk.dictionary.cast(pa.large_string())
        if chunk.null_count or dictionary.null_count or _has_empty_text(dictionary):
            return None
        chunks.append(pa.DictionaryArray.from_arrays(chunk.indices.cast(pa.int32()), dictionary))
    return pa.chunked_array(chunks, pa.dictionary(pa.int32(), pa.large_string()))


def _has_empty_text(texts: pa.Array) -> bool:
    if not len(texts):
        return False
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return bool((offsets[1:] == offsets[:-1]).any())


def _convert_slowly(
    raw: Mapping[str, pa.ChunkedArray],
    extra_text: Mapping[str, pa.ChunkedArray],
    options: ReadOptions,
    source: str,
    label_rows: RowLabeler,
) -> ReadResult:
    """Parse each cell; cells that have no form as id are bad rows from the start."""
    n_rows = len(next(iter(raw.values())))
    bad_rows = BadRows()
    is_good = np.ones(n_rows, bool)
    columns = {}
    for role, column in raw.items():
        decoded = decode(column)
        if role == RATING and not options.needs_ratings and not _may_be_numbers(decoded.type):
            progress.notice(
                f"{source}: rating is of type {decoded.type}; ratings are not used, so the column is left out"
            )
        elif role == RATING:
            columns[role] = _raw_ratings(decoded)
        elif role == TIMESTAMP:
            columns[role] = _raw_timestamps(decoded, source)
        else:
            columns[role], is_bad, reason = _raw_ids(role, decoded, options, source)
            rows = np.flatnonzero(is_bad & is_good)
            is_good[rows] = False
            bad_rows.add(rows, partial(_describe, role, decoded, rows, reason))
    if bad_rows.count:
        keep = pa.array(is_good)
        columns = {role: column.filter(keep) for role, column in columns.items()}
        extra_text = {name: column.filter(keep) for name, column in extra_text.items()}
    return parse_rows(columns, np.flatnonzero(is_good), bad_rows, options, source, label_rows, extra_text)


def _describe(role: str, column: pa.ChunkedArray, rows: NDArray[np.int64], reason: str, i: int) -> str:
    return f"{role} {format_value(column[int(rows[i])].as_py())} {reason}"


def _may_be_numbers(arrow_type: pa.DataType) -> bool:
    is_number = pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type) or _is_decimal(arrow_type)
    is_other = pa.types.is_boolean(arrow_type) or pa.types.is_null(arrow_type) or pa.types.is_dictionary(arrow_type)
    return is_number or is_other or is_text(arrow_type)


def _raw_ratings(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if _is_decimal(column.type) or pa.types.is_boolean(column.type) or pa.types.is_null(column.type):
        return column.cast(pa.float32())
    return column.cast(pa.float32()) if pa.types.is_float16(column.type) else column


def _raw_timestamps(column: pa.ChunkedArray, source: str) -> pa.ChunkedArray:
    arrow_type = column.type
    if pa.types.is_time(arrow_type) or pa.types.is_duration(arrow_type) or pa.types.is_boolean(arrow_type):
        raise DataError(
            f"{source}: {TIMESTAMP} is of type {arrow_type}; it must hold points in time: dates, or numbers since 1970"
        )
    if _is_decimal(arrow_type):
        try:
            return column.cast(pa.decimal256(76, max(arrow_type.scale, 0))).cast(pa.int64())
        except pa.ArrowInvalid:  # fractions
            return column.cast(pa.float64())
    if pa.types.is_null(arrow_type):
        return column.cast(pa.int64())
    return column.cast(pa.float32()) if pa.types.is_float16(arrow_type) else column


def _raw_ids(
    role: str, column: pa.ChunkedArray, options: ReadOptions, source: str
) -> tuple[pa.ChunkedArray, NDArray[np.bool_], str]:
    """Ids as integers or text, a mask of the values that have no such form, and the reason for these."""
    arrow_type = column.type
    is_good = np.ones(len(column), bool)
    if pa.types.is_null(arrow_type):
        return column.cast(pa.int64()), ~is_good, ""
    if is_uuid(arrow_type):
        return uuids_to_text(column), ~is_good, ""
    if pa.types.is_floating(arrow_type):
        limit = _LARGEST_EXACT[str(arrow_type)]
        values = column.cast(pa.float64()).to_numpy()  # missing values become NaN, which is a missing id as well
        with np.errstate(invalid="ignore"):
            is_whole = (np.abs(values) <= limit) & (np.floor(values) == values)
        ids = pa.array(np.where(is_whole, values, 0).astype(np.int64), mask=~is_whole)
        reason = f"is not a whole number up to {limit:,}; ids must be whole numbers or text"
        return pa.chunked_array([ids]), ~is_whole & ~np.isnan(values), reason
    if _is_decimal(arrow_type):
        wide = column.cast(pa.decimal256(76, max(arrow_type.scale, 0)))
        # A decimal has no floor at this width, but its text shows whether there is a fraction.
        texts = wide.cast(pa.large_string())
        has_fraction = pc.match_substring_regex(texts, r"\.[0-9]*[1-9]|[eE]-").fill_null(False).to_numpy()
        whole = pc.if_else(pa.array(has_fraction), None, wide).cast(_WHOLE_DECIMAL).cast(pa.large_string())
        is_beyond = ~has_fraction & _is_beyond_int64(whole) & (options.id_type != "text")
        if options.id_type == "text":
            return whole, has_fraction, "is not a whole number; ids must be whole numbers or text"
        ids = pc.if_else(pa.array(is_beyond), None, whole).cast(pa.int64())
        reason = "is not a whole number within int64; keep larger ones as text (data.id_type: text)"
        return ids, has_fraction | is_beyond, reason
    if pa.types.is_binary(arrow_type) or pa.types.is_large_binary(arrow_type) or "binary_view" in str(arrow_type):
        return _decode_binary(column)
    stored = value_type(arrow_type)
    if not is_text(stored) and not pa.types.is_integer(stored):
        raise DataError(f"{source}: {role} is of type {arrow_type}; ids must be whole numbers or text")
    return column, ~is_good, ""


def _is_beyond_int64(whole: pa.ChunkedArray) -> NDArray[np.bool_]:
    limits = np.iinfo(np.int64)
    values = [value is not None and not limits.min <= int(value) <= limits.max for value in whole.to_pylist()]
    return np.array(values, bool)


def _decode_binary(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, NDArray[np.bool_], str]:
    """Binary columns, which old writers use for text."""
    try:
        return column.cast(pa.large_binary()).cast(pa.large_string()), np.zeros(len(column), bool), ""
    except pa.ArrowInvalid:
        texts: list[str | None] = []
        for value in column.to_pylist():
            try:
                texts.append(None if value is None else value.decode())
            except UnicodeDecodeError:
                texts.append(None)
        decoded = pa.chunked_array([pa.array(texts, pa.large_string())])
        is_bad = decoded.is_null().to_numpy() & ~column.is_null().to_numpy()
        return decoded, is_bad, "is not UTF-8 text"
