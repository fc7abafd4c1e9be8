"""Finding the line number of a record in a text file, as a text editor counts lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recctl.data.sources.readers.compression import ReadableStream, open_decompressed
from recctl.data.sources.readers.csv_dialect import CsvDialect

_BLOCK_BYTES = 1 << 24


def label_records(path: Path, dialect: CsvDialect, records: Sequence[int]) -> list[str]:
    """The location of each record, e.g. `ratings.csv: row 17`; lines are counted from 1, header and blank ones too.

    Args:
        path: The file.
        dialect: Its dialect.
        records: Record numbers from 0, ascending; blank lines are not records.
    """
    line_numbers: list[int] = []
    with open_decompressed(path) as stream:
        n_before = 0  # records in the blocks before this one
        for block_lines in _record_lines(stream, dialect):
            n_read = n_before + len(block_lines)
            in_block = [record for record in records[len(line_numbers) :] if record < n_read]
            line_numbers += [int(block_lines[record - n_before]) for record in in_block]
            n_before = n_read
            if len(line_numbers) == len(records):
                break
    # A file with other line ends (a lone \r) has fewer lines than records: assume one line per record.
    line_numbers += [record + dialect.n_header_lines + 1 for record in records[len(line_numbers) :]]
    return [f"{path.name}: row {line_number}" for line_number in line_numbers]


def count_lines(path: Path, dialect: CsvDialect) -> int:
    """The number of lines of data, without blank ones."""
    with open_decompressed(path) as stream:
        return sum(len(lines) for lines in _record_lines(stream, replace(dialect, multiline=False)))


def _record_lines(stream: ReadableStream, dialect: CsvDialect) -> Iterator[NDArray[np.int64]]:
    """The line on which each record starts, counted from 1, block by block."""
    first_line = 1
    remainder = b""  # the start of a record that continues in the next block
    while True:
        block = stream.read(_BLOCK_BYTES)
        text = np.frombuffer(remainder + (block or b"\n"), np.uint8)
        is_newline = text == ord("\n")
        is_record_end = is_newline
        if dialect.multiline:
            outside_quotes = np.cumsum(text == ord('"')) % 2 == 0
            is_record_end = is_newline & outside_quotes
        ends = np.flatnonzero(is_record_end)
        begins = np.concatenate([[0], ends + 1])[: len(ends)]
        newlines_before = np.concatenate([[0], np.cumsum(is_newline)])
        lines = first_line + newlines_before[begins]
        ends_with_return = text[np.maximum(ends - 1, 0)] == ord("\r")
        lengths = ends - begins - ends_with_return
        yield lines[(lengths > 0) & (lines > dialect.n_header_lines)]
        if not block:
            return
        n_used = int(ends[-1]) + 1 if len(ends) else 0
        first_line += int(is_newline[:n_used].sum())
        remainder = text[n_used:].tobytes()
