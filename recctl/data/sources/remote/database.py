"""Reading the result of a query: PostgreSQL and SQLite by ADBC, DuckDB by its own driver, all of them read-only.

The rows come in Arrow batches and go to a temporary Parquet file, column by column as the roles need them; the reader
of Parquet does the rest. A database may return rows in any order, so rows with times are put into a canonical one.
"""

from __future__ import annotations

import importlib.util
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.compute as pc

from recctl import progress, urls
from recctl.data.arrow_columns import decode, is_uuid
from recctl.data.columns import COLUMNS, TIMESTAMP, UnusedColumns
from recctl.data.sources.options import Query, ReadOptions, SourceTable
from recctl.data.sources.readers import column_roles
from recctl.data.sources.readers.read_file import read_file
from recctl.data.sources.readers.time_columns import find_unused_columns
from recctl.data.sources.readers.typed_columns import extra_positions
from recctl.data.sources.remote.canonical_order import put_in_canonical_order
from recctl.data.sources.remote.limits import DownloadLimit
from recctl.data.sources.remote.sql import has_order, require_query
from recctl.errors import ConfigError, DataError

_NAME = "query"  # what messages call the source
_KEY = "data.source.url"
_BATCH_ROWS = 1 << 16
# Digits before and after the point of a number of any precision, as PostgreSQL's numeric is.
_NUMERIC = pa.decimal256(76, 38)
# Options that say how a text file is read, or what is read of a file.
_KEPT_OPTIONS = ("timestamp_unit", "timestamp_format", "bad_rows", "id_type", "needs_ratings")
_PACKAGES = {"postgresql": "adbc_driver_postgresql", "sqlite": "adbc_driver_sqlite", "duckdb": "duckdb"}
_EXAMPLES = "postgresql://${USER}:${PASSWORD}@host/database, sqlite:///FILE or duckdb:///FILE"


@dataclass(frozen=True)
class _Result:
    """The result of a query.

    Attributes:
        schema: Its columns.
        batches: Its rows, read once.
    """

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


def read_query(query: Query, options: ReadOptions, base: Path) -> SourceTable:
    """Read interactions from a database.

    Args:
        query: The query.
        options: How to read the columns; the options of files must not be set.
        base: The folder that the relative path of a database file starts from.

    Raises:
        ConfigError: The URL or an option is not valid, the statement is no query, or the driver is not installed.
        DataError: The database can't be reached, or a column or a row can't be read.
    """
    _require_no_file_options(options)
    sql = require_query(query.sql)
    label = f"query of {urls.redact(query.url)}"
    url = urls.expand(query.url, _KEY)
    with tempfile.TemporaryDirectory(prefix="recctl-") as folder:
        path = Path(folder) / _NAME
        with progress.task(f"Reading {label}") as task, _open(url, sql, base, label) as result:
            roles, extra, unused = _find_columns(result.schema, sql, options)
            _write_rows(path, result, [*roles.items(), *extra.items()], options, label, task)
        columns: dict[str, str | int | None] = {role: role if role in roles else None for role in COLUMNS}
        file_options = replace(options, format="parquet", columns=columns)
        table = read_file(path, file_options)
    if TIMESTAMP in table.columns:
        put_in_canonical_order(table.columns)
    counts: dict[str, Any] = {
        name: table.provenance[name] for name in ("rows_read", "rows_skipped", "skipped") if name in table.provenance
    }
    source = {"sql": urls.redact(query.sql), "url": urls.redact(query.url)}
    return replace(table, provenance={"source": source, "format": "sql", **counts}, unused=unused)


def _require_no_file_options(options: ReadOptions) -> None:
    allowed = {*_KEPT_OPTIONS, "columns", "extra_columns", "max_download_gb"}
    unused = [name for name in options.non_default() if name not in allowed]
    if unused:
        raise ConfigError(*(f"data.{name}: is for files, and data.source is a query; leave it out" for name in unused))


def _find_columns(
    schema: pa.Schema, sql: str, options: ReadOptions
) -> tuple[dict[str, int], dict[str, int], UnusedColumns | None]:
    """The positions of roles and of extra columns, and the columns without a role if there are no timestamps.

    Raises:
        DataError: A column is missing, or neither times nor ORDER BY say the order of the rows.
    """
    roles = column_roles.roles_from_header(schema.names, options.columns, _NAME)
    extra = extra_positions(schema.names, roles, options, _NAME)
    unused = find_unused_columns(schema.names, len(schema), options.columns, roles, _NAME, None, schema.types)
    if TIMESTAMP not in roles and not has_order(sql):
        hint = unused.hint if unused is not None and unused.hint else "select a column of times"
        raise DataError(
            f"{_NAME}: has no timestamps, and a database returns rows in any order; {hint}, or add ORDER BY with "
            "columns that are unique together, so that the order of the rows is the order in time"
        )
    return roles, extra, unused


