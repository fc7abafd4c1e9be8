"""Tasks and actors as Ray's state API shows them, which `ray list tasks` and Ray's dashboard use."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from recctl import RunStore, experiment, tuning
from tests.clients.servers import free_port
from tests.conftest import skip_without
from tests.tuning.searches import DATA, EPOCHS, load

skip_without("ray", "pip install 'recctl[ray]'")
skip_without("aiohttp", "pip install 'recctl[ray]'")

CLUSTER = Path(__file__).parents[1] / "tuning" / "cluster.py"
ALS = DATA + "model: {name: als, params: {n_factors: 4, n_iterations: 2}}\n"
SLIM = DATA + "model: {name: slim}\n"
# Ray collects the states of tasks once a second.
_STATE_SECONDS = 60.0


class Cluster(NamedTuple):
    address: str
    dashboard: str


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, str(CLUSTER), "--dashboard", str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    yield Cluster(process.stdout.readline().strip(), f"http://127.0.0.1:{port}")
    process.communicate(timeout=60)


def finished_tasks(cluster: Cluster, expected: set[str]) -> list[Any]:
    """All tasks, when those that are expected have finished."""
    from ray.util.state import list_tasks

    deadline = time.monotonic() + _STATE_SECONDS
    while True:
        tasks = list_tasks(address=cluster.dashboard, limit=10_000)
        missing = expected - {task.name for task in tasks if task.state == "FINISHED"}
        if not missing:
            return tasks
        assert time.monotonic() < deadline, (missing, {(task.name, task.state) for task in tasks})
        time.sleep(0.5)


def test_search_names_its_tasks_and_leaves_nothing_failed(tmp_path: Path, cluster: Cluster) -> None:
    from ray.util.state import list_actors

    settings = ("tuning.n_trials=4", "tuning.strategy=random", f"engine={{name: ray, address: '{cluster.address}'}}")
    run = tuning.tune(load(tmp_path, EPOCHS, *settings), RunStore(tmp_path / "runs"))
    expected = {f"recctl: trial {number} of {run.id}" for number in range(4)} | {"recctl: evaluation of users"}
    tasks = finished_tasks(cluster, expected)
    assert not [(task.name, task.state, task.error_type) for task in tasks if task.state == "FAILED"]
    (actor,) = list_actors(address=cluster.dashboard, detail=True)
    assert actor.class_name == "TrialReports"
    assert actor.state == "DEAD"
    causes = actor.death_cause["actor_died_error_context"]["reason"]
    assert causes in ("REF_DELETED", "OUT_OF_SCOPE"), "it was not killed"


@pytest.mark.parametrize(
    ("text", "name"),
    [(ALS, "recctl: als: factors of blocks of rows"), (SLIM, "recctl: slim: weights of a block of items")],
    ids=["als", "slim"],
)
def test_fit_names_its_tasks(tmp_path: Path, cluster: Cluster, text: str, name: str) -> None:
    engine = f"engine={{name: ray, address: '{cluster.address}'}}"
    experiment.train(load(tmp_path, text, engine), RunStore(tmp_path / "runs"))
    finished_tasks(cluster, {name, "recctl: evaluation of users"})
