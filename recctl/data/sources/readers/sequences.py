"""Reading files of one user a line: `user item item ...`, as LightGCN's and many sequential models' data come.

The bytes are split by Arrow as one long column of words; which word starts a line is counted from the separators. No
line is ever a Python object. The file, two masks of its size and the ids must fit in memory.
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
from recctl.data.sources.readers.bad_rows.slow_path import Columns, Skipped, read_carefully
from recctl.data.sources.readers.compression import opened
from recctl.data.sources.readers.csv_dialect import MISSING, SAMPLE_BYTES
from recctl.errors import DataError

_SEPARATORS = b" ,\t\r\n"
_TO_NEWLINES = bytes.maketrans(_SEPARATORS, b"\n" * len(_SEPARATORS))


def read_lists(path: Path, options: ReadOptions) -> tuple[Columns, Skipped]:
    """Users and items, and with `format="sequences"` the item's place in its user's line as the timestamp.

    Lines of a user without items say nothing, and are passed over. A user of several lines goes on counting.

    Raises:
        DataError: The file is empty, binary, or an id can't be read.
    """
    with opened(path) as stream:
        text = stream.read().removeprefix(b"\xef\xbb\xbf")
    if b"\0" in text:
        raise DataError(f"{path.name}: holds no UTF-8 text (binary, or UTF-16?); save it as UTF-8 text")
    words = text.translate(_TO_NEWLINES)
    lines = _lines_of_words(text, words)
    if not len(lines):
        raise DataError(f"{path.name}: the file is empty")
    first = np.concatenate([[True], lines[1:] != lines[:-1]])
    if first.all():
        raise DataError(f"{path.name}: no line has a user and an item")
    ids = _ids(words, options)
    owner = np.flatnonzero(first)[np.cumsum(first) - 1][~first]  # the word that is the user of each item
    rows = lines[~first]

    def label(rows: Sequence[int]) -> list[str]:
        return [f"{path.name}: row {row}" for row in rows]

    skipped: Skipped
    if isinstance(ids, np.ndarray):
        columns, skipped = {USER: ids[owner], ITEM: ids[~first]}, {}
    else:
        raw = {USER: ids.take(pa.array(owner)), ITEM: ids.filter(pa.array(~first))}
        columns, skipped = read_carefully(raw, rows, BadRows(), options, path.name, label)
    if options.format == "sequences":
        users = pd.Series(columns[USER]) if isinstance(columns[USER], np.ndarray) else columns[USER].to_pandas()
        columns[TIMESTAMP] = users.groupby(users, sort=False).cumcount().to_numpy()
    return columns, skipped


def _lines_of_words(text: bytes, words: bytes) -> NDArray[np.int64]:
    """The line, from 1, of each word."""
    is_letter = np.frombuffer(words, np.uint8) != ord("\n")
    starts = is_letter.copy()
    starts[1:] &= ~is_letter[:-1]
    newlines = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
    return np.searchsorted(newlines, np.flatnonzero(starts)) + 1


def _ids(words: bytes, options: ReadOptions) -> Any:
    """Every word as int64, or as bytes where some is not a plain whole number."""

    def read(kind: pa.DataType) -> pa.ChunkedArray:
        return pacsv.read_csv(
            pa.BufferReader(words),
            read_options=pacsv.ReadOptions(column_names=["id"]),
            parse_options=pacsv.ParseOptions(delimiter="\x1f", quote_char=False),
            convert_options=pacsv.ConvertOptions(
                column_types={"id": kind}, null_values=MISSING, strings_can_be_null=True
            ),
        )["id"]

    try:
        if options.id_type != "text" and not re.search(rb"(?:^|\n)-?0[0-9]", words[:SAMPLE_BYTES]):
            ids = read(pa.int64())
            if not ids.null_count:
                return ids.to_numpy()
    except pa.ArrowInvalid:
        pass
    return read(pa.binary())
