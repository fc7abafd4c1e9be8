"""Reading a file, a folder or a pattern of files: detects the format and calls the reader of that format."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pyarrow as pa

from recctl import progress
from recctl.data.sources.options import Format, ReadOptions, SourceTable
from recctl.data.sources.readers.compression import open_decompressed
from recctl.data.sources.readers.file_format import detect_format
from recctl.data.sources.readers.interface import FileReader, ReadResult
from recctl.data.sources.readers.parts.files import Part, common_format, find_parts, is_pattern
from recctl.data.sources.readers.parts.table import ColumnReader, PartColumns, read_parts
from recctl.errors import DataError

MAX_HASHED_BYTES = 1 << 24  # hashing a larger file would take a noticeable share of the time


def read_file(path: Path, options: ReadOptions) -> SourceTable:
    """Read the interactions in a file, or in the parts in a folder or of a pattern such as `events/*.csv`.

    Raises:
        DataError: The file, a column or a row of it can't be read; the message names file, row and value.
    """
    is_single = not path.is_dir() and not is_pattern(path)
    if not os.access(path, os.R_OK) and not is_pattern(path):
        raise DataError(f"{path}: no permission to read it")
    provenance: dict[str, Any] = {"file": str(path)}
    with progress.task(f"Reading {path.name}"):
        if is_single:
            file_format = detect_format(path) if options.format == "auto" else options.format
            result = _reader_for(file_format)(path, options)
            files = _describe_file(path)
        else:
            result, file_format, files = _read_parts(path, options)
    pa.default_memory_pool().release_unused()  # Arrow would keep it for the next file
    provenance["format"] = file_format
    provenance["rows_read"] = len(next(iter(result.columns.values())))
    provenance["rows_skipped"] = result.n_skipped
    if result.n_skipped:
        provenance["skipped"] = result.skipped
    return SourceTable(result.columns, provenance | files, result.unused)


def column_names(path: Path, options: ReadOptions | None = None) -> list[str] | None:
    """The names of the columns of a single file; None if it has no header.

    Raises:
        DataError: The file can't be read.
    """
    options = options or ReadOptions()
    file_format = detect_format(path) if options.format == "auto" else options.format
    names = _column_reader_for(file_format)(path, options).names
    return None if names is None else list(names)


def _read_parts(path: Path, options: ReadOptions) -> tuple[ReadResult, Format, dict[str, Any]]:
    parts = find_parts(path)
    for part in parts:
        if not part.path.exists():
            raise DataError(f"{part.path}: is a link to a file that does not exist")
        if not os.access(part.path, os.R_OK):
            raise DataError(f"{part.path}: no permission to read it")
    file_format = options.format
    if file_format == "auto":
        file_format = common_format(path, parts, detect_format)
    read_columns = _column_reader_for(file_format)
    result, n_rows = read_parts(path, parts, file_format, options, read_columns, _reader_for(file_format))
    return result, file_format, _describe_parts(parts, n_rows)


def _describe_file(path: Path) -> dict[str, Any]:
    described: dict[str, Any] = {"bytes": path.stat().st_size}
    if described["bytes"] <= MAX_HASHED_BYTES:
        described["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return described


def _describe_parts(parts: list[Part], n_rows: list[int]) -> dict[str, Any]:
    n_bytes = sum(part.path.stat().st_size for part in parts)
    files = []
    for part, rows in zip(parts, n_rows, strict=True):
        described: dict[str, Any] = {"file": part.label, "rows_read": rows, "bytes": part.path.stat().st_size}
        if n_bytes <= MAX_HASHED_BYTES:
            described["sha256"] = hashlib.sha256(part.path.read_bytes()).hexdigest()
        files.append(described)
    return {"bytes": n_bytes, "files": files}


def _reader_for(file_format: Format) -> FileReader:
    """The reader of a format; readers are imported when they are used, since each needs other parts of Arrow."""
    if file_format == "parquet":
        from recctl.data.sources.readers.parquet import read_parquet

        return read_parquet
    if file_format == "arrow":
        from recctl.data.sources.readers.arrow import read_arrow

        return read_arrow
    if file_format == "json_lines":
        from recctl.data.sources.readers.json_lines import read_json_lines

        return read_json_lines
    if file_format in ("lightgcn", "sequences"):
        from recctl.data.sources.readers.sequences import read_sequences

        return read_sequences
    if file_format == "netflix":
        from recctl.data.sources.readers.netflix import read_netflix

        return read_netflix
    from recctl.data.sources.readers.csv import read_delimited

    return read_delimited


def _column_reader_for(file_format: Format) -> ColumnReader:
    """The function that returns the columns of a file of a format."""
    if file_format == "parquet":
        return _parquet_columns
    if file_format == "arrow":
        return _arrow_columns
    if file_format == "json_lines":
        return _json_lines_columns
    if file_format in ("lightgcn", "sequences", "netflix"):
        return _no_columns
    return _delimited_columns


def _parquet_columns(path: Path, options: ReadOptions) -> PartColumns:
    from recctl.data.sources.readers.parquet import parquet_columns

    schema, n_rows = parquet_columns(path)
    return PartColumns(schema.names, len(schema.names), n_rows > 0, types=schema.types)


def _arrow_columns(path: Path, options: ReadOptions) -> PartColumns:
    from recctl.data.sources.readers.arrow import arrow_columns

    schema, n_rows = arrow_columns(path)
    return PartColumns(schema.names, len(schema.names), n_rows > 0, types=schema.types)


def _json_lines_columns(path: Path, options: ReadOptions) -> PartColumns:
    from recctl.data.sources.readers.json_lines import json_lines_columns

    names, n_rows = json_lines_columns(path, options)
    return PartColumns(names, len(names), n_rows > 0)


def _no_columns(path: Path, options: ReadOptions) -> PartColumns:
    with open_decompressed(path) as stream:
        is_empty = not stream.read(1)
    return PartColumns(None, 0, not is_empty)


def _delimited_columns(path: Path, options: ReadOptions) -> PartColumns:
    from recctl.data.sources.readers.csv_dialect import sniff_dialect
    from recctl.data.sources.readers.text_stream import open_text

    with open_text(path, options.encoding) as stream:
        if not stream.read(1):  # an empty file, compressed
            return PartColumns(None, 0, False)
    with open_text(path, options.encoding) as stream, progress.silence():  # reading the part sends its notices
        dialect = sniff_dialect(stream, options, path.name)
    return PartColumns(dialect.names, dialect.n_fields, bool(dialect.records), dialect.layout.delimiter)
