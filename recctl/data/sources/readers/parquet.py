"""Reading Parquet: a file, or a folder of parts (with hive-style `key=value` folders or not)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recctl.data.columns import RATING, TIMESTAMP
from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers import column_roles
from recctl.data.sources.readers.bad_rows.parse import (
    as_array,
    fit_int32,
    in_seconds,
    is_fit,
    is_text,
    narrow,
    per_second,
)
from recctl.data.sources.readers.bad_rows.rows import BadRows
from recctl.data.sources.readers.bad_rows.slow_path import Columns, Skipped, read_carefully
from recctl.engines import available_memory, format_bytes, map_threads, threads
from recctl.errors import DataError

_SUFFIXES = (".parquet", ".pq", ".parq")
_MAGIC = b"PAR1"
# Rows that are read in one go, at least, where there are many.
_PIECE = 1 << 20
# Rows that a byte of a file may stand for. One pair nine million times over, packed by zstd, comes to 109.
_MOST_IN_BYTE = 1000


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, or a folder holds any."""
    if path.is_dir():
        return any(part.suffix.lower() in _SUFFIXES for part in path.rglob("*"))
    if path.suffix.lower() in _SUFFIXES:
        return True
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def read_parquet(path: Path, options: ReadOptions) -> tuple[Columns, Skipped]:
    """Each role's column (NumPy arrays, or Arrow text for ids that are text), and what was left out.

    Only the columns needed are read.

    Raises:
        DataError: The file, a column or a row can't be read; the message names it.
    """
    place = path.name
    try:
        dataset = _dataset(path)
        names = dataset.schema.names
        wanted = {role: names[at] for role, at in column_roles.find_columns(names, options.columns, place).items()}
        files = list(dataset.get_fragments())
        n_rows = sum(map(_count_rows, files))
        _require_some_that_fit(n_rows, len(wanted), place)
        types = {role: dataset.schema.field(name).type for role, name in wanted.items()}
        kinds = {role: _target(role, kind, options) for role, kind in types.items()}
        columns = (
            _read_file(files[0], wanted, kinds, options) if path.is_file() and None not in kinds.values() else None
        )
        if columns is None:
            table = dataset.to_table(columns=list(wanted.values())).rename_columns(list(wanted))
            _require_rows(n_rows, len(table))
            columns = {role: _values(role, table[role], kinds[role], options) for role in wanted}
            if any(values is None for values in columns.values()):
                raw = {role: table[role] for role in wanted}
                label = partial(_label, dataset)
                return read_carefully(raw, np.arange(len(table)), BadRows(), options, place, label)
            columns = {
                role: narrow(values) if kinds[role] == pa.int64() and role != TIMESTAMP else values
                for role, values in columns.items()
            }
    except (pa.ArrowException, OSError, TypeError, UnicodeDecodeError) as error:
        raise DataError(f"{place}: can't be read: {str(error).splitlines()[0]} (truncated or damaged?)") from error
    if TIMESTAMP in columns:
        columns[TIMESTAMP] = in_seconds(columns[TIMESTAMP], per_second(types[TIMESTAMP], options))
    return columns, {}


def _dataset(path: Path) -> Any:
    import pyarrow.dataset as ds

    if path.is_file():
        return ds.dataset([str(path)], format="parquet")
    files = sorted(str(part) for part in path.rglob("*") if _is_part(part, path))
    if not files:
        raise DataError(f"{path.name}: the folder holds no Parquet files")
    by_folder = ds.HivePartitioning.discover()
    return ds.dataset(files, format="parquet", partitioning=by_folder, partition_base_dir=str(path))


def _is_part(file: Path, folder: Path) -> bool:
    inside = file.relative_to(folder).parts
    return file.suffix.lower() in _SUFFIXES and not any(part.startswith((".", "_")) for part in inside)


def _target(role: str, kind: pa.DataType, options: ReadOptions) -> pa.DataType | None:
    """What a column is cast to; None if that may fail."""
    if role == RATING:
        return pa.float32() if pa.types.is_integer(kind) or pa.types.is_floating(kind) else None
    if role == TIMESTAMP:
        if pa.types.is_timestamp(kind) or pa.types.is_integer(kind):
            return pa.int64()
        return pa.float64() if pa.types.is_floating(kind) else None
    if is_text(kind.value_type if pa.types.is_dictionary(kind) else kind):
        return pa.large_string() if options.id_type != "int" else None
    return pa.int64() if pa.types.is_signed_integer(kind) and options.id_type != "text" else None


