"""Finding the line number of a record in a text file, as a text editor counts lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recctl.data.sources.readers.csv_dialect import CsvDialect
from recctl.data.sources.readers.text_stream import RecordStream, open_text

_BLOCK_BYTES = 1 << 20


def label_records(path: Path, dialect: CsvDialect, encoding: str, records: Sequence[int]) -> list[str]:
    """The location of each record, e.g. `ratings.csv: row 17`; lines are counted from 1, header and blank ones too.

    Args:
        path: The file.
        dialect: Its dialect.
        encoding: Its encoding.
        records: Record numbers from 0, ascending; blank lines are not records.
    """
    with open_text(path, encoding) as text:
        stream = RecordStream(text, dialect.layout, wanted=records)
        while len(stream.lines) < len(records) and stream.read(_BLOCK_BYTES):
            pass
    return [f"{path.name}: row {line}" for line in stream.lines]
