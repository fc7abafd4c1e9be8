"""Titles of items, shown in reports and recommendations; models never read them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from recctl.data.sources.catalog.datasets import catalog
from recctl.data.sources.catalog.mirrors import TitleFile


def item_titles(source: str) -> dict[int | str, str]:
    """Titles by item id, if the data set has titles and is in the cache; nothing is downloaded.

    Args:
        source: Name of the data set in the config.

    Returns:
        Empty if there are no titles or their file can't be read: missing titles are never an error.
    """
    # Not `find`, since a source may be a path.
    entry = next((entry for entry in catalog() if entry.name == source), None)
    record = entry.record() if entry else None
    if entry is None or record is None:
        return {}
    mirror = entry.mirror(record["mirror"])
    if mirror is None or mirror.titles is None:
        return {}
    try:
        return {int(item): title for item, title in _read_titles(entry.folder / mirror.titles.path, mirror.titles)}
    except (OSError, ValueError, csv.Error):
        return {}


def _read_titles(path: Path, layout: TitleFile) -> Iterator[tuple[str, str]]:
    """The first two columns: item id and title."""
    with path.open(encoding=layout.encoding, newline="") as file:
        if layout.header:
            next(file, None)
        if layout.delimiter == ",":
            for row in csv.reader(file):
                if len(row) > 1:
                    yield row[0], row[1]
            return
        # The other files have no quoting, and delimiters that the csv module does not support.
        for line in file:
            cells = line.rstrip("\r\n").split(layout.delimiter)
            if len(cells) > 1:
                yield cells[0], cells[1]
