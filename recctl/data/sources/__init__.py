"""Where interactions come from: data sets known by name, and files of many formats."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pandas as pd

from recctl import plugins
from recctl.data.sources.catalog.datasets import CatalogDataset, catalog, find
from recctl.data.sources.catalog.fetch import fetch
from recctl.data.sources.catalog.titles import item_titles
from recctl.data.sources.options import ReadOptions, SourceTable
from recctl.data.sources.readers.read_file import read_file
from recctl.errors import ConfigError, DataError
from recctl.suggest import did_you_mean

__all__ = [
    "CatalogDataset",
    "ReadOptions",
    "SourceTable",
    "catalog",
    "fetch",
    "item_titles",
    "load_movielens",
    "read_source",
    "source_names",
]

# A catalog entry says itself how its file is laid out; a user may only say what to do with its rows.
_ROW_OPTIONS = ("bad_rows", "id_type")


def read_source(
    source: str | os.PathLike[str], options: ReadOptions | None = None, *, base: Path | None = None
) -> SourceTable:
    """Read interactions.

    Args:
        source: A name of the catalog (fetched if it isn't cached), or a path of a file or of a folder of Parquet
            parts. `./NAME` is always a path.
        options: How to read a file; by default all is found out.
        base: The folder that a relative path starts from; by default the working directory.

    Raises:
        DataError: No such source, or it can't be fetched or read; the message names file, row and value.
        ConfigError: Options of layout were given for a catalog entry, which has its own.
    """
    options = options or ReadOptions()
    names = source_names()
    if source in names:
        own = [entry.name for entry in catalog()]
        return _read_entry(find(str(source)), options) if source in own else _read_offered(str(source), options)
    path = (base or Path()) / Path(source).expanduser()
    if path.exists():
        table = read_file(path, options)
        return replace(table, provenance={"source": str(source), **table.provenance})
    beside = sorted(os.listdir(path.parent)) if path.parent.is_dir() else []
    near = did_you_mean(path.name, [*beside, *names])
    raise DataError(f"{source}: neither a data set of the catalog nor a file (looked at {path.absolute()}){near}")


def source_names() -> list[str]:
    """What `read_source` takes beside paths: the catalog, and what installed packages offer."""
    return list(dict.fromkeys([*(entry.name for entry in catalog()), *plugins.offered("sources")]))


def load_movielens(size: str = "100k") -> pd.DataFrame:
    """MovieLens ratings, fetched if they aren't cached.

    Args:
        size: `100k`, `1m`, `10m`, `20m`, `25m`, `32m` or `latest-small`.

    Returns:
        Columns `user_id`, `item_id`, `rating` (float32) and `timestamp` (seconds), in the order of the file.

    Raises:
        ConfigError: No such size.
        DataError: It can't be fetched.
    """
    sizes = [entry.name.removeprefix("movielens-") for entry in catalog() if entry.name.startswith("movielens-")]
    if size not in sizes:
        raise ConfigError(f"size={size!r}: unknown; one of {', '.join(sizes)}")
    return read_source(f"movielens-{size}").frame


def _read_entry(entry: CatalogDataset, options: ReadOptions) -> SourceTable:
    idle = [name for name in options.changed() if name not in _ROW_OPTIONS]
    if idle:
        raise ConfigError(*(f"data.{name}: {entry.name} has its own layout; leave this out" for name in idle))
    folder = fetch(entry.name)
    record = entry.record()
    mirror = entry.mirror(record["mirror"]) if record else None
    if record is None or mirror is None:
        raise DataError(f"{entry.name}: {folder} was changed while it was read; try again")
    table = read_file(
        folder / mirror.ratings, replace(mirror.options, **{name: getattr(options, name) for name in _ROW_OPTIONS})
    )
    return replace(table, provenance={**table.provenance, **record})


def _read_offered(name: str, options: ReadOptions) -> SourceTable:
    """What a package's function of no arguments gives: a table with `user_id`, `item_id`, and what else it has."""
    if idle := options.changed():
        raise ConfigError(*(f"data.{option}: {name} has its own layout; leave this out" for option in idle))
    frame = plugins.load("sources", name)()
    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"{name}: its package gave a {type(frame).__name__}, not a pandas DataFrame")
    return SourceTable.of(frame, {"source": name, "rows_read": len(frame), "rows_skipped": 0})
