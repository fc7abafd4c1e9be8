"""Reading delimited text: CSV, TSV, RecBole's .inter and similar files.

Arrow parses typed columns on all threads. Only if that fails, or a value is out of range, the file is read again as
text to find the bad rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recctl import progress
from recctl.data import text_ids
from recctl.data.columns import COLUMNS, ITEM, RATING, TIMESTAMP, USER, format_value
from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers import column_roles
from recctl.data.sources.readers.bad_rows.line_numbers import label_records
from recctl.data.sources.readers.bad_rows.rows import BadRows
from recctl.data.sources.readers.bad_rows.slow_path import notice_text_among_integers, parse_rows
from recctl.data.sources.readers.csv_dialect import CsvDialect, sniff_dialect
from recctl.data.sources.readers.csv_file import CsvFile, parse_records
from recctl.data.sources.readers.interface import Columns, ReadResult
from recctl.data.sources.readers.text_stream import (
    AtypicalSampleError,
    RaggedRecord,
    RecordChecks,
    RecordStream,
    open_text,
)
from recctl.data.sources.readers.time_columns import N_SAMPLED, find_unused_columns
from recctl.data.sources.readers.timestamp_checks import check_timestamps
from recctl.data.sources.readers.values import (
    INTEGER,
    NUMBER,
    downcast_ids,
    has_valid_range,
    is_text,
    missing_words,
    to_numpy,
    to_seconds,
    units_per_second,
)
from recctl.data.sources.readers.zero_fields import ZeroFieldStream
from recctl.data.text_ids import PLAIN_INTEGER
from recctl.data.timestamps import parse_with_format
from recctl.errors import DataError
from recctl.suggest import did_you_mean

# An id of this many digits may be beyond int32.
_INT32_DIGITS = 10

# The end of an ISO 8601 datetime with a time zone.
_TIME_ZONE = r"(Z|[+-]\d\d:?\d\d)$"
_DATE_AND_HOUR_LENGTH = len("2024-05-31T18")  # a shorter text ends like a time zone but is a date: 2024-05-31


def read_delimited(path: Path, options: ReadOptions) -> ReadResult:
    """Read a delimited text file; see `readers.interface`.

    Raises:
        DataError: The file, a column or a row can't be read.
    """
    with open_text(path, options.encoding) as stream:
        dialect = sniff_dialect(stream, options, path.name)
    roles = _assign_roles(dialect, options, path.name)
    unused = find_unused_columns(
        dialect.names, dialect.n_fields, options.columns, roles, path.name, partial(_first_values, dialect)
    )
    extra = _find_extra_columns(dialect, roles, options, path.name)
    file = CsvFile(path, dialect, options.encoding, options.decimal, roles, extra)
    if not dialect.records and dialect.names is not None and not dialect.quoted:
        raise DataError(f"{path.name}: the file has a header but no rows")
    while True:
        try:
            result = _read(file, options)
        except AtypicalSampleError as atypical:
            file = file.adapted_to(atypical)
        else:
            result.unused = unused
            return result


def _first_values(dialect: CsvDialect, positions: Sequence[int]) -> dict[int, list[str]]:
    return {position: dialect.sample_values(position)[:N_SAMPLED] for position in positions}


def _read(file: CsvFile, options: ReadOptions) -> ReadResult:
    """Read a file; raises `AtypicalSampleError` if its dialect is another one."""
    dialect = file.dialect
    if dialect.layout.quote not in ('"', None):
        # Nothing finds zeros at the beginning of ids in such quotes while Arrow reads them as numbers.
        return _read_slowly(file, options)
    types = {role: _guess_type(role, dialect.sample_values(position), options) for role, position in file.roles.items()}
    # Most files have no bad rows. Trying the fast path first costs a bad file one more pass, and saves a good one the
    # check of each cell.
    try:
        columns = _to_columns(_read_typed(file, types, options), file, options)
    except pa.ArrowInvalid:
        columns = None
    if columns is None:
        return _read_slowly(file, options)
    return ReadResult(columns)


def _find_extra_columns(
    dialect: CsvDialect, roles: dict[str, int], options: ReadOptions, source: str
) -> dict[str, int]:
    """The positions of the extra columns, each a name in the header or, without a header, a position."""
    extra: dict[str, int] = {}
    for name in options.extra_columns:
        if name in roles:
            continue  # read as the column of the role
        if name in COLUMNS and name in options.columns:
            raise DataError(f"{source}: data.columns.{name} is null, so the column {name} is not read")
        position = _find_column(name, dialect)
        if position is None:
            if dialect.names is None:
                raise DataError(
                    f"{source}: no column {name!r}: the file has no header; name columns by position, 0 to "
                    f"{dialect.n_fields - 1}"
                )
            raise DataError(f"{source}: no column {name!r}{did_you_mean(name, dialect.names)}")
        for role, used in roles.items():
            if used == position:
                raise DataError(f"{source}: the column {name!r} is read as {role}; use the name {role}")
        extra[name] = position
    return extra


def _find_column(name: str, dialect: CsvDialect) -> int | None:
    if dialect.names is None:
        is_position = re.fullmatch("[0-9]{1,9}", name) and int(name) < dialect.n_fields
        return int(name) if is_position else None
    for names in (dialect.names, [column.split(":")[0] for column in dialect.names]):
        if name in names:
            return names.index(name)
    return None


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
        return pa.large_string() if options.timestamp_format else _guess_timestamp_type(sample)
    if options.id_type == "int":
        return pa.int64()
    # One id that is no plain integer decides that the column is read as text; `text_ids` then decides for what it is.
    is_plain = options.id_type == "auto" and all(re.match(PLAIN_INTEGER, value) for value in sample)
    return pa.int64() if sample and is_plain else pa.large_string()


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


def _read_typed(file: CsvFile, types: dict[str, pa.DataType], options: ReadOptions) -> pa.Table:
    """Read the columns in these types, but ids as int32 if the sampled ones are short and all fit.

    Raises:
        pyarrow.ArrowInvalid: A value is not of its type, or only Arrow takes it for a whole number.
    """
    int32_types = {}
    for role, arrow_type in types.items():
        if role != TIMESTAMP and arrow_type == pa.int64():
            sample = file.dialect.sample_values(file.roles[role])
            if all(len(value) < _INT32_DIGITS for value in sample):
                int32_types[role] = pa.int32()
    if int32_types:
        # If an id beyond int32 is not the reason, the second attempt fails too.
        with suppress(pa.ArrowInvalid):
            return _read_integers(file, types | int32_types, options)
    return _read_integers(file, types, options)


def _read_integers(file: CsvFile, types: dict[str, pa.DataType], options: ReadOptions) -> pa.Table:
    """Read the columns in these types; ids as text where Arrow reads `007` or `0x1F` as a whole number.

    Raises:
        pyarrow.ArrowInvalid: A value is not of its type, or only Arrow takes it for a whole number.
    """
    integer_roles = [role for role, arrow_type in types.items() if pa.types.is_integer(arrow_type)]
    if not integer_roles:
        return _read_table(file, types, options)
    scans: list[ZeroFieldStream] = []
    table = _read_table(file, types, options, scans=scans)
    misread = [role for role in integer_roles if scans[0].has_zero_field(file.roles[role])]
    if not misread:
        return table
    if options.id_type == "int" or TIMESTAMP in misread:
        raise pa.ArrowInvalid("not all whole numbers are written as such")
    return _read_table(file, types | dict.fromkeys(misread, pa.large_string()), options)


def _read_table(
    file: CsvFile, types: dict[str, pa.DataType], options: ReadOptions, scans: list[ZeroFieldStream] | None = None
) -> pa.Table:
    """Read the columns of the roles in these types, and the extra columns as text; every record must have a row.

    Args:
        file: The file.
        types: The type of each role's column.
        options: Decides which texts mean that a value is missing.
        scans: If given, the text is scanned for what Arrow would misread, and the scan is added.

    Raises:
        pyarrow.ArrowInvalid: A value is not of its type, or a record has a wrong number of fields.
        AtypicalSampleError: The dialect of the file is another one.
    """
    dialect = file.dialect
    checks = RecordChecks(
        file.name,
        shapes=file.column_shapes(),
        allows_multiline=dialect.multiline,
    )
    with open_text(file.path, file.encoding) as text:
        stream = RecordStream(text, dialect.layout, checks)
        arrow_stream: RecordStream | ZeroFieldStream = stream
        if scans is not None:
            layout = dialect.layout
            # With escaped quotes, the scan can't tell where a quoted field ends either.
            has_unclear_lines = dialect.multiline or layout.escape is not None
            arrow_stream = ZeroFieldStream(stream, layout.output_delimiter, layout.quote is not None, has_unclear_lines)
            scans.append(arrow_stream)
        columns = types | dict.fromkeys(file.extra, pa.large_string())
        try:
            table = parse_records(arrow_stream, file, columns, missing_words(USER, options))
        except pa.ArrowInvalid:
            _require_expected_quotes(stream, dialect)
            raise
        _require_expected_quotes(stream, dialect)
    file.require_all_records(stream.n_records)
    if len(table) != stream.n_records:
        raise pa.ArrowInvalid(f"{stream.n_records:,} records were read as {len(table):,} rows")
    return table


def _require_expected_quotes(stream: RecordStream, dialect: CsvDialect) -> None:
    if stream.has_quotes and not dialect.quoted:
        raise AtypicalSampleError("there are quotes, but none in the sample")


def _to_columns(table: pa.Table, file: CsvFile, options: ReadOptions) -> Columns | None:
    """Convert the columns to their final types; None if a value is missing or out of range.

    Raises:
        pyarrow.ArrowInvalid: An id is beyond int64.
        DataError: The timestamps are dates that were taken for seconds.
    """
    if not len(table) or any(column.null_count for column in table.columns):
        return None
    names = table.column_names
    arrow_columns = table.columns
    del table
    columns: Columns = {}
    has_counts = False
    for role in names:
        # Drop the previous Arrow column before the next one is copied, so that only one exists twice at a time.
        column = None
        pa.default_memory_pool().release_unused()
        column = arrow_columns.pop(0)
        if is_text(column.type):
            converted = _convert_text(role, column, file, options)
            if converted is None:
                return None
            columns[role] = converted
            continue
        values = to_numpy(column)
        units = units_per_second(column.type, options)
        if not has_valid_range(role, values, units):
            return None
        if role == TIMESTAMP:
            has_counts = not pa.types.is_timestamp(column.type)
            columns[role] = to_seconds(values, units)
        elif role == RATING:
            columns[role] = values
        else:
            columns[role] = downcast_ids(values)
    if _repeats_header(columns, file):
        return None
    _send_notices(columns, has_counts, file, options)
    return columns


def _repeats_header(columns: Columns, file: CsvFile) -> bool:
    """Whether a row holds the names of the id columns, as happens where files are joined."""
    ids = {role: columns[role] for role in (USER, ITEM) if role in columns}
    # Names are no numbers.
    if file.dialect.names is None or any(isinstance(column, np.ndarray) for column in ids.values()):
        return False
    # The rows have to be compared only if each of the names is an id.
    names = {role: file.dialect.names[file.roles[role]] for role in ids}
    if not all(names[role] and text_ids.contains(column, names[role]) for role, column in ids.items()):
        return False
    return bool(_rows_of_names(ids, file).any())


def _rows_of_names(columns: Mapping[str, pa.ChunkedArray], file: CsvFile) -> NDArray[np.bool_]:
    """The rows that hold the names of these columns in the header, `(n_rows,)`."""
    assert file.dialect.names is not None
    holds_names: Any = True
    for role, column in columns.items():
        name = pa.scalar(file.dialect.names[file.roles[role]].encode(), pa.binary()).cast(column.type)
        holds_names = holds_names & pc.equal(column, name).to_numpy().astype(bool)
    return np.asarray(holds_names, bool)


def _convert_text(name: str, column: pa.ChunkedArray, file: CsvFile, options: ReadOptions) -> Any:
    """A column read as text in its final type; None if a value is missing or can't be read."""
    if name not in file.roles:
        return column
    return _convert_dates(column, options) if name == TIMESTAMP else _convert_ids(name, column, file, options)


