"""Reading Parquet: a file, or a folder of parts, with or without hive-style `key=value` subfolders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recctl.data.columns import RATING, TIMESTAMP
from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers import column_roles
from recctl.data.sources.readers.bad_rows.rows import BadRows
from recctl.data.sources.readers.bad_rows.slow_path import parse_rows
from recctl.data.sources.readers.interface import Columns, ReadResult
from recctl.data.sources.readers.values import (
    downcast_ids,
    fits_int32,
    has_valid_range,
    is_text,
    to_numpy,
    to_seconds,
    units_per_second,
)
from recctl.engines import available_memory, format_bytes, map_threads, threads
from recctl.errors import DataError

_SUFFIXES = (".parquet", ".pq", ".parq")
_MAGIC = b"PAR1"
# Minimum number of rows read at a time, if the file has that many.
_ROWS_PER_PIECE = 1 << 20
# A file that announces more rows per byte is damaged. One pair repeated nine million times, compressed by zstd, has 109
# rows per byte.
_MAX_ROWS_PER_BYTE = 1000

# Role -> name of the column in the file, and role -> the Arrow type it is cast to (None if the cast may fail).
_Names = dict[str, str]
_Targets = dict[str, pa.DataType | None]


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, or a folder contains Parquet files."""
    if path.is_dir():
        return any(part.suffix.lower() in _SUFFIXES for part in path.rglob("*"))
    if path.suffix.lower() in _SUFFIXES:
        return True
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def read_parquet(path: Path, options: ReadOptions) -> ReadResult:
    """Read a Parquet file or a folder of parts; see `readers.interface`. Only the columns of the roles are read.

    Raises:
        DataError: The file, a column or a row can't be read.
    """
    source = path.name
    try:
        return _read(path, options, source)
    except (pa.ArrowException, OSError, TypeError, UnicodeDecodeError) as error:
        raise DataError(f"{source}: can't be read: {str(error).splitlines()[0]} (truncated or damaged?)") from error


def _read(path: Path, options: ReadOptions, source: str) -> ReadResult:
    dataset = _open_dataset(path)
    names = dataset.schema.names
    positions = column_roles.roles_from_header(names, options.columns, source)
    names_by_role = {role: names[position] for role, position in positions.items()}
    files = list(dataset.get_fragments())
    n_rows = sum(map(_count_rows, files))
    _require_rows_that_fit(n_rows, len(names_by_role), source)
    types = {role: dataset.schema.field(name).type for role, name in names_by_role.items()}
    targets = {role: _target_type(role, arrow_type, options) for role, arrow_type in types.items()}
    # The parallel reader handles one file. A folder is read by Arrow, which adds the columns of its partitions.
    columns = None
    if path.is_file() and None not in targets.values():
        columns = _ParallelFileReader(files[0], names_by_role, targets, options).read()
    if columns is None:
        table = dataset.to_table(columns=list(names_by_role.values())).rename_columns(list(names_by_role))
        _require_row_count(n_rows, len(table))
        columns = _convert_table(table, targets, options)
        if columns is None:
            raw = {role: table[role] for role in names_by_role}
            label_rows = partial(_label_rows, dataset)
            return parse_rows(raw, np.arange(len(table)), BadRows(), options, source, label_rows)
    if TIMESTAMP in columns:
        columns[TIMESTAMP] = to_seconds(columns[TIMESTAMP], units_per_second(types[TIMESTAMP], options))
    return ReadResult(columns)


def _open_dataset(path: Path) -> Any:
    import pyarrow.dataset as ds

    if path.is_file():
        return ds.dataset([str(path)], format="parquet")
    files = sorted(str(part) for part in path.rglob("*") if _is_part(part, path))
    if not files:
        raise DataError(f"{path.name}: the folder holds no Parquet files")
    partitioning = ds.HivePartitioning.discover()
    return ds.dataset(files, format="parquet", partitioning=partitioning, partition_base_dir=str(path))


def _is_part(file: Path, folder: Path) -> bool:
    parts = file.relative_to(folder).parts
    return file.suffix.lower() in _SUFFIXES and not any(part.startswith((".", "_")) for part in parts)


