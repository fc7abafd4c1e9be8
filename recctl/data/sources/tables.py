"""Reading a table of items or users, with the readers of interactions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from recctl import urls
from recctl.data.columns import ITEM, RATING, TIMESTAMP, USER
from recctl.data.sources.options import PartialOptions, ReadOptions
from recctl.data.sources.python_terms import translated
from recctl.data.sources.readers.parts.files import is_pattern
from recctl.data.sources.readers.read_file import read_file
from recctl.errors import DataError
from recctl.suggest import did_you_mean

# The section of the config of each kind of table, and the role of its ids.
TableKind = Literal["items", "users"]
_ROLES: dict[TableKind, str] = {"items": ITEM, "users": USER}

_OPTIONS = "|".join(option.name for option in fields(ReadOptions))
_OPTION_KEY = re.compile(rf"\bdata\.({_OPTIONS})\b")


def find_table(kind: TableKind, file: str, base: Path) -> Path:
    """The path of a table of items or users.

    Args:
        kind: Which table.
        file: A file, a folder or a pattern, or the URL of one, as `data.items.file` gives it.
        base: The folder that relative paths start from.

    Raises:
        DataError: It does not exist.
    """
    if urls.is_url(file):
        from recctl.data.sources.remote.files import local_table

        return local_table(file, f"data.{kind}.file")
    # An absolute path ignores the base.
    path = base / Path(file).expanduser()
    if path.exists() or is_pattern(path):
        return path
    neighbours: list[str] = []
    if path.parent.is_dir():
        neighbours = sorted(neighbour.name for neighbour in path.parent.iterdir())
    suggestion = did_you_mean(path.name, neighbours)
    without = "titles" if kind == "items" else "segments by columns of users"
    raise DataError(
        f"{file}: data.{kind}.file does not exist (tried {path.absolute()}){suggestion}; "
        f"to go on without {without}, set data.{kind}: null"
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
    title = str(title_column)
    ids, columns = _read_columns("items", path, id_column, {title: "data.items.title"}, **options)
    return ids, columns[title]


def read_attributes(
    kind: TableKind, path: Path, id_column: str | int, columns: Sequence[str], **options: Any
) -> tuple[pa.ChunkedArray, dict[str, pa.ChunkedArray]]:
    """Read the ids and some columns of a table of items or users, all as text.

    Args:
        kind: Which table.
        path: A file, a folder of parts or a pattern.
        id_column: The column of ids: a name or, without a header, a position counted from 0.
        columns: The other columns.
        **options: Other fields of `ReadOptions`.

    Raises:
        DataError: The table, a column or a row of it can't be read.
    """
    return _read_columns(kind, path, id_column, dict.fromkeys(columns, "evaluation.segments"), **options)


def _read_columns(
    kind: TableKind, path: Path, id_column: str | int, columns: Mapping[str, str], **options: Any
) -> tuple[pa.ChunkedArray, dict[str, pa.ChunkedArray]]:
    """Read the ids and other columns, each with the config key that names it."""
    # Ids are read as text, so that they can be compared with ids of either type.
    mapping: dict[str, str | int | None] = dict.fromkeys((USER, ITEM, RATING, TIMESTAMP))
    mapping[_ROLES[kind]] = id_column
    read_options = PartialOptions(columns=mapping, extra_columns=tuple(columns), id_type="text", **options)
    with translated(_to_table_keys(kind, path.name, columns)):
        read = read_file(path, read_options).columns
        if any(name not in read for name in columns):
            raise DataError(f"{path.name}: is not a table with columns; set data.format: csv if it is one")
    return _to_chunked(read[_ROLES[kind]]), {name: _to_chunked(read[name]) for name in columns}


def _to_table_keys(kind: TableKind, source: str, columns: Mapping[str, str]) -> Callable[[str], str]:
    """A function that replaces the keys of interactions in a message by those of a table of items or users."""
    role = _ROLES[kind]
    # A hint with the mapping of all roles, of which only that of the ids is the user's.
    whole_mapping = re.compile(rf"data\.columns: \{{[^}}]*\b{role}: ([^,}}]+)[^}}]*\}}")

    def translate(message: str) -> str:
        message = whole_mapping.sub(rf"data.{kind}.id: \1", message)
        message = message.replace(f"data.columns.{role}", f"data.{kind}.id")
        message = _OPTION_KEY.sub(rf"data.{kind}.\1", message)
        for name, key in columns.items():
            if message.startswith(f"{source}: no column {name!r}"):
                return message.replace(source, f"{source}: {key}", 1)
        return message

    return translate


def _to_chunked(column: Any) -> pa.ChunkedArray:
    return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