def _convert_ids(role: str, column: pa.ChunkedArray, file: CsvFile, options: ReadOptions) -> Any:
    """Ids read as text in their final type; None if one is missing."""
    ids = text_ids.trim(column)
    # Arrow has found the missing ones except those that became such by trimming, and any beside extra columns.
    if (ids is not column or file.extra) and text_ids.has_any(ids, missing_words(role, options)):
        return None
    if options.id_type == "text":
        return ids
    integers = text_ids.to_integers(ids)
    return ids if integers is None else downcast_ids(integers)


def _convert_dates(column: pa.ChunkedArray, options: ReadOptions) -> NDArray[Any] | None:
    """Timestamps of the specified format in seconds; None if one can't be read."""
    assert options.timestamp_format is not None
    seconds, is_unreadable = parse_with_format(text_ids.trim(column), options.timestamp_format)
    if is_unreadable.any() or not has_valid_range(TIMESTAMP, seconds, 1):
        return None
    return seconds


def _send_notices(columns: Columns, has_counts: bool, file: CsvFile, options: ReadOptions) -> None:
    def label_row(row: int) -> str:
        return label_records(file.path, file.dialect, file.encoding, [row])[0]

    if has_counts:
        check_timestamps(columns[TIMESTAMP], options, file.name, lambda: label_row(0))
    if options.id_type == "auto":
        # The ids of a part may be in the name of its folder.
        for role in (USER, ITEM):
            if role in columns:
                notice_text_among_integers(role, columns[role], label_row)


