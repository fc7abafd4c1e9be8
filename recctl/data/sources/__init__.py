"""Sources of interactions: data sets known by name, and files of many formats."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from recctl import arguments, plugins, urls
from recctl.arguments import of_type, optional, validated
from recctl.data import frames
from recctl.data.sources.catalog.datasets import CatalogDataset, catalog, find
from recctl.data.sources.catalog.fetch import fetch
from recctl.data.sources.catalog.titles import item_titles
from recctl.data.sources.options import Query, ReadOptions, SourceTable
from recctl.data.sources.python_terms import python_terms
from recctl.data.sources.readers.parts.files import is_pattern
from recctl.data.sources.readers.read_file import read_file
from recctl.data.sources.remote.checksum import require_checksum
from recctl.errors import ConfigError, DataError
from recctl.suggest import did_you_mean

__all__ = [
    "CatalogDataset",
    "Query",
    "ReadOptions",
    "SourceTable",
    "catalog",
    "fetch",
    "item_titles",
    "load_movielens",
    "read_configured_source",
    "read_source",
    "source_names",
]

# What an experiment needs of a source, whatever its layout.
_NEEDS = ("extra_columns", "needs_ratings")
# A catalog entry knows the layout of its file; users may set only these options for it.
_ROW_OPTIONS = ("bad_rows", "id_type", *_NEEDS)


def _source(where: str, name: str, value: Any) -> Any:
    return value if isinstance(value, Query) else arguments.path(where, name, value)


@validated(
    source=_source,
    options=optional(of_type(ReadOptions, "a ReadOptions")),
    base=optional(arguments.path),
)
def read_source(
    source: str | os.PathLike[str] | Query, options: ReadOptions | None = None, *, base: Path | None = None
) -> SourceTable:
    """Read interactions from a data set of the catalog, an installed package, a file, a folder, a URL or a database.

    Args:
        source: A name from `source_names()` (downloaded if it is not cached); or the path of a file; or a folder or a
            pattern of files (`events/*.csv`), which are read as one table. `./NAME` is always a path. Or a URL of any
            of these (`s3://`, `gs://`, `https://`), or a `Query` of a database.
        options: How to read a file; everything is detected by default.
        base: The folder that relative paths start from; by default the working directory.

    Raises:
        DataError: There is no such source, or it can't be downloaded or read; the message names file, row and value.
        ConfigError: Layout options are set for a named source, which has its own layout.
    """
    with python_terms():
        return read_configured_source(source, options or ReadOptions(), base=base)


def read_configured_source(
    source: str | os.PathLike[str] | Query, options: ReadOptions, *, base: Path | None = None
) -> SourceTable:
    """The same for a config: errors and notices name its keys."""
    if isinstance(source, Query):
        from recctl.data.sources.remote.database import read_query

        return read_query(source, options, base or Path())
    if urls.is_url(source):
        from recctl.data.sources.remote.files import read_url

        return read_url(str(source), options)
    names = source_names()
    if source in names:
        name = str(source)
        if name in [entry.name for entry in catalog()]:
            return _read_catalog_entry(find(name), options)
        return _read_plugin(name, options)
    # An absolute path ignores the base.
    path = (base or Path()) / Path(source).expanduser()
    if path.exists() or is_pattern(path):
        if options.checksum is not None:
            require_checksum(path, options.checksum)
        table = read_file(path, options)
        return replace(table, provenance={"source": str(source), **table.provenance})
    files = sorted(os.listdir(path.parent)) if path.parent.is_dir() else []
    suggestion = did_you_mean(path.name, files + names)
    raise DataError(f"{source}: neither a data set of the catalog nor a file (tried {path.absolute()}){suggestion}")


def source_names() -> list[str]:
    """The names that `read_source` accepts besides paths: the catalog, then data sets of installed packages."""
    names = [entry.name for entry in catalog()] + list(plugins.available("sources"))
    return list(dict.fromkeys(names))


def load_movielens(size: str = "100k") -> pd.DataFrame:
    """Load MovieLens ratings, downloading them if they are not cached.

    Args:
        size: `100k`, `1m`, `10m`, `20m`, `25m`, `32m` or `latest-small`.

    Returns:
        Columns `user_id`, `item_id`, `rating` (float32) and `timestamp` (seconds), rows in the order of the file.

    Raises:
        ConfigError: The size is unknown.
        DataError: The download failed.

    Examples:
        ```python
        from recctl import load_movielens

        df = load_movielens("100k")  # user_id, item_id, rating, timestamp
        ```
    """
    prefix = "movielens-"
    sizes = [entry.name.removeprefix(prefix) for entry in catalog() if entry.name.startswith(prefix)]
    if not isinstance(size, str) or size not in sizes:
        raise ConfigError(f"size={size!r}: unknown; one of {', '.join(sizes)}")
    return read_source(f"{prefix}{size}").frame


def _read_catalog_entry(entry: CatalogDataset, options: ReadOptions) -> SourceTable:
    _require_only(_ROW_OPTIONS, options, entry.name)
    folder = fetch(entry.name)
    # Another process may replace the cached data set between these lines.
    record = entry.record()
    mirror = entry.mirror(record["mirror"]) if record else None
    if record is None or mirror is None:
        raise DataError(f"{entry.name}: {folder} was changed while it was read; try again")
    row_options = {name: getattr(options, name) for name in _ROW_OPTIONS}
    table = read_file(folder / mirror.ratings, replace(mirror.options, **row_options))
    return replace(table, provenance={**table.provenance, **record})


def _read_plugin(name: str, options: ReadOptions) -> SourceTable:
    """Call a function of an installed package; it takes no arguments and returns a table."""
    _require_only(_NEEDS, options, name)
    frame = frames.to_pandas(plugins.load("sources", name)(), f"{name}: the result of the package")
    provenance = {"source": name, "rows_read": len(frame), "rows_skipped": 0}
    return SourceTable.from_frame(frame, provenance, options.extra_columns)


def _require_only(allowed: tuple[str, ...], options: ReadOptions, name: str) -> None:
    """Raise if options are set that a named source does not support."""
    unused = [option for option in options.non_default() if option not in allowed]
    if unused:
        raise ConfigError(*(f"data.{option}: {name} has its own layout; leave this out" for option in unused))


def __getattr__(name: str) -> Any:
    """Old names, until 0.4."""
    renamed: dict[str, Any] = {"catalogue": catalog, "CatalogueEntry": CatalogDataset}
    if name not in renamed:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    new = renamed[name]
    warnings.warn(f"{name} is now {new.__name__}; the old name is removed in 0.4", FutureWarning, stacklevel=2)
    return new
