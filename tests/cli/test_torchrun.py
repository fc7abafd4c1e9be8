"""One training in two processes, from the command line."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from recctl import RunStore, load_model
from tests import preloaded
from tests.conftest import SMALL

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "recctl"]
# What torchrun does, except that the processes are forks of the launcher, which has imported torch already.
FORKING = """
import os, runpy, sys
from pathlib import Path
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

def run_rank(arguments):
    Path("rank-" + os.environ["RANK"]).write_text(str(os.getpid()))
    sys.argv = ["recctl", *arguments]
    try:
        runpy.run_module("recctl", run_name="__main__", alter_sys=True)
    except SystemExit as exit_:
        if exit_.code:
            raise

options = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "run_id": "test", "start_method": "fork"}
elastic_launch(LaunchConfig(1, 1, 2, max_restarts=0, **options), run_rank)(sys.argv[1:])
"""
CONFIG = SMALL.replace(
    "{name: ease, params: {l2_reg: 50.0}}",
    "{name: ncf, params: {embedding_dim: 8, hidden_layers: [8], epochs: 12, batch_size: 128, device: cpu, dropout: 0}}",
)


def torchrun(*arguments: str) -> preloaded.Program:
    """Start a launcher, which starts two new processes."""
    return preloaded.Program(*TORCHRUN, *arguments, env={**os.environ, "OMP_NUM_THREADS": "1"})


def forking(*arguments: str) -> preloaded.Program:
    """Start a launcher, which forks two processes."""
    return preloaded.Program("-c", FORKING, *arguments, env={**os.environ, "RECCTL_THREADS": "1"})


def second_of(launcher: preloaded.Program) -> int:
    """Return the process of rank 1."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"PPid:\t{launcher.pid}\n" in (folder / "status").read_text() and (
                b"\0RANK=1\0" in b"\0" + (folder / "environ").read_bytes()
            ):
                return int(folder.name)
        except OSError:
            continue
    return int(Path("rank-1").read_text())  # a forked process


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found by /proc")
@pytest.mark.parametrize("launch", [forking, pytest.param(torchrun, marks=pytest.mark.slow)])
def test_training_continues_after_losing_a_process_with_same_result(recctl, workdir: Path, launch) -> None:
    (workdir / "ncf.yaml").write_text(CONFIG + "training: {refit: true}\n")
    launcher = launch("train", "ncf.yaml")
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and launcher.poll() is None:
        histories = list((workdir / "runs").glob("*/history.jsonl"))
        if histories and histories[0].read_text().count("\n") >= 3:
            break
        time.sleep(0.01)
    os.kill(second_of(launcher), signal.SIGKILL)
    _, err = launcher.communicate(timeout=100)
    assert launcher.returncode
    (run,) = RunStore(workdir / "runs").runs()  # only one of the processes keeps a run
    # The launcher ends the first process as soon as it misses the second: it may come to tell why, or not.
    assert run.status in ("failed", "interrupted", "died"), err

    launcher = launch("train", "--resume", run.id, "--json", "-q")
    out, err = launcher.communicate(timeout=100)
    assert launcher.returncode == 0, err
    assert json.loads(out)["status"] == "complete"
    done = recctl("train", "ncf.yaml", "--json")
    assert done.code == 0, done.err
    alone = done.json
    for version in ("v1", "v2"):
        far, here = (load_model(path / "models" / f"{version}.pkl") for path in (run.path, Path(alone["path"])))
        np.testing.assert_allclose(far.weights, here.weights, rtol=1e-2, atol=1e-4)
    assert json.loads(out)["metrics"]["test"] == pytest.approx(alone["metrics"]["test"], abs=0.02)


def test_commands_without_training_are_rejected(workdir: Path) -> None:
    (workdir / "ncf.yaml").write_text(CONFIG)
    launcher = torchrun("tune", "ncf.yaml")
    _, err = launcher.communicate(timeout=100)
    assert "error: torchrun supports recctl train, fit, compare; run recctl tune without it" in err
    assert not (workdir / "runs").exists()