def _write_rows(
    path: Path, result: _Result, columns: Sequence[tuple[str, int]], options: ReadOptions, label: str, task: Any
) -> None:
    """Write the columns that are needed to a Parquet file, under the names of their roles."""
    import pyarrow.parquet as pq

    converters = [_converter(name, result.schema.field(position), options) for name, position in columns]
    limit = DownloadLimit(label, options.max_download_gb)
    writer = None
    n_rows = 0
    try:
        for batch in result.batches:
            limit.add(batch.nbytes)
            arrays = [
                convert(batch.column(position)) for convert, (_, position) in zip(converters, columns, strict=True)
            ]
            converted = pa.table(arrays, names=[name for name, _ in columns])
            if writer is None:
                writer = pq.ParquetWriter(path, converted.schema, compression="lz4", write_statistics=False)
            writer.write_table(converted)
            n_rows += len(converted)
            task.update(n_rows)
    finally:
        if writer is not None:
            writer.close()
    if not n_rows:
        raise DataError(f"{_NAME}: returns no rows")


def _converter(name: str, field: pa.Field, options: ReadOptions) -> Callable[[pa.Array], pa.Array]:
    """A function that turns the arrays of a column into a type that the readers know.

    Raises:
        DataError: The type of the database has no such form.
    """
    arrow_type = field.type
    database_type = _database_type(field)
    cast_hint = f"cast it in the query: cast({field.name} as text) as {field.name}"
    if database_type == "numeric" and _is_text(getattr(arrow_type, "storage_type", arrow_type)):
        return lambda array: _to_decimal(array, field.name)
    if isinstance(arrow_type, pa.BaseExtensionType) and not is_uuid(arrow_type):
        if _is_text(arrow_type.storage_type):
            return lambda array: array.storage
        raise DataError(f"{_NAME}: column {field.name!r} is of type {database_type or arrow_type}; {cast_hint}")
    if (
        pa.types.is_binary(arrow_type)
        or pa.types.is_large_binary(arrow_type)
        or pa.types.is_fixed_size_binary(arrow_type)
    ):
        # Old writers of Parquet have text in binary columns; databases have types for both.
        kind = database_type or "binary"
        raise DataError(f"{_NAME}: column {field.name!r} is of type {kind}; {cast_hint}")
    if pa.types.is_interval(arrow_type):
        raise DataError(f"{_NAME}: column {field.name!r} is of type {database_type or 'interval'}; {cast_hint}")
    if pa.types.is_nested(arrow_type):
        raise DataError(
            f"{_NAME}: column {field.name!r} is of type {database_type or arrow_type}; select single values"
        )
    return lambda array: decode(pa.chunked_array([array])) if pa.types.is_dictionary(array.type) else array


def _database_type(field: pa.Field) -> str:
    """The name of a column's type in PostgreSQL; empty if it is not known."""
    type_name = getattr(field.type, "type_name", "")  # of an opaque type
    metadata = field.metadata or {}
    return str(type_name or metadata.get(b"ADBC:postgresql:typname", b"").decode())


def _is_text(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type))


def _to_decimal(array: Any, name: str) -> pa.Array:
    """Numbers of any precision, which ADBC returns as text, as decimals: ids among them are whole numbers."""
    texts = array.storage if isinstance(array.type, pa.BaseExtensionType) else array
    try:
        return pc.cast(texts, _NUMERIC)
    except pa.ArrowInvalid:
        for text in texts.drop_null().to_pylist():
            try:
                pc.cast(pa.array([text]), _NUMERIC)
            except pa.ArrowInvalid:
                raise DataError(
                    f"{_NAME}: column {name!r}: {text} is no number with at most 38 digits before and after the "
                    f"point; cast it in the query: cast({name} as double precision) as {name}"
                ) from None
        raise


# ---- drivers


@contextmanager
def _open(url: str, sql: str, base: Path, label: str) -> Iterator[_Result]:
    """Run a query; the messages of drivers lose what they repeat of the URL."""
    # As SQLAlchemy writes URLs, a driver may follow the kind: postgresql+psycopg://.
    kind = urls.scheme(url).partition("+")[0]
    if kind == "postgres":
        kind = "postgresql"
    if kind not in _PACKAGES:
        raise ConfigError(f"{_KEY}: {kind}:// is no database that recctl reads; use {_EXAMPLES}")
    if importlib.util.find_spec(_PACKAGES[kind]) is None:
        raise ConfigError(f"{_KEY}: reading {kind} needs a package: pip install 'recctl[sql]'")
    openers = {"postgresql": _open_postgresql, "sqlite": _open_sqlite, "duckdb": _open_duckdb}
    with ExitStack() as stack:
        try:
            yield openers[kind](url, sql, base, stack)
        except (ConfigError, DataError):
            raise
        except Exception as error:  # each driver has exceptions of its own
            reason = urls.hide(" ".join(str(error).split()) or type(error).__name__)
            # Not `from error`: a traceback would show what the driver has written.
            raise DataError(f"{label}: the query failed: {reason}") from None


