"""Reading the files of the Netflix Prize: for each item a line `item:`, then its rows `user,rating,date`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from recctl.data.columns import ITEM, RATING, TIMESTAMP, USER, format_value
from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers.bad_rows.rows import BadRows
from recctl.data.sources.readers.bad_rows.slow_path import parse_rows
from recctl.data.sources.readers.compression import open_decompressed
from recctl.data.sources.readers.interface import ReadResult
from recctl.errors import DataError

_ROW = (USER, RATING, TIMESTAMP)
_ITEM_LINE = re.compile(r"\s*(.*\S)\s*:\s*")


def read_netflix(path: Path, options: ReadOptions) -> ReadResult:
    """Read blocks of one item each; see `readers.interface`.

    Raises:
        DataError: The file does not begin with the line of an item, or a row can't be read.
    """
    source = path.name
    item_lines: list[int] = []
    item_ids: list[str] = []
    bad_lines: list[int] = []
    bad_texts: list[str] = []

    # Lines of items have one field instead of three.
    def on_other_line(row: Any) -> str:
        match = _ITEM_LINE.fullmatch(row.text) if row.actual_columns == 1 else None
        lines = item_lines if match else bad_lines
        lines.append(row.number - 1)
        if match:
            item_ids.append(match[1])
        else:
            bad_texts.append(row.text)
        return "skip"

    try:
        with open_decompressed(path) as stream:
            table = pacsv.read_csv(
                stream,
                # The line numbers of the other lines are known on one thread only.
                read_options=pacsv.ReadOptions(column_names=list(_ROW), use_threads=False),
                parse_options=pacsv.ParseOptions(quote_char=False, invalid_row_handler=on_other_line),
                convert_options=pacsv.ConvertOptions(column_types=dict.fromkeys(_ROW, pa.binary())),
            )
    except pa.ArrowInvalid as error:
        raise DataError(f"{source}: {str(error).splitlines()[0]}") from error
    n_lines = len(table) + len(item_lines) + len(bad_lines)
    row_lines = np.delete(np.arange(n_lines), item_lines + bad_lines)
    if not item_lines or item_lines[0] > 0:
        raise DataError(f"{source}: row 1: not the line of an item, such as '1:'; is this data.format: netflix?")
    if not len(row_lines):
        raise DataError(f"{source}: no item has a row user,rating,date")
    bad_rows = BadRows()
    bad_rows.add(np.array(bad_lines, np.int64), lambda i: f"{format_value(bad_texts[i])} is not user,rating,date")
    item_of_row = np.searchsorted(item_lines, row_lines) - 1
    raw = {name: table[name] for name in _ROW}
    raw[ITEM] = pa.chunked_array([pa.array(item_ids, pa.binary()).take(pa.array(item_of_row))])

    def label_rows(rows: Sequence[int]) -> list[str]:
        return [f"{source}: row {row + 1}" for row in rows]

    return parse_rows(raw, row_lines, bad_rows, options, source, label_rows)
