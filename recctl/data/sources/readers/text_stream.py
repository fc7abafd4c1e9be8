"""The bytes of a text file as its parser sees them: decompressed, as UTF-8, and only the records of the table.

The detection of the dialect, the fast path, the slow path and the line numbers of messages all read through these
streams, so that they can't disagree on what a record is.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recctl.data.sources.readers.compression import UNIT_SEPARATOR, ReadableStream, open_decompressed
from recctl.errors import DataError
from recctl.kernels import text_records

WHITESPACE = "whitespace"  # the delimiter that stands for runs of spaces and tabs
_UTF8_BOM = b"\xef\xbb\xbf"
# The longer one of two that begin alike comes first.
_OTHER_BOMS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
_OTHER_BOMS |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_BOM_BYTES = 4
_BLOCK_BYTES = 1 << 20
# Longer lines and quoted fields are errors: otherwise a quote that is never closed would take all memory.
_MAX_RECORD_BYTES = 1 << 25
_LINE_END = re.compile(rb"\r\n|\n|\r")
_NEWLINE = ord("\n")
_RETURN = ord("\r")


@contextmanager
def open_text(path: Path, encoding: str = "utf-8") -> Iterator[ReadableStream]:
    """Open a text file, decompress it while it is read, and convert it to UTF-8 without a byte order mark.

    Files in UTF-8 may hold bytes that are not UTF-8: which rows they are in is found later. UTF-16 and UTF-32 are read
    whatever `encoding` is, if there is a byte order mark.

    Raises:
        DataError: The file can't be opened, or is not in the encoding; raised while reading, too.
    """
    with open_decompressed(path) as stream:
        begin = stream.read(_BOM_BYTES)
        rest = _Prepended(begin, stream)
        if codecs.lookup(encoding).name in ("utf-8", "utf-8-sig"):
            encodings = [other for bom, other in _OTHER_BOMS.items() if begin.startswith(bom)]
            if not encodings:
                yield _Prepended(begin.removeprefix(_UTF8_BOM), stream)
                return
            encoding = encodings[0]
        yield DecodingStream(rest, encoding, path.name)


class _Stream(io.RawIOBase):
    """A stream that Arrow accepts; subclasses define `read`."""

    def readable(self) -> bool:
        return True


class _Prepended(_Stream):
    """A stream of which the first bytes have already been read."""

    def __init__(self, begin: bytes, stream: ReadableStream) -> None:
        self._begin = begin
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes."""
        if not self._begin:
            return self._stream.read(size)
        if size < 0:
            block = self._begin + self._stream.read()
            self._begin = b""
            return block
        block = self._begin[:size]
        self._begin = self._begin[size:]
        return block


class DecodingStream(_Stream):
    """Converts text of any encoding to UTF-8."""

    def __init__(self, stream: ReadableStream, encoding: str, source: str) -> None:
        try:
            self._decoder = codecs.getincrementaldecoder(encoding)()
            self._decoder.decode(b"")
        except (LookupError, TypeError, UnicodeError) as error:
            raise DataError(f"{source}: data.encoding: {encoding} is not an encoding of text files") from error
        self._stream = stream
        self._encoding = encoding
        self._source = source
        self._n_lines = 1
        self._is_first = True

    def read(self, size: int = -1) -> bytes:
        """Read about `size` bytes.

        Raises:
            DataError: There are bytes that the encoding does not have.
        """
        while True:
            block = self._stream.read(size)
            try:
                text = self._decoder.decode(block, final=not block or size < 0)
                encoded = text.encode()
            except UnicodeError as error:
                raise DataError(self._describe(error)) from error
            if self._is_first and encoded:
                encoded = encoded.removeprefix(_UTF8_BOM)
                self._is_first = False
            self._n_lines += encoded.count(b"\n")
            if encoded or not block:
                return encoded

    def _describe(self, error: UnicodeError) -> str:
        line = self._n_lines
        value = ""
        if isinstance(error, UnicodeDecodeError):
            before = error.object[: error.start].decode(self._encoding, errors="ignore")
            line += before.count("\n")
            value = f" {error.object[error.start : error.end]!r}"
        hint = "set the encoding of the file, e.g. data.encoding: latin-1"
        return f"{self._source}: row {line}: the bytes{value} are not {self._encoding}; {hint}"


