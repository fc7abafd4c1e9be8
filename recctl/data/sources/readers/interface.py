"""The interface between `read_file` and the readers of the single formats.

A reader is a function `(path, options) -> ReadResult` in a module of its own: `csv.read_delimited`,
`parquet.read_parquet`, `arrow.read_arrow`, `json_lines.read_json_lines`, `sequences.read_sequences`. To add a format,
write such a function, add its name to `recctl.data.sources.options.Format`, to `file_format` if it can be detected, and
to the two dispatches in `read_file`: of the readers, and of the functions that return the columns of a file, which
reading folders of parts needs. Every reader

1. opens the file with `compression.open_decompressed` if its format may be compressed, or `text_stream.open_text`;
2. assigns the file's columns to roles with `column_roles`, which also builds the error messages, and lists the other
   columns with `time_columns`, if it found no timestamps;
3. reads whole typed columns as fast as it can, and checks each with `values.has_valid_range`;
4. passes the raw columns to `bad_rows.slow_path.parse_rows` if a value does not fit: this finds, names, and rejects or
   skips the bad rows. Fast and slow path must return the same table for a file without bad rows.

A reader raises `DataError` with the file's name, the row, the value and what to do, and no other exception.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recctl.data.columns import UnusedColumns
from recctl.data.sources.options import ReadOptions

# Role -> values, see `SourceTable.columns`; and the name of each extra column -> its values as Arrow large_string.
Columns = dict[str, Any]
# Turns row numbers, counted from 0, into locations for error messages, e.g. "ratings.csv: row 17".
RowLabeler = Callable[[Sequence[int]], list[str]]


@dataclass
class ReadResult:
    """What a reader returns.

    Attributes:
        columns: The values of each role, in their final types (see `SourceTable.columns`).
        n_skipped: Number of bad rows that were left out.
        skipped: The first of these, as `{"row": "ratings.csv: row 17", "reason": "rating 'x' is not a number"}`.
        unused: The columns without a role, if the data have no timestamps.
    """

    columns: Columns
    n_skipped: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)
    unused: UnusedColumns | None = None


FileReader = Callable[[Path, ReadOptions], ReadResult]
