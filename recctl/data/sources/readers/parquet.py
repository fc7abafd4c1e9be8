"""Reading a Parquet file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recctl.data.columns import RATING, TIMESTAMP
from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers import column_roles
from recctl.data.sources.readers.compression import open_decompressed
from recctl.data.sources.readers.interface import Columns, ReadResult
from recctl.data.sources.readers.time_columns import N_SAMPLED, can_be_sampled, find_unused_columns, first_texts
from recctl.data.sources.readers.typed_columns import (
    Targets,
    check_typed_timestamps,
    column_units,
    convert_column,
    convert_table,
    extra_positions,
    extra_to_text,
    label_by_number,
    target_type,
)
from recctl.data.sources.readers.values import fits_int32, is_text, to_seconds
from recctl.engines import available_memory, format_bytes, map_threads, threads
from recctl.errors import DataError

MAGIC = b"PAR1"
# Minimum number of rows read at a time, if the file has that many.
_ROWS_PER_PIECE = 1 << 20
# A file that announces more rows per byte is damaged. One pair repeated nine million times, compressed by zstd, has 109
# rows per byte.
_MAX_ROWS_PER_BYTE = 1000

# A path, or the content of a compressed file.
_Source = Any


def read_parquet(path: Path, options: ReadOptions) -> ReadResult:
    """Read a Parquet file; see `readers.interface`. Only the columns that are needed are read.

    Raises:
        DataError: The file, a column or a row can't be read.
    """
    source = path.name
    try:
        return _read(path, options, source)
    except (pa.ArrowException, OSError, TypeError, UnicodeDecodeError) as error:
        raise DataError(f"{source}: can't be read: {str(error).splitlines()[0]} (truncated or damaged?)") from error


def parquet_columns(path: Path) -> tuple[pa.Schema, int]:
    """The columns of a file, and its number of rows.

    Raises:
        DataError: The file can't be read.
    """
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(_open(path)) as file:
            return file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError, TypeError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name}: can't be read: {str(error).splitlines()[0]} (truncated or damaged?)") from error


def _read(path: Path, options: ReadOptions, source: str) -> ReadResult:
    import pyarrow.parquet as pq

    content = _open(path)
    n_bytes = os.path.getsize(content) if isinstance(content, str) else content.size
    with pq.ParquetFile(content) as file:
        metadata = file.metadata
        schema = file.schema_arrow
    positions = column_roles.roles_from_header(schema.names, options.columns, source)
    sample = partial(_first_values, content, metadata, schema)
    unused = find_unused_columns(
        schema.names, len(schema.names), options.columns, positions, source, sample, schema.types
    )
    extra = extra_positions(schema.names, positions, options, source)
    n_rows = _count_rows(metadata, n_bytes)
    _require_rows_that_fit(n_rows, len(positions) + len(extra), source)
    types = {role: schema.field(position).type for role, position in positions.items()}
    targets = {role: target_type(role, arrow_type, options) for role, arrow_type in types.items()}
    extra_columns = _read_columns(content, metadata, extra)
    if None not in targets.values():
        columns = _ParallelFileReader(content, metadata, schema.names, positions, targets, options).read()
        if columns is not None:
            if TIMESTAMP in columns:
                columns[TIMESTAMP] = to_seconds(columns[TIMESTAMP], column_units(types[TIMESTAMP], options))
                label_rows = label_by_number(source)
                check_typed_timestamps(columns[TIMESTAMP], types[TIMESTAMP], options, source, label_rows)
            for name, column in extra_columns.items():
                columns[name] = extra_to_text(name, column, source)
            return ReadResult(columns, unused=unused)
    raw = _read_columns(content, metadata, positions)
    result = convert_table(raw, extra_columns, options, source, label_by_number(source))
    result.unused = unused
    return result


def _first_values(content: _Source, metadata: Any, schema: pa.Schema, positions: Iterable[int]) -> dict[int, list[str]]:
    """The first values of columns with distinct names; only the first pages of these columns are read."""
    import pyarrow.parquet as pq

    names = schema.names
    sampled = [i for i in positions if can_be_sampled(schema.types[i]) and names.count(names[i]) == 1]
    if not sampled:
        return {}
    # Columns that are not needed may be damaged.
    with suppress(pa.ArrowException, OSError, StopIteration), pq.ParquetFile(content, metadata=metadata) as file:
        batch = next(file.iter_batches(N_SAMPLED, columns=[names[position] for position in sampled]))
        return {position: first_texts(batch.column(names[position])) for position in sampled}
    return {}


def _open(path: Path) -> _Source:
    """The path; or the content if it is compressed as a whole, since Parquet is not read from its beginning."""
    with path.open("rb") as file:
        is_plain = file.read(len(MAGIC)) == MAGIC
    if is_plain:
        return str(path)
    with open_decompressed(path) as stream:
        return pa.py_buffer(stream.read())


def _read_columns(content: _Source, metadata: Any, positions: Mapping[str, int]) -> dict[str, pa.ChunkedArray]:
    """Columns by name or role, as they are in the file."""
    import pyarrow.parquet as pq

    if not positions:
        return {}
    with pq.ParquetFile(content, metadata=metadata) as file:
        names = file.schema_arrow.names
        table = file.read(columns=list(dict.fromkeys(names[position] for position in positions.values())))
    _require_row_count(metadata.num_rows, len(table))
    return {key: _column_at(table, names, position) for key, position in positions.items()}


def _column_at(table: pa.Table, names: list[str], position: int) -> pa.ChunkedArray:
    """The column at a position of the file, in a table that holds all columns of its name."""
    alike = [i for i, name in enumerate(table.column_names) if name == names[position]]
    return table.column(alike[names[:position].count(names[position])])


class _ParallelFileReader:
    """Reads the columns of a single file on all threads.

    Arrow either returns a column in many chunks, which must be copied into one array, or reads it on one thread. Here
    each task reads some row groups of one column: numbers go straight into one preallocated array, and text is read as
    dictionary indices. Ids are stored as int32 until one does not fit; that column is then read again as int64. The
    column statistics in the file would tell in advance, but pyarrow aborts the process if they are damaged.
    """

    def __init__(
        self,
        content: _Source,
        metadata: Any,
        names: list[str],
        positions: Mapping[str, int],
        targets: Targets,
        options: ReadOptions,
    ) -> None:
        self._content = content
        self._metadata = metadata
        self._names = names
        self._positions = positions
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
        roles = sorted(self._positions, key=lambda role: (not self._is_text(role), role != TIMESTAMP))
        columns = self._read_columns(roles)
        if columns is None:
            return None
        for role in self._beyond_int32:
            self._arrays[role] = np.empty(self._n_rows, np.int64)
        columns |= self._read_columns(self._beyond_int32) or {}
        return {role: columns[role] for role in self._positions}

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
        name = self._names[self._positions[role]]
        begin = self._group_begins[groups[0]]
        end = self._group_begins[groups[-1] + 1]
        dictionary_columns = [name] if self._is_text(role) else None
        # Each task opens the file: a ParquetFile must not be used by several threads.
        with pq.ParquetFile(self._content, metadata=self._metadata, read_dictionary=dictionary_columns) as file:
            table = file.read_row_groups(groups.tolist(), columns=[name], use_threads=False)
        column = _column_at(table, self._names, self._positions[role])
        _require_row_count(end - begin, len(column))
        values = convert_column(role, column, self._targets[role], self._options)
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


def _count_rows(metadata: Any, n_bytes: int) -> int:
    """The number of rows of a file, checked first: Arrow allocates memory for as many rows as the file announces."""
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
