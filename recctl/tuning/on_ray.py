"""Trials on a Ray cluster."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import logging
import os
import re
import socket
from collections.abc import Sequence
from typing import Any

from recctl import engines, progress
from recctl.config import Config
from recctl.config.schema import EngineConfig
from recctl.data import sharing
from recctl.errors import ConfigError
from recctl.tuning.pools import LIVES, OnReport
from recctl.tuning.study import Outcome
from recctl.tuning.trials import Task, Workbench


class OnRay:
    """Runs trials as tasks of a cluster; the data lie in its object store once, and tasks map them.

    Ray begins a task again whose worker or node is lost. It goes on from the trial's checkpoint if the run's directory
    is on a file system that the nodes share, else from the beginning; either way it comes to the same.

    Args:
        workbench: What trials need.
        engine: The cluster's address and what a trial asks of it.
        jobs: How many trials at once; None for as many as the cluster has processors for.
        on_report: Called for each epoch that was measured.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(self, workbench: Workbench, engine: EngineConfig, jobs: int | None, on_report: OnReport) -> None:
        self.ray = _connected(engine)
        # Ray writes what befalls the cluster to stdout, where only results belong.
        self._heard = contextlib.redirect_stdout(_Heard())
        self._heard.__enter__()
        self.on_report = on_report
        here = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            self.ray.get_runtime_context().get_node_id(), soft=False
        )
        # Where the search is, so that the loss of no other node takes it away.
        self._desk = self.ray.remote(_Desk).options(num_cpus=0, scheduling_strategy=here).remote()
        self._said = self._desk.next.remote()
        data = self.ray.put((sharing.to_arrays(workbench.train), sharing.to_arrays(workbench.validation)))
        how = (workbench.base, list(workbench.monitors), workbench.sign, max(1, int(engine.cpus_per_task)))
        self._given = data, how
        self._run = self.ray.remote(_run).options(
            num_cpus=engine.cpus_per_task, num_gpus=engine.gpus_per_task, max_retries=LIVES - 1
        )
        cpus = self.ray.cluster_resources().get("CPU", 1)
        self._jobs = jobs or max(1, int(cpus / engine.cpus_per_task))
        self._numbers: dict[Any, int] = {}

    @property
    def free(self) -> int:
        """How many more trials may be asked of the cluster."""
        return self._jobs - len(self._numbers)

    @property
    def under_way(self) -> list[int]:
        """Trials that the cluster has."""
        return list(self._numbers.values())

    def start(self, task: Task) -> None:
        """Give a trial to the cluster."""
        self._numbers[self._run.remote(*self._given, task, self._desk)] = task.number

    def wait(self, seconds: float) -> list[tuple[int, Outcome]]:
        """Hear of a trial that is over, or answer one that asks."""
        ready, _ = self.ray.wait([self._said, *self._numbers], num_returns=1, timeout=seconds)
        over = []
        for reference in ready:
            if reference == self._said:
                key, number, epoch, value = self.ray.get(reference)
                # One that was begun again while its first worker was only out of reach may be over.
                given_up = number in self.under_way and self.on_report(number, epoch, value)
                self._desk.answer.remote(key, given_up)
                self._said = self._desk.next.remote()
                continue
            number = self._numbers.pop(reference)
            try:
                over.append((number, self.ray.get(reference)))
            except self.ray.exceptions.RayError as error:
                reason = str(error).strip().splitlines()[0]
                over.append((number, Outcome("failed", error=f"lost {LIVES} times on the cluster: {reason}")))
        return over

    def close(self) -> None:
        """Give up what is under way, and leave the cluster."""
        for reference in self._numbers:
            self.ray.cancel(reference, force=True)
        self.ray.kill(self._desk)
        self.ray.shutdown()
        self._heard.__exit__(None, None, None)


class _Heard(io.TextIOBase):
    """Takes what Ray prints, and tells of tasks and nodes that were lost, a line each."""

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if ("Task" in line and "failed" in line) or "marked dead" in line:
                progress.notice(re.sub(r"\x1b\[[0-9;]*m", "", line).partition(". ")[0][:200])
        return len(text)


class _Desk:
    """An actor where trials tell of an epoch and wait for an answer."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[tuple[int, int, int, float]] = asyncio.Queue()
        self.answers: dict[int, asyncio.Future[bool]] = {}
        self.keys = itertools.count()

    async def report(self, number: int, epoch: int, value: float) -> bool:
        key = next(self.keys)
        self.answers[key] = asyncio.get_running_loop().create_future()
        await self.asked.put((key, number, epoch, value))
        return await self.answers[key]

    async def next(self) -> tuple[int, int, int, float]:
        return await self.asked.get()

    async def answer(self, key: int, given_up: bool) -> None:
        self.answers.pop(key).set_result(given_up)


def _connected(engine: EngineConfig) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError:
        raise ConfigError("engine: ray is not installed: pip install 'recctl[ray]'") from None
    _require_listener(engine.address)
    where: dict[str, Any] = {"address": engine.address} if engine.address else {"num_cpus": engines.threads()}
    if not engine.address:
        where["include_dashboard"] = False
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **where)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise ConfigError(f"engine.address: no Ray cluster at {engine.address!r}: {error}") from error
    return ray


def _require_listener(address: str | None) -> None:
    """Refuse an address where nobody listens: Ray would try for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise ConfigError(f"engine.address: no Ray cluster at {address!r}: {error.strerror or error}") from None


def _run(
    data: tuple[sharing.Arrays, sharing.Arrays],
    how: tuple[Config, Sequence[str], float, int],
    task: Task,
    desk: Any,
) -> Outcome:
    """The remote side of a trial."""
    import ray

    base, monitors, sign, threads = how
    engines.set_threads(threads)
    train, validation = (sharing.from_arrays(part) for part in data)
    workbench = Workbench(base, train, validation, monitors, sign)
    task.folder.mkdir(parents=True, exist_ok=True)
    return workbench.run(task, lambda epoch, value: bool(ray.get(desk.report.remote(task.number, epoch, value))))
