"""Searches on a Ray cluster that loses a node."""

import json
import time
from pathlib import Path
from typing import Any

import pandas as pd

from recctl import RunStore, tuning
from tests import preloaded
from tests.conftest import Nodes, skip_without
from tests.tuning.searches import EPOCHS, load, trials

skip_without("ray", "pip install 'recctl[ray]'")


def test_search_that_loses_a_node_equals_a_local_search(workdir: Path, restored_nodes: Nodes) -> None:
    text = EPOCHS.replace("n_epochs: 12", "n_epochs: 40").replace("patience: 3", "patience: 99")
    (workdir / "tune.yaml").write_text(text)
    settings = ["tuning.strategy=random", "tuning.n_trials=8", "tuning.pruner=none", "model.params.reg=0.5"]
    here = tuning.tune(load(workdir, text, *settings), RunStore(workdir / "runs-here"))
    command = ["-m", "recctl", "tune", "tune.yaml", "--json", "-q", "--engine", f"ray={restored_nodes.address}"]
    process = preloaded.Program(*command, *(f"--set={setting}" for setting in settings))
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        logs = list((workdir / "runs").glob("*/log.txt"))
        if logs and logs[0].read_text().count(" trial ") >= 4:
            break
        time.sleep(0.05)
    assert process.poll() is None, "the search ended before a node could be lost"
    restored_nodes.lose_one()
    output, _ = process.communicate(timeout=200)
    far = json.loads(output)
    pd.testing.assert_frame_equal(trials(RunStore(workdir / "runs").resolve(far["run_id"])), trials(here))
    assert far["metrics"] == here.metrics()
    assert far["models"][0]["sha256"] == here.metadata["models"][0]["sha256"]


def test_unreachable_cluster_is_refused(recctl: Any, workdir: Path) -> None:
    done = recctl("tune", "small.yaml", "--set", "split.val_size=0.1", "--engine", "ray=127.0.0.1:1")
    assert done.code == 2
    assert "engine.address: no Ray cluster at '127.0.0.1:1'" in done.err
