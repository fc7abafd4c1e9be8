"""Trials on a Ray cluster."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

from recctl import engines
from recctl.config import Config
from recctl.data import shared_arrays
from recctl.engines.ray_engine import MAX_ATTEMPTS, OnRay
from recctl.tuning.executors import OnReport
from recctl.tuning.study import Outcome
from recctl.tuning.trial_runner import Task, TrialRunner


class TrialsOnRay:
    """Runs trials as tasks of a cluster; the data lie in its object store once, and tasks map them.

    Ray begins a task again whose worker or node is lost. It goes on from the trial's checkpoint if the run's directory
    is on a file system that the nodes share, else from the beginning; either way it comes to the same.

    Args:
        workbench: What trials need.
        engine: The cluster.
        jobs: How many trials at once; None for as many as the cluster has processors for.
        on_report: Called for each epoch that was measured.
    """

    def __init__(self, workbench: TrialRunner, engine: OnRay, jobs: int | None, on_report: OnReport) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.ray = engine.ray
        self.on_report = on_report
        here = NodeAffinitySchedulingStrategy(self.ray.get_runtime_context().get_node_id(), soft=False)
        # Where the search is, so that the loss of no other node takes it away.
        self._desk = self.ray.remote(_Broker).options(num_cpus=0, scheduling_strategy=here).remote()
        self._said = self._desk.next.remote()
        data = self.ray.put((shared_arrays.to_arrays(workbench.train), shared_arrays.to_arrays(workbench.validation)))
        how = (workbench.base, list(workbench.monitors), workbench.sign, engine.threads)
        self._given = data, how
        self._run = engine.remote(_run)
        self._jobs = jobs or engine.slots
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
                over.append((number, Outcome("failed", error=f"lost {MAX_ATTEMPTS} times on the cluster: {reason}")))
        return over

    def close(self) -> None:
        """Give up what is under way."""
        for reference in self._numbers:
            self.ray.cancel(reference, force=True)
        self.ray.kill(self._desk)


class _Broker:
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


def _run(
    data: tuple[shared_arrays.Arrays, shared_arrays.Arrays],
    how: tuple[Config, Sequence[str], float, int],
    task: Task,
    desk: Any,
) -> Outcome:
    """The remote side of a trial."""
    import ray

    base, monitors, sign, threads = how
    engines.set_threads(threads)
    train, validation = (shared_arrays.from_arrays(part) for part in data)
    workbench = TrialRunner(base, train, validation, monitors, sign)
    task.folder.mkdir(parents=True, exist_ok=True)
    return workbench.run(task, lambda epoch, value: bool(ray.get(desk.report.remote(task.number, epoch, value))))