def _target_type(role: str, arrow_type: pa.DataType, options: ReadOptions) -> pa.DataType | None:
    """The type that a column is cast to by the fast path; None if only the slow path can convert it."""
    if role == RATING:
        is_number = pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type)
        return pa.float32() if is_number else None
    if role == TIMESTAMP:
        if pa.types.is_timestamp(arrow_type) or pa.types.is_integer(arrow_type):
            return pa.int64()
        return pa.float64() if pa.types.is_floating(arrow_type) else None
    value_type = arrow_type.value_type if pa.types.is_dictionary(arrow_type) else arrow_type
    if is_text(value_type):
        return pa.large_string() if options.id_type != "int" else None
    return pa.int64() if pa.types.is_signed_integer(arrow_type) and options.id_type != "text" else None


class _ParallelFileReader:
    """Reads the columns of a single file on all threads.

    Arrow either returns a column in many chunks, which must be copied into one array, or reads it on one thread. Here
    each task reads some row groups of one column: numbers go straight into one preallocated array, and text is read as
    dictionary indices. Ids are stored as int32 until one does not fit; that column is then read again as int64. The
    column statistics in the file would tell in advance, but pyarrow aborts the process if they are damaged.
    """

    def __init__(self, fragment: Any, names: _Names, targets: _Targets, options: ReadOptions) -> None:
        self._path = fragment.path
        self._metadata = fragment.metadata
        self._names = names
        self._targets = targets
        self._options = options
        self._n_rows = self._metadata.num_rows
        group_sizes = [self._metadata.row_group(i).num_rows for i in range(self._metadata.num_row_groups)]
        self._group_begins = np.cumsum([0, *group_sizes])
        groups = np.arange(len(group_sizes))
        # Several pieces per thread balance the load: text takes many times as long as numbers.
        n_pieces = max(16 * threads(), self._n_rows // _ROWS_PER_PIECE)
        self._pieces = np.array_split(groups, min(len(groups), n_pieces))
        self._arrays = self._allocate()
        self._beyond_int32: set[str] = set()

    def read(self) -> Columns | None:
        """Read all columns; None if a value needs the slow path."""
        # Text first: it takes longest, and the last tasks decide when all threads are done.
        roles = sorted(self._names, key=lambda role: (not self._is_text(role), role != TIMESTAMP))
        columns = self._read_columns(roles)
        if columns is None:
            return None
        for role in self._beyond_int32:
            self._arrays[role] = np.empty(self._n_rows, np.int64)
        columns |= self._read_columns(self._beyond_int32) or {}
        return {role: columns[role] for role in self._names}

    def _allocate(self) -> dict[str, NDArray[Any]]:
        """The arrays that the pieces are written into; a single piece of ratings or timestamps needs none."""
        arrays = {}
        for role, target in self._targets.items():
            if self._is_id(role) and not self._is_text(role):
                arrays[role] = np.empty(self._n_rows, np.int32)
            elif not self._is_text(role) and target is not None and len(self._pieces) > 1:
                arrays[role] = np.empty(self._n_rows, target.to_pandas_dtype())
        return arrays

    def _read_columns(self, roles: Iterable[str]) -> Columns | None:
        tasks = [(role, piece) for role in roles for piece in self._pieces]
        pieces: dict[str, list[Any]] = {role: [] for role, _ in tasks}
        for (role, _), values in zip(tasks, map_threads(self._read_piece, tasks), strict=True):
            if values is None:
                return None
            pieces[role].append(values)
        return {role: _join_pieces(values) for role, values in pieces.items()}

    def _read_piece(self, task: tuple[str, NDArray[np.int64]]) -> Any:
        """Read some row groups of one column: into the column's array if it has one, else as new values."""
        import pyarrow.parquet as pq

        role, groups = task
        name = self._names[role]
        begin = self._group_begins[groups[0]]
        end = self._group_begins[groups[-1] + 1]
        dictionary_columns = [name] if self._is_text(role) else None
        # Each task opens the file: a ParquetFile must not be used by several threads.
        with pq.ParquetFile(
            self._path, metadata=self._metadata, pre_buffer=True, read_dictionary=dictionary_columns
        ) as file:
            column = file.read_row_groups(groups.tolist(), columns=[name], use_threads=False).column(0)
        _require_row_count(end - begin, len(column))
        values = _convert_column(role, column, self._targets[role], self._options)
        if values is None or role not in self._arrays:
            return values
        array = self._arrays[role]
        if array.dtype == np.int32 and not fits_int32(values):
            self._beyond_int32.add(role)
        else:
            array[begin:end] = values
        return array

    def _is_text(self, role: str) -> bool:
        return is_text(self._targets[role])

    def _is_id(self, role: str) -> bool:
        return role not in (RATING, TIMESTAMP)


def _join_pieces(pieces: list[Any]) -> Any:
    """One column of text from its pieces; the pieces of other columns are all the same array."""
    if isinstance(pieces[0], pa.ChunkedArray):
        return pa.chunked_array([chunk for piece in pieces for chunk in piece.chunks])
    return pieces[0]


def _convert_table(table: pa.Table, targets: _Targets, options: ReadOptions) -> Columns | None:
    """Convert whole columns; None if any needs the slow path."""
    columns: Columns = {}
    for role, target in targets.items():
        values = _convert_column(role, table[role], target, options)
        if values is None:
            return None
        if role != TIMESTAMP and target == pa.int64():
            values = downcast_ids(values)
        columns[role] = values
    return columns


def _convert_column(
    role: str, column: pa.ChunkedArray, target: pa.DataType | None, options: ReadOptions
) -> NDArray[Any] | pa.ChunkedArray | None:
    """A column as a NumPy array or as Arrow text; None if a value or the type needs the slow path."""
    if target is None or column.null_count:
        return None
    if is_text(target):
        return _dictionary_encode(column, target)
    values = to_numpy(column.cast(target, safe=False))
    units = units_per_second(column.type, options)
    return values if has_valid_range(role, values, units) else None


def _dictionary_encode(column: pa.ChunkedArray, text_type: pa.DataType) -> pa.ChunkedArray | None:
    """Text as indices into its distinct values; None if any is empty or missing."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    chunks = []
    for chunk in column.chunks:
        dictionary = chunk.dictionary.cast(text_type)
        encoded = pa.DictionaryArray.from_arrays(chunk.indices.cast(pa.int32()), dictionary)
        if encoded.null_count or dictionary.null_count or _has_empty_text(dictionary):
            return None
        chunks.append(encoded)
    return pa.chunked_array(chunks, pa.dictionary(pa.int32(), text_type))


def _has_empty_text(texts: pa.Array) -> bool:
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return bool((offsets[1:] == offsets[:-1]).any())


def _count_rows(fragment: Any) -> int:
    """The number of rows of a file, checked first: Arrow allocates memory for as many rows as the file announces."""
    metadata = fragment.metadata
    n_bytes = Path(fragment.path).stat().st_size
    _require_row_count(metadata.num_rows, sum(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)))
    if metadata.num_rows > _MAX_ROWS_PER_BYTE * n_bytes:
        raise pa.ArrowInvalid(f"the file announces {metadata.num_rows} rows in {n_bytes} bytes")
    return int(metadata.num_rows)


def _require_row_count(n_announced: int, n_found: int) -> None:
    if n_found != n_announced:
        raise pa.ArrowInvalid(f"the file announces {n_announced} rows and holds {n_found}")


def _require_rows_that_fit(n_rows: int, n_columns: int, source: str) -> None:
    if n_rows <= 0:
        raise DataError(f"{source}: the file holds no rows")
    n_bytes_needed = 4 * n_columns * n_rows  # at least 32 bits per value
    n_bytes_available = available_memory()
    if n_bytes_needed > n_bytes_available:
        raise DataError(
            f"{source}: {n_rows:,} rows need more than {format_bytes(n_bytes_needed)} of memory, "
            f"{format_bytes(n_bytes_available)} are available; read a part of the file, or use a larger machine"
        )


def _label_rows(dataset: Any, rows: Sequence[int]) -> list[str]:
    """The file of each row and its number in that file, counted from 1."""
    fragments = list(dataset.get_fragments())
    ends = np.cumsum([fragment.count_rows() for fragment in fragments])
    begins = np.concatenate([[0], ends])
    fragment_indices = np.searchsorted(ends, rows, side="right")
    labels = []
    for row, index in zip(rows, fragment_indices, strict=True):
        labels.append(f"{Path(fragments[index].path).name}: row {row - begins[index] + 1}")
    return labels
