"""Ids that a person gives: in a file, or in a list."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from pydantic import BeforeValidator, PlainSerializer

from recctl import progress
from recctl.data.matrix import Int32Array
from recctl.data.vocabulary import Vocabulary
from recctl.errors import DataError


def _as_list(value: Any) -> Any:
    if isinstance(value, str | Path) or value is None:
        return value
    return value.tolist() if hasattr(value, "tolist") else list(value) if isinstance(value, Iterable) else value


def _told(value: Any) -> Any:
    """What a manifest keeps of them: which they were can be checked, but is not all said again."""
    if isinstance(value, Path):
        content = value.read_bytes()
        return {"file": value.name, "sha256": hashlib.sha256(content).hexdigest()}
    content = json.dumps(value, ensure_ascii=False).encode()
    return {"ids": len(value), "sha256": hashlib.sha256(content).hexdigest()}


# A file of ids (an id a line; or CSV, TSV or Parquet with a column of the name), or the ids themselves.
Ids = Annotated[Path | list[int | str], BeforeValidator(_as_list), PlainSerializer(_told, when_used="unless-none")]


def ids_of(given: Path | list[int | str], column: str, vocabulary: Vocabulary) -> list[Any]:
    """The ids, of the type that the model has.

    Args:
        given: A file, or ids.
        column: What the column is called in a CSV or Parquet file.
        vocabulary: The model's ids.

    Raises:
        DataError: The file can't be read, or holds something else than ids of that type.
    """
    if not isinstance(given, Path):
        return given
    found = _column(given, column)
    wanted = pa.string() if vocabulary.is_text else pa.int64()
    if found.null_count:
        raise DataError(f"{given}: {column}: a value is missing")
    try:
        return list(found.cast(wanted).to_pylist())
    except pa.ArrowInvalid:
        strange = next(value for value in found.to_pylist() if not _is_whole(value))
        raise DataError(f"{given}: {column}: {strange!r}: the ids of this model are whole numbers") from None


def known_codes(given: Path | list[int | str], what: str, column: str, vocabulary: Vocabulary) -> Int32Array:
    """Codes of those the model knows; the others are told of.

    Raises:
        DataError: It knows none.
    """
    ids = ids_of(given, column, vocabulary)
    codes = vocabulary.codes(ids)
    known: Int32Array = codes[codes >= 0]
    if not len(known):
        raise DataError(f"{what}: the model knows none of these {len(ids):,} ids, such as {ids[:3]!r}")
    if len(known) < len(ids):
        progress.notice(f"{what}: the model does not know {len(ids) - len(known):,} of {len(ids):,} ids")
    return known


def _column(path: Path, column: str) -> Any:
    ending = path.suffix.lower()
    try:
        if ending in (".parquet", ".pq"):
            names = pq.read_schema(path).names
            return pq.read_table(path, columns=[_named(path, column, names)])[column]
        if ending in (".csv", ".tsv"):
            layout = pa.csv.ParseOptions(delimiter="\t" if ending == ".tsv" else ",", newlines_in_values=True)
            with pa.csv.open_csv(path, parse_options=layout) as reader:
                _named(path, column, reader.schema.names)
            kinds = pa.csv.ConvertOptions(column_types={column: pa.string()}, include_columns=[column])
            return pa.csv.read_csv(path, parse_options=layout, convert_options=kinds)[column]
        lines = path.read_text(encoding="utf-8-sig").split("\n")
        return pa.chunked_array([[line.rstrip("\r") for line in lines if line.strip()]], pa.string())
    except (OSError, UnicodeError, pa.ArrowException) as error:
        raise DataError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from error


def _named(path: Path, column: str, names: list[str]) -> str:
    if column not in names:
        raise DataError(f"{path}: no column {column}; the columns are {', '.join(names)}")
    return column


def _is_whole(value: Any) -> bool:
    try:
        return pd.notna(value) and -(2**63) <= int(value) < 2**63
    except ValueError:
        return False