def _read_file(
    file: Any, wanted: Mapping[str, str], kinds: Mapping[str, pa.DataType], options: ReadOptions
) -> Columns | None:
    """A single file's columns, on all threads; None where a value needs a closer look.

    Arrow gives a column in many pieces that have to be copied to be one array, or reads it on one thread. Here some row
    groups of a column are read at a time: numbers into one array, which is of 32 bits for ids until one does not fit,
    and text as the places of its distinct values. What the file says of its columns would tell before, but pyarrow ends
    the process where that is damaged.
    """
    import pyarrow.parquet as pq

    path, metadata = file.path, file.metadata
    n_rows, groups = metadata.num_rows, np.arange(metadata.num_row_groups)
    begins = np.cumsum([0, *(metadata.row_group(group).num_rows for group in groups.tolist())])
    parts = np.array_split(groups, min(len(groups), max(16 * threads(), n_rows // _PIECE)))
    ids = {role for role, kind in kinds.items() if kind == pa.int64() and role != TIMESTAMP}
    whole = {
        role: np.empty(n_rows, np.int32 if role in ids else kind.to_pandas_dtype())
        for role, kind in kinds.items()
        if not is_text(kind) and (role in ids or len(parts) > 1)
    }
    wide: set[str] = set()

    def read(piece: tuple[str, NDArray[np.int64]]) -> Any:
        role, groups = piece
        begin, end = begins[groups[0]], begins[groups[-1] + 1]
        distinct = [wanted[role]] if is_text(kinds[role]) else None
        with pq.ParquetFile(path, metadata=metadata, pre_buffer=True, read_dictionary=distinct) as opened:
            column = opened.read_row_groups(groups.tolist(), columns=[wanted[role]], use_threads=False).column(0)
        _require_rows(end - begin, len(column))
        values = _values(role, column, kinds[role], options)
        if values is None or role not in whole:
            return values
        if whole[role].dtype == np.int32 and not fit_int32(values):
            wide.add(role)
        else:
            whole[role][begin:end] = values
        return whole[role]

    def read_all(roles: Iterable[str]) -> dict[str, list[Any]] | None:
        pieces = [(role, part) for role in roles for part in parts]
        found: dict[str, list[Any]] = {role: [] for role, _ in pieces}
        for (role, _), values in zip(pieces, map_threads(read, pieces), strict=True):
            if values is None:
                return None
            found[role].append(values)
        return found

    longest_first = sorted(wanted, key=lambda role: (not is_text(kinds[role]), role != TIMESTAMP))
    columns = read_all(longest_first)
    if columns is None:
        return None
    whole |= {role: np.empty(n_rows, np.int64) for role in wide}
    columns |= read_all(wide) or {}
    return {role: _joined(columns[role]) for role in wanted}


def _joined(parts: list[Any]) -> Any:
    """Text piece after piece; numbers are in one array already."""
    if isinstance(parts[0], pa.ChunkedArray):
        return pa.chunked_array([chunk for part in parts for chunk in part.chunks])
    return parts[0]


def _count_rows(file: Any) -> int:
    """The rows of a file that is of one mind about them, and not too small: Arrow makes room for as many as it says."""
    metadata, size = file.metadata, Path(file.path).stat().st_size
    _require_rows(
        metadata.num_rows, sum(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
    )
    if metadata.num_rows > _MOST_IN_BYTE * size:
        raise pa.ArrowInvalid(f"{metadata.num_rows} rows are announced, in {size} bytes")
    return int(metadata.num_rows)


def _require_rows(said: int, there: int) -> None:
    if there != said:
        raise pa.ArrowInvalid(f"{said} rows are announced, {there} are there")


def _require_some_that_fit(n_rows: int, n_columns: int, place: str) -> None:
    if n_rows <= 0:
        raise DataError(f"{place}: holds no rows")
    needed, there = 4 * n_columns * n_rows, available_memory()  # 32 bits a value are the least
    if needed > there:
        raise DataError(
            f"{place}: {n_rows:,} rows need more than {format_bytes(needed)} of memory, {format_bytes(there)} are "
            "available; read a part of the file, or on a larger machine"
        )


def _values(role: str, column: pa.ChunkedArray, kind: pa.DataType | None, options: ReadOptions) -> Any:
    """A column as an array, or as Arrow text; None where a value or a type needs a closer look."""
    if kind is None or column.null_count:
        return None
    if is_text(kind):
        return _distinct(column, kind)
    cast = column.cast(kind, safe=False)
    values = as_array(cast)
    return values if is_fit(role, values, per_second(column.type, options)) else None


def _distinct(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | None:
    """Text as the places of its distinct values; None where some of it is empty or missing."""
    chunks = (column if pa.types.is_dictionary(column.type) else column.dictionary_encode()).chunks
    cast = [
        pa.DictionaryArray.from_arrays(chunk.indices.cast(pa.int32()), chunk.dictionary.cast(kind)) for chunk in chunks
    ]
    if any(chunk.null_count or chunk.dictionary.null_count or _has_empty(chunk.dictionary) for chunk in cast):
        return None
    return pa.chunked_array(cast, pa.dictionary(pa.int32(), kind))


def _has_empty(chunk: pa.Array) -> bool:
    ends = np.frombuffer(chunk.buffers()[1], np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
    return bool((ends[1:] == ends[:-1]).any())


def _label(dataset: Any, rows: Sequence[int]) -> list[str]:
    """The file and the row in it, from 1."""
    fragments = list(dataset.get_fragments())
    ends = np.cumsum([fragment.count_rows() for fragment in fragments])
    parts = np.searchsorted(ends, rows, side="right")
    begins = np.concatenate([[0], ends])[parts]
    return [
        f"{Path(fragments[part].path).name}: row {row - begin + 1}"
        for part, row, begin in zip(parts, rows, begins, strict=True)
    ]
