"""Trial executor on a Ray cluster."""

from __future__ import annotations

import asyncio
import itertools
from time import monotonic
from typing import Any, NamedTuple

from recctl import engines, progress
from recctl.config import Config
from recctl.data import shared_arrays
from recctl.engines.ray_engine import MAX_ATTEMPTS, RayEngine
from recctl.tuning.executors import ReportCallback
from recctl.tuning.outcomes import Outcome
from recctl.tuning.trial_runner import Task, TrialRunner, WindowData

# How long the end of a search waits for its actor.
_STOP_SECONDS = 10.0


class _RemoteSetup(NamedTuple):
    """What a remote trial needs beside the data."""

    base: Config
    monitors: list[str]
    n_threads: int


class RayExecutor:
    """Runs trials as Ray tasks. The data is put into the object store once, and tasks map it into memory.

    Ray restarts a task whose worker or node is lost. The trial continues from its checkpoint if the nodes share the
    file system of the run's directory, else from the start; the result is the same.

    Args:
        runner: Its data sets are shared.
        engine: The cluster.
        n_parallel: Number of trials at a time; None for as many as the cluster has CPUs for.
        on_report: Called for each evaluated epoch.
    """

    def __init__(
        self, runner: TrialRunner, engine: RayEngine, n_parallel: int | None, on_report: ReportCallback
    ) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.ray = engine.ray
        self.on_report = on_report
        # On the node of the search, so that losing another node cannot take the actor away.
        this_node = NodeAffinitySchedulingStrategy(self.ray.get_runtime_context().get_node_id(), soft=False)
        options = {"num_cpus": 0, "scheduling_strategy": this_node}
        self._reports = self.ray.remote(TrialReports).options(**options).remote()
        self._next_report = self._reports.next.remote()
        window_arrays = [tuple(map(shared_arrays.to_arrays, window)) for window in runner.windows]
        self._data = self.ray.put(window_arrays)
        self._setup = _RemoteSetup(runner.base, list(runner.monitors), engine.threads)
        self._run_trial = self.ray.remote(run_trial)
        self._options = engine.options
        self._n_parallel = n_parallel or engine.slots
        self._numbers: dict[Any, int] = {}
        self._submitted: dict[int, float] = {}

    @property
    def free(self) -> int:
        """Number of further trials that may be submitted."""
        return self._n_parallel - len(self._numbers)

    @property
    def running(self) -> list[int]:
        """Submitted trials."""
        return list(self._numbers.values())

    def start(self, task: Task) -> None:
        """Submit a trial."""
        run_trial = self._run_trial.options(**self._options(task.title))
        reference = run_trial.remote(self._data, self._setup, task, self._reports)
        self._numbers[reference] = task.number
        self._submitted[task.number] = monotonic()

    def wait(self, seconds: float) -> list[tuple[int, Outcome]]:
        """Collect a finished trial, or answer a report."""
        references = [self._next_report, *self._numbers]
        ready, _ = self.ray.wait(references, num_returns=1, timeout=seconds)
        finished = []
        for reference in ready:
            if reference == self._next_report:
                self._answer_report()
            else:
                finished.append(self._collect(reference))
        return finished

    def _answer_report(self) -> None:
        report_key, number, epoch_number, value = self.ray.get(self._next_report)
        # A trial restarted while its first worker was unreachable may be finished already.
        should_prune = number in self.running and self.on_report(number, epoch_number, value)
        self._reports.answer.remote(report_key, should_prune)
        self._next_report = self._reports.next.remote()

    def _collect(self, reference: Any) -> tuple[int, Outcome]:
        number = self._numbers.pop(reference)
        try:
            return number, self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[0]
            return number, Outcome("failed", error=f"lost {MAX_ATTEMPTS} times on the cluster: {reason}")

    def seconds_of(self, number: int) -> float:
        """The time since a trial was submitted, which is started at once while the cluster has a free slot."""
        return monotonic() - self._submitted[number]

    def stop(self, number: int) -> None:
        """Cancel a trial."""
        reference = next(reference for reference, running in self._numbers.items() if running == number)
        del self._numbers[reference]
        self.ray.cancel(reference, force=True)

    def close(self) -> None:
        """Cancel running trials, and end the actor."""
        for reference in self._numbers:
            self.ray.cancel(reference, force=True)
        # It answers all calls and ends by itself: Ray's tools show the calls of an actor that is killed as failed.
        self._reports.stop.remote()
        try:
            self.ray.get(self._next_report, timeout=_STOP_SECONDS)
        except self.ray.exceptions.RayError:  # also if it does not answer in time
            self.ray.kill(self._reports)
        # Ray ends an actor that nobody refers to.
        del self._reports, self._next_report


class TrialReports:
    """An actor that passes the reports of trials to the search, and its answers back."""

    def __init__(self) -> None:
        self.reports: asyncio.Queue[tuple[int, int, int, float] | None] = asyncio.Queue()
        self.answers: dict[int, asyncio.Future[bool]] = {}
        self.keys = itertools.count()

    async def report(self, number: int, epoch: int, value: float) -> bool:
        """Pass the metric of an epoch to the search; returns whether to prune the trial."""
        report_key = next(self.keys)
        self.answers[report_key] = asyncio.get_running_loop().create_future()
        await self.reports.put((report_key, number, epoch, value))
        return await self.answers[report_key]

    async def next(self) -> tuple[int, int, int, float] | None:
        """Wait for the next report: its key, the trial, the epoch and the metric. None: the search ends."""
        return await self.reports.get()

    async def answer(self, key: int, prune: bool) -> None:
        """Answer the report with a key."""
        self.answers.pop(key).set_result(prune)

    async def stop(self) -> None:
        """Answer all calls that wait."""
        await self.reports.put(None)
        for answer in self.answers.values():
            if not answer.done():
                answer.set_result(True)


def run_trial(data: list[tuple[shared_arrays.Arrays, ...]], setup: _RemoteSetup, task: Task, reports: Any) -> Outcome:
    """The remote side of a trial."""
    import ray

    engines.set_threads(setup.n_threads)
    windows = [WindowData(*map(shared_arrays.from_arrays, window_arrays)) for window_arrays in data]
    runner = TrialRunner(setup.base, windows, setup.monitors)
    task.folder.mkdir(parents=True, exist_ok=True)

    def report(epoch: int, value: float) -> bool:
        return bool(ray.get(reports.report.remote(task.number, epoch, value)))

    with progress.silence():
        return runner.run(task, report)
