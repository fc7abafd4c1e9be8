"""Queries of databases as sources, against real databases."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recctl.data.dataset import InteractionDataset
from recctl.data.sources import Query, ReadOptions, read_source
from recctl.errors import ConfigError, DataError
from tests.conftest import skip_without
from tests.tuning.postgres import Server, program

skip_without("adbc_driver_postgresql", "pip install 'recctl[sql]'")
skip_without("duckdb", "pip install 'recctl[sql]'")

_ROWS = [(f"u{i % 7}", i % 5, float(1 + i % 4), 1_600_000_000 + i // 3) for i in range(60)]
_TABLE = "create table ratings(customer varchar(20), sku integer, stars double precision, rated bigint)"
_SQL = "select customer, sku, stars, rated from ratings"
_OPTIONS = ReadOptions(columns={"user_id": "customer", "item_id": "sku", "rating": "stars", "timestamp": "rated"})


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a PostgreSQL server for these tests."""
    skip_without(program("initdb"), "a PostgreSQL server, as `apt install postgresql`")
    server = Server(tmp_path_factory.mktemp("postgres"))
    yield server.url
    server.stop()


def _execute(url: str, *statements: str, rows: list[tuple[Any, ...]] | None = None) -> None:
    """Run statements with the ordinary driver of a database; rows are inserted into `ratings`."""
    connection: Any
    if url.startswith("postgresql"):
        import psycopg

        connection = psycopg.connect(url)
        mark = "%s"
    elif url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        mark = "?"
    else:
        import duckdb

        connection = duckdb.connect(url.removeprefix("duckdb:///"))
        mark = "?"
    cursor = connection.cursor()
    for statement in statements:
        cursor.execute(statement)
    if rows:
        marks = ", ".join([mark] * len(rows[0]))
        cursor.executemany(f"insert into ratings values ({marks})", rows)
    connection.commit()
    connection.close()


