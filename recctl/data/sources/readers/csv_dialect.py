"""Finding out how a delimited text file is laid out, from its first lines."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from recctl.data.columns import ITEM, USER
from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers.column_roles import KNOWN_NAMES, is_known, normalised
from recctl.data.sources.readers.compression import UNIT_SEPARATOR, Readable
from recctl.errors import DataError

SAMPLE_BYTES = 1 << 18
_SAMPLE_RECORDS = 200
_DELIMITERS = ("\t", "::", ";", "|", ",", " ")  # of equally good ones the first
# Below this share of lines with the same number of fields, numbers alone are taken for a list of items per line.
_STEADY = 0.7

# Values that mean "none" in the files of pandas, R, MySQL, Hive and spreadsheets.
MISSING = ["", "NA", "N/A", "#N/A", "NaN", "nan", "-nan", "null", "NULL", "<NA>", "\\N"]
INTEGER = r"^\s*-?[0-9]+\s*$"
NUMBER = r"^\s*-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"
LEADING_ZERO = r"^\s*-?0[0-9]"


@dataclass(frozen=True)
class Layout:
    """How a file is laid out.

    Attributes:
        delimiter: What separates fields.
        skip: Lines before the first record of data.
        names: The header's fields, None where there is no header.
        records: The first records of data.
        n_fields: How many fields a record has.
        quoted: Whether there are quotes at all.
        multiline: Whether quoted fields go over several lines.
    """

    delimiter: str
    skip: int
    names: list[str] | None
    records: list[list[str]]
    n_fields: int
    quoted: bool
    multiline: bool

    def values(self, column: int) -> list[str]:
        """What the first records hold in a column, without what is missing."""
        return [r[column].strip() for r in self.records if len(r) == self.n_fields and r[column] not in MISSING]


def sniff(stream: Readable, options: ReadOptions, place: str) -> Layout:
    """The layout of a text, as far as `options` leave it open.

    Raises:
        DataError: The text is empty, binary, has one column only, or may be read in more ways than one.
    """
    text = _text(stream, place)
    delimiter, records, skip = _split(text, options, place)
    n_fields = Counter(map(len, records[1:] or records)).most_common(1)[0][0]
    has_header = _has_header(records, options, place) if options.header is None else options.header
    names = [name.strip() for name in records[0]] if has_header else None
    if names is None:
        if options.format == "auto":
            _refuse_lists(records, place)
        skip = 0
    return Layout(
        delimiter=delimiter,
        skip=skip,
        names=names,
        records=records[1:] if has_header else records,
        n_fields=len(names) if names else n_fields,
        quoted='"' in text,
        multiline=any(_goes_over_lines(field, delimiter, n_fields) for record in records for field in record),
    )


def _text(stream: Readable, place: str) -> str:
    sample = stream.read(SAMPLE_BYTES)
    if b"\0" in sample:
        raise DataError(f"{place}: holds no UTF-8 text (binary, or UTF-16?); save it as UTF-8 text")
    cut = len(sample) == SAMPLE_BYTES
    text = sample.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace")
    if cut and "\n" in text:
        text = text[: text.rindex("\n") + 1]
    if not text.strip():
        raise DataError(f"{place}: the file is empty")
    return text


def _split(text: str, options: ReadOptions, place: str) -> tuple[str, list[list[str]], int]:
    """The delimiter, the first records, and the number of lines up to the end of the first record."""
    given = "\t" if options.format == "tsv" and options.delimiter is None else options.delimiter
    best: tuple[tuple[bool, float], str, list[list[str]], int] | None = None
    for delimiter in [given] if given else _DELIMITERS:
        records, skip = _parse(text, delimiter, place)
        width, count = Counter(map(len, records)).most_common(1)[0]
        named = {normalised(name) for name in records[0]}
        header = all(named.intersection(KNOWN_NAMES[role]) for role in (USER, ITEM))
        score = (header, count / len(records))
        if (width > 1 or header or given) and (best is None or score > best[0]):
            best = score, delimiter, records, skip
    if best is None:
        first = re.split(r"[\r\n]", text.strip())[0][:60]
        raise DataError(f"{place}: no delimiter found in {first!r}; say which it is, e.g. data.delimiter: ';'")
    return best[1:]


def _parse(text: str, delimiter: str, place: str) -> tuple[list[list[str]], int]:
    if len(delimiter) > 1:
        text, delimiter = text.replace(delimiter, UNIT_SEPARATOR), UNIT_SEPARATOR
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        first = next(record for record in reader if record)
        skip = reader.line_num
        return [first, *islice((record for record in reader if record), _SAMPLE_RECORDS)], skip
    except csv.Error as error:
        raise DataError(f"{place}: line {reader.line_num}: {error}") from error


def _has_header(records: Sequence[Sequence[str]], options: ReadOptions, place: str) -> bool:
    first, rest = [name.strip() for name in records[0]], records[1:]
    mapped = [column for column in options.columns.values() if isinstance(column, str)]
    if options.format == "inter" or any(map(is_known, first)) or set(mapped) & set(first):
        return True
    if any(re.match(NUMBER, field) or field in MISSING for field in first):
        return False
    if any(rest_of and all(re.match(NUMBER, f) for f in rest_of) for rest_of in zip(*rest, strict=False)):
        return True
    raise DataError(
        f"{place}: can't tell whether the first line, {', '.join(first)[:60]!r}, names the columns; "
        "say data.header: true or data.header: false"
    )


def _goes_over_lines(field: str, delimiter: str, n_fields: int) -> bool:
    """Whether a field is text of several lines, rather than whole records swallowed by a quote left open."""
    lines = [line for line in field.splitlines()[1:] if line]
    return "\n" in field and not (lines and all(line.count(delimiter) == n_fields - 1 for line in lines))


def _refuse_lists(records: Sequence[Sequence[str]], place: str) -> None:
    widths = Counter(map(len, records))
    steady = widths.most_common(1)[0][1] / len(records) >= _STEADY
    if not steady and all(re.match(INTEGER, field) for record in records for field in record if field):
        raise DataError(
            f"{place}: lines of {min(widths)} to {max(widths)} numbers; if each is a user and its items, say "
            "data.format: lightgcn (in no order) or data.format: sequences (in the order of time)"
        )
