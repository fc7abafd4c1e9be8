"""Lines before the table of a text file: `sep=;`, comments, and the heads of Matrix Market and ARFF files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers.header import names_users_and_items
from recctl.data.sources.readers.text_stream import WHITESPACE
from recctl.data.sources.readers.values import NUMBER
from recctl.errors import DataError

_SEP_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_ATTRIBUTE = re.compile(r"@attribute\s+('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\S+)", re.IGNORECASE)
_MARKS = ("#", "%")
_MARKED_SEPARATORS = ("\t", "::", ";", "|", ",", " ")
_MATRIX_FIELDS = ("real", "integer", "pattern", "double", "unsigned-integer")


@dataclass(frozen=True)
class Preamble:
    """What comes before the table, and what it says about the table.

    Attributes:
        n_lines: Number of lines to skip.
        has_header: Whether the table begins with a header; None if that has to be detected.
        delimiter: The delimiter of the table; None if that has to be detected.
        names: The column names; None if the preamble has none.
        marked_line: The last comment, without its mark, which may be a header.
        comment: The beginning of comments further down.
        quote: The character that quotes fields.
        n_records: The number of records.
        notice: A notice for the user.
    """

    n_lines: int = 0
    has_header: bool | None = None
    delimiter: str | None = None
    names: list[str] | None = None
    marked_line: str | None = None
    comment: str | None = None
    quote: str = '"'
    n_records: int | None = None
    notice: str | None = None


def find_preamble(lines: Sequence[str], options: ReadOptions, source: str) -> Preamble:
    """Recognize the lines before a table.

    Args:
        lines: The first lines of the file, without line ends.
        options: `skip_lines` of the lines are skipped before anything is recognized.
        source: Name of the file for messages.

    Raises:
        DataError: The file has a head that says that its content can't be read as interactions.
    """
    begin = options.skip_lines
    while begin < len(lines) and not lines[begin].strip():
        begin += 1
    if begin >= len(lines):
        return Preamble(options.skip_lines)
    first = lines[begin].strip(" \r\n")
    separator = _SEP_LINE.fullmatch(first)
    if separator:
        return Preamble(begin + 1, delimiter=separator[1])
    if first.lower().startswith("%%matrixmarket"):
        return _matrix_market(lines, begin, source)
    n_comments = 0
    while begin + n_comments < len(lines) and re.match(r"\s*(%|$)", lines[begin + n_comments]):
        n_comments += 1
    if begin + n_comments < len(lines) and re.match(r"\s*@relation\b", lines[begin + n_comments], re.IGNORECASE):
        return _arff(lines, begin + n_comments, source)
    if first[:1] in _MARKS and options.comment is None:
        return _comments(lines, begin, first[0], options, source)
    return Preamble(options.skip_lines)


def _matrix_market(lines: Sequence[str], begin: int, source: str) -> Preamble:
    """The head of a Matrix Market file: a banner, comments, and a line with the size of the matrix."""
    words = lines[begin].lower().split()
    kind = " ".join(words[1:])
    is_readable = words[1:3] == ["matrix", "coordinate"] and words[3:4] and words[3] in _MATRIX_FIELDS
    if not is_readable or words[4:5] != ["general"]:
        raise DataError(
            f"{source}: a Matrix Market file of kind {kind!r} can't be read as interactions; save the matrix of users "
            "and items as 'matrix coordinate real general'"
        )
    size_line = begin + 1
    while size_line < len(lines) and re.match(r"\s*(%|$)", lines[size_line]):
        size_line += 1
    if size_line >= len(lines) or not re.fullmatch(r"\s*\d+\s+\d+\s+\d+\s*", lines[size_line]):
        raise DataError(f"{source}: row {size_line + 1}: a Matrix Market file needs a line with its size here")
    n_records = int(lines[size_line].split()[2])
    return Preamble(size_line + 1, has_header=False, delimiter=WHITESPACE, n_records=n_records)


def _arff(lines: Sequence[str], begin: int, source: str) -> Preamble:
    """The head of an ARFF file: `@relation`, one `@attribute` for each column, and `@data`."""
    names = []
    for number in range(begin, len(lines)):
        line = lines[number].strip()
        attribute = _ATTRIBUTE.match(line)
        if attribute:
            names.append(attribute[1].strip("'\""))
        if line.lower() != "@data":
            continue
        rows = [row.strip() for row in lines[number + 1 :] if row.strip() and not row.startswith("%")]
        if rows and rows[0].startswith("{"):
            raise DataError(f"{source}: row {number + 2}: sparse ARFF files can't be read; save it as CSV")
        has_single_quotes = any("'" in row for row in rows) and not any('"' in row for row in rows)
        return Preamble(
            number + 1,
            has_header=False,
            delimiter=",",
            names=names,
            comment="%",
            quote="'" if has_single_quotes else '"',
        )
    raise DataError(f"{source}: an ARFF file without a line @data; save it as CSV")


def _comments(lines: Sequence[str], begin: int, mark: str, options: ReadOptions, source: str) -> Preamble:
    """Comments at the top, unless they look like rows whose first id begins with the mark."""
    end = begin
    while end < len(lines) and (lines[end].startswith(mark) or not lines[end].strip()):
        end += 1
    if end == len(lines):
        return Preamble(begin)
    rows = [number for number in range(begin, end) if _looks_like_row(lines[number], lines[end], options)]
    end = min(rows, default=end)
    if end == begin:
        return Preamble(begin)
    marked = [line for line in lines[begin:end] if line.strip()]
    count = f"{len(marked)} lines" if len(marked) > 1 else "a line"
    notice = f"{source}: skipped {count} at the top that begin{'s' * (len(marked) == 1)} with {mark!r}"
    return Preamble(end, marked_line=marked[-1].lstrip(mark).strip(), notice=notice)


def _looks_like_row(marked: str, row: str, options: ReadOptions) -> bool:
    """Whether a line with a mark has as many fields as a row, and numbers in the same places, and is no header."""
    if re.match(r"\W*(\s|$)", marked):  # no id begins with a mark and a space
        return False
    for separator in [options.delimiter] if options.delimiter else _MARKED_SEPARATORS:
        marked_fields = marked.split(separator)
        fields = row.split(separator)
        if not 1 < len(fields) == len(marked_fields):
            continue
        numeric = [bool(re.match(NUMBER, field)) for field in fields[1:]]
        marked_numeric = [bool(re.match(NUMBER, field)) for field in marked_fields[1:]]
        if numeric == marked_numeric and not names_users_and_items([marked_fields[0][1:], *marked_fields[1:]], options):
            return True
    return False
