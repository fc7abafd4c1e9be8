"""Detecting the dialect of a delimited text file (preamble, delimiter, header, quoting) from its first lines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from recctl import progress
from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers.compression import ReadableStream
from recctl.data.sources.readers.delimiter import SplitSample, choose_delimiter, split_sample
from recctl.data.sources.readers.header import (
    MAX_LINES_BEFORE_HEADER,
    align_names,
    has_header,
    most_frequent_width,
    names_users_and_items,
)
from recctl.data.sources.readers.preamble import Preamble, find_preamble
from recctl.data.sources.readers.text_stream import RecordLayout
from recctl.data.sources.readers.values import INTEGER, MISSING
from recctl.errors import DataError

SAMPLE_BYTES = 1 << 18
_MIN_EQUAL_WIDTHS = 0.7  # of lines that hold rows and not lists
# More control characters than both of these make a binary file.
_MAX_CONTROLS = 20
_MAX_CONTROL_SHARE = 0.02  # of the characters
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1e]")
_JSON = re.compile(r'\s*(\{\s*["}]|\[\s*[\[{"\]]|[\[{][ \t]*(\r|\n|$))')
_MARKUP = re.compile(r"\s*<(!doctype|!--|\?xml|html|head|body|table|svg|[a-z]+>)", re.IGNORECASE)


@dataclass(frozen=True)
class CsvDialect:
    """How a delimited text file is written.

    Attributes:
        layout: How its records are written, and how many lines precede the first one.
        names: The column names in the header; None without a header.
        records: The first records of data.
        n_fields: Number of fields of a record.
        quoted: Whether the sample contains quotes that may enclose fields.
        multiline: Whether a quoted field in the sample spans several lines.
        begins_quoted: Whether each record in the sample begins with a quote.
        n_records: Number of records that the preamble states; None if it states none.
    """

    layout: RecordLayout
    names: list[str] | None
    records: list[list[str]]
    n_fields: int
    quoted: bool
    multiline: bool
    begins_quoted: bool = False
    n_records: int | None = None

    @property
    def delimiter(self) -> str:
        """The character between the fields of the prepared text."""
        return self.layout.output_delimiter

    def sample_values(self, column: int) -> list[str]:
        """The values of a column in the first records, without missing ones."""
        complete = [record for record in self.records if len(record) == self.n_fields]
        return [record[column].strip() for record in complete if record[column] not in MISSING]


def sniff_dialect(stream: ReadableStream, options: ReadOptions, source: str) -> CsvDialect:
    """Detect what `options` do not specify.

    Args:
        stream: The text in UTF-8 from its beginning; about `SAMPLE_BYTES` of it are read.
        options: What the user specified.
        source: Name of the file for error messages.

    Raises:
        DataError: The text is empty, not a table, has only one column, or can be read in several ways.
    """
    sample = _read_sample(stream, source)
    text = sample.decode(errors="replace")
    lines = re.split(r"\r\n|\n|\r", text)
    preamble = find_preamble(lines, options, source)
    table = "\n".join(lines[preamble.n_lines :])
    if not table.strip():
        raise DataError(f"{source}: there are no rows below the first {preamble.n_lines} lines, which are skipped")
    _reject_other_formats(table, options, source)
    layout = RecordLayout(
        delimiter="",
        quote=preamble.quote if options.quoting else None,
        comment=options.comment if options.comment is not None else preamble.comment,
        n_skipped_lines=preamble.n_lines,
    )
    split = _split(sample, layout, preamble, options, source)
    if not split.records:
        raise DataError(f"{source}: the file has no rows")
    if preamble.notice:
        progress.notice(preamble.notice)
    names, n_header_records = _find_names(split, lines, preamble, options, source)
    rows = split.records[n_header_records:]
    if names is None and options.format == "auto":
        _reject_lists(rows, source)
    n_fields = len(names) if names else most_frequent_width(rows)[0]
    n_skipped_lines = preamble.n_lines
    if n_header_records:
        # Up to the line on which the first row starts, even if that row is incomplete.
        has_row = len(split.lines) > n_header_records
        n_skipped_lines = split.lines[n_header_records] - 1 if has_row else split.lines[n_header_records - 1]
    return CsvDialect(
        layout=replace(split.layout, n_skipped_lines=n_skipped_lines),
        names=names,
        records=rows,
        n_fields=n_fields,
        quoted=split.has_quotes,
        multiline=split.has_multiline,
        begins_quoted=_begins_quoted(split, lines, n_header_records),
        n_records=preamble.n_records,
    )


def require_utf8(sample: bytes, source: str) -> None:
    """Reject binary files and UTF-16 without a byte order mark, which both contain NUL bytes.

    Raises:
        DataError: There is a NUL byte.
    """
    if b"\0" in sample:
        raise DataError(
            f"{source}: not UTF-8 text, since it has NUL bytes; if it is text in UTF-16, set data.encoding: utf-16-le "
            "or data.encoding: utf-16-be"
        )


def _read_sample(stream: ReadableStream, source: str) -> bytes:
    """The whole lines in the first `SAMPLE_BYTES`."""
    sample = b""
    is_cut = True
    while len(sample) < SAMPLE_BYTES:
        block = stream.read(SAMPLE_BYTES - len(sample))
        if not block:
            is_cut = False
            break
        sample += block
    require_utf8(sample, source)
    # The last line of a cut sample is incomplete.
    if is_cut and b"\n" in sample:
        sample = sample[: sample.rindex(b"\n") + 1]
    if not sample.strip():
        raise DataError(f"{source}: the file is empty")
    return sample


def _reject_other_formats(text: str, options: ReadOptions, source: str) -> None:
    """Reject text that is no table: JSON, HTML and XML, and binary files without NUL bytes."""
    if _JSON.match(text):
        raise DataError(
            f"{source}: looks like JSON; set data.format: json_lines if each line is an object, else convert it"
        )
    if _MARKUP.match(text):
        raise DataError(f"{source}: looks like HTML or XML, not like a table; save it as CSV")
    # A delimiter may be a control character.
    controls = _CONTROL_CHARACTERS.findall(text)
    if options.delimiter is None and len(controls) > max(_MAX_CONTROLS, _MAX_CONTROL_SHARE * len(text)):
        raise DataError(f"{source}: not UTF-8 text but a binary file")


def _split(sample: bytes, layout: RecordLayout, preamble: Preamble, options: ReadOptions, source: str) -> SplitSample:
    delimiter = options.delimiter or preamble.delimiter
    if delimiter is None and options.format == "tsv":
        delimiter = "\t"
    if delimiter is not None and (delimiter == layout.quote or re.search(r"[\r\n]", delimiter)):
        raise DataError(
            f"{source}: data.delimiter: {delimiter!r} can't separate fields, since it quotes them or ends lines"
        )
    if delimiter is None:
        return choose_delimiter(sample, layout, options, source)
    return split_sample(sample, replace(layout, delimiter=delimiter), options)


def _find_names(
    split: SplitSample, lines: Sequence[str], preamble: Preamble, options: ReadOptions, source: str
) -> tuple[list[str] | None, int]:
    """The names of the columns, or None, and the number of records up to the header."""
    if preamble.names is not None:
        return preamble.names, 0
    header = options.header if options.header is not None else preamble.has_header
    if header is not False and split.header:
        skipped = f"{split.header} line{'s' * (split.header > 1)}"
        names = [name.strip() for name in split.records[split.header]]
        progress.notice(f"{source}: skipped {skipped} before the header {', '.join(names)[:60]!r}")
        return _align(names, split, lines, split.header, source), split.header + 1
    marked = None if header else _marked_names(split, preamble, options)
    if marked is not None:
        return marked, 0
    if header is None:
        _reject_late_header(split, options, source)
        header = has_header(split.records, options, source)
    if not header:
        return None, 0
    return _align([name.strip() for name in split.records[0]], split, lines, 0, source), 1


def _reject_late_header(split: SplitSample, options: ReadOptions, source: str) -> None:
    """Reject a file in which a header follows lines that look like rows; they may be a preamble."""
    for record, line in zip(split.records[1:MAX_LINES_BEFORE_HEADER], split.lines[1:], strict=False):
        if names_users_and_items(record, options):
            names = ", ".join(name.strip() for name in record)
            raise DataError(
                f"{source}: row {line}: {names[:60]!r} looks like a header, but lines like rows come before it; set "
                f"data.skip_lines: {line - 1} if the table begins here, or data.header: false if it has no header"
            )


def _align(names: list[str], split: SplitSample, lines: Sequence[str], header: int, source: str) -> list[str]:
    return align_names(
        names,
        split.records[header + 1 :],
        source,
        split.lines[header],
        has_row_names=_begins_quoted(split, lines, header),
    )


def _marked_names(split: SplitSample, preamble: Preamble, options: ReadOptions) -> list[str] | None:
    """The names in the last comment before the table, if it has one for each column."""
    line = preamble.marked_line
    if line is None:
        return None
    width, _ = most_frequent_width(split.records)
    for names in (line.split(split.layout.delimiter), re.split(r"[\s,;|]+", line)):
        names = [name.strip() for name in names]
        if len(names) == width and names_users_and_items(names, options):
            return names
    return None


def _begins_quoted(split: SplitSample, lines: Sequence[str], n_header_records: int) -> bool:
    quote = split.layout.quote
    starts = split.lines[n_header_records:]
    return quote is not None and bool(starts) and all(lines[line - 1].startswith(quote) for line in starts)


def _reject_lists(records: Sequence[Sequence[str]], source: str) -> None:
    """Reject a file with lines `user item item ...`, which would otherwise be read as a table with ragged rows."""
    _, share = most_frequent_width(records)
    if share >= _MIN_EQUAL_WIDTHS:
        return
    widths = [len(record) for record in records]
    if all(re.match(INTEGER, value) for record in records for value in record if value):
        raise DataError(
            f"{source}: the lines have {min(widths)} to {max(widths)} numbers; if each is a user with its items, set "
            "data.format: lightgcn (items in no order) or data.format: sequences (items in time order); if they are "
            "rows of a table, complete those with missing fields"
        )
