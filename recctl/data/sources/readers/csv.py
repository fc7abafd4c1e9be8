"""Reading delimited text: CSV, TSV, RecBole's .inter and similar files.

Arrow parses typed columns on all threads. Only if that fails, or a value is out of range, the file is read again as
text to find the bad rows.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from recctl import progress
from recctl.data.columns import RATING, TIMESTAMP, format_value
from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers import column_roles
from recctl.data.sources.readers.bad_rows.line_numbers import count_lines, label_records
from recctl.data.sources.readers.bad_rows.rows import BadRows
from recctl.data.sources.readers.bad_rows.slow_path import parse_rows
from recctl.data.sources.readers.compression import (
    UNIT_SEPARATOR,
    DelimiterReplacingStream,
    LineCountingStream,
    open_decompressed,
)
from recctl.data.sources.readers.csv_dialect import CsvDialect, sniff_dialect
from recctl.data.sources.readers.interface import Columns, ReadResult
from recctl.data.sources.readers.values import (
    INTEGER,
    LEADING_ZERO,
    MISSING,
    NUMBER,
    downcast_ids,
    has_valid_range,
    is_text,
    to_numpy,
    to_seconds,
    units_per_second,
)
from recctl.errors import DataError

# An id of this many digits may be beyond int32.
_INT32_DIGITS = 10

# The end of an ISO 8601 datetime with a time zone.
_TIME_ZONE = r"(Z|[+-]\d\d:?\d\d)$"
_DATE_AND_HOUR_LENGTH = len("2024-05-31T18")  # a shorter text ends like a time zone but is a date: 2024-05-31

_RaggedRowHandler = Callable[[Any], str]


class _CsvFile(NamedTuple):
    """A file with what is known of it before it is read."""

    path: Path
    dialect: CsvDialect
    roles: dict[str, int]

    @property
    def name(self) -> str:
        return self.path.name


def read_delimited(path: Path, options: ReadOptions) -> ReadResult:
    """Read a delimited text file; see `readers.interface`.

    Raises:
        DataError: The file, a column or a row can't be read.
    """
    with open_decompressed(path) as stream:
        dialect = sniff_dialect(stream, options, path.name)
    file = _CsvFile(path, dialect, _assign_roles(dialect, options, path.name))
    if not dialect.records:
        raise DataError(f"{path.name}: the file has a header but no rows")
    types = {role: _guess_type(role, dialect.sample_values(position), options) for role, position in file.roles.items()}
    # Most files have no bad rows. Trying the fast path first costs a bad file one more pass, and saves a good one the
    # check of each cell.
    try:
        columns = _to_columns(_read_typed(file, types), dialect, options)
    except pa.ArrowInvalid:
        columns = None
    if columns is None:
        return _read_slowly(file, options)
    return ReadResult(columns)


def _assign_roles(dialect: CsvDialect, options: ReadOptions, source: str) -> dict[str, int]:
    if dialect.names is not None:
        return column_roles.roles_from_header(dialect.names, options.columns, source)
    roles = column_roles.roles_from_positions(dialect.n_fields, options.columns, source)
    if not options.columns:
        progress.notice(f"{source}: no header; reading the columns as {', '.join(roles)}")
    return roles


def _guess_type(role: str, sample: Sequence[str], options: ReadOptions) -> pa.DataType:
    """The type of most of the sampled values; a wrong guess fails and is corrected by the slow path."""
    if role == RATING:
        return pa.float32()
    if role == TIMESTAMP:
        return _guess_timestamp_type(sample)
    if options.id_type != "auto":
        return pa.int64() if options.id_type == "int" else pa.large_string()
    # Only the sample is checked: Arrow parses "007" as 7, so leading zeros that occur only further down are lost.
    if any(re.match(LEADING_ZERO, value) for value in sample):
        return pa.large_string()
    # Floats count too: they fail as int64, and the slow path then names them.
    return pa.int64() if _most_match(NUMBER, sample) else pa.large_string()


def _guess_timestamp_type(sample: Sequence[str]) -> pa.DataType:
    if _most_match(INTEGER, sample):
        return pa.int64()
    if _most_match(NUMBER, sample):
        return pa.float64()
    # Arrow parses datetimes either all with or all without a time zone; the slow path reads a mixture.
    zoned = [value for value in sample if len(value) >= _DATE_AND_HOUR_LENGTH and re.search(_TIME_ZONE, value)]
    return pa.timestamp("ns", "UTC" if 2 * len(zoned) > len(sample) else None)


def _most_match(pattern: str, sample: Sequence[str]) -> bool:
    return 2 * sum(bool(re.match(pattern, value)) for value in sample) > len(sample)


def _read_typed(file: _CsvFile, types: dict[str, pa.DataType]) -> pa.Table:
    """Read the columns in these types, but ids as int32 if the sampled ones are short and all fit."""
    int32_types = {}
    for role, arrow_type in types.items():
        if role != TIMESTAMP and arrow_type == pa.int64():
            sample = file.dialect.sample_values(file.roles[role])
            if all(len(value) < _INT32_DIGITS for value in sample):
                int32_types[role] = pa.int32()
    if int32_types:
        # If an id beyond int32 is not the reason, the second attempt fails too.
        with suppress(pa.ArrowInvalid):
            return _read_table(file, types | int32_types)
    return _read_table(file, types)


def _read_table(
    file: _CsvFile, types: dict[str, pa.DataType], on_ragged_row: _RaggedRowHandler | None = None
) -> pa.Table:
    """Read the columns of the roles with Arrow.

    Args:
        file: The file.
        types: The type of each role's column.
        on_ragged_row: Called for each row with a wrong number of fields; such rows are skipped. If given, one thread is
            used and any quoted field may span lines. If None, such rows raise.

    Raises:
        pyarrow.ArrowInvalid: A value is not of its type, or a quoted field spans lines unexpectedly.
    """
    dialect = file.dialect
    is_slow = on_ragged_row is not None
    with open_decompressed(file.path) as stream:
        # newlines_in_values slows Arrow down. Without it, a quoted field that spans lines may be cut at the end of a
        # block without an error, so count the lines to notice such fields.
        counter = None
        if dialect.quoted and not dialect.multiline and not is_slow:
            stream = counter = LineCountingStream(stream)
        delimiter = dialect.delimiter
        if len(delimiter) > 1:
            stream = DelimiterReplacingStream(stream, delimiter)
            delimiter = UNIT_SEPARATOR
        table = pacsv.read_csv(
            stream,
            read_options=pacsv.ReadOptions(
                column_names=_column_names(file), skip_rows=dialect.n_header_lines, use_threads=not is_slow
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=delimiter,
                # Without quotes in the sample, a quote further down makes the fast path fail instead of silently
                # swallowing lines.
                quote_char='"' if dialect.quoted or is_slow else False,
                newlines_in_values=dialect.multiline or is_slow,
                invalid_row_handler=on_ragged_row,
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=types,
                include_columns=list(file.roles),
                null_values=MISSING,
                strings_can_be_null=True,
            ),
        )
    if counter is not None:
        # Rows and lines must agree; the last line may have no line end.
        n_unterminated = len(table) + dialect.n_header_lines - counter.n_newlines
        if not 0 <= n_unterminated <= 1:
            raise pa.ArrowInvalid("a quoted field spans lines, but none in the sample did")
    return table


def _column_names(file: _CsvFile) -> list[str]:
    """One name per field: the roles, and placeholders for fields that are not read."""
    names = [f"_{position}" for position in range(file.dialect.n_fields)]
    for role, position in file.roles.items():
        names[position] = role
    return names


def _to_columns(table: pa.Table, dialect: CsvDialect, options: ReadOptions) -> Columns | None:
    """Convert the columns to their final types; None if a value is missing, out of range or has a stray quote."""
    if not len(table) or any(column.null_count for column in table.columns):
        return None
    names = table.column_names
    arrow_columns = table.columns
    del table
    columns: Columns = {}
    for role in names:
        # Drop the previous Arrow column before the next one is copied, so that only one exists twice at a time.
        column = None
        pa.default_memory_pool().release_unused()
        column = arrow_columns.pop(0)
        if is_text(column.type):
            # Read without quoting, such a value would keep its quotes.
            if not dialect.quoted and pc.any(pc.starts_with(column, '"')).as_py():
                return None
            columns[role] = column
            continue
        values = to_numpy(column)
        units = units_per_second(column.type, options)
        if not has_valid_range(role, values, units):
            return None
        if role == TIMESTAMP:
            columns[role] = to_seconds(values, units)
        elif role == RATING:
            columns[role] = values
        else:
            columns[role] = downcast_ids(values)
    return columns


def _read_slowly(file: _CsvFile, options: ReadOptions) -> ReadResult:
    """Read all columns as bytes, and parse each cell to find the bad rows."""
    dialect = file.dialect
    ragged_records: list[int] = []
    ragged_reasons: list[str] = []

    def on_ragged_row(row: Any) -> str:
        ragged_records.append(row.number - 1 - dialect.n_header_lines)
        ragged_reasons.append(f"fields: {row.actual_columns}, expected {dialect.n_fields}: {format_value(row.text)}")
        return "skip"

    try:
        with _ignore_unraisable(on_ragged_row):
            # As bytes, because one value that is not UTF-8 would make Arrow reject the whole file.
            table = _read_table(file, dict.fromkeys(file.roles, pa.binary()), on_ragged_row)
    except pa.ArrowInvalid as error:
        raise DataError(f"{file.name}: {str(error).splitlines()[0]}") from error
    n_records = len(table) + len(ragged_records)
    if not n_records:
        raise DataError(f"{file.name}: the file has a header but no rows")
    bad_rows = BadRows()
    bad_rows.add(np.array(ragged_records, np.int64), ragged_reasons.__getitem__)
    _warn_about_unclosed_quote(file, n_records)
    return parse_rows(
        {role: table[role] for role in file.roles},
        np.delete(np.arange(n_records), ragged_records),
        bad_rows,
        options,
        file.name,
        partial(label_records, file.path, dialect),
    )


def _warn_about_unclosed_quote(file: _CsvFile, n_records: int) -> None:
    # An unclosed quote swallows all lines up to the next quote, which looks like one multiline field.
    if file.dialect.multiline:
        return
    n_lines = count_lines(file.path, file.dialect)
    if n_lines > n_records:
        progress.notice(
            f"{file.name}: {n_records:,} rows on {n_lines:,} lines; unless quoted fields are meant to span several "
            "lines, a quote is not closed and rows are lost in it"
        )


@contextmanager
def _ignore_unraisable(handler: _RaggedRowHandler) -> Iterator[None]:
    """Suppress what pyarrow prints when it can't call `handler`.

    This happens for a ragged row that is not UTF-8. Reading then fails with an error of its own.
    """
    previous_hook = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if unraisable.object is not handler:
            previous_hook(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = previous_hook
