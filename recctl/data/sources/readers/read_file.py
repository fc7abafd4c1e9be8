"""Reading one file, or one folder of Parquet parts: detects the format and calls the reader of that format."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pyarrow as pa

from recctl import progress
from recctl.data.columns import USER
from recctl.data.sources.options import Format, ReadOptions, SourceTable
from recctl.data.sources.readers.compression import uncompressed_name
from recctl.data.sources.readers.interface import FileReader
from recctl.errors import DataError

_MAX_HASHED_BYTES = 1 << 24  # hashing a larger file would take a noticeable share of the time


def read_file(path: Path, options: ReadOptions) -> SourceTable:
    """Read the interactions in a file, or in a folder of Parquet parts.

    Raises:
        DataError: The file, a column or a row of it can't be read; the message names file, row and value.
    """
    if not os.access(path, os.R_OK):
        raise DataError(f"{path}: no permission to read it")
    file_format = _detect_format(path) if options.format == "auto" else options.format
    if path.is_dir() and file_format != "parquet":
        raise DataError(f"{path.name}: is a folder without Parquet files; {_list_files(path)}")
    read = _reader_for(file_format)
    with progress.task(f"Reading {path.name}"):
        result = read(path, options)
    pa.default_memory_pool().release_unused()  # Arrow would keep it for the next file
    provenance: dict[str, Any] = {
        "file": str(path),
        "format": file_format,
        "rows_read": len(result.columns[USER]),
        "rows_skipped": result.n_skipped,
    }
    if result.n_skipped:
        provenance["skipped"] = result.skipped
    if path.is_file():
        provenance["bytes"] = path.stat().st_size
        if provenance["bytes"] <= _MAX_HASHED_BYTES:
            provenance["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return SourceTable(result.columns, provenance)


def _reader_for(file_format: Format) -> FileReader:
    """The reader of a format; readers are imported when they are used, since each needs other parts of Arrow."""
    if file_format == "parquet":
        from recctl.data.sources.readers.parquet import read_parquet

        return read_parquet
    if file_format in ("lightgcn", "sequences"):
        from recctl.data.sources.readers.sequences import read_sequences

        return read_sequences
    if file_format == "netflix":
        from recctl.data.sources.readers.netflix import read_netflix

        return read_netflix
    from recctl.data.sources.readers.csv import read_delimited

    return read_delimited


def _detect_format(path: Path) -> Format:
    from recctl.data.sources.readers.parquet import is_parquet

    # Parquet is detected by its suffix or its first bytes, RecBole's files only by their name.
    if is_parquet(path):
        return "parquet"
    return "inter" if uncompressed_name(path).endswith(".inter") else "csv"


def _list_files(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not names:
        return "the folder holds no files"
    return f"use one of its files: {', '.join(names[:10])}"