def _read_slowly(file: CsvFile, options: ReadOptions) -> ReadResult:
    """Read all columns as bytes, and parse each cell to find the bad rows."""
    dialect = file.dialect
    # As bytes, because one value that is not UTF-8 would make Arrow reject the whole file.
    types = dict.fromkeys([*file.roles, *file.extra], pa.binary())
    checks = RecordChecks(file.name, n_fields=dialect.n_fields, shapes=file.column_shapes())
    with open_text(file.path, file.encoding) as text:
        stream = RecordStream(text, dialect.layout, checks)
        try:
            table = parse_records(stream, file, types, [], is_slow=True)
        except pa.ArrowInvalid as error:
            # Arrow does not accept a file without rows.
            if not stream.is_at_end or stream.n_records > len(stream.ragged):
                raise DataError(f"{file.name}: {str(error).splitlines()[0]}") from error
            table = pa.schema(types).empty_table()
    file.require_all_records(stream.n_records)
    if not stream.n_records:
        raise DataError(f"{file.name}: the file has a header but no rows")
    if len(table) + len(stream.ragged) != stream.n_records:
        raise DataError(
            f"{file.name}: {stream.n_records:,} records were read as {len(table):,} rows; if quotes are ordinary "
            "characters in this file, set data.quoting: false"
        )
    ragged_records = [record.number for record in stream.ragged]
    row_numbers = np.delete(np.arange(stream.n_records), ragged_records)
    bad_rows = BadRows(None if dialect.names else _first_row_hint(dialect))
    bad_rows.add(np.array(ragged_records, np.int64), lambda i: _describe_ragged(stream.ragged[i], dialect.n_fields))
    if dialect.names is not None and file.roles:
        repeats_header = _rows_of_names({role: table[role] for role in file.roles}, file)
        bad_rows.add(row_numbers[repeats_header], lambda _: "repeats the header")
        row_numbers = row_numbers[~repeats_header]
        table = table.filter(pa.array(~repeats_header))
    return parse_rows(
        {name: table[name] for name in types},
        row_numbers,
        bad_rows,
        options,
        file.name,
        partial(label_records, file.path, dialect, file.encoding),
    )


def _first_row_hint(dialect: CsvDialect) -> str:
    """What to do if the first row of a file without a header is bad."""
    n_lines = dialect.layout.n_skipped_lines
    return f"if it is a header, set data.header: true; if the table begins below it, set data.skip_lines: {n_lines + 1}"


def _describe_ragged(record: RaggedRecord, n_fields: int) -> str:
    return f"fields: {record.n_fields}, expected {n_fields}: {format_value(record.text)}"