@pytest.fixture(params=["postgresql", "sqlite", "duckdb"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database of each kind."""
    if request.param != "postgresql":
        return f"{request.param}:///{tmp_path}/shop.db"
    url: str = request.getfixturevalue("postgres")
    _execute(url, "drop table if exists ratings")
    return url


def test_query_returns_the_rows_that_a_file_of_the_same_rows_has(database: str, tmp_path: Path) -> None:
    _execute(database, _TABLE, rows=_ROWS)
    lines = "".join(f"{user},{item},{stars},{time}\n" for user, item, stars, time in _ROWS)
    (tmp_path / "ratings.csv").write_text(f"customer,sku,stars,rated\n{lines}")
    table = read_source(Query(_SQL, database), _OPTIONS)
    expected = read_source(tmp_path / "ratings.csv", _OPTIONS).frame
    assert sorted(table.frame.itertuples(index=False)) == sorted(expected.itertuples(index=False))
    assert list(table.frame.dtypes) == list(expected.dtypes)
    assert table.provenance["rows_read"] == 60
    assert table.provenance["source"]["sql"] == _SQL


def test_hash_does_not_depend_on_the_order_of_the_rows_in_the_database(database: str) -> None:
    hashes = set()
    for seed in range(3):
        rows = random.Random(seed).sample(_ROWS, len(_ROWS))
        _execute(database, "drop table if exists ratings", _TABLE, rows=rows)
        table = read_source(Query(_SQL, database), _OPTIONS)
        hashes.add(InteractionDataset(table.frame).content_hash())
    assert len(hashes) == 1
    _execute(database, "drop table if exists ratings", _TABLE, rows=[*_ROWS[1:], ("u0", 4, 1.0, 1_600_000_000)])
    hashes.add(InteractionDataset(read_source(Query(_SQL, database), _OPTIONS).frame).content_hash())
    assert len(hashes) == 2


def test_query_may_end_with_a_comment(database: str) -> None:
    _execute(database, _TABLE, rows=_ROWS)
    for end in (" -- of all time", "; -- of all time"):
        assert len(read_source(Query(_SQL + end, database), _OPTIONS)) == len(_ROWS)


# SQLite has no such times.
@pytest.mark.parametrize("database", ["postgresql", "duckdb"], indirect=True)
@pytest.mark.parametrize("moment", ["timestamp 'infinity'", "date 'infinity'", "timestamptz '20000-01-01 00:00:00+00'"])
def test_time_beyond_those_of_python_is_a_bad_row(database: str, moment: str) -> None:
    _execute(database, _TABLE, rows=_ROWS)
    sql = f"select 1 as user_id, 2 as item_id, {moment} as ts union all select 3, 4, timestamp '2026-03-01 12:00:00'"
    # PostgreSQL's driver turns infinity into the earliest time.
    with pytest.raises(DataError, match=r"query: row 1: timestamp is (after the year 2199|before 1970)"):
        read_source(Query(sql, database))
    table = read_source(Query(sql, database), ReadOptions(bad_rows="skip"))
    assert table.frame["user_id"].tolist() == [3]
    with pytest.raises(DataError, match="is before 1970"):
        read_source(Query("select 1 as user_id, 2 as item_id, timestamp '-infinity' as ts", database))


def test_query_of_duckdb_installs_no_extensions(tmp_path: Path) -> None:
    url = f"duckdb:///{tmp_path}/shop.db"
    _execute(url, _TABLE)
    sql = "select current_setting('autoinstall_known_extensions')::varchar as user_id, 'a' as item_id, now() as ts"
    assert read_source(Query(sql, url)).frame["user_id"].tolist() == ["false"]


def test_query_without_timestamps_must_order_its_rows(database: str) -> None:
    _execute(database, _TABLE, rows=_ROWS)
    options = ReadOptions(columns={"user_id": "customer", "item_id": "sku"})
    with pytest.raises(DataError, match=r"has no timestamps.*add ORDER BY"):
        read_source(Query("select customer, sku from ratings", database), options)
    ordered = Query("select customer, sku from ratings order by rated desc, sku, customer", database)
    items = read_source(ordered, options).frame["item_id"].tolist()
    assert items == [item for _, item, _, _ in sorted(_ROWS, key=lambda row: (-row[3], row[1], row[0]))]


@pytest.mark.parametrize(
    "sql",
    [
        "delete from ratings",
        "select 1; delete from ratings",
        "with gone as (delete from ratings returning *) select * from gone",
        "insert into ratings select * from ratings",
    ],
)
def test_statement_that_changes_data_is_refused_and_changes_nothing(database: str, sql: str) -> None:
    _execute(database, _TABLE, rows=_ROWS)
    with pytest.raises(ConfigError, match=r"^source\.sql|data\.source\.sql"):
        read_source(Query(sql, database), _OPTIONS)
    assert len(read_source(Query(_SQL, database), _OPTIONS)) == len(_ROWS)


def test_function_that_changes_data_fails_in_the_read_only_transaction(postgres: str) -> None:
    _execute(
        postgres,
        "drop table if exists ratings",
        _TABLE,
        "create or replace function wipe() returns integer language sql as 'delete from ratings returning 1'",
        rows=_ROWS,
    )
    with pytest.raises(DataError, match="read-only"):
        read_source(Query("select wipe() as user_id, 1 as item_id, now() as ts", postgres))
    assert len(read_source(Query(_SQL, postgres), _OPTIONS)) == len(_ROWS)


def test_types_of_postgresql_follow_the_rules_of_ids_and_times(postgres: str) -> None:
    sql = """
        select (10000000000 + n)::numeric as user_id,
               ('00000000-0000-0000-0000-00000000000' || n)::uuid as item_id,
               (n + 0.5)::numeric(6, 2) as rating,
               timestamptz '2026-03-01 12:00:00+02' + n * interval '1 second' as timestamp
        from generate_series(1, 3) as n
    """
    frame = read_source(Query(sql, postgres)).frame
    assert frame["user_id"].tolist() == [10000000001, 10000000002, 10000000003]
    assert frame["item_id"].tolist() == [f"00000000-0000-0000-0000-00000000000{n}" for n in (1, 2, 3)]
    assert frame["rating"].tolist() == [1.5, 2.5, 3.5]
    # 12:00 at +02:00 is 10:00 UTC.
    assert frame["timestamp"].tolist() == [1772359200 + n for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        ("1.5::numeric", "1.5.* is not a whole number"),
        ("'NaN'::numeric", "nan is no number with at most 38 digits"),
        ("'10.0.0.1'::inet", "type inet; cast it in the query"),
        ("'x'::bytea", "binary; cast it in the query"),
        ("array[1, 2]", "select single values"),
        ("interval '1 day'", "type interval; cast it in the query"),
        ("null::text", "missing|empty"),
    ],
)
def test_value_that_is_no_id_is_an_error(postgres: str, column: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        read_source(Query(f"select {column} as user_id, 1 as item_id, now() as ts", postgres))


def test_column_of_sqlite_with_values_of_several_types_is_decided_by_all_of_them(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    # The first thousands of rows look like numbers, and the last one is text.
    rows = [(n, n, n, 1_600_000_000 + n) for n in range(70_000)] + [("x7", 3, 2.5, 1_700_000_000)]
    _execute(url, "create table ratings(customer, sku, stars, rated)", rows=rows)
    frame = read_source(Query(_SQL, url), _OPTIONS).frame
    assert frame["user_id"].tolist() == [str(n) for n in range(70_000)] + ["x7"]
    assert frame["item_id"].tolist() == [*range(70_000), 3]
    assert frame["rating"].iloc[-1] == 2.5
    assert frame["rating"].iloc[69_999] == 69_999


def test_bad_rows_of_a_query_are_named_or_skipped(database: str) -> None:
    _execute(database, _TABLE, rows=[*_ROWS, (None, 1, 2.0, 1_700_000_000)])
    with pytest.raises(DataError, match="query: row 61"):
        read_source(Query(f"{_SQL} order by rated", database), _OPTIONS)
    options = ReadOptions(columns=_OPTIONS.columns, bad_rows="skip")
    table = read_source(Query(_SQL, database), options)
    assert len(table) == 60
    assert table.provenance["rows_skipped"] == 1


def test_result_beyond_the_limit_is_refused(database: str) -> None:
    _execute(database, _TABLE, rows=_ROWS)
    options = ReadOptions(columns=_OPTIONS.columns, max_download_gb=1e-7)
    with pytest.raises(DataError, match="holds more than 1e-07 GB"):
        read_source(Query(_SQL, database), options)


def test_query_that_returns_nothing_is_an_error(database: str) -> None:
    _execute(database, _TABLE)
    with pytest.raises(DataError, match="returns no rows"):
        read_source(Query(_SQL, database), _OPTIONS)


def test_failing_query_names_the_reason_and_no_secret(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_URL", postgres.replace("secret", "hunter7766"))
    with pytest.raises(DataError, match=r"query of \$\{SHOP_URL\}: the query failed: .*nowhere") as raised:
        read_source(Query("select * from nowhere", "${SHOP_URL}"))
    assert "hunter7766" not in str(raised.value)
    assert raised.value.__cause__ is None or "hunter7766" not in repr(raised.value.__cause__)


def test_server_that_cannot_be_reached_is_an_error_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_URL", "postgresql://readername:hunter7766@127.0.0.1:1/shop")
    with pytest.raises(DataError) as raised:
        read_source(Query("select 1", "${SHOP_URL}"))
    assert "hunter7766" not in str(raised.value)
    assert "readername" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("mysql://host/db", "mysql:// is no database that recctl reads"),
        ("sqlite://", "names no file"),
        ("sqlite:///missing.db", "does not exist"),
        ("duckdb:///missing.db", "does not exist"),
    ],
)
def test_url_of_no_database_is_an_error(url: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, DataError), match=problem):
        read_source(Query("select 1", url), base=tmp_path)


def test_relative_file_of_a_database_starts_from_the_base(tmp_path: Path) -> None:
    _execute(f"sqlite:///{tmp_path}/shop.db", _TABLE, rows=_ROWS)
    assert len(read_source(Query(_SQL, "sqlite:///shop.db"), _OPTIONS, base=tmp_path)) == 60


def test_missing_driver_says_which_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'recctl\[sql\]'"):
        read_source(Query("select 1", "postgresql://host/db"))


def test_url_of_a_database_without_a_query_shows_how_to_write_one() -> None:
    with pytest.raises(ConfigError, match=r"is a database; write data.source: \{sql: "):
        read_source("postgresql://host/db")


def test_option_of_files_is_refused_for_a_query(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="delimiter: is for files"):
        read_source(Query("select 1", "sqlite:///x.db"), ReadOptions(delimiter=";"))
