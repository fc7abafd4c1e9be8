"""Searches that share a study in a PostgreSQL database."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from recctl import RunStore
from tests.conftest import skip_without
from tests.tuning.postgres import Server, program
from tests.tuning.searches import EPOCHS, trials

skip_without("psycopg", "pip install 'recctl[postgres]'")

RECCTL = [sys.executable, "-m", "recctl"]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a PostgreSQL server for these tests."""
    skip_without(program("initdb"), "a PostgreSQL server, as `apt install postgresql`")
    server = Server(tmp_path_factory.mktemp("postgres"))
    yield server.url
    server.stop()


def test_two_machines_sharing_a_study_neither_lose_nor_repeat_a_trial(workdir: Path, database: str) -> None:
    (workdir / "tune.yaml").write_text(EPOCHS)
    command = [*RECCTL, "tune", "tune.yaml", "--strategy", "random", "--trials", "14", "--json", "-q"]
    shared = [*command, "--storage", database, "--study", "ours"]
    both = [subprocess.Popen([*shared, "--runs-dir", f"runs-{at}"], stdout=subprocess.PIPE) for at in range(2)]
    answers = [json.loads(process.communicate(timeout=200)[0]) for process in both]
    again = json.loads(subprocess.run([*shared, "--runs-dir", "runs-2"], capture_output=True, check=True).stdout)
    alone = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    table = trials(RunStore(workdir / "runs-2").resolve(again["run_id"]))
    assert list(table["number"]) == list(range(14))
    columns = ["number", "lr", "n_factors"]
    pd.testing.assert_frame_equal(table[columns], trials(RunStore(workdir / "runs").resolve(alone["run_id"]))[columns])
    assert again["tuning"]["best_point"] == alone["tuning"]["best_point"]
    own = [Path(answer["path"], "log.txt").read_text().count(" trial ") for answer in answers]
    assert sum(own) == 14
    assert min(own) > 0, "both searches ran trials"
    for path in workdir.glob("runs*/*/*.json"):
        assert "secret" not in path.read_text(), "the password is stored nowhere"


def test_resume_without_the_shared_database_is_refused(workdir: Path, database: str) -> None:
    (workdir / "tune.yaml").write_text(EPOCHS)
    command = [*RECCTL, "tune", "tune.yaml", "--trials", "2", "-q", "--storage", database]
    subprocess.run(command, check=True, capture_output=True)
    resumed = [*RECCTL, "tune", "--resume", "latest", "--trials", "3", "-q"]
    refused = subprocess.run(resumed, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "pass its URL with --storage" in refused.stderr
    subprocess.run([*resumed, "--storage", database], check=True, capture_output=True)
    assert len(trials(RunStore(workdir / "runs").resolve("latest"))) == 3
    gone = subprocess.run(
        [*RECCTL, "tune", "tune.yaml", "--storage", "postgresql://me:secret@127.0.0.1:1/x"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert gone.returncode == 2
    assert "cannot be opened" in gone.stderr
    assert "secret" not in gone.stderr
