"""Reading files with one user per line, `user item item ...`: LightGCN's format, and item sequences.

Arrow parses all words of the file as one column; which word starts a line is computed from the positions of the
separators. No line ever becomes a Python object. The file, two masks of its size and the ids must fit in memory.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from recctl import progress
from recctl.data.columns import ITEM, TIMESTAMP, USER, format_value
from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers.arrow_threads import ReleasedByArrow
from recctl.data.sources.readers.bad_rows.rows import BadRows
from recctl.data.sources.readers.bad_rows.slow_path import parse_rows
from recctl.data.sources.readers.compression import open_decompressed
from recctl.data.sources.readers.csv_dialect import require_utf8
from recctl.data.sources.readers.interface import ReadResult
from recctl.errors import DataError
from recctl.kernels import text_scan

_SEPARATORS = b" ,\t\r\n"
_SEPARATORS_TO_NEWLINES = bytes.maketrans(_SEPARATORS, b"\n" * len(_SEPARATORS))
# In fewer lines, the first numbers may be the counts of the others by chance.
_MIN_COUNTED_LINES = 3


class _Words(NamedTuple):
    """The words of a file.

    Attributes:
        ids: All words, int64, or Arrow binary if any is not a plain whole number.
        lines: The line of each word in the file, counted from 1.
        is_first: Whether each word is the first one of its line.
    """

    ids: Any
    lines: NDArray[np.int64]
    is_first: NDArray[np.bool_]


def read_sequences(path: Path, options: ReadOptions) -> ReadResult:
    """Read a file with one user per line; see `readers.interface`.

    With `format="sequences"`, an item's timestamp is its position in the user's sequence, from 0. If a user has several
    lines, the later ones continue the sequence. Lines without items are ignored. Where the line is the user, skipped
    lines and comments have no number, but blank lines do.

    Raises:
        DataError: The file is empty, binary, or holds an id that can't be read, or a line does not begin with the
            number of its items although `options.user` says so.
    """
    source = path.name
    text = _read_text(path, options)
    unnumbered = np.arange(1, options.skip_lines + 1)
    if options.comment:
        text, comment_lines = _remove_comments(text, options.comment)
        unnumbered = np.concatenate([unnumbered, comment_lines])
    words = _split_words(text, options)
    if not len(words.lines):
        raise DataError(f"{source}: the file is empty")
    if options.user == "counted_line":
        _require_counts(words, source)
    else:
        _notice_other_layouts(words, options, source)
    is_item = np.ones(len(words.lines), bool) if options.user == "line" else ~words.is_first
    if not is_item.any():
        has_user = "a user and an item" if options.user == "column" else "an item"
        raise DataError(f"{source}: no line has {has_user}")
    if options.user == "column":
        users = _first_words_of_items(words, is_item)
    else:
        item_lines = words.lines[is_item]
        users = item_lines - np.searchsorted(unnumbered, item_lines)

    def label_lines(line_numbers: Sequence[int]) -> list[str]:
        return [f"{source}: row {line_number}" for line_number in line_numbers]

    if isinstance(words.ids, np.ndarray):
        result = ReadResult({USER: users, ITEM: words.ids[is_item]})
    else:
        raw_users = users if options.user == "column" else pa.chunked_array([pa.array(users)])
        raw = {USER: raw_users, ITEM: words.ids.filter(pa.array(is_item))}
        result = parse_rows(raw, words.lines[is_item], BadRows(), options, source, label_lines)
    if options.format == "sequences":
        result.columns[TIMESTAMP] = positions_within_user(result.columns[USER])
    return result


def _read_text(path: Path, options: ReadOptions) -> bytes:
    """The text as UTF-8 with the line ends of Unix; skipped lines are left as blank lines."""
    with open_decompressed(path) as stream:
        text: bytes = stream.read()
    if options.encoding.lower().replace("_", "-") not in ("utf-8", "utf8"):
        try:
            text = text.decode(options.encoding).encode()
        except UnicodeDecodeError as error:
            row = text.count(b"\n", 0, error.start) + 1
            raise DataError(f"{path.name}: row {row}: is not {options.encoding} (data.encoding): {error}") from error
    text = text.removeprefix(b"\xef\xbb\xbf")
    require_utf8(text, path.name)
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if options.skip_lines:
        rest = text.split(b"\n", options.skip_lines)[options.skip_lines :]
        text = b"\n" * options.skip_lines + b"".join(rest)
    if options.delimiter not in (None, "whitespace"):
        text = text.replace(str(options.delimiter).encode(), b"\t")
    return text


def _remove_comments(text: bytes, comment: str) -> tuple[bytes, NDArray[np.int64]]:
    """The text with blank lines instead of comments, and the lines of the comments."""
    pattern = re.compile(b"^" + re.escape(comment.encode()) + b"[^\n]*", re.MULTILINE)
    begins = np.array([match.start() for match in pattern.finditer(text)], np.int64)
    newlines = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
    return pattern.sub(b"", text), np.searchsorted(newlines, begins) + 1


def _split_words(text: bytes, options: ReadOptions) -> _Words:
    # One word per line, to be parsed as a CSV file with one column; `text` keeps the original line ends.
    words = text.translate(_SEPARATORS_TO_NEWLINES)
    lines = _lines_of_words(text, words)
    if not len(lines):
        return _Words(np.empty(0, np.int64), lines, np.empty(0, bool))
    is_first = np.concatenate([[True], lines[1:] != lines[:-1]])
    return _Words(_parse_words(words, options), lines, is_first)


def _first_words_of_items(words: _Words, is_item: NDArray[np.bool_]) -> Any:
    """The first word of each item's line."""
    first_words = np.flatnonzero(words.is_first)
    first_word_of_item = first_words[np.cumsum(words.is_first) - 1][is_item]
    if isinstance(words.ids, np.ndarray):
        return words.ids[first_word_of_item]
    return words.ids.take(pa.array(first_word_of_item))


