"""Reading the parts of a predefined split, which are files of their own, as if they were one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from recctl import progress, urls
from recctl.config import Config
from recctl.data.columns import COLUMNS, ITEM, RATING, USER
from recctl.data.sources import Query, ReadOptions, SourceTable, read_configured_source
from recctl.data.sources.readers.column_suggestions import mapping_hint
from recctl.errors import DataError
from recctl.experiment.use_of_ratings import needs_ratings

if TYPE_CHECKING:
    import pandas as pd

# The column with the part of each row; preprocessing steps carry it along.
PART = "__part"


def read_parts(sources: Sequence[str | Query], options: ReadOptions, base: Path, config: Config) -> list[SourceTable]:
    """Read train, validation (if there is one) and test, with the same columns and the same types of ids.

    Raises:
        DataError: A part can't be read, or lacks a column that another one has.
    """
    names = [_name(source) for source in sources]
    # A checksum is that of data.source, the first one.
    options_of_parts = [options, *[replace(options, checksum=None)] * (len(sources) - 1)]
    tables = _with_same_columns(_read_all(sources, options_of_parts, base), names, config)
    if not _columns_of_other_types(tables):
        return tables
    # All values of a column decide its type, so those of all parts together.
    text_options = [replace(part_options, id_type="text") for part_options in options_of_parts]
    with progress.silence():  # the first reading has shown all notices
        text_tables = _read_all(sources, text_options, base)
    return _with_same_id_types(tables, text_tables, names)


def _read_all(sources: Sequence[str | Query], options: Sequence[ReadOptions], base: Path) -> list[SourceTable]:
    return [
        read_configured_source(source, part_options, base=base)
        for source, part_options in zip(sources, options, strict=True)
    ]


def _name(source: str | Query) -> str:
    if isinstance(source, Query):
        return "query"
    return urls.file_name(source) if urls.is_url(source) else Path(source).name


def concatenate_parts(tables: list[SourceTable]) -> pd.DataFrame:
    """The rows of all parts, with their part in the column `PART`."""
    import pandas as pd

    part_names = ["train", "test"] if len(tables) == 2 else ["train", "validation", "test"]
    frames = [table.frame.assign(**{PART: name}) for table, name in zip(tables, part_names, strict=True)]
    return pd.concat(frames, ignore_index=True)


def _with_same_columns(tables: list[SourceTable], names: list[str], config: Config) -> list[SourceTable]:
    """Check that the parts of a split have the same columns; ratings that are not used are left out if some lack them.

    Raises:
        DataError: A part lacks a column that another one has.
    """
    for role in COLUMNS:
        lacking = [name for table, name in zip(tables, names, strict=True) if role not in table.columns]
        having = [name for table, name in zip(tables, names, strict=True) if role in table.columns]
        if not lacking or not having:
            continue
        if role == RATING and not needs_ratings(config):
            progress.notice(f"{lacking[0]}: no ratings, unlike {having[0]}; they are not used, and left out")
            tables = [_without_column(table, role) for table in tables]
            continue
        hint = mapping_hint({**{str(mapped): column for mapped, column in config.data.columns.items()}, role: None})
        raise DataError(
            f"{lacking[0]}: no {role} column, which {having[0]} has; all files of a predefined split need the same "
            f"columns: add it, or to do without it in all files, {hint}"
        )
    return tables


def _without_column(table: SourceTable, role: str) -> SourceTable:
    return replace(table, columns={name: column for name, column in table.columns.items() if name != role})


def _columns_of_other_types(tables: list[SourceTable]) -> list[str]:
    """The id columns that are text in some tables and whole numbers in others."""
    return [role for role in (USER, ITEM) if len({_is_text(table.columns[role]) for table in tables}) > 1]


def _is_text(ids: Any) -> bool:
    """Whether ids are text: an Arrow column, or a pandas column that does not hold integers."""
    if isinstance(ids, pa.Array | pa.ChunkedArray):
        return True
    return bool(ids.dtype.kind not in "iu")


def _with_same_id_types(
    tables: list[SourceTable], text_tables: list[SourceTable], names: list[str]
) -> list[SourceTable]:
    """The tables with their ids as text where some table has text, as if all were one table.

    Args:
        tables: The tables.
        text_tables: The same, read with all ids as text.
        names: Their files, for messages.
    """
    for role in _columns_of_other_types(tables):
        is_text = [_is_text(table.columns[role]) for table in tables]
        text_name = names[is_text.index(True)]
        number_name = names[is_text.index(False)]
        progress.notice(f"{text_name}: {role} is text, but in {number_name} whole numbers; all are read as text")
        for table, text_table in zip(tables, text_tables, strict=True):
            if len(table) != len(text_table):  # rows that are bad only as numbers
                return text_tables
            table.columns[role] = text_table.columns[role]
    return tables
