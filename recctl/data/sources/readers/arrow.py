"""Reading Arrow IPC: files (Feather) and streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers import column_roles
from recctl.data.sources.readers.compression import open_decompressed
from recctl.data.sources.readers.interface import ReadResult
from recctl.data.sources.readers.time_columns import can_be_sampled, find_unused_columns, first_texts
from recctl.data.sources.readers.typed_columns import convert_table, extra_positions, label_by_number
from recctl.errors import DataError

FILE_MAGIC = b"ARROW1"
# The first bytes of a message of a stream.
STREAM_MAGIC = b"\xff\xff\xff\xff"


def read_arrow(path: Path, options: ReadOptions) -> ReadResult:
    """Read an Arrow IPC file or stream; see `readers.interface`. Only the columns that are needed are kept.

    Raises:
        DataError: The file, a column or a row can't be read.
    """
    source = path.name
    with _as_data_error(source):
        content = _open(path)
        schema = _schema(content)
        names = schema.names
        positions = column_roles.roles_from_header(names, options.columns, source)
        unused = find_unused_columns(
            names, len(names), options.columns, positions, source, partial(_first_values, content, schema), schema.types
        )
        extra = extra_positions(names, positions, options, source)
        columns = _read_columns(content, sorted({*positions.values(), *extra.values()}))
        raw = {role: columns[position] for role, position in positions.items()}
        if not len(next(iter(raw.values()))):
            raise DataError(f"{source}: the file holds no rows")
        extra_columns = {name: columns[position] for name, position in extra.items()}
        result = convert_table(raw, extra_columns, options, source, label_by_number(source))
        result.unused = unused
        return result


def _first_values(content: pa.Buffer, schema: pa.Schema, positions: Sequence[int]) -> dict[int, list[str]]:
    sampled = [position for position in positions if can_be_sampled(schema.types[position])]
    if not sampled:
        return {}
    # Columns that are not needed may be damaged.
    with suppress(pa.ArrowException, OSError, StopIteration), _open_reader(content, sampled) as reader:
        is_file = isinstance(reader, pa.ipc.RecordBatchFileReader)
        batch = reader.get_batch(0) if is_file else reader.read_next_batch()
        batch.validate(full=True)
        return {position: first_texts(batch.column(i)) for i, position in enumerate(sampled)}
    return {}


def arrow_columns(path: Path) -> tuple[pa.Schema, int]:
    """The columns of a file, and its number of rows.

    Raises:
        DataError: The file can't be read.
    """
    with _as_data_error(path.name):
        content = _open(path)
        schema = _schema(content)
        n_rows = 0
        if schema.names:
            n_rows = len(_read_columns(content, [0])[0])
        return schema, n_rows


@contextmanager
def _as_data_error(source: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, MemoryError, OverflowError, TypeError, UnicodeDecodeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{source}: can't be read: {reason} (truncated or damaged?)") from error


def _open(path: Path) -> pa.Buffer:
    """The content: a memory map, or memory if the file is compressed as a whole."""
    with path.open("rb") as file:
        magic = file.read(len(FILE_MAGIC))
    if not magic.startswith((FILE_MAGIC, STREAM_MAGIC)):
        with open_decompressed(path) as stream:
            return pa.py_buffer(stream.read())
    with pa.memory_map(str(path)) as file:
        return file.read_buffer()


def _schema(content: pa.Buffer) -> pa.Schema:
    with _open_reader(content, None) as reader:
        return reader.schema


def _open_reader(content: pa.Buffer, positions: list[int] | None) -> Any:
    options = pa.ipc.IpcReadOptions(included_fields=positions)
    if content.slice(0, len(FILE_MAGIC)).to_pybytes() == FILE_MAGIC:
        return pa.ipc.open_file(content, options=options)
    return pa.ipc.open_stream(content, options=options)


def _read_columns(content: pa.Buffer, positions: list[int]) -> Mapping[int, pa.ChunkedArray]:
    """The columns at these ascending positions, as they are in the file."""
    with _open_reader(content, positions) as reader:
        table = reader.read_all()
    # Arrow trusts the offsets in a file; a damaged one would be read beyond its end.
    table.validate(full=True)
    return dict(zip(positions, table.columns, strict=True))
