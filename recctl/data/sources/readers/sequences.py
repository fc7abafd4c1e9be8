"""Reading files with one user per line, `user item item ...`: LightGCN's format, and item sequences.

Arrow parses all words of the file as one column; which word starts a line is computed from the positions of the
separators. No line ever becomes a Python object. The file, two masks of its size and the ids must fit in memory.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from recctl.data.columns import ITEM, TIMESTAMP, USER
from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers.bad_rows.rows import BadRows
from recctl.data.sources.readers.bad_rows.slow_path import parse_rows
from recctl.data.sources.readers.compression import UNIT_SEPARATOR, open_decompressed
from recctl.data.sources.readers.csv_dialect import SAMPLE_BYTES, require_utf8
from recctl.data.sources.readers.interface import ReadResult
from recctl.data.sources.readers.values import MISSING
from recctl.errors import DataError

_SEPARATORS = b" ,\t\r\n"
_SEPARATORS_TO_NEWLINES = bytes.maketrans(_SEPARATORS, b"\n" * len(_SEPARATORS))


def read_sequences(path: Path, options: ReadOptions) -> ReadResult:
    """Read a file with one user per line; see `readers.interface`.

    With `format="sequences"`, an item's timestamp is its position in the user's sequence, from 0. Lines without items
    are ignored. If a user has several lines, the later ones continue the sequence.

    Raises:
        DataError: The file is empty, binary, or holds an id that can't be read.
    """
    source = path.name
    with open_decompressed(path) as stream:
        text = stream.read().removeprefix(b"\xef\xbb\xbf")
    require_utf8(text, source)
    # One word per line, to be parsed as a CSV file with one column; `text` keeps the original line ends.
    words = text.translate(_SEPARATORS_TO_NEWLINES)
    lines = _lines_of_words(text, words)
    if not len(lines):
        raise DataError(f"{source}: the file is empty")
    is_user = np.concatenate([[True], lines[1:] != lines[:-1]])
    is_item = ~is_user
    if not is_item.any():
        raise DataError(f"{source}: no line has a user and an item")
    ids = _parse_words(words, options)
    user_words = np.flatnonzero(is_user)
    user_word_of_item = user_words[np.cumsum(is_user) - 1][is_item]

    def label_lines(line_numbers: Sequence[int]) -> list[str]:
        return [f"{source}: row {line_number}" for line_number in line_numbers]

    if isinstance(ids, np.ndarray):
        result = ReadResult({USER: ids[user_word_of_item], ITEM: ids[is_item]})
    else:
        raw = {USER: ids.take(pa.array(user_word_of_item)), ITEM: ids.filter(pa.array(is_item))}
        result = parse_rows(raw, lines[is_item], BadRows(), options, source, label_lines)
    if options.format == "sequences":
        result.columns[TIMESTAMP] = positions_within_user(result.columns[USER])
    return result


def _lines_of_words(text: bytes, words: bytes) -> NDArray[np.int64]:
    """The line of each word, counted from 1."""
    # A word starts at a letter that follows a separator.
    is_letter = np.frombuffer(words, np.uint8) != ord("\n")
    starts_word = is_letter.copy()
    starts_word[1:] &= ~is_letter[:-1]
    newlines = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
    return np.searchsorted(newlines, np.flatnonzero(starts_word)) + 1


def _parse_words(words: bytes, options: ReadOptions) -> Any:
    """All words as int64, or as Arrow binary if any is not a whole number or has leading zeros."""
    # Only the first ids are checked: leading zeros that occur only further down are lost.
    has_leading_zero = re.search(rb"(?:^|\n)-?0[0-9]", words[:SAMPLE_BYTES])
    if options.id_type != "text" and not has_leading_zero:
        try:
            ids = _read_words(words, pa.int64())
        except pa.ArrowInvalid:
            return _read_words(words, pa.binary())
        if not ids.null_count:
            return ids.to_numpy()
    return _read_words(words, pa.binary())


def _read_words(words: bytes, arrow_type: pa.DataType) -> pa.ChunkedArray:
    table = pacsv.read_csv(
        pa.BufferReader(words),
        read_options=pacsv.ReadOptions(column_names=["id"]),
        # Words contain no separator; any other delimiter makes one column.
        parse_options=pacsv.ParseOptions(delimiter=UNIT_SEPARATOR, quote_char=False),
        convert_options=pacsv.ConvertOptions(
            column_types={"id": arrow_type}, null_values=MISSING, strings_can_be_null=True
        ),
    )
    return table["id"]


def positions_within_user(users: Any) -> NDArray[np.int64]:
    """The number of earlier rows of each row's user, shape `(n,)`."""
    series = pd.Series(users) if isinstance(users, np.ndarray) else users.to_pandas()
    return np.asarray(series.groupby(series, sort=False).cumcount(), np.int64)
