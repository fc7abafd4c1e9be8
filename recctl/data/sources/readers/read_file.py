"""Reading one file, or one folder of parts, of whatever format."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pyarrow as pa

from recctl import progress
from recctl.data.columns import USER
from recctl.data.sources.options import Format, ReadOptions, SourceTable
from recctl.data.sources.readers.compression import plain_name
from recctl.data.sources.readers.csv import read_delimited
from recctl.errors import DataError

_HASHED_BYTES = 1 << 24  # hashing more would be felt


def read_file(path: Path, options: ReadOptions) -> SourceTable:
    """The interactions of a file, or of a folder of Parquet parts.

    Raises:
        DataError: It can't be read, or a column or a row of it can't; the message names it.
    """
    if not os.access(path, os.R_OK):
        raise DataError(f"{path}: no permission to read it")
    form = _format(path) if options.format == "auto" else options.format
    with progress.task(f"Reading {path.name}"):
        if form == "parquet":
            from recctl.data.sources.readers.parquet import read_parquet

            columns, skipped = read_parquet(path, options)
        elif path.is_dir():
            raise DataError(f"{path.name}: is a folder without Parquet files; {_files_in(path)}")
        elif form in ("lightgcn", "sequences"):
            from recctl.data.sources.readers.sequences import read_lists

            columns, skipped = read_lists(path, options)
        else:
            columns, skipped = read_delimited(path, options)
    pa.default_memory_pool().release_unused()  # which Arrow would keep for the next file
    provenance = {"file": str(path), "format": form, "rows_read": len(columns[USER]), "rows_skipped": 0, **skipped}
    if path.is_file():
        provenance["bytes"] = path.stat().st_size
        if provenance["bytes"] <= _HASHED_BYTES:
            provenance["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return SourceTable(columns, provenance)


def _format(path: Path) -> Format:
    from recctl.data.sources.readers.parquet import is_parquet

    if is_parquet(path):
        return "parquet"
    return "inter" if plain_name(path).endswith(".inter") else "csv"


def _files_in(folder: Path) -> str:
    files = sorted(p.name for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    return f"name a file in it: {', '.join(files[:10])}" if files else "it holds no files"
