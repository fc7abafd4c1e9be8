"""Reading a table of items, with the readers of interactions."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from recctl.data.columns import ITEM, RATING, TIMESTAMP, USER
from recctl.data.sources.options import PartialOptions, ReadOptions
from recctl.data.sources.python_terms import translated
from recctl.data.sources.readers.parts.files import is_pattern
from recctl.data.sources.readers.read_file import read_file
from recctl.errors import DataError
from recctl.suggest import did_you_mean

_OPTIONS = "|".join(option.name for option in fields(ReadOptions))
_OPTION_KEY = re.compile(rf"\bdata\.({_OPTIONS})\b")
# A hint with the mapping of all roles, of which only that of the items is the user's.
_MAPPING = re.compile(rf"data\.columns: \{{[^}}]*\b{ITEM}: ([^,}}]+)[^}}]*\}}")


def find_items_file(file: str, base: Path) -> Path:
    """The path of a table of items.

    Args:
        file: A file, a folder or a pattern, as `data.items.file` gives it.
        base: The folder that relative paths start from.

    Raises:
        DataError: It does not exist.
    """
    # An absolute path ignores the base.
    path = base / Path(file).expanduser()
    if path.exists() or is_pattern(path):
        return path
    neighbours: list[str] = []
    if path.parent.is_dir():
        neighbours = sorted(neighbour.name for neighbour in path.parent.iterdir())
    suggestion = did_you_mean(path.name, neighbours)
    raise DataError(
        f"{file}: data.items.file does not exist (tried {path.absolute()}){suggestion}; "
        "to go on without titles, set data.items: null"
    )


def read_titles(
    path: Path, id_column: str | int, title_column: str | int, **options: Any
) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Read the ids and titles in a table of items, both as text.

    Args:
        path: A file, a folder of parts or a pattern.
        id_column: The column of ids: a name or, without a header, a position counted from 0.
        title_column: The column of titles.
        **options: Other fields of `ReadOptions`.

    Raises:
        DataError: The table, a column or a row of it can't be read; the message names the keys of `data.items`.
    """
    # Ids are read as text, so that they can be compared with ids of either type.
    mapping: dict[str, str | int | None] = {USER: None, ITEM: id_column, RATING: None, TIMESTAMP: None}
    read_options = PartialOptions(columns=mapping, extra_columns=(str(title_column),), id_type="text", **options)
    with translated(_to_items_keys(path.name, str(title_column))):
        columns = read_file(path, read_options).columns
        if str(title_column) not in columns:
            raise DataError(f"{path.name}: is not a table with columns; set data.format: csv if it is one")
    return _to_chunked(columns[ITEM]), _to_chunked(columns[str(title_column)])


def _to_items_keys(source: str, title_column: str) -> Callable[[str], str]:
    """A function that replaces the keys of interactions in a message by those of items."""
    no_title = f"{source}: no column {title_column!r}"

    def translate(message: str) -> str:
        message = _MAPPING.sub(r"data.items.id: \1", message)
        message = message.replace(f"data.columns.{ITEM}", "data.items.id")
        message = _OPTION_KEY.sub(r"data.items.\1", message)
        if message.startswith(no_title):
            message = message.replace(source, f"{source}: data.items.title", 1)
        return message

    return translate


def _to_chunked(column: Any) -> pa.ChunkedArray:
    return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
