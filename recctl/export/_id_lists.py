"""Lists of ids that users give as an option: in a file, or in Python."""

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


def _to_list(value: Any) -> Any:
    if isinstance(value, str | Path) or value is None:
        return value
    if hasattr(value, "tolist"):
        # NumPy and pandas: their scalars are no int or str for pydantic.
        return value.tolist()
    return list(value) if isinstance(value, Iterable) else value


def _fingerprint(value: Any) -> Any:
    """What the manifest records: a hash that identifies the ids, not the ids themselves."""
    if isinstance(value, Path):
        return {"file": value.name, "sha256": hashlib.sha256(value.read_bytes()).hexdigest()}
    # Manifests are shared with the export, and lists of users may be confidential.
    content = json.dumps(value, ensure_ascii=False).encode()
    return {"ids": len(value), "sha256": hashlib.sha256(content).hexdigest()}


Ids = Annotated[
    Path | list[int | str], BeforeValidator(_to_list), PlainSerializer(_fingerprint, when_used="unless-none")
]
"""A file of ids (one a line, or CSV, TSV or Parquet with a column of that name), or a list of ids."""


def read_ids(ids: Path | list[int | str], column: str, vocabulary: Vocabulary) -> list[Any]:
    """Ids in the type of the model's ids.

    Args:
        ids: A file, or a list.
        column: Name of the column in a CSV, TSV or Parquet file.
        vocabulary: The model's ids.

    Raises:
        DataError: The file cannot be read, or a value is missing or of another type.
    """
    if not isinstance(ids, Path):
        return ids
    values = _read_column(ids, column)
    if values.null_count:
        raise DataError(f"{ids}: {column}: a value is missing")
    id_type = pa.string() if vocabulary.is_text else pa.int64()
    try:
        return list(values.cast(id_type).to_pylist())
    except pa.ArrowInvalid:
        # The cast does not say which value failed.
        invalid = next(value for value in values.to_pylist() if not _is_integer(value))
        raise DataError(f"{ids}: {column}: {invalid!r}: the ids of this model are integers") from None


def known_codes(ids: Path | list[int | str], option: str, column: str, vocabulary: Vocabulary) -> Int32Array:
    """Codes of the ids that the model knows; the number of unknown ids is reported as a notice.

    Raises:
        DataError: The model knows none of the ids.
    """
    id_list = read_ids(ids, column, vocabulary)
    codes = vocabulary.codes(id_list)
    known: Int32Array = codes[codes >= 0]
    if not len(known):
        raise DataError(f"{option}: the model knows none of these {len(id_list):,} ids, such as {id_list[:3]!r}")
    n_unknown = len(id_list) - len(known)
    if n_unknown:
        progress.notice(f"{option}: the model does not know {n_unknown:,} of {len(id_list):,} ids")
    return known


def _read_column(path: Path, column: str) -> Any:
    suffix = path.suffix.lower()
    try:
        if suffix in (".parquet", ".pq"):
            _require_column(path, column, pq.read_schema(path).names)
            return pq.read_table(path, columns=[column])[column]
        if suffix in (".csv", ".tsv"):
            return _read_csv_column(path, column, "\t" if suffix == ".tsv" else ",")
        # utf-8-sig drops the byte order mark of files from Excel. Not splitlines(), which also splits at characters
        # such as U+2028 that may be in an id.
        file_lines = path.read_text(encoding="utf-8-sig").split("\n")
        return pa.chunked_array(
            [[file_line.rstrip("\r") for file_line in file_lines if file_line.strip()]], pa.string()
        )
    except (OSError, UnicodeError, pa.ArrowException) as error:
        raise DataError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from error


def _read_csv_column(path: Path, column: str, delimiter: str) -> Any:
    parse_options = pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    with pa.csv.open_csv(path, parse_options=parse_options) as reader:
        _require_column(path, column, reader.schema.names)
    # As text, so that ids such as 007 keep their zeros.
    convert_options = pa.csv.ConvertOptions(column_types={column: pa.string()}, include_columns=[column])
    return pa.csv.read_csv(path, parse_options=parse_options, convert_options=convert_options)[column]


def _require_column(path: Path, column: str, names: list[str]) -> None:
    if column not in names:
        raise DataError(f"{path}: no column {column}; the columns are {', '.join(names)}")


def _is_integer(value: Any) -> bool:
    try:
        # Larger integers parse, but do not fit the int64 of the model's ids.
        return pd.notna(value) and -(2**63) <= int(value) < 2**63
    except ValueError:
        return False