@dataclass(frozen=True)
class RecordLayout:
    """How the records of a text file are written.

    Attributes:
        delimiter: The field separator, of any length, or `WHITESPACE`.
        quote: The character that quotes fields; None if quotes are ordinary characters.
        escape: The character that escapes quotes in quoted fields; None if they are doubled.
        comment: Lines that begin with this are left out; None for no comments.
        n_skipped_lines: Lines before the first record, which are left out.
    """

    delimiter: str
    quote: str | None = '"'
    escape: str | None = None
    comment: str | None = None
    n_skipped_lines: int = 0

    @property
    def output_delimiter(self) -> str:
        """The single character that separates the fields in a `RecordStream`."""
        is_replaced = self.delimiter == WHITESPACE or len(self.delimiter.encode()) > 1
        return UNIT_SEPARATOR if is_replaced else self.delimiter


class RaggedRecord(NamedTuple):
    """A record with a wrong number of fields; records are numbered from 0."""

    number: int
    n_fields: int
    text: str


class AtypicalSampleError(Exception):
    """The file is not written as the sample of its first lines was.

    Attributes:
        multiline: Quoted fields span lines.
        escape: What seems to escape quotes in quoted fields.
    """

    def __init__(self, message: str, *, multiline: bool = False, escape: str | None = None) -> None:
        super().__init__(message)
        self.multiline = multiline
        self.escape = escape


@dataclass
class RecordChecks:
    """What a `RecordStream` checks.

    Attributes:
        source: Name of the file for messages.
        n_fields: Records with another number of fields are left out and collected; 0 keeps all.
        shapes: How the values of each column look (`text_records`), to tell rows swallowed by a quote from text.
        allows_multiline: Whether quoted fields may span lines.
    """

    source: str
    n_fields: int = 0
    shapes: Sequence[int] = ()
    allows_multiline: bool = True


