"""Faults of what searches share with other machines: a Ray node or worker that dies, a database that restarts."""

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
from tests.faults.arena import Arena, Done
from tests.faults.at_writes import Bench
from tests.faults.checks import require
from tests.faults.scenes import SCENES, new_runs
from tests.tuning.postgres import Server, program

_TUNE = next(scene for scene in SCENES if scene.name == "tune")
_CLUSTER = Path(__file__).parents[1] / "tuning" / "cluster.py"
_SECONDS = 240.0


def have_ray() -> bool:
    """Whether Ray is installed."""
    return find_spec("ray") is not None


def have_postgres() -> bool:
    """Whether a PostgreSQL server can be started, and asked."""
    return find_spec("psycopg") is not None and program("initdb") is not None


# ---- PostgreSQL


def database_restarts(bench: Bench, number: int, server: Server) -> None:
    """The server stops at once in mid-study, and is up again after a while; or only after the search has given up."""
    bench.learn(_TUNE)
    arena = bench.arena
    arena.restore("template")
    draw = random.Random(f"database {number}")
    command = ["tune", "svd.yaml", "--storage", server.url, "--study", f"study{os.getpid()}x{number}"]
    started = arena.start(*command)
    _wait_for_trial(arena, draw.randrange(4))
    time.sleep(0.2 * draw.random())
    server.stop()
    if number % 2:
        server.start()
        done = started.wait(_SECONDS)
    else:
        done = started.wait(_SECONDS)
        server.start()
    checks.calm(done, (0, 4))
    require("secret" not in done.err, f"tells the password: {done}")
    checks.folder_is_sound(arena)
    if done.code:
        require("resume with: recctl tune --resume" in done.err, f"does not say how to go on: {done}")
        run = new_runs(arena, "tune")[-1]
        checks.calm(arena.run("tune", "--resume", run.id, "--storage", server.url), [0])
    told, oracle = _TUNE.told(arena.path), bench.oracles["tune"]
    for what in ("trials", "models", "metrics"):
        checks.require_equal(told[what], oracle[what])
    checks.folder_is_sound(arena)
    checks.keeper_is_whole(arena, bench.keeper)


def _wait_for_trial(arena: Arena, number: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(f"trial {number}:" in log.read_text() for log in (arena.path / "runs").glob("*/log.txt")):
            return
        time.sleep(0.01)


# ---- Ray


@contextmanager
def ray_cluster() -> Iterator[Cluster]:
    """A cluster of three nodes on this machine."""
    command = [sys.executable, str(_CLUSTER)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        yield Cluster(process.stdout.readline().strip(), process)
        process.stdin.close()


@dataclass(frozen=True)
class Cluster:
    """A cluster, and the process that keeps it."""

    address: str
    process: subprocess.Popen[str]

    def say(self, what: str) -> None:
        """Have it lose or add a node; returns when it has."""
        assert self.process.stdin
        assert self.process.stdout
        print(what, file=self.process.stdin, flush=True)
        self.process.stdout.readline()

    def workers(self) -> list[int]:
        """Processes that compute on it."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, IndexError):
                if (folder / "cmdline").read_bytes().startswith(b"ray::"):
                    parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                    if f"--gcs-address={self.address}".encode() in Path(f"/proc/{parent}/cmdline").read_bytes():
                        found.append(int(folder.name))
        return found


def node_or_worker_dies(bench: Bench, number: int, cluster: Cluster) -> None:
    """While a search computes on a cluster, a node is lost, or one worker's process is killed."""
    bench.learn(_TUNE)
    arena = bench.arena
    arena.restore("template")
    draw = random.Random(f"ray {number}")
    environ = os.environ | {"RECCTL_DATA_HOME": str(arena.folder / "home")}
    command = [sys.executable, "-W", "ignore", "-m", "recctl", "tune", "svd.yaml", "--engine", f"ray={cluster.address}"]
    with subprocess.Popen(
        command, cwd=arena.path, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        _wait_for_trial(arena, draw.randrange(3))
        time.sleep(draw.random())
        workers = cluster.workers()
        if number % 2 and workers:
            os.kill(draw.choice(workers), signal.SIGKILL)
        else:
            cluster.say("lose")
        _, err = process.communicate(timeout=_SECONDS)
    if not number % 2:
        cluster.say("add")
    checks.calm(Done(tuple(command[3:]), process.returncode, "", err), [0])
    told, oracle = _TUNE.told(arena.path), bench.oracles["tune"]
    for what in ("trials", "models", "metrics"):
        checks.require_equal(told[what], oracle[what])
    checks.folder_is_sound(arena)
    checks.keeper_is_whole(arena, bench.keeper)
