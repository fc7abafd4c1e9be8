"""The tables of an SQLite database of MLflow: created as a whole or not at all.

MLflow creates them in place, by dozens of migrations that take several seconds and can't be repeated. A process that
is killed meanwhile leaves a database that no version of MLflow can open. So the database is made under another name,
and gets its own when it is complete.
"""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from recctl import atomic, locking
from recctl.errors import ConfigError

_UNFINISHED = ".unfinished"
# A database with rows in one of them is never to be deleted.
_CONTENT_TABLES = ("runs", "registered_models", "trace_info")
# How long another program may keep a database locked.
_LOCK_SECONDS = 20.0


def database_file(uri: str) -> Path | None:
    """The file of an SQLite database; None for servers, other databases and databases in memory."""
    if not uri.startswith("sqlite"):
        return None
    from sqlalchemy.engine import make_url

    name = make_url(uri).database
    if not name or name == ":memory:" or name.startswith("file:"):
        return None
    return Path(name)


def create_database(path: Path) -> None:
    """Create a database with MLflow's tables, unless there is one.

    Only one process creates it; others wait. There is no deadline: it takes as long as MLflow's migrations do.

    Raises:
        ConfigError: There is one, with the tables of another version, or an incomplete one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The lock of the folder: a lock on the unfinished file would be lost when that file is renamed.
    with locking.locked(path.parent):
        if not _is_empty(path):
            _require_current_tables(path)
            return
        for leftover in path.parent.glob(f".{path.name}.*{_UNFINISHED}*"):  # of processes that were killed
            with suppress(OSError):
                leftover.unlink()
        unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_UNFINISHED}")
        try:
            _migrate(unfinished)
            # SQLite itself creates files that the group can't write, whatever the umask says.
            atomic.set_default_mode(unfinished)
            _move(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)


def _is_empty(path: Path) -> bool:
    return not path.exists() or path.stat().st_size == 0


def _migrate(path: Path) -> None:
    """Let MLflow create its tables and its default experiment."""
    from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # It logs each of its dozens of migrations.
    logger = logging.getLogger("alembic")
    previous_level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        store = SqlAlchemyStore(f"sqlite:///{path.as_posix()}", DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH)
    finally:
        logger.setLevel(previous_level)
    # Closes the file, which can't be renamed on Windows otherwise.
    store.engine.dispose()


def _move(source: Path, target: Path) -> None:
    """Give a file its name, unless a program that knows no lock has created the target meanwhile."""
    if target.exists() and _is_empty(target):
        source.replace(target)
        return
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:  # the file system has no links
        source.replace(target)


def _require_current_tables(path: Path) -> None:
    """Check that a database has the tables of the installed version of MLflow.

    MLflow would change them in place, which leaves a mixture of two versions if it is interrupted.
    """
    from mlflow.store.db.utils import _get_latest_schema_revision

    revision = None
    try:
        with closing(sqlite3.connect(path, timeout=_LOCK_SECONDS)) as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if "alembic_version" in tables:
                revision = next((row[0] for row in connection.execute("SELECT version_num FROM alembic_version")), None)
            # The names are those above, not of the user.
            in_use = [
                table
                for table in _CONTENT_TABLES
                if table in tables and connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()  # noqa: S608
            ]
    except sqlite3.OperationalError as error:  # locked by another program, for example
        raise ConfigError(
            f"{path}: SQLite can't read it ({error}); end the programs that keep it locked, or check its permissions"
        ) from error
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"{path}: is not a database of MLflow ({error}); choose another file") from error
    if revision == _get_latest_schema_revision():
        return
    if tables and not tables & {"experiments", "runs"}:
        raise ConfigError(f"{path}: is a database of another program; choose another file")
    if not in_use:
        raise ConfigError(
            f"{path}: its tables are incomplete or of another version of MLflow, and it holds no runs; delete it, and "
            "it is created again"
        )
    raise ConfigError(
        f"{path}: its tables are of another version of MLflow than the installed one; copy the file, then run: "
        f"mlflow db upgrade sqlite:///{path.as_posix()}"
    )


def require_current_tables(uri: str) -> None:
    """Check that a database which can't undo migrations has the tables of the installed version of MLflow.

    On MySQL and SQL Server, an interruption would leave some of the tables, under any name.

    Raises:
        ConfigError: It has not.
    """
    import sqlalchemy
    from mlflow.store.db.utils import _get_latest_schema_revision

    revision = None
    engine = sqlalchemy.create_engine(uri)
    try:
        with engine.connect() as connection:
            if sqlalchemy.inspect(connection).has_table("alembic_version"):
                revision = connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version")).scalar()
    finally:
        engine.dispose()
    if revision != _get_latest_schema_revision():
        raise ConfigError(
            "the database has no tables of this version of MLflow; make a copy of it if it holds runs, then create or "
            "upgrade them, without interrupting it: mlflow db upgrade URI"
        )
