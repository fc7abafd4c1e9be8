"""Faults of services that searches share with other machines: Ray nodes and workers die, PostgreSQL restarts."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.faults import checks
from tests.faults.arena import Arena, CommandResult
from tests.faults.checks import require
from tests.faults.file_operations import FaultBench
from tests.faults.scenarios import SCENARIOS, new_runs
from tests.tuning.postgres import Server, program

_TUNE = next(scenario for scenario in SCENARIOS if scenario.name == "tune")
_CLUSTER_PROGRAM = Path(__file__).parents[1] / "tuning" / "cluster.py"
_TIMEOUT_SECONDS = 240.0


def has_ray() -> bool:
    """Whether Ray is installed."""
    return find_spec("ray") is not None


def has_postgres() -> bool:
    """Whether a PostgreSQL server and its Python client are installed."""
    return find_spec("psycopg") is not None and program("initdb") is not None


def _require_same_search(bench: FaultBench) -> None:
    results = _TUNE.collect_results(bench.arena.path)
    expected = bench.expected_results["tune"]
    for key in ("trials", "models", "metrics"):
        checks.require_equal(results[key], expected[key])
    checks.require_consistent_runs_folder(bench.arena)
    checks.require_keeper_unchanged(bench.arena, bench.keeper_hashes)


# ---- PostgreSQL


def restart_database(bench: FaultBench, number: int, server: Server) -> None:
    """The server stops during a search; it restarts at once (odd numbers) or after the search has failed (even)."""
    bench.run_undisturbed(_TUNE)
    arena = bench.arena
    arena.restore("template")
    generator = random.Random(f"database {number}")
    command = ["tune", "svd.yaml", "--storage", server.url, "--study", f"study{os.getpid()}x{number}"]
    running = arena.start(*command)
    _wait_for_trial(arena, generator.randrange(4))
    time.sleep(0.2 * generator.random())
    server.stop()
    if number % 2:
        server.start()
        result = running.wait(_TIMEOUT_SECONDS)
    else:
        result = running.wait(_TIMEOUT_SECONDS)
        server.start()
    checks.require_clean_exit(result, (0, 4))
    require("secret" not in result.err, f"prints the password: {result}")
    checks.require_consistent_runs_folder(arena)
    if result.code:
        require("resume with: recctl tune --resume" in result.err, f"does not suggest how to resume: {result}")
        run = new_runs(arena, "tune")[-1]
        checks.require_clean_exit(arena.run("tune", "--resume", run.id, "--storage", server.url), [0])
    _require_same_search(bench)


def _wait_for_trial(arena: Arena, number: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(f"trial {number}:" in log.read_text() for log in (arena.path / "runs").glob("*/log.txt")):
            return
        time.sleep(0.01)


# ---- Ray


@contextmanager
def ray_cluster() -> Iterator[Cluster]:
    """Start a cluster of three nodes on this machine."""
    command = [sys.executable, str(_CLUSTER_PROGRAM)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        yield Cluster(process.stdout.readline().strip(), process)
        process.stdin.close()


@dataclass(frozen=True)
class Cluster:
    """The address of a cluster, and the process that controls it."""

    address: str
    process: subprocess.Popen[str]

    def send_command(self, command: str) -> None:
        """Kill a node ("lose") or start one ("add"), and wait until this is done."""
        assert self.process.stdin
        assert self.process.stdout
        print(command, file=self.process.stdin, flush=True)
        self.process.stdout.readline()

    def worker_pids(self) -> list[int]:
        """Ids of the worker processes of this cluster."""
        pids = []
        for folder in Path("/proc").glob("[0-9]*"):
            # Processes may end while their files are read.
            with suppress(OSError, IndexError):
                if (folder / "cmdline").read_bytes().startswith(b"ray::"):
                    parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                    if f"--gcs-address={self.address}".encode() in Path(f"/proc/{parent}/cmdline").read_bytes():
                        pids.append(int(folder.name))
        return pids


def kill_node_or_worker(bench: FaultBench, number: int, cluster: Cluster) -> None:
    """Kill a node (even numbers) or a worker process (odd numbers) of a cluster during a search."""
    bench.run_undisturbed(_TUNE)
    arena = bench.arena
    arena.restore("template")
    generator = random.Random(f"ray {number}")
    environ = os.environ | {"RECCTL_DATA_HOME": str(arena.folder / "home")}
    command = [sys.executable, "-W", "ignore", "-m", "recctl", "tune", "svd.yaml", "--engine", f"ray={cluster.address}"]
    with subprocess.Popen(
        command, cwd=arena.path, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        _wait_for_trial(arena, generator.randrange(3))
        time.sleep(generator.random())
        pids = cluster.worker_pids()
        if number % 2 and pids:
            os.kill(generator.choice(pids), signal.SIGKILL)
        else:
            cluster.send_command("lose")
        _, err = process.communicate(timeout=_TIMEOUT_SECONDS)
    if not number % 2:
        cluster.send_command("add")
    checks.require_clean_exit(CommandResult(tuple(command[3:]), process.returncode, "", err), [0])
    _require_same_search(bench)
