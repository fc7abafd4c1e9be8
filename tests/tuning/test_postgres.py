"""Searches that share a study in a PostgreSQL database."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recctl import RunStore, tuning
from tests import preloaded
from tests.conftest import skip_without
from tests.tuning.postgres import Server, program
from tests.tuning.searches import EPOCHS, MODELS, MODELS_COLUMNS, load, trials

skip_without("psycopg", "pip install 'recctl[postgres]'")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a PostgreSQL server for these tests."""
    skip_without(program("initdb"), "a PostgreSQL server, as `apt install postgresql`")
    server = Server(tmp_path_factory.mktemp("postgres"))
    yield server.url
    server.stop()


def test_two_machines_sharing_a_study_neither_lose_nor_repeat_a_trial(workdir: Path, database: str) -> None:
    (workdir / "tune.yaml").write_text(EPOCHS)
    command = ["-m", "recctl", "tune", "tune.yaml", "--strategy", "random", "--trials", "14", "--json", "-q"]
    command += ["--storage", database, "--study", "ours"]
    both = [preloaded.Program(*command, "--runs-dir", f"runs-{at}") for at in range(2)]
    answers = [json.loads(process.communicate(timeout=200)[0]) for process in both]
    loaded = load(workdir, EPOCHS, "tuning.strategy=random", "tuning.n_trials=14")
    again = json.loads(preloaded.run(*command, "--runs-dir", "runs-2", check=True).stdout)
    alone = tuning.tune(loaded, RunStore(workdir / "runs"))
    table = trials(RunStore(workdir / "runs-2").resolve(again["run_id"]))
    assert list(table["number"]) == list(range(14))
    columns = ["number", "lr", "n_factors"]
    pd.testing.assert_frame_equal(table[columns], trials(alone)[columns])
    assert again["tuning"]["best_point"] == alone.metadata["tuning"]["best_point"]
    own = [Path(answer["path"], "log.txt").read_text().count(" trial ") for answer in answers]
    assert sum(own) == 14
    assert min(own) > 0, "both searches ran trials"
    for path in workdir.glob("runs*/*/*.json"):
        assert "secret" not in path.read_text(), "the password is stored nowhere"


def test_resume_without_the_shared_database_is_refused(recctl: Any, workdir: Path, database: str) -> None:
    (workdir / "tune.yaml").write_text(EPOCHS)
    preloaded.run("-m", "recctl", "tune", "tune.yaml", "--trials", "2", "-q", "--storage", database, check=True)
    resume = ["tune", "--resume", "latest", "--trials", "3", "-q"]
    refused = recctl(*resume)
    assert refused.code == 2
    assert "pass its URL with --storage" in refused.err
    preloaded.run("-m", "recctl", *resume, "--storage", database, check=True)
    assert len(trials(RunStore(workdir / "runs").resolve("latest"))) == 3
    gone = recctl("tune", "tune.yaml", "--storage", "postgresql://me:secret@127.0.0.1:1/x")
    assert gone.code == 2
    assert "cannot be opened" in gone.err
    assert "secret" not in gone.err


def test_search_over_models_in_postgresql_equals_one_in_its_own_database(tmp_path: Path, database: str) -> None:
    settings = ("tuning.allocation=adaptive", "tuning.strategy=random")
    store = RunStore(tmp_path / "runs")
    alone = tuning.tune(load(tmp_path, MODELS, *settings, "tuning.n_trials=12"), store)
    shared = tuning.tune(load(tmp_path, MODELS, *settings, "tuning.n_trials=12"), store, database, "several")
    pd.testing.assert_frame_equal(shared.trials()[MODELS_COLUMNS], alone.trials()[MODELS_COLUMNS])
    assert shared.metadata["tuning"]["rungs"] == alone.metadata["tuning"]["rungs"]
    assert shared.metrics() == alone.metrics()
    # Another search finds the trials and the decisions, and runs nothing.
    again = tuning.tune(load(tmp_path, MODELS, *settings, "tuning.n_trials=12"), store, database, "several")
    pd.testing.assert_frame_equal(again.trials()[MODELS_COLUMNS], shared.trials()[MODELS_COLUMNS])
    assert again.metadata["tuning"]["best_point"] == shared.metadata["tuning"]["best_point"]
    assert again.metrics() == shared.metrics()
    # More trials of one go to the last model.
    assert tuning.resume(shared, database, ["tuning.n_trials=14"])
    assert len(shared.trials()) == 14
