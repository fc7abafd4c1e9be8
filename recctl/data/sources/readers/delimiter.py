"""Detecting the delimiter of a text file: the one whose columns fill the roles, and hold numbers and dates."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers.header import find_header, is_number_or_date, most_frequent_width
from recctl.data.sources.readers.text_stream import (
    WHITESPACE,
    AtypicalSampleError,
    RecordChecks,
    RecordLayout,
    RecordStream,
)
from recctl.data.sources.readers.values import MISSING
from recctl.errors import DataError

_CANDIDATES = ("\t", "::", ";", "|", ",", " ", WHITESPACE)
_SAMPLE_RECORDS = 200
# Blanks that a single space or a single tab does not split like a run of blanks.
_BLANKS = re.compile(rb"^[ \t]|[ \t]{2}|[ \t]\r?$|\t[^\r\n]* | [^\r\n]*\t", re.MULTILINE)
# If fewer records than this share have the most frequent number of fields, they were split at the wrong delimiter.
_MIN_EQUAL_WIDTHS = 0.7


@dataclass(frozen=True)
class SplitSample:
    """The first records of a text split at some delimiter.

    Attributes:
        layout: How the records are written.
        records: The first records, complete ones only.
        lines: The line on which each of them starts, counted from 1.
        header: The record that names the columns of users and items; None if there is none.
        width: The most frequent number of fields of the records after the header.
        share: The share of records that have it.
        n_typed: The number of columns that hold numbers or dates only.
        has_quotes: Whether the sample has quotes.
        has_multiline: Whether a quoted field spans several lines.
    """

    layout: RecordLayout
    records: list[list[str]]
    lines: list[int]
    header: int | None
    width: int
    share: float
    n_typed: int
    has_quotes: bool
    has_multiline: bool

    @property
    def all_typed(self) -> bool:
        """Whether all columns hold numbers or dates."""
        return self.n_typed == self.width

    @property
    def is_steady(self) -> bool:
        """Whether most records have the same number of fields."""
        return self.share >= _MIN_EQUAL_WIDTHS

    @property
    def score(self) -> tuple[bool, int, float]:
        """Larger for a more plausible table."""
        return self.header is not None, self.n_typed, self.share


def split_sample(sample: bytes, layout: RecordLayout, options: ReadOptions) -> SplitSample:
    """Split a sample of whole lines into records."""
    stream, records = _read(sample, layout)
    if stream.is_in_quotes and not records:
        # A quote that is never closed; what it swallows is reported when the file is read.
        stream, records = _read(sample, replace(layout, quote=None))
    header = find_header(records, options)
    rows = records if header is None else records[header + 1 :]
    width, share = most_frequent_width(rows[1:] if header is None and len(rows) > 1 else rows)
    return SplitSample(
        layout=replace(stream.layout, quote=layout.quote),
        records=records,
        lines=stream.lines,
        header=header,
        width=width,
        share=share,
        n_typed=_count_typed_columns(rows if header is not None else rows[1:] or rows, width, options.decimal),
        has_quotes=layout.quote is not None and layout.quote.encode() in sample,
        has_multiline=stream.has_multiline,
    )


def choose_delimiter(sample: bytes, layout: RecordLayout, options: ReadOptions, source: str) -> SplitSample:
    """Split a sample at the most plausible delimiter.

    Args:
        sample: Whole lines in UTF-8.
        layout: The layout; its delimiter is not used.
        options: The columns that the user configured, and the decimal separator.
        source: Name of the file for messages.

    Raises:
        DataError: No delimiter gives a table, or several are equally plausible.
    """
    names = [name for name in _CANDIDATES if not (name == "," and options.decimal == ",")]
    if not _BLANKS.search(sample):
        names.remove(WHITESPACE)  # it would split like space or tab
    splits = [split_sample(sample, replace(layout, delimiter=name), options) for name in names]
    n_needed = 1 + max([1, *(column for column in options.columns.values() if isinstance(column, int))])
    tables = [split for split in splits if split.width >= n_needed or split.header is not None]
    if not tables:
        # Columns at these positions do not exist; a message of its own says so.
        tables = [split for split in splits if split.width > 1]
    candidates = _without_blanks([split for split in tables if split.is_steady or split.header is not None])
    if not candidates:
        # Lists of different lengths get a message of their own.
        lists = [split for split in tables if _is_all_integers(split.records)]
        if lists:
            return max(lists, key=lambda split: split.score)
        first_line = re.split(r"[\r\n]", sample.decode(errors="replace").strip())[0][:60]
        tried = ", ".join(map(_describe, names))
        raise DataError(
            f"{source}: no delimiter found in {first_line!r} (tried {tried}); set it, e.g. data.delimiter: "
            f"{_to_yaml(_suggest_delimiter(first_line))}"
        )
    best_score = max(split.score for split in candidates)
    best = [split for split in candidates if split.score == best_score]
    tabs = [split for split in best if split.layout.delimiter == "\t"]
    if tabs and ".tsv" in source.lower():
        return tabs[0]
    if len(best) > 1:
        choices = " or ".join(_describe(split.layout.delimiter) for split in best)
        raise DataError(
            f"{source}: columns may be separated by {choices}; set data.delimiter: {_to_yaml(best[0].layout.delimiter)}"
        )
    return best[0]


def _suggest_delimiter(line: str) -> str:
    """The most frequent character of a line that is rarely part of a field."""
    characters = re.sub(r"""[\w\s"'.+-]""", "", line)
    return max(characters, key=characters.count, default=";")