@dataclass
class RecordStream(_Stream):
    """Reads whole records, one per line except for line ends in quoted fields; without blank lines and comments.

    Blocks in which each line is a record by itself are passed on as they are, apart from the replacement of delimiters.

    Attributes:
        stream: The text in UTF-8.
        layout: How the records are written.
        checks: What to check; None checks nothing and keeps all records.
        wanted: Record numbers, ascending, of which `lines` receives the line on which they start.
        n_records: Records read so far, including ragged ones.
        has_quotes: Whether a quote was read.
        has_multiline: Whether a record spans lines.
        is_at_end: Whether all of the text was read.
        lines: The lines of the wanted records read so far, counted from 1.
        ragged: The ragged records read so far, with the text of the first ones only.
    """

    stream: ReadableStream
    layout: RecordLayout
    checks: RecordChecks | None = None
    wanted: Sequence[int] = ()
    n_records: int = 0
    has_quotes: bool = False
    has_multiline: bool = False
    is_at_end: bool = False
    lines: list[int] = field(default_factory=list)
    ragged: list[RaggedRecord] = field(default_factory=list)

    _MAX_RAGGED_TEXTS = 10

    def __post_init__(self) -> None:
        self._lines_to_skip = self.layout.n_skipped_lines
        self._rest = b""  # the beginning of a line
        self._incomplete = b""  # the prepared lines of a record whose end was not read yet
        self._state = np.zeros(text_records.STATE_SIZE, np.int64)
        self._delimiter = self.layout.delimiter.encode()
        self._quote = None if self.layout.quote is None else self.layout.quote.encode()
        self._settings = self._make_settings()
        # The kernel is needed where a line may be something else than a record.
        self._always_scans = (
            self.layout.delimiter == WHITESPACE
            or self.layout.comment is not None
            or self.layout.escape is not None
            or bool(self.checks and self.checks.n_fields)
        )

    def __hash__(self) -> int:
        return id(self)

    def read(self, size: int = -1) -> bytes:
        """Read about `size` bytes.

        Raises:
            DataError: A quoted field is not closed, or lines in it are rows.
            AtypicalSampleError: There are quotes, or fields over several lines, that the checks do not allow, or quotes
                seem to be escaped.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(_BLOCK_BYTES), b""))
        while not self.is_at_end:
            lines = self._read_lines(max(size, 1))
            if self._lines_to_skip:
                lines = self._skip_lines(lines)
            prepared = self._prepare(lines)
            if self.is_at_end:
                self._check_end()
            if prepared:
                return prepared
        return b""

    @property
    def is_in_quotes(self) -> bool:
        """Whether the last line read ends inside of a quoted field."""
        return bool(self._state[text_records.IN_QUOTES])

    def _read_lines(self, size: int) -> bytes:
        """Whole lines of about `size` bytes; at the end, the last line even if it is not terminated."""
        while True:
            block = self.stream.read(size)
            if not block:
                self.is_at_end = True
                lines = self._rest
                self._rest = b""
                return lines
            n_whole = block.rfind(b"\n") + 1
            if not n_whole:
                # The last byte may be the first half of \r\n.
                n_whole = block.rfind(b"\r", 0, len(block) - 1) + 1
            if n_whole:
                lines = b"".join((self._rest, memoryview(block)[:n_whole]))
                self._rest = block[n_whole:]
                return lines
            self._rest += block
            if len(self._rest) > _MAX_RECORD_BYTES:
                line = self._state[text_records.LINE] + 1
                raise DataError(f"{self._source}: line {line} is longer than {_MAX_RECORD_BYTES >> 20} MB")

    def _skip_lines(self, lines: bytes) -> bytes:
        begin = 0
        while self._lines_to_skip and begin < len(lines):
            match = _LINE_END.search(lines, begin)
            begin = match.end() if match else len(lines)
            self._lines_to_skip -= 1
            self._state[text_records.LINE] += 1
        return lines[begin:]

    def _prepare(self, lines: bytes) -> bytes:
        if self._always_scans or self.is_in_quotes:
            self.has_quotes |= self._quote is not None and lines.find(self._quote) >= 0
            return self._scan(lines)
        delimiter = self._delimiter[0]
        # Without quoting, the delimiter is as good as any character that never makes a line special.
        summary = text_records.summarize_lines(lines, delimiter, self._quote[0] if self._quote else delimiter)
        if self._quote and summary.has_quotes:
            self.has_quotes = True
            if not summary.is_plain or len(self._delimiter) > 1:
                return self._scan(lines)
        self._count_lines(lines, summary.n_lines, summary.n_filled)
        if len(self._delimiter) > 1:
            return lines.replace(self._delimiter, UNIT_SEPARATOR.encode())
        return lines

    def _count_lines(self, lines: bytes, n_lines: int, n_records: int) -> None:
        """Count the lines of a block, and the records: the lines that are not blank."""
        n_before = int(self._state[text_records.RECORDS])
        wanted_here = [number - n_before for number in self.wanted[len(self.lines) :] if number < n_before + n_records]
        if wanted_here:
            array = np.frombuffer(lines, np.uint8)
            is_newline = (array == _NEWLINE) | (array == _RETURN)
            begins = np.flatnonzero(np.concatenate([[True], is_newline[:-1]]) & ~is_newline)
            self._add_lines(lines, begins[wanted_here])
        self._state[text_records.LINE] += n_lines
        self._state[text_records.RECORDS] += n_records
        self._state[text_records.WANTED] = len(self.lines)
        self.n_records = int(self._state[text_records.RECORDS])

    def _add_lines(self, lines: bytes, begins: NDArray[np.int64]) -> None:
        line = int(self._state[text_records.LINE]) + 1
        position = 0
        for begin in begins.tolist():
            line += len(_LINE_END.findall(lines, position, begin))
            position = begin
            self.lines.append(line)

    def _scan(self, lines: bytes) -> bytes:
        state = self._state
        data = np.frombuffer(lines, np.uint8)
        n_incomplete = len(self._incomplete)
        out = np.empty(n_incomplete + len(data) + 1, np.uint8)
        out[:n_incomplete] = np.frombuffer(self._incomplete, np.uint8)
        state[text_records.RECORD_START] = 0
        n_found = len(self.lines)
        found = np.zeros(len(self.wanted), np.int64)
        n_ragged = lines.count(b"\n") + lines.count(b"\r") + 1 if self.checks and self.checks.n_fields else 0
        ragged = np.empty((n_ragged, 4), np.int64)
        n_out = text_records.scan_records(
            data,
            out,
            n_incomplete,
            state,
            self._settings,
            np.frombuffer(self._delimiter, np.uint8),
            np.frombuffer((self.layout.comment or "").encode(), np.uint8),
            np.array(self.checks.shapes if self.checks else (), np.uint8),
            np.array(self.wanted, np.int64),
            found,
            ragged,
        )
        self.n_records = int(state[text_records.RECORDS])
        self.lines += found[n_found : int(state[text_records.WANTED])].tolist()
        self.has_multiline |= bool(state[text_records.MULTILINE]) or self.is_in_quotes
        self._add_ragged(lines, ragged[: int(state[text_records.RAGGED])])
        if self.checks:
            self._check_problem()
        n_complete = int(state[text_records.RECORD_START])
        self._incomplete = out[n_complete:n_out].tobytes()
        if len(self._incomplete) > _MAX_RECORD_BYTES:
            raise DataError(self._describe_quote(f"is longer than {_MAX_RECORD_BYTES >> 20} MB"))
        return out[:n_complete].tobytes()

    def _add_ragged(self, lines: bytes, ragged: NDArray[np.int64]) -> None:
        for number, n_fields, begin, end in ragged.tolist():
            text = ""
            if len(self.ragged) < self._MAX_RAGGED_TEXTS:
                text = lines[begin:end].decode(errors="backslashreplace")
            self.ragged.append(RaggedRecord(number, n_fields, text))

    def _check_problem(self) -> None:
        state = self._state
        line = int(state[text_records.LINE])
        problem = int(state[text_records.PROBLEM])
        if problem == text_records.ROW_IN_QUOTES:
            self._fail(self._describe_quote(f"is still open on line {line}, which is a row by itself"))
        if problem == text_records.TEXT_AFTER_QUOTE:
            self._fail(self._describe_quote(f"is followed by more text after its closing quote on line {line}"))
        if problem == text_records.BACKSLASH_QUOTE:
            what = "has a backslash before a quote, and other quotes are not escaped by one"
            self._fail(self._describe_quote(what), seems_escaped=True)
        if problem == text_records.BACKSLASH_LINE_END:
            raise DataError(f"{self._source}: row {line}: ends with a backslash, which escapes the end of the line")
        if self.has_multiline and self.checks and not self.checks.allows_multiline:
            raise AtypicalSampleError("fields span lines, but none in the sample did", multiline=True)

    def _check_end(self) -> None:
        if not self.checks or not self.is_in_quotes:
            return
        self._fail(self._describe_quote("is not closed"))

    def _fail(self, message: str, seems_escaped: bool = False) -> None:
        """Raise, unless the quotes may be escaped by backslashes, which the caller then has to try."""
        seems_escaped |= bool(self._state[text_records.SEEN_ESCAPE])
        if self.layout.escape is None and seems_escaped:
            raise AtypicalSampleError(message, multiline=self.has_multiline, escape="\\")
        raise DataError(message)

    def _describe_quote(self, what: str) -> str:
        line = int(self._state[text_records.QUOTE_LINE])
        return (
            f"{self._source}: row {line}: the quoted field that opens here {what}; if quotes are ordinary characters "
            "in this file, set data.quoting: false"
        )

    @property
    def _source(self) -> str:
        return self.checks.source if self.checks else "the sample"

    def _make_settings(self) -> NDArray[np.int64]:
        layout = self.layout
        settings = np.zeros(text_records.SETTINGS_SIZE, np.int64)
        settings[text_records.QUOTE] = -1 if layout.quote is None else ord(layout.quote)
        settings[text_records.ESCAPE] = -1 if layout.escape is None else ord(layout.escape)
        settings[text_records.BLANKS] = layout.delimiter == WHITESPACE
        settings[text_records.OUTPUT_DELIMITER] = ord(layout.output_delimiter)
        settings[text_records.EXPECTED_FIELDS] = self.checks.n_fields if self.checks else 0
        settings[text_records.CHECK] = self.checks is not None
        return settings
