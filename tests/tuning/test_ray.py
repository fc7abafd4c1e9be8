"""Searches on a Ray cluster that loses a node."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from recctl import RunStore, tuning
from tests.conftest import Nodes, skip_without
from tests.tuning.searches import EPOCHS, MODELS, MODELS_COLUMNS, load, trials

skip_without("ray", "pip install 'recctl[ray]'")

CLUSTER = Path(__file__).with_name("cluster.py")
RECCTL = [sys.executable, "-m", "recctl"]


@pytest.fixture
def cluster() -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        [sys.executable, str(CLUSTER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    yield process
    process.stdin.close()
    process.wait(60)
    process.stdout.close()


def test_search_that_loses_a_node_equals_a_local_search(workdir: Path, cluster: subprocess.Popen) -> None:
    (workdir / "tune.yaml").write_text(
        EPOCHS.replace("n_epochs: 12", "n_epochs: 40").replace("patience: 3", "patience: 99")
    )
    address = cluster.stdout.readline().strip()
    command = [*RECCTL, "tune", "tune.yaml", "--strategy", "random", "--trials", "8", "--json", "-q"]
    command += ["--set", "tuning.pruner=none", "--set", "model.params.reg=0.5"]
    process = subprocess.Popen([*command, "--engine", f"ray={address}"], stdout=subprocess.PIPE)
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        logs = list((workdir / "runs").glob("*/log.txt"))
        if logs and logs[0].read_text().count(" trial ") >= 4:
            break
        time.sleep(0.05)
    assert process.poll() is None, "the search ended before a node could be lost"
    print("now", file=cluster.stdin, flush=True)
    output, _ = process.communicate(timeout=200)
    assert cluster.stdout.readline() == "lost one\n"
    far = json.loads(output)
    here = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    store = RunStore(workdir / "runs")
    pd.testing.assert_frame_equal(*(trials(store.resolve(one["run_id"])) for one in (far, here)))
    assert far["metrics"] == here["metrics"]
    assert far["models"][0]["sha256"] == here["models"][0]["sha256"]


def test_search_over_models_on_ray_equals_a_local_search(tmp_path: Path, nodes: Nodes) -> None:
    settings = ("tuning.allocation=adaptive", "tuning.strategy=random", "tuning.n_trials=12")
    store = RunStore(tmp_path / "runs")
    here = tuning.tune(load(tmp_path, MODELS, *settings), store)
    on_ray = f"engine={{name: ray, address: '{nodes.address}'}}"
    far = tuning.tune(load(tmp_path, MODELS, *settings, on_ray), store)
    # Trials that run at the same time begin in any order, so only the numbers within each model are the same.
    pd.testing.assert_frame_equal(
        *(run.trials()[MODELS_COLUMNS].sort_values(["model", "trial"], ignore_index=True) for run in (here, far))
    )
    assert far.metadata["tuning"]["rungs"] == here.metadata["tuning"]["rungs"]
    assert far.metrics() == here.metrics()


def test_unreachable_cluster_is_refused(workdir: Path) -> None:
    command = [*RECCTL, "tune", "small.yaml", "--set", "split.val_size=0.1", "--engine", "ray=127.0.0.1:1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "engine.address: no Ray cluster at '127.0.0.1:1'" in done.stderr
