"""What the items of a data set are called, for people: never read by a model."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from recctl.data.sources.catalog.datasets import catalog
from recctl.data.sources.catalog.mirrors import TitleFile


def item_titles(source: str) -> dict[int | str, str]:
    """Titles of items by id, where the data have them and they lie in the cache; nothing is fetched.

    Args:
        source: What a config calls the data.

    Returns:
        Empty where there are none, or their file can't be read: titles are for people, and never a reason to fail.
    """
    entry = next((entry for entry in catalog() if entry.name == source), None)
    record = entry.record() if entry else None
    mirror = entry.mirror(record["mirror"]) if entry and record else None
    if entry is None or mirror is None or mirror.titles is None:
        return {}
    try:
        return {int(item): title for item, title in _rows(entry.folder / mirror.titles.path, mirror.titles)}
    except (OSError, ValueError, csv.Error):
        return {}


def _rows(path: Path, layout: TitleFile) -> Iterator[tuple[str, str]]:
    """The first two columns."""
    with path.open(encoding=layout.encoding, newline="") as file:
        if layout.header:
            next(file, None)
        if layout.delimiter == ",":
            yield from ((row[0], row[1]) for row in csv.reader(file) if len(row) > 1)
            return
        for line in file:
            cells = line.rstrip("\r\n").split(layout.delimiter)
            if len(cells) > 1:
                yield cells[0], cells[1]
