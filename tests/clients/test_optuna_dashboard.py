"""Searches in optuna-dashboard: a real server, with SQLite and with PostgreSQL."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from recctl import RunStore, tuning
from recctl.runs import Run
from tests.clients.servers import free_port, serving
from tests.conftest import skip_without
from tests.tuning.postgres import Server, program
from tests.tuning.searches import DATA, load

skip_without("optuna_dashboard", "pip install 'recctl[dashboard]'")

# Trials that are complete, one that fails (trial 2 diverges), and two searched hyperparameters.
CONFIG = (
    DATA.replace("[ndcg, recall, coverage]", "[ndcg, rmse]")
    + """
model: {name: svd, params: {n_epochs: 3, lr: 0.02, n_factors: 4}}
tuning:
  strategy: manual
  monitor: [rmse, ndcg@10]
  points: [{lr: 0.01, n_factors: 8}, {lr: 9000.0, n_factors: 8}, {lr: 0.03, n_factors: 4}]
  space: {lr: {low: 0.001, high: 9000, log: true}, n_factors: [4, 8]}
"""
)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a PostgreSQL server."""
    skip_without("psycopg", "pip install 'recctl[postgres]'")
    skip_without(program("initdb"), "a PostgreSQL server, as `apt install postgresql`")
    server = Server(tmp_path_factory.mktemp("postgres"))
    yield server.url
    server.stop()


class Dashboard:
    """The HTTP interface that the pages of optuna-dashboard use."""

    def __init__(self, url: str) -> None:
        self.url = url

    def text(self, path: str) -> str:
        with urlopen(f"{self.url}{path}", timeout=60) as answer:
            return str(answer.read().decode())

    def get(self, path: str) -> Any:
        return json.loads(self.text(f"/api/{path}"))

    def study(self, name: str) -> dict[str, Any]:
        (study,) = [study for study in self.get("studies")["study_summaries"] if study["study_name"] == name]
        return {**self.get(f"studies/{study['study_id']}"), "id": study["study_id"]}


def dashboard_of(storage: str) -> Any:
    port = free_port()
    command = [Path(sys.executable).with_name("optuna-dashboard"), storage, "--host", "127.0.0.1", "--port", str(port)]
    return serving(command, f"http://127.0.0.1:{port}")


def attributes_of(record: dict[str, Any]) -> dict[str, str]:
    return {attribute["key"]: attribute["value"] for attribute in record["user_attrs"]}


def check_study(dashboard: Dashboard, name: str, runs: list[Run]) -> None:
    """Compare what the dashboard shows of a study with the tables of the runs that searched in it."""
    study = dashboard.study(name)
    assert study["directions"] == ["minimize", "maximize"]
    assert study["objective_names"] == ["rmse", "ndcg@10"]
    of_study = attributes_of(study)
    assert (of_study["run_id"], of_study["model"], of_study["strategy"][:6]) == (runs[0].id, "svd", "manual")
    table = runs[-1].trials()
    assert [trial["state"] for trial in study["trials"]] == ["Complete", "Complete", "Fail", "Complete"]
    for row, trial in zip(table.to_dict("records"), study["trials"], strict=True):
        shown = {param["name"]: param["param_external_value"] for param in trial["params"]}
        assert shown == {"lr": str(row["lr"]), "n_factors": str(row["n_factors"])}
        attributes = attributes_of(trial)
        assert attributes["owner"] in [run.id for run in runs]
        assert float(attributes["fit_seconds"]) == row["fit_seconds"]
        if row["state"] == "failed":
            assert attributes["error"] == row["error"]
        else:
            assert trial["values"] == [row["rmse"], row["ndcg@10"]]
            assert (float(attributes["rmse"]), float(attributes["ndcg@10"])) == (row["rmse"], row["ndcg@10"])
    best = [trial["number"] for trial in study["best_trials"]]
    assert best == runs[-1].metadata["tuning"]["pareto"]
    # Figures can be plotted and sorted by: they are numbers, each an attribute of its own.
    sortable = {spec["key"]: spec["sortable"] for spec in study["union_user_attrs"]}
    assert sortable["rmse"]
    assert sortable["fit_seconds"]
    for plot in ("slice", "timeline", "pareto_front"):
        assert dashboard.get(f"studies/{study['id']}/plot/{plot}")["data"]
    rows = list(csv.DictReader(io.StringIO(dashboard.text(f"/csv/{study['id']}"))))
    assert [row["State"] for row in rows] == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE"]
    assert float(rows[0]["UserAttribute ndcg@10"]) == float(rows[0]["ndcg@10"]) == table["ndcg@10"][0]


def test_search_in_its_own_database_is_shown_by_the_id_of_its_run(tmp_path: Path) -> None:
    run = tuning.tune(load(tmp_path, CONFIG), RunStore(tmp_path / "runs"))
    with dashboard_of(f"sqlite:///{run.path / 'study.db'}") as url:
        dashboard = Dashboard(url)
        assert [study["study_name"] for study in dashboard.get("studies")["study_summaries"]] == [run.id]
        check_study(dashboard, run.id, [run])


def test_searches_in_postgresql_are_shown_with_the_owners_of_their_trials(tmp_path: Path, postgres: str) -> None:
    store = RunStore(tmp_path / "runs")
    first = tuning.tune(load(tmp_path, CONFIG, "tuning.n_trials=2"), store, postgres, "ours")
    second = tuning.tune(load(tmp_path, CONFIG), store, postgres, "ours")
    alone = tuning.tune(load(tmp_path, CONFIG), store, postgres)
    # As the docs say: with the driver that recctl[postgres] installs.
    with dashboard_of(postgres.replace("postgresql://", "postgresql+psycopg://")) as url:
        dashboard = Dashboard(url)
        check_study(dashboard, "ours", [first, second])
        check_study(dashboard, alone.id, [alone])
        owners = [attributes_of(trial)["owner"] for trial in dashboard.study("ours")["trials"]]
        assert owners == [first.id, first.id, second.id, second.id]
