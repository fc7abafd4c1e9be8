"""Reading recommendation lists that were made elsewhere, with the readers of interactions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recctl.data import text_ids
from recctl.data.columns import ITEM, RATING, TIMESTAMP, USER
from recctl.data.sources.options import PartialOptions, ReadOptions
from recctl.data.sources.python_terms import translated
from recctl.data.sources.readers.column_roles import KNOWN_NAMES, normalize_name
from recctl.data.sources.readers.file_format import detect_format
from recctl.data.sources.readers.read_file import column_names, read_file
from recctl.errors import ConfigError, DataError
from recctl.suggest import did_you_mean

RANK = "rank"
SCORE = "score"
ROLES = (USER, ITEM, RANK, SCORE)
FORMATS = "Parquet, CSV, TSV or JSON lines"

_ORDER_NAMES = {RANK: ("rank", "position", "pos"), SCORE: ("score", "prediction", "relevance", "value")}
_MAPPING = re.compile(r"data\.columns: \{[^}]*\}")
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class ListTable:
    """The entries of recommendation lists, in the order of the file.

    Attributes:
        path: The file.
        users: The user id of each entry: int64, or Arrow text.
        items: The item id of each entry.
        order_by: `rank` or `score`.
        values: The rank or the score of each entry, float64 `(n_entries,)`.
        sha256: Hash of the file.
    """

    path: Path
    users: Any
    items: Any
    order_by: str
    values: NDArray[np.float64]
    sha256: str


def read_recommendations(
    path: Path,
    columns: Mapping[str, str | int],
    data_columns: Mapping[str, str | int | None],
    *,
    text_users: bool,
    text_items: bool,
) -> ListTable:
    """Read a file with a user, an item, and a rank or a score in each row.

    Args:
        path: The file, possibly compressed.
        columns: The file's column for each role: `user_id`, `item_id`, `rank` and `score`. Roles that are not mapped
            are found by `data_columns`, then by well-known names. If there are both ranks and scores, ranks count.
        data_columns: The columns of the interactions.
        text_users: Whether the user ids of the data are text.
        text_items: Whether their item ids are.

    Raises:
        ConfigError: `columns` has an unknown role.
        DataError: The file, a column or a row can't be read; the message names file, row and value.
    """
    unknown_roles = [role for role in columns if role not in ROLES]
    if unknown_roles:
        raise ConfigError(f"columns: unknown column {unknown_roles[0]!r}{did_you_mean(unknown_roles[0], ROLES)}")
    if not path.is_file():
        neighbours = sorted(one.name for one in path.parent.iterdir()) if path.parent.is_dir() else []
        raise DataError(f"{path}: recommendations: no such file{did_you_mean(path.name, neighbours)}")
    names = column_names(path)
    roles = _find_columns(path, names, columns, data_columns)
    order_by = RANK if RANK in roles else SCORE
    order_column = str(roles[order_by])
    # Ids of both columns have one type here; integers among text are converted below.
    is_text = text_users or text_items
    options = PartialOptions(
        columns={USER: roles[USER], ITEM: roles[ITEM], RATING: None, TIMESTAMP: None},
        extra_columns=(order_column,),
        id_type="text" if is_text else "int",
    )
    with translated(_to_own_keys):
        table = read_file(path, options).columns
    if USER not in table or ITEM not in table:
        raise DataError(f"{path.name}: is not a table with a user and an item in each row; give {FORMATS}")
    return ListTable(
        path,
        _ids(table[USER], USER, is_text=is_text, wants_text=text_users, path=path),
        _ids(table[ITEM], ITEM, is_text=is_text, wants_text=text_items, path=path),
        order_by,
        _numbers(table[order_column], order_by, path),
        file_hash(path),
    )


def file_hash(path: Path) -> str:
    """The SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def row_label(path: Path, row: int) -> str:
    """The place of a row of a file for messages: the line of a text file, as an editor counts."""
    if detect_format(path) in ("csv", "tsv", "inter"):
        from recctl.data.sources.readers.bad_rows.line_numbers import label_records
        from recctl.data.sources.readers.csv_dialect import sniff_dialect
        from recctl.data.sources.readers.text_stream import open_text

        options = ReadOptions()
        with open_text(path, options.encoding) as stream:
            dialect = sniff_dialect(stream, options, path.name)
        return label_records(path, dialect, options.encoding, [row])[0]
    return f"{path.name}: row {row + 1}"


