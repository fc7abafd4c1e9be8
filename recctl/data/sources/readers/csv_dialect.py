"""Detecting the dialect of a delimited text file (delimiter, header, quoting) from its first lines."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from recctl.data.columns import ITEM, USER
from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers.column_roles import KNOWN_NAMES, is_known_name, normalize_name
from recctl.data.sources.readers.compression import UNIT_SEPARATOR, ReadableStream
from recctl.data.sources.readers.values import INTEGER, MISSING, NUMBER
from recctl.errors import DataError

SAMPLE_BYTES = 1 << 18
_SAMPLE_RECORDS = 200
_DELIMITERS = ("\t", "::", ";", "|", ",", " ")  # the first of equally good ones is used
# If fewer lines than this share have the most frequent number of fields, a file of integers holds one list per line.
_MIN_EQUAL_WIDTHS = 0.7


@dataclass(frozen=True)
class CsvDialect:
    """How a delimited text file is written.

    Attributes:
        delimiter: The field separator.
        n_header_lines: Lines before the first record of data.
        names: The column names in the header; None without a header.
        records: The first records of data.
        n_fields: Number of fields of a record.
        quoted: Whether the sample contains quotes.
        multiline: Whether a quoted field in the sample spans several lines.
    """

    delimiter: str
    n_header_lines: int
    names: list[str] | None
    records: list[list[str]]
    n_fields: int
    quoted: bool
    multiline: bool

    def sample_values(self, column: int) -> list[str]:
        """The values of a column in the first records, without missing ones."""
        complete = [record for record in self.records if len(record) == self.n_fields]
        return [record[column].strip() for record in complete if record[column] not in MISSING]


class _Sample(NamedTuple):
    """The first records of a text split at some delimiter, and the line on which the first record ends."""

    delimiter: str
    records: list[list[str]]
    first_record_end: int


def sniff_dialect(stream: ReadableStream, options: ReadOptions, source: str) -> CsvDialect:
    """Detect what `options` do not specify.

    Args:
        stream: The text from its beginning; about `SAMPLE_BYTES` of it are read.
        options: Delimiter and header, if the user specified them.
        source: Name of the file for error messages.

    Raises:
        DataError: The text is empty, binary, has only one column, or can be read in several ways.
    """
    text = _read_sample(stream, source)
    sample = _split_sample(text, options, source)
    records = sample.records
    # The header may have another width than the data: a trailing delimiter, or none for an index column.
    widths = Counter(map(len, records[1:] or records))
    n_fields = widths.most_common(1)[0][0]
    has_header = options.header
    if has_header is None:
        has_header = _has_header(records, options, source)
    if not has_header and options.format == "auto":
        _reject_lists(records, source)
    names = [name.strip() for name in records[0]] if has_header else None
    spans_lines = [_spans_lines(value, sample.delimiter, n_fields) for record in records for value in record]
    return CsvDialect(
        delimiter=sample.delimiter,
        n_header_lines=sample.first_record_end if has_header else 0,
        names=names,
        records=records[1:] if has_header else records,
        n_fields=len(names) if names else n_fields,
        quoted='"' in text,
        multiline=any(spans_lines),
    )


def require_utf8(sample: bytes, source: str) -> None:
    """Reject binary files and UTF-16, which both contain NUL bytes.

    Raises:
        DataError: There is a NUL byte.
    """
    if b"\0" in sample:
        raise DataError(f"{source}: not UTF-8 text (binary or UTF-16?); save the file as UTF-8")


def _read_sample(stream: ReadableStream, source: str) -> str:
    """The whole lines in the first `SAMPLE_BYTES`."""
    sample = stream.read(SAMPLE_BYTES)
    require_utf8(sample, source)
    text = sample.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace")
    is_cut = len(sample) == SAMPLE_BYTES
    # The last line of a cut sample is incomplete.
    if is_cut and "\n" in text:
        text = text[: text.rindex("\n") + 1]
    if not text.strip():
        raise DataError(f"{source}: the file is empty")
    return text


def _split_sample(text: str, options: ReadOptions, source: str) -> _Sample:
    """Split the sample at the specified delimiter, or at the one that gives the most plausible table.

    A delimiter that shows a header with a user and an item column wins, then the one by which most records have the
    same number of fields.
    """
    specified = options.delimiter
    if specified is None and options.format == "tsv":
        specified = "\t"
    best: _Sample | None = None
    best_score = (False, 0.0)
    for delimiter in [specified] if specified else _DELIMITERS:
        sample = _parse_records(text, delimiter, source)
        width, frequency = Counter(map(len, sample.records)).most_common(1)[0]
        names = {normalize_name(name) for name in sample.records[0]}
        has_known_header = all(names.intersection(KNOWN_NAMES[role]) for role in (USER, ITEM))
        score = (has_known_header, frequency / len(sample.records))
        is_table = width > 1 or has_known_header or specified is not None
        if is_table and (best is None or score > best_score):
            best = sample
            best_score = score
    if best is None:
        first_line = re.split(r"[\r\n]", text.strip())[0][:60]
        raise DataError(f"{source}: no delimiter found in {first_line!r}; set it, e.g. data.delimiter: ';'")
    return best


def _parse_records(text: str, delimiter: str, source: str) -> _Sample:
    character = delimiter
    if len(delimiter) > 1:  # the csv module splits at single characters only
        text = text.replace(delimiter, UNIT_SEPARATOR)
        character = UNIT_SEPARATOR
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=character)
    records = (record for record in reader if record)
    try:
        first = next(records)
        first_record_end = reader.line_num
        return _Sample(delimiter, [first, *islice(records, _SAMPLE_RECORDS)], first_record_end)
    except csv.Error as error:
        raise DataError(f"{source}: line {reader.line_num}: {error}") from error


def _has_header(records: Sequence[Sequence[str]], options: ReadOptions, source: str) -> bool:
    first = [value.strip() for value in records[0]]
    mapped_names = {column for column in options.columns.values() if isinstance(column, str)}
    if options.format == "inter" or any(map(is_known_name, first)) or mapped_names.intersection(first):
        return True
    if any(re.match(NUMBER, value) or value in MISSING for value in first):
        return False
    for column in zip(*records[1:], strict=False):
        if all(re.match(NUMBER, value) for value in column):
            return True  # text above numbers
    raise DataError(
        f"{source}: can't tell whether the first line, {', '.join(first)[:60]!r}, is a header; "
        "set data.header: true or data.header: false"
    )


def _spans_lines(value: str, delimiter: str, n_fields: int) -> bool:
    """Whether a field is text of several lines, rather than whole records swallowed by an unclosed quote."""
    if "\n" not in value:
        return False
    lines = [line for line in value.splitlines()[1:] if line]
    are_records = bool(lines) and all(line.count(delimiter) == n_fields - 1 for line in lines)
    return not are_records


def _reject_lists(records: Sequence[Sequence[str]], source: str) -> None:
    """Reject a file with lines `user item item ...`, which would otherwise be read as a table with ragged rows."""
    widths = Counter(map(len, records))
    has_equal_widths = widths.most_common(1)[0][1] / len(records) >= _MIN_EQUAL_WIDTHS
    if has_equal_widths:
        return
    if all(re.match(INTEGER, value) for record in records for value in record if value):
        raise DataError(
            f"{source}: the lines have {min(widths)} to {max(widths)} numbers; if each is a user with its items, set "
            "data.format: lightgcn (items in no order) or data.format: sequences (items in time order)"
        )