def _open_postgresql(url: str, sql: str, base: Path, stack: ExitStack) -> _Result:
    from adbc_driver_postgresql import dbapi

    uri = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url, flags=re.IGNORECASE)
    connection = stack.enter_context(dbapi.connect(uri))
    cursor = stack.enter_context(connection.cursor())
    # Of the whole session: the transaction of the query begins by itself.
    cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
    connection.commit()
    cursor.execute(sql)
    return _adbc_result(cursor)


def _adbc_result(cursor: Any) -> _Result:
    reader = cursor.fetch_record_batch()
    return _Result(reader.schema, iter(reader))


def _open_sqlite(url: str, sql: str, base: Path, stack: ExitStack) -> _Result:
    from adbc_driver_sqlite import dbapi

    path = _database_file(url, base)
    uri = f"file:{quote(str(path))}?mode=ro"
    if _has_mixed_types(uri, sql):
        return _mixed_result(uri, sql, stack)
    connection = stack.enter_context(dbapi.connect(uri))
    cursor = stack.enter_context(connection.cursor())
    cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(_BATCH_ROWS)})
    cursor.execute(sql)
    return _adbc_result(cursor)


def _open_duckdb(url: str, sql: str, base: Path, stack: ExitStack) -> _Result:
    import duckdb

    path = _database_file(url, base)
    connection = stack.enter_context(duckdb.connect(str(path), read_only=True))
    connection.execute("set enable_progress_bar = false")  # it would be among the output
    # A query that names a URL would download code and store it in the home directory.
    connection.execute("set autoinstall_known_extensions = false")
    kinds = [str(statement.type).rpartition(".")[2] for statement in connection.extract_statements(sql)]
    if kinds != ["SELECT"]:
        raise ConfigError(f"data.source.sql: is {', '.join(kinds)} to DuckDB; only one query is allowed")
    relation = connection.sql(sql)
    # The name differs between versions.
    fetch = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
    reader = fetch(_BATCH_ROWS)
    return _Result(reader.schema, iter(reader))


def _database_file(url: str, base: Path) -> Path:
    """The file of a URL such as `sqlite:///file.db`, which is relative, or `sqlite:////data/file.db`."""
    rest = unquote(url.partition("://")[2]).partition("?")[0]
    if not rest.startswith("/") or len(rest) == 1:
        raise ConfigError(f"{_KEY}: names no file; write sqlite:///FILE or duckdb:///FILE, with three slashes")
    path = base / Path(rest[1:]).expanduser()
    if not path.exists() and Path(rest).exists():  # an absolute path with three slashes
        path = Path(rest)
    if not path.is_file():
        raise DataError(urls.hide(f"{path}: does not exist; it is the database of {_KEY}"))
    return path


# ---- columns of SQLite, whose values may have several types


def _has_mixed_types(uri: str, sql: str) -> bool:
    return any(len(types) > 1 for types in _column_types(uri, sql))


def _column_types(uri: str, sql: str) -> list[set[str]]:
    """The types of the values of each column; ADBC would decide by the first rows, and convert or refuse the others."""
    import sqlite3

    connection = sqlite3.connect(uri, uri=True)
    try:
        names = [entry[0] for entry in connection.execute(f"select * from ({sql}\n) limit 0").description]  # noqa: S608
        aliases = ", ".join(f"c{i}" for i in range(len(names)))
        typeofs = ", ".join(f"group_concat(distinct typeof(c{i}))" for i in range(len(names)))
        rows = connection.execute(f"with q({aliases}) as ({sql}\n) select {typeofs} from q")  # noqa: S608
        return [set((types or "").split(",")) - {"null", ""} for types in rows.fetchone()]
    finally:
        connection.close()


def _mixed_result(uri: str, sql: str, stack: ExitStack) -> _Result:
    """The result by the types of all values: text if any is text, else floating-point numbers."""
    import sqlite3

    types = _column_types(uri, sql)
    connection = sqlite3.connect(uri, uri=True)
    stack.callback(connection.close)
    cursor = connection.execute(sql)
    names = [entry[0] for entry in cursor.description]
    fields = []
    for name, found in zip(names, types, strict=True):
        if "blob" in found:
            fields.append(pa.field(name, pa.binary()))
        elif "text" in found or not found:
            fields.append(pa.field(name, pa.string()))
        else:
            fields.append(pa.field(name, pa.float64() if "real" in found else pa.int64()))
    schema = pa.schema(fields)

    def batches() -> Iterator[pa.RecordBatch]:
        while rows := cursor.fetchmany(_BATCH_ROWS):
            arrays = [_sqlite_array([row[i] for row in rows], field.type) for i, field in enumerate(schema)]
            yield pa.record_batch(arrays, schema=schema)

    return _Result(schema, batches())


def _sqlite_array(values: list[Any], arrow_type: pa.DataType) -> pa.Array:
    if pa.types.is_string(arrow_type):
        values = [value if value is None or isinstance(value, str) else str(value) for value in values]
    elif pa.types.is_binary(arrow_type):
        values = [value if isinstance(value, bytes) else None for value in values]
    return pa.array(values, arrow_type)