def _find_columns(
    path: Path,
    names: Sequence[str] | None,
    columns: Mapping[str, str | int],
    data_columns: Mapping[str, str | int | None],
) -> dict[str, str | int]:
    """The column of each role; the mapping first, then the names of the interactions, then well-known names."""
    if names is None:
        return _columns_by_position(path, columns)
    # RecBole writes the type of a column behind its name: `user_id:token`.
    plain_names = [name.split(":")[0] for name in names]
    found: dict[str, str | int] = {}
    for role, column in columns.items():
        found[role] = _name_at(path, names, role, column)
    for role in (USER, ITEM):
        if role in found:
            continue
        own_name = data_columns.get(role)
        if isinstance(own_name, str) and own_name in names:
            found[role] = own_name
        else:
            _find_by_name(found, role, names, plain_names, KNOWN_NAMES[role])
    if RANK not in found and SCORE not in found:
        for role in (RANK, SCORE):
            _find_by_name(found, role, names, plain_names, _ORDER_NAMES[role])
    missing = _missing_roles(found)
    if missing:
        listed = ", ".join(names)
        raise DataError(
            f"{path.name}: no column {', '.join(missing)} among {listed}; name them, as in "
            "columns: {user_id: customer, item_id: sku, rank: position}"
        )
    return found


def _columns_by_position(path: Path, columns: Mapping[str, str | int]) -> dict[str, str | int]:
    if _missing_roles(columns):
        raise DataError(
            f"{path.name}: has no header; name the columns by position: "
            "columns: {user_id: 0, item_id: 1, rank: 2}, or score in place of rank"
        )
    return dict(columns)


def _missing_roles(columns: Mapping[str, str | int]) -> list[str]:
    missing = [role for role in (USER, ITEM) if role not in columns]
    if RANK not in columns and SCORE not in columns:
        missing.append("rank or score")
    return missing


def _name_at(path: Path, names: Sequence[str], role: str, column: str | int) -> str:
    if isinstance(column, int):
        if column >= len(names):
            raise DataError(f"{path.name}: columns.{role}: {column} is beyond the {len(names)} columns, from 0")
        return names[column]
    matching = [name for name in names if column in (name, name.split(":")[0])]
    if not matching:
        raise DataError(f"{path.name}: columns.{role}: no column {column!r}{did_you_mean(column, names)}")
    return column if column in matching else matching[0]


def _find_by_name(
    found: dict[str, str | int],
    role: str,
    names: Sequence[str],
    plain_names: Sequence[str],
    known_names: Sequence[str],
) -> None:
    normalized = [normalize_name(name) for name in plain_names]
    for known_name in known_names:
        wanted = normalize_name(known_name)
        if wanted in normalized and names[normalized.index(wanted)] not in found.values():
            found[role] = names[normalized.index(wanted)]
            return


def _ids(ids: Any, role: str, *, is_text: bool, wants_text: bool, path: Path) -> Any:
    if not is_text:
        return np.asarray(ids, np.int64)
    texts = ids if isinstance(ids, pa.ChunkedArray) else pa.chunked_array([ids])
    if pa.types.is_dictionary(texts.type):
        texts = texts.cast(pa.large_string())
    if wants_text:
        return texts
    are_integers = text_ids.are_integers(texts)
    if not are_integers.all():
        row = int(np.flatnonzero(~are_integers)[0])
        raise DataError(
            f"{row_label(path, row)}: {role}: {texts[row].as_py()!r} is not a whole number, unlike the ids of the data"
        )
    return text_ids.cast_integers(texts)


def _numbers(texts: Any, order_by: str, path: Path) -> NDArray[np.float64]:
    """Ranks or scores of text; float64, because float32 would make ties of scores that differ."""
    chunked = texts if isinstance(texts, pa.ChunkedArray) else pa.chunked_array([texts])
    trimmed = pc.utf8_trim_whitespace(chunked)
    try:
        values = np.asarray(trimmed.cast(pa.float64()).to_numpy(), np.float64)
    except pa.ArrowInvalid:
        values = np.array([_number(text) for text in trimmed.to_pylist()])
    is_bad = np.isnan(values)
    if order_by == RANK:
        is_bad |= (values < 0) | (values % 1 != 0)
    if is_bad.any():
        row = int(np.flatnonzero(is_bad)[0])
        expected = "a whole number from 0 or 1" if order_by == RANK else "a number"
        raise DataError(f"{row_label(path, row)}: {order_by}: {chunked[row].as_py()!r} is not {expected}")
    return values


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _to_own_keys(message: str) -> str:
    """Replace the keys of interactions in a message of their readers by those of recommendations."""
    message = _MAPPING.sub("columns: {user_id: customer, item_id: sku, rank: position}", message)
    return re.sub(r"\bdata\.columns\b", "columns", message)
