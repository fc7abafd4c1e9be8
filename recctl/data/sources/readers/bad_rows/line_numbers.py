"""Finding the line of a record in a text file, as an editor counts lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recctl.data.sources.readers.compression import Readable, opened
from recctl.data.sources.readers.csv_dialect import Layout

_BLOCK_BYTES = 1 << 24


def label_records(path: Path, layout: Layout, records: Sequence[int]) -> list[str]:
    """Where each record of data is, as `ratings.csv: row 17`; the header and blank lines count.

    Args:
        path: The file.
        layout: Its layout.
        records: Numbers of records from 0, ascending; blank lines are no records.
    """
    found: list[int] = []
    with opened(path) as stream:
        before = 0
        for lines in _record_lines(stream, layout):
            found += [int(lines[record - before]) for record in records[len(found) :] if record < before + len(lines)]
            before += len(lines)
            if len(found) == len(records):
                break
    found += [record + layout.skip + 1 for record in records[len(found) :]]  # line ends of an unknown kind
    return [f"{path.name}: row {line}" for line in found]


def count_lines(path: Path, layout: Layout) -> int:
    """How many lines of data a file has, blank ones left out."""
    with opened(path) as stream:
        return sum(len(lines) for lines in _record_lines(stream, replace(layout, multiline=False)))


def _record_lines(stream: Readable, layout: Layout) -> Iterator[NDArray[np.int64]]:
    """The lines, from 1, on which the records of data start, block by block."""
    line, rest = 1, b""
    while True:
        block = stream.read(_BLOCK_BYTES)
        text = np.frombuffer(rest + (block or b"\n"), np.uint8)
        newline = text == ord("\n")
        ends = np.flatnonzero(newline & (np.cumsum(text == ord('"')) % 2 == 0) if layout.multiline else newline)
        begins = np.concatenate([[0], ends + 1])[: len(ends)]
        lines = line + np.concatenate([[0], np.cumsum(newline)])[begins]
        length = ends - begins - (text[np.maximum(ends - 1, 0)] == ord("\r"))
        yield lines[(length > 0) & (lines > layout.skip)]
        if not block:
            return
        used = int(ends[-1]) + 1 if len(ends) else 0
        line += int(newline[:used].sum())
        rest = text[used:].tobytes()