def _lines_of_words(text: bytes, words: bytes) -> NDArray[np.int64]:
    """The line of each word, counted from 1."""
    # A word starts at a letter that follows a separator.
    is_letter = np.frombuffer(words, np.uint8) != ord("\n")
    starts_word = is_letter.copy()
    starts_word[1:] &= ~is_letter[:-1]
    newlines = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
    return np.searchsorted(newlines, np.flatnonzero(starts_word)) + 1


def _parse_words(words: bytes, options: ReadOptions) -> Any:
    """All words as int64, or as Arrow binary if any is not a whole number as Python prints it."""
    if options.id_type != "text" and not text_scan.columns_with_zero_fields(
        np.frombuffer(words, np.uint8), ord("\n"), is_quoted=False, is_multiline=False
    ):
        try:
            return _read_words(words, pa.int64()).to_numpy()
        except pa.ArrowInvalid:
            pass
    return _read_words(words, pa.binary())


def _read_words(words: bytes, arrow_type: pa.DataType) -> pa.ChunkedArray:
    with ReleasedByArrow() as release:
        table = pacsv.read_csv(
            pa.BufferReader(release.of(np.frombuffer(words, np.uint8))),
            read_options=pacsv.ReadOptions(column_names=["id"]),
            # No word contains a separator, so that there is one column.
            parse_options=pacsv.ParseOptions(delimiter=" ", quote_char=False),
            convert_options=pacsv.ConvertOptions(column_types={"id": arrow_type}, null_values=[]),
        )
    return table["id"]


def _are_counted(words: _Words) -> NDArray[np.bool_]:
    """Whether the first word of each line is the number of the others, shape `(n_lines,)`."""
    begins = np.flatnonzero(words.is_first)
    n_others = np.diff(np.append(begins, len(words.lines))) - 1
    if isinstance(words.ids, np.ndarray):
        return np.asarray(words.ids[begins] == n_others, bool)
    first_words = words.ids.take(pa.array(begins))
    counts = pa.array(n_others).cast(pa.string()).cast(pa.binary())
    return np.asarray(pc.equal(first_words, counts).to_numpy(), bool)


def _require_counts(words: _Words, source: str) -> None:
    is_counted = _are_counted(words)
    if is_counted.all():
        return
    begins = np.flatnonzero(words.is_first)
    line = int(np.argmin(is_counted))
    begin = begins[line]
    end = np.append(begins, len(words.lines))[line + 1]
    raise DataError(
        f"{source}: row {words.lines[begin]}: begins with {_word(words, begin)}, which is not the number of the "
        f"{end - begin - 1} items that follow; if lines don't begin with a count, set data.user: line or column"
    )


def _notice_other_layouts(words: _Words, options: ReadOptions, source: str) -> None:
    """Send a notice if the lines look as if their first words were no users."""
    n_lines = int(words.is_first.sum())
    if n_lines >= _MIN_COUNTED_LINES and _are_counted(words).all():
        progress.notice(
            f"{source}: each line begins with the number of its items; if this is meant, set data.user: counted_line"
        )
        return
    if options.user == "line":
        return
    first_words = words.ids[words.is_first] if isinstance(words.ids, np.ndarray) else None
    if first_words is None:
        first_words = words.ids.filter(pa.array(words.is_first))
    n_repeated = n_lines - _count_distinct(first_words)
    if n_repeated:
        progress.notice(
            f"{source}: {n_repeated:,} of {n_lines:,} lines begin with a user that has an earlier line, and continue "
            "it; if lines do not begin with a user, set data.user: line"
        )


def _count_distinct(values: Any) -> int:
    if isinstance(values, np.ndarray):
        return len(pd.unique(values))
    return int(pc.count_distinct(values).as_py())


def _word(words: _Words, position: int) -> str:
    if isinstance(words.ids, np.ndarray):
        return str(words.ids[position])
    return format_value(words.ids[position].as_py().decode(errors="replace"))


def positions_within_user(users: Any) -> NDArray[np.int64]:
    """The number of earlier rows of each row's user, shape `(n,)`."""
    series = pd.Series(users) if isinstance(users, np.ndarray) else users.to_pandas()
    return np.asarray(series.groupby(series, sort=False).cumcount(), np.int64)
