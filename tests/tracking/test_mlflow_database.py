"""MLflow's SQLite database appears as a whole or not at all, whatever interrupts its creation."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from recctl.errors import ConfigError
from recctl.tracking import mlflow_database
from recctl.tracking.mlflow_database import create_database, database_file, require_current_tables
from tests.conftest import skip_without

skip_without("mlflow", "pip install 'recctl[mlflow]'")


@pytest.fixture
def migrations(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that MLflow would have migrated, each of which gets some content."""
    migrated: list[Path] = []

    def migrate(path: Path) -> None:
        path.write_bytes(b"complete")
        migrated.append(path)

    monkeypatch.setattr(mlflow_database, "_migrate", migrate)
    return migrated


def fail_with(error: BaseException) -> Callable[[Path], None]:
    def migrate(path: Path) -> None:
        path.write_bytes(b"half")
        raise error

    return migrate


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_interrupted_creation_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(mlflow_database, "_migrate", fail_with(error))
    with pytest.raises(type(error)):
        create_database(tmp_path / "new" / "mlflow.db")
    assert list((tmp_path / "new").iterdir()) == []


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path, migrations: list[Path]) -> None:
    (tmp_path / ".mlflow.db.0123abcd.unfinished").write_bytes(b"half")
    (tmp_path / ".mlflow.db.0123abcd.unfinished-journal").write_bytes(b"half")
    create_database(tmp_path / "mlflow.db")
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]
    assert (tmp_path / "mlflow.db").read_bytes() == b"complete"
    assert migrations[0].name != "mlflow.db", "it was made under another name"


def test_empty_file_is_replaced_and_other_content_is_kept(tmp_path: Path, migrations: list[Path]) -> None:
    (tmp_path / "empty.db").touch()
    create_database(tmp_path / "empty.db")
    assert (tmp_path / "empty.db").read_bytes() == b"complete"
    (tmp_path / "notes.txt").write_text("not a database, but long enough to be taken for one")
    with pytest.raises(ConfigError, match=r"notes.txt: is not a database of MLflow"):
        create_database(tmp_path / "notes.txt")
    assert len(migrations) == 1


def test_database_of_another_program_that_was_faster_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def migrate(path: Path) -> None:
        path.write_bytes(b"ours")
        (tmp_path / "mlflow.db").write_bytes(b"theirs")

    monkeypatch.setattr(mlflow_database, "_migrate", migrate)
    create_database(tmp_path / "mlflow.db")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"theirs"]


def test_second_process_waits_for_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n_migrations = []
    may_end = threading.Event()

    def migrate(path: Path) -> None:
        n_migrations.append(path)
        may_end.wait(60)
        path.write_bytes(b"complete")

    monkeypatch.setattr(mlflow_database, "_migrate", migrate)
    monkeypatch.setattr(mlflow_database, "_require_current_tables", lambda path: None)
    threads = [threading.Thread(target=create_database, args=(tmp_path / "mlflow.db",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    may_end.set()
    for thread in threads:
        thread.join(60)
    assert len(n_migrations) == 1


@pytest.mark.parametrize(("n_runs", "advice"), [(0, "delete it"), (1, r"mlflow db upgrade sqlite:///.*mlflow.db")])
def test_tables_of_another_version_are_refused_and_left_alone(tmp_path: Path, n_runs: int, advice: str) -> None:
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num)")
        connection.execute("INSERT INTO alembic_version VALUES ('an older one')")
        connection.execute("CREATE TABLE runs (run_uuid)")
        for _ in range(n_runs):
            connection.execute("INSERT INTO runs VALUES ('a')")
        connection.commit()
    content = path.read_bytes()
    with pytest.raises(ConfigError, match=advice):
        create_database(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("table", ["registered_models", "trace_info"])
def test_database_without_runs_is_not_to_be_deleted_while_it_holds_other_records(tmp_path: Path, table: str) -> None:
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE experiments (name)")
        connection.execute(f"CREATE TABLE {table} (name)")
        connection.execute(f"INSERT INTO {table} VALUES ('a')")
        connection.commit()
    with pytest.raises(ConfigError, match="mlflow db upgrade"):
        create_database(path)


def test_locked_database_is_refused_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_database, "_LOCK_SECONDS", 0.1)
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE runs (run_uuid)")
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigError, match="database is locked") as caught:
            create_database(path)
    assert "delete" not in str(caught.value)


@pytest.mark.parametrize("table", ["sales", "studies"])
def test_database_of_another_program_is_refused(tmp_path: Path, table: str) -> None:
    path = tmp_path / "data.db"
    with closing(sqlite3.connect(path)) as connection:
        # Optuna, too, has a table of this name.
        connection.execute("CREATE TABLE alembic_version (version_num)")
        connection.execute(f"CREATE TABLE {table} (name)")
        connection.commit()
    content = path.read_bytes()
    with pytest.raises(ConfigError, match="is a database of another program; choose another file"):
        create_database(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("sqlite:///mlflow.db", Path("mlflow.db")),
        ("sqlite:////data/mlflow.db", Path("/data/mlflow.db")),
        ("sqlite:///data/mlflow.db?timeout=5", Path("data/mlflow.db")),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("http://127.0.0.1:5000", None),
        ("postgresql://host/database", None),
    ],
)
def test_only_sqlite_files_are_created(uri: str, path: Path | None) -> None:
    assert database_file(uri) == path


@pytest.mark.parametrize("statements", [[], ["CREATE TABLE alembic_version (version_num)"]])
def test_databases_that_cannot_undo_migrations_must_have_their_tables(tmp_path: Path, statements: list[str]) -> None:
    path = tmp_path / "like_mysql.db"
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="mlflow db upgrade URI"):
        require_current_tables(f"sqlite:///{path}")
    assert path.read_bytes() == before