def _without_blanks(candidates: Sequence[SplitSample]) -> list[SplitSample]:
    """Leave out spaces and runs of blanks where they rather seem to be part of the fields."""
    by_name = {split.layout.delimiter: split for split in candidates}
    space = by_name.pop(" ", None)
    blanks = by_name.pop(WHITESPACE, None)
    others = list(by_name.values())
    if space is not None and (not others or space.score[:2] > max(split.score[:2] for split in others)):
        others.append(space)
    if blanks is None or not blanks.all_typed or any(split.records == blanks.records for split in others):
        return others
    if others and len(blanks.records[0]) > blanks.width:
        return others  # the names of the columns hold spaces
    # Between runs of spaces, single spaces would give empty fields.
    others = [split for split in others if split is not space]
    if any(split.score[:2] == blanks.score[:2] for split in others):
        # Tabs beside which only empty columns are left: these have names in a header, or else are ends of lines.
        return others if blanks.header is not None else [blanks]
    return [*others, blanks]


def _read(sample: bytes, layout: RecordLayout) -> tuple[RecordStream, list[list[str]]]:
    if layout.quote is not None and f"\\{layout.quote}".encode() in sample:
        layout = _choose_escape(sample, layout)
    stream = RecordStream(io.BytesIO(sample), layout, wanted=range(_SAMPLE_RECORDS + 1))
    text = stream.read().decode(errors="replace")
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=layout.output_delimiter,
        quotechar=layout.quote,
        quoting=csv.QUOTE_NONE if layout.quote is None else csv.QUOTE_MINIMAL,
        escapechar=layout.escape,
    )
    records = []
    # A field that is too long for the csv module ends the sample.
    with suppress(csv.Error):
        # Blank lines are no records.
        for record in islice(filter(None, reader), _SAMPLE_RECORDS + 1):
            records.append(record)  # noqa: PERF402 - those before an error count
    return stream, records


def _choose_escape(sample: bytes, layout: RecordLayout) -> RecordLayout:
    """Decide whether backslashes escape quotes: if the quoting is well-formed with them, and not without."""
    try:
        RecordStream(io.BytesIO(sample), layout, RecordChecks("")).read()
    except AtypicalSampleError:
        escaped = replace(layout, escape="\\")
        try:
            RecordStream(io.BytesIO(sample), escaped, RecordChecks("")).read()
        except DataError:
            return layout
        return escaped
    except DataError:
        return layout
    return layout


def _count_typed_columns(rows: Sequence[Sequence[str]], width: int, decimal: str) -> int:
    complete = [[value.strip() for value in row] for row in rows if len(row) == width]
    n_typed = 0
    for column in zip(*complete, strict=True):
        values = [value for value in column if value not in MISSING]
        n_typed += bool(values) and all(is_number_or_date(value, decimal) for value in values)
    return n_typed


def _is_all_integers(records: Sequence[Sequence[str]]) -> bool:
    return all(re.fullmatch(r"\s*-?[0-9]*\s*", value) for record in records for value in record)


def _describe(delimiter: str) -> str:
    return {"\t": "tab", WHITESPACE: WHITESPACE, " ": "space"}.get(delimiter, repr(delimiter))


def _to_yaml(delimiter: str) -> str:
    if delimiter == WHITESPACE:
        return delimiter
    # Escapes such as \t are for double quotes only.
    return f"'{delimiter}'" if delimiter.isprintable() else json.dumps(delimiter)
