"""Runs of data behind URLs hold templates and no secrets, in no file and in no output."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import skip_without
from tests.data.sources.remote.servers import Site, web_server
from tests.experiment.shop import interactions, write
from tests.tuning.postgres import Server, program

skip_without("adbc_driver_postgresql", "pip install 'recctl[sql]'")

_SETTINGS = """\
split: {strategy: temporal, test_size: 0.2, val_size: 0.1}
model: {name: ease, params: {l2_reg: 50.0}}
evaluation: {metrics: [ndcg], k_values: [5]}
tracking: {tensorboard: true}
"""
_SECRETS = ("readername77", "hunter7766", "sig9secret", "token9secret")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a PostgreSQL server with a table of events, with a user name and a password."""
    skip_without(program("initdb"), "a PostgreSQL server, as `apt install postgresql`")
    import psycopg

    server = Server(tmp_path_factory.mktemp("postgres"))
    with psycopg.connect(server.url) as connection:
        connection.execute("create role readername77 login password 'hunter7766'")
        connection.execute("create table events(user_id integer, item_id integer, time bigint)")
        connection.cursor().executemany("insert into events values (%s, %s, %s)", interactions())
        connection.execute("grant select on events to readername77")
    yield server.url.replace("me:secret", "readername77:hunter7766")
    server.stop()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A web server with the same events."""
    monkeypatch.setenv("RECCTL_DATA_HOME", str(tmp_path / "cache"))
    rows = [(*row, f"name {row[1]}") for row in interactions()]
    write(tmp_path / "events.csv", rows, header="user_id,item_id,timestamp,name")
    with web_server((tmp_path / "events.csv").read_bytes()) as site:
        yield site


class _Checked:
    """Runs commands, and checks their output."""

    def __init__(self, recctl: Any) -> None:
        self._recctl = recctl

    def __call__(self, *arguments: str, code: int = 0) -> Any:
        outcome = self._recctl(*arguments)
        assert outcome.code == code, outcome.err
        _require_no_secret(outcome.out + outcome.err, " ".join(arguments))
        return outcome


def _require_no_secret(text: str, where: str) -> None:
    for secret in _SECRETS:
        assert secret not in text, where


def _require_clean_files(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        content = path.read_bytes()
        for secret in _SECRETS:
            assert secret.encode() not in content, path


def _write_config(folder: Path, source: str, name: str = "shop.yaml", rest: str = _SETTINGS) -> None:
    (folder / name).write_text(f"data:\n  source: {source}\n{rest}")


_QUERY = '{sql: "select user_id, item_id, time from events", url: "%s"}'


def test_run_of_a_query_holds_the_template_and_works_with_the_environment_of_then(
    recctl: Any, workdir: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_URL", database)
    _write_config(workdir, _QUERY % "${SHOP_URL}")
    run = _Checked(recctl)
    run("config", "validate", "shop.yaml")
    run("config", "show", "shop.yaml")
    run("estimate", "shop.yaml", "--json")
    described = run("data", "describe", "shop.yaml", "--json").json
    assert described["provenance"]["source"]["url"] == "${SHOP_URL}"
    run_id = run("train", "shop.yaml", "--json").json["run_id"]
    stored = workdir / "runs" / run_id
    assert "${SHOP_URL}" in (stored / "config.yaml").read_text()
    for command in (["evaluate", run_id], ["report", run_id], ["runs", "show", run_id]):
        run(*command)
    again = run("train", f"runs/{run_id}/config.yaml", "--json").json
    assert again["data_hash"] == run("runs", "show", run_id, "--json").json["data_hash"]
    _require_clean_files(workdir)
    # The model serves without the database; what needs the data says which variable is missing.
    monkeypatch.delenv("SHOP_URL")
    run("recommend", run_id, "1")
    assert "SHOP_URL is not set" in run("evaluate", run_id, code=2).err
    assert "shop.yaml:2: data.source.url: the environment variable SHOP_URL" in run("train", "shop.yaml", code=2).err


def test_secrets_that_a_config_holds_itself_are_not_stored(recctl: Any, workdir: Path, database: str) -> None:
    _write_config(workdir, _QUERY % database)
    (workdir / "runs").mkdir()
    run = _Checked(recctl)
    run_id = run("train", "shop.yaml", "--json").json["run_id"]
    run("config", "show", "shop.yaml")
    run("train", "small.yaml", "--set", f"data.source={_QUERY % database}", "--set", "data.synthetic=", code=2)
    config = (workdir / "runs" / run_id / "config.yaml").read_text()
    assert "postgresql://***:***@127.0.0.1" in config
    (workdir / "shop.yaml").unlink()
    _require_clean_files(workdir / "runs")


def test_failure_shows_no_secret_in_output_log_or_traceback(
    recctl: Any, workdir: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_URL", database.replace("/postgres", "/nosuchdb"))
    _write_config(workdir, _QUERY % "${SHOP_URL}")
    run = _Checked(recctl)
    assert "nosuchdb" in run("train", "shop.yaml", code=3).err
    run("train", "--debug", "shop.yaml", code=3)
    run("data", "describe", "shop.yaml", "--json", code=3)


def test_signed_url_on_the_command_line_is_recorded_without_its_signature(
    recctl: Any, workdir: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{site.url.replace('//', '//readername77:hunter7766@')}/events.csv?X-Amz-Signature=sig9secret&v=1"
    monkeypatch.setenv("SHOP_TOKEN", "token9secret")
    template = f"{site.url}/events.csv?token=${{SHOP_TOKEN}}"
    items = f'  items: {{file: "{template}", title: name}}\n'
    _write_config(workdir, f'"{template}"', rest=items + _SETTINGS)
    run = _Checked(recctl)
    run_id = run("train", "shop.yaml", "--json").json["run_id"]
    metrics = run("evaluate", run_id, "--data", url, "--set", "evaluation.exclude=none", "--json").json
    assert metrics["metrics"]
    run("data", "describe", url, "--json")
    run("compare", run_id, run_id, "--data", url)
    run("report", run_id)
    stored = workdir / "runs" / run_id
    assert (stored / "config.yaml").read_text().count(template) == 2
    assert (stored / "titles.parquet").exists()
    assert "X-Amz-Signature=***&v=1" in (stored / "evaluations.json").read_text()
    _require_clean_files(workdir)


def test_lists_behind_a_url_are_measured_with_the_data_of_a_query(
    recctl: Any, workdir: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite3.connect(workdir / "shop.db") as connection:
        connection.execute("create table events(user_id integer, item_id integer, time bigint)")
        connection.executemany("insert into events values (?, ?, ?)", interactions())
    connection.close()
    users = sorted({row[0] for row in interactions()})
    items = sorted({row[1] for row in interactions()})
    lists = "".join(f"{user},{item},{rank}\n" for user in users for rank, item in enumerate(items, 1))
    site.content = f"user_id,item_id,rank\n{lists}".encode()
    monkeypatch.setenv("SHOP_TOKEN", "token9secret")
    url = f"{site.url}/lists.csv?token=${{SHOP_TOKEN}}"
    models = f'models:\n  - {{name: popularity}}\n  - {{recommendations: "{url}", name: production}}\n'
    settings = _SETTINGS.replace("model: {name: ease, params: {l2_reg: 50.0}}\n", models)
    _write_config(workdir, _QUERY % "sqlite:///shop.db", rest=settings)
    run = _Checked(recctl)
    compared = run("compare", "shop.yaml", "--resamples", "200", "--json").json
    assert "-compare-query-" in compared["run_id"]
    measured = run("evaluate", "--recommendations", url, "shop.yaml", "--json").json
    assert measured["lists"]["file"] == url
    _require_clean_files(workdir)


def test_predefined_parts_come_from_urls_and_queries(
    recctl: Any, workdir: Path, site: Site, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_URL", database)
    query = '{sql: "select user_id, item_id + 1 as item_id, time from events where item_id < 9", url: "${SHOP_URL}"}'
    split = f"split: {{strategy: predefined, test: {query}}}\nmodel: {{name: ease}}\n"
    _write_config(workdir, f"{site.url}/events.csv", rest=split)
    run = _Checked(recctl)
    run_id = run("train", "shop.yaml", "--json").json["run_id"]
    run("train", f"runs/{run_id}/config.yaml", "--json")
    _require_clean_files(workdir / "runs")
