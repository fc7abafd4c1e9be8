"""Reading Parquet: a file, or a folder of parts (with hive-style `key=value` folders or not)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recctl.data.columns import RATING, TIMESTAMP
from recctl.data.sources import naming
from recctl.data.sources.careful import Columns, Skipped, read_carefully
from recctl.data.sources.cells import finished, is_text, per_second
from recctl.data.sources.faults import Faults
from recctl.data.sources.options import ReadOptions
from recctl.errors import DataError

_SUFFIXES = (".parquet", ".pq", ".parq")
_MAGIC = b"PAR1"


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
    import pyarrow.dataset as ds

    place = path.name
    try:
        files = sorted(p for p in path.rglob("*") if _is_part(p, path)) if path.is_dir() else [path]
        if not files:
            raise DataError(f"{place}: the folder holds no Parquet files")
        partitioning = ds.HivePartitioning.discover(infer_dictionary=False) if path.is_dir() else None
        dataset = ds.dataset(
            [str(file) for file in files],
            format="parquet",
            partitioning=partitioning,
            partition_base_dir=str(path) if path.is_dir() else None,
        )
        names = dataset.schema.names
        roles = naming.find_columns(names, options.columns, place)
        wanted = {role: names[at] for role, at in roles.items()}
        n_rows = dataset.count_rows()
        if not n_rows:
            raise DataError(f"{place}: holds no rows")
        columns = _fast(dataset, wanted, n_rows, options)
        return (columns, {}) if columns is not None else _carefully(dataset, path, wanted, options)
    except (pa.ArrowException, OSError, TypeError) as error:
        raise DataError(f"{place}: can't be read: {str(error).splitlines()[0]} (truncated or damaged?)") from error


def _is_part(file: Path, folder: Path) -> bool:
    inside = file.relative_to(folder).parts
    return file.suffix.lower() in _SUFFIXES and not any(part.startswith((".", "_")) for part in inside)


def _fast(dataset: Any, wanted: dict[str, str], n_rows: int, options: ReadOptions) -> Columns | None:
    """The columns, copied batch by batch into their place; None where a value or a type needs a closer look."""
    types = {role: _target(role, dataset.schema.field(name).type, options) for role, name in wanted.items()}
    if None in types.values():
        return None
    columns: Columns = {
        role: [] if is_text(kind) else np.empty(n_rows, kind.to_pandas_dtype()) for role, kind in types.items() if kind
    }
    at = 0
    for batch in dataset.to_batches(columns=list(wanted.values())):
        for role, kind in types.items():
            part = batch.column(wanted[role])
            if part.null_count:
                return None
            if is_text(kind):
                columns[role].append(part.cast(kind))
            else:
                columns[role][at : at + len(batch)] = part.cast(kind, safe=False).to_numpy()
        at += len(batch)
    for role, kind in types.items():
        values = pa.chunked_array(columns[role], kind) if is_text(kind) else columns[role]
        columns[role] = finished(role, values, per_second(dataset.schema.field(wanted[role]).type, options))
    return None if any(values is None for values in columns.values()) else columns


def _target(role: str, kind: pa.DataType, options: ReadOptions) -> pa.DataType | None:
    """What a column is cast to; None if that may fail."""
    if role == RATING:
        return pa.float32() if pa.types.is_integer(kind) or pa.types.is_floating(kind) else None
    if role == TIMESTAMP:
        if pa.types.is_timestamp(kind) or pa.types.is_integer(kind):
            return pa.int64()
        return pa.float64() if pa.types.is_floating(kind) else None
    if is_text(kind):
        return pa.large_string() if options.id_type != "int" else None
    return pa.int64() if pa.types.is_signed_integer(kind) and options.id_type != "text" else None


def _carefully(dataset: Any, path: Path, wanted: dict[str, str], options: ReadOptions) -> tuple[Columns, Skipped]:
    table = dataset.to_table(columns=list(wanted.values()))
    raw = {role: table[name] for role, name in wanted.items()}
    label = partial(_label, dataset, path)
    return read_carefully(raw, np.arange(len(table)), Faults(), options, path.name, label)


def _label(dataset: Any, path: Path, rows: Sequence[int]) -> list[str]:
    """The file and the row in it, from 1."""
    fragments = list(dataset.get_fragments())
    ends = np.cumsum([fragment.count_rows() for fragment in fragments])
    files = np.searchsorted(ends, rows, side="right")
    names = [Path(fragment.path).name for fragment in fragments]
    return [
        f"{names[file]}: row {row - (ends[file - 1] if file else 0) + 1}" for file, row in zip(files, rows, strict=True)
    ]
