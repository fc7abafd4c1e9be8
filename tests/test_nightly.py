"""examples/nightly.sh over nights of a growing file: a worse model stays out, a killed night is repeated."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recctl.runs import RunStore
from tests import preloaded
from tests.experiment import shop

SCRIPT = Path(__file__).parents[1] / "examples" / "nightly.sh"
CONFIG = """\
data: {{source: events.csv}}
split: {{strategy: leave_last, val_size: 1}}
model: {model}
evaluation: {{metrics: [ndcg], k_values: [10]}}
"""
EASE = "{name: ease, params: {l2_reg: 20.0}}"
DAY = 86_400

# Runs `recctl` in a fork of a preloaded interpreter. At the command that KILL names, it waits until the run has begun,
# and kills it and the script, as a machine that is switched off does.
COMMAND = """\
#!{python} -IS
import glob, json, os, signal, sys, time
sys.path.insert(0, {tests!r})
import preloaded
started = len(glob.glob("runs/*/metadata.json"))
program = preloaded.Program("-m", "recctl", *sys.argv[1:])
if os.environ.get("KILL") == sys.argv[1]:
    while len(glob.glob("runs/*/metadata.json")) == started:
        assert program.poll() is None, "it ended before it was killed"
        time.sleep(0.01)
    os.kill(program.pid, signal.SIGKILL)
    os.killpg(0, signal.SIGKILL)
out, err = program.communicate(300)
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(program.returncode)
"""


@pytest.fixture
def night(workdir: Path) -> Any:
    """Run the script on the interactions of so many days, with a model."""
    if shutil.which("jq") is None:
        assert not os.environ.get("RECCTL_TEST_ALL"), "jq must be installed"
        pytest.skip("needs jq")
    tools = workdir / "bin"
    tools.mkdir()
    command = tools / "recctl"
    command.write_text(COMMAND.format(python=sys.executable, tests=str(Path(__file__).parent)))
    command.chmod(0o755)
    rows = [
        (user, item, 1_700_000_000 + DAY * day + user)
        for user, items in shop.by_user(shop.interactions(n_users=80, per_user=14)).items()
        for day, item in enumerate(items)
    ]

    def run(day: int, model: str = EASE, **environment: str) -> subprocess.CompletedProcess[str]:
        shop.write(workdir / "events.csv", [row for row in rows if row[2] < 1_700_000_000 + DAY * (9 + day)])
        (workdir / "recctl.yaml").write_text(CONFIG.format(model=model))
        variables = os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "MAX_DROP": "0.15"}
        # Not in a process of Windows or macOS, where programs are not forked.
        if sys.platform == "linux" and not os.environ.get("RECCTL_NEW_PROCESSES"):
            variables[preloaded.SERVER_VARIABLE] = preloaded.server_address()
        return subprocess.run(
            ["bash", str(SCRIPT)],
            cwd=workdir,
            env=variables | environment,
            capture_output=True,
            text=True,
            timeout=300,
            start_new_session=True,  # so that the script and all that it started can be killed together
        )

    return run


def production(workdir: Path) -> Any:
    return RunStore(workdir / "runs").resolve("production")


def test_nights_of_growing_data(night: Any, workdir: Path) -> None:
    # The first night has no production model: everything is fitted, without a gate.
    first_night = night(0)
    assert first_night.returncode == 0, first_night.stderr
    first = production(workdir)
    assert first.model_entry()["fitted_on"] == "all"

    # Killed after the model of the second night has passed, before it is promoted.
    killed = night(1, KILL="fit")
    assert killed.returncode == -9
    assert production(workdir).id == first.id

    # Repeated, it ends as if nothing had happened: the settings of the model are fitted on everything.
    second_night = night(1)
    assert second_night.returncode == 0, second_night.stderr
    second = production(workdir)
    assert second.id != first.id
    assert second.model_entry()["fitted_on"] == "all"
    assert second.model_entry()["last_timestamp"] > first.model_entry()["last_timestamp"]
    assert second.model_entry()["last_timestamp"] == max(row[2] for row in read_events(workdir))
    recommended = exported(second.path)
    owned = {(row[0], row[1]) for row in read_events(workdir)}
    assert recommended, "the recommendations of the new model are exported"
    assert not recommended & owned, "nothing is recommended that a user has"

    # Without new interactions, nothing changes.
    again = night(1)
    assert again.returncode == 3, "a matter of data, which cron reports"
    assert production(workdir).id == second.id

    # A model that is worse does not pass; production and its export stay.
    third_night = night(2, model="{name: random}")
    assert third_night.returncode == 0, third_night.stderr
    assert "production stays" in third_night.stdout
    assert production(workdir).id == second.id
    assert exported(second.path) == recommended
    moves = RunStore(workdir / "runs").aliases.history("production")
    assert [move.run for move in moves] == [first.id, second.id]


@pytest.mark.slow
def test_night_killed_in_training_is_repeated_with_a_warm_start(night: Any, workdir: Path) -> None:
    als = "{name: als, params: {n_factors: 4, n_iterations: 5}}"
    first_night = night(0, model=als)
    assert first_night.returncode == 0, first_night.stderr
    first = production(workdir)
    settings = {"WARM_START": "model.params.n_iterations=1", "MAX_DROP": "0.9"}
    killed = night(1, model=als, KILL="train", **settings)
    assert killed.returncode == -9
    assert production(workdir).id == first.id
    repeated = night(1, model=als, **settings)
    assert repeated.returncode == 0, repeated.stderr
    second = production(workdir)
    assert second.metadata["warm_start"]["run"] == first.id
    assert second.model_entry()["fitted_on"] == "all"
    assert second.model_entry()["last_timestamp"] == max(row[2] for row in read_events(workdir))
    moves = RunStore(workdir / "runs").aliases.history("production")
    assert [move.run for move in moves] == [first.id, second.id]


def read_events(workdir: Path) -> list[tuple[int, int, int]]:
    lines = (workdir / "events.csv").read_text().splitlines()[1:]
    return [tuple(map(int, line.split(","))) for line in lines]  # type: ignore[misc]


def exported(run: Path) -> set[tuple[int, int]]:
    import pandas as pd

    (manifest,) = (run / "exports").glob("*/manifest.json")
    (name,) = (name for name in json.loads(manifest.read_text())["files"] if name.endswith(".parquet"))
    table = pd.read_parquet(manifest.parent / name)
    return set(zip(table["user_id"], table["item_id"], strict=True))
