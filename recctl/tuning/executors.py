"""Trial executors: in this process, or in worker processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from recctl import engines, progress
from recctl.config import Config
from recctl.data import shared_arrays
from recctl.errors import RecctlError, TrainingError
from recctl.kernels import loading
from recctl.tuning.outcomes import Outcome
from recctl.tuning.trial_runner import Task, TrialRunner, WindowData

ReportCallback = Callable[[int, int, float], bool]
"""Receives a trial's number, an epoch and its metric; returns whether to prune the trial."""

# A trial whose worker process dies this often is not started again.
MAX_ATTEMPTS = 3


class TrialExecutor(Protocol):
    """Runs trials. The report callback is called in the process of the search, during `wait`."""

    @property
    def free(self) -> int:
        """Number of trials that can be started now."""
        ...

    @property
    def running(self) -> list[int]:
        """Numbers of the trials that were started and are not finished."""
        ...

    def start(self, task: Task) -> None:
        """Start a trial."""
        ...

    def wait(self, seconds: float) -> list[tuple[int, Outcome]]:
        """Wait until a trial finishes, at most for some seconds; returns the trials finished since the last call."""
        ...

    def seconds_of(self, number: int) -> float:
        """How long a running trial has taken so far."""
        ...

    def stop(self, number: int) -> None:
        """Stop a running trial, which then has no outcome."""
        ...

    def close(self) -> None:
        """Stop, including running trials."""
        ...


class InProcessExecutor:
    """Runs one trial at a time in this process, during `wait`."""

    def __init__(self, runner: TrialRunner, on_report: ReportCallback) -> None:
        self.runner = runner
        self.on_report = on_report
        self._tasks: list[Task] = []

    @property
    def free(self) -> int:
        """One, unless a trial was started."""
        return 1 - len(self._tasks)

    @property
    def running(self) -> list[int]:
        """The started trial."""
        return [task.number for task in self._tasks]

    def start(self, task: Task) -> None:
        """Keep the trial for `wait`."""
        self._tasks.append(task)

    def wait(self, seconds: float) -> list[tuple[int, Outcome]]:
        """Run the started trial to its end, however long it takes."""
        task = self._tasks[0]

        def report(epoch: int, value: float) -> bool:
            return self.on_report(task.number, epoch, value)

        outcome = self.runner.run(task, report)
        self._tasks.clear()
        return [(task.number, outcome)]

    def seconds_of(self, number: int) -> float:
        """None: a trial runs during `wait` only."""
        return 0.0

    def stop(self, number: int) -> None:
        """Not possible in this process; a trial that was started runs to its end."""

    def close(self) -> None:
        """Nothing to stop."""


class _WorkerSetup(NamedTuple):
    """What a worker process needs to build its TrialRunner."""

    folder: Path
    base: Config
    monitors: list[str]
    n_windows: int
    n_threads: int


class _Started(NamedTuple):
    """The message of a worker that begins a trial."""


class ProcessExecutor:
    """Runs trials in spawned worker processes, which map the data into memory and divide the threads among them.

    Workers are not forked, because OpenMP does not survive a fork. If a worker dies, its trial is started again in a
    new one, up to `MAX_ATTEMPTS` times.

    Args:
        runner: Its data sets are written to `folder`.
        n_workers: Number of worker processes.
        on_report: Called for each evaluated epoch.
        folder: Folder for the shared data.
    """

    def __init__(self, runner: TrialRunner, n_workers: int, on_report: ReportCallback, folder: Path) -> None:
        for position, window in enumerate(runner.windows):
            shared_arrays.save(window.train, folder / f"train-{position}")
            shared_arrays.save(window.validation, folder / f"validation-{position}")
        self.on_report = on_report
        # Workers share the cores; more threads than cores make all of them slower.
        n_threads = max(1, engines.threads() // n_workers)
        self._setup = _WorkerSetup(folder, runner.base, list(runner.monitors), len(runner.windows), n_threads)
        # By folder: trials of several models may have the same number.
        self._n_deaths: dict[Path, int] = {}
        self._n_idle_deaths = 0
        self._workers = [_Worker(self._setup) for _ in range(n_workers)]

    @property
    def free(self) -> int:
        """Number of idle workers."""
        return sum(worker.task is None for worker in self._workers)

    @property
    def running(self) -> list[int]:
        """Trials assigned to workers."""
        return [worker.task.number for worker in self._workers if worker.task is not None]

    def start(self, task: Task) -> None:
        """Assign a trial to an idle worker."""
        idle_worker = next(worker for worker in self._workers if worker.task is None)
        idle_worker.assign(task)

    def wait(self, seconds: float) -> list[tuple[int, Outcome]]:
        """Handle the messages of workers and replace dead ones."""
        connections = [worker.connection for worker in self._workers]
        finished: list[tuple[int, Outcome]] = []
        for connection in wait(connections, seconds):
            worker = self._workers[connections.index(connection)]  # type: ignore[arg-type]
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):
                finished += self._replace(worker)
                continue
            assert worker.task is not None
            if isinstance(message, _Started):
                worker.started = time.monotonic()
                continue
            if isinstance(message, Exception):
                # Only errors that are not the trial's fault arrive as such: a full disk, for example.
                raise message
            if isinstance(message, Outcome):
                finished.append((worker.task.number, message))
                worker.task = None
            else:
                epoch_number, value = message
                worker.send(self.on_report(worker.task.number, epoch_number, value))
        return finished

    def seconds_of(self, number: int) -> float:
        """How long a running trial has taken; the start of its process does not count."""
        worker = self._worker_of(number)
        return 0.0 if worker.started is None else time.monotonic() - worker.started

    def stop(self, number: int) -> None:
        """Kill the worker of a trial, and start another one."""
        worker = self._worker_of(number)
        worker.close()
        self._workers[self._workers.index(worker)] = _Worker(self._setup)

    def _worker_of(self, number: int) -> _Worker:
        return next(worker for worker in self._workers if worker.task is not None and worker.task.number == number)

    def _replace(self, worker: _Worker) -> list[tuple[int, Outcome]]:
        """Start a new worker in place of a dead one, with the same trial.

        Returns:
            The trial as failed, if its workers died too often.
        """
        task = worker.task
        worker.close()
        replacement = _Worker(self._setup)
        self._workers[self._workers.index(worker)] = replacement
        if task is None:
            self._n_idle_deaths += 1
            if self._n_idle_deaths >= MAX_ATTEMPTS * len(self._workers):
                raise TrainingError("worker processes die before they start a trial; --jobs 1 shows the reason")
            return []
        n_deaths = self._n_deaths.get(task.folder, 0) + 1
        self._n_deaths[task.folder] = n_deaths
        if n_deaths < MAX_ATTEMPTS:
            # It resumes from the trial's checkpoint, and gives the same result.
            replacement.assign(task)
            return []
        error_message = (
            f"its process died {n_deaths} times, perhaps out of memory; fewer --jobs leave more memory for each"
        )
        return [(task.number, Outcome("failed", error=error_message))]

    def close(self) -> None:
        """Kill the workers."""
        for worker in self._workers:
            worker.close()


class _Worker:
    """A worker process, seen from the search."""

    def __init__(self, setup: _WorkerSetup) -> None:
        # Not fork, which copies a process with threads of BLAS, torch or Optuna in an unknown state.
        context = multiprocessing.get_context("spawn")
        self.connection, worker_side = context.Pipe()
        self.process = context.Process(target=_worker_loop, args=(worker_side, os.getpid(), setup), daemon=True)
        self.process.start()
        # With its own copy closed, this process sees the end of the pipe when the worker dies.
        worker_side.close()
        self.task: Task | None = None
        self.started: float | None = None

    def assign(self, task: Task) -> None:
        self.task = task
        self.started = None
        self.send(task)

    def send(self, message: Task | bool) -> None:
        with suppress(OSError):  # the worker has died; `wait` will notice
            self.connection.send(message)

    def close(self) -> None:
        self.connection.close()
        # SIGKILL, which no signal handler of a library can delay.
        self.process.kill()
        self.process.join()


def _worker_loop(connection: Connection[Any, Any], parent: int, setup: _WorkerSetup) -> None:
    """Run the trials that arrive; ends when the pipe closes."""
    import signal

    # Ctrl-C reaches every process of the terminal, and the search stops its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()
    engines.set_threads(setup.n_threads)
    windows = []
    for position in range(setup.n_windows):
        train = shared_arrays.load(setup.folder / f"train-{position}")
        validation = shared_arrays.load(setup.folder / f"validation-{position}")
        windows.append(WindowData(train, validation))
    runner = TrialRunner(setup.base, windows, setup.monitors)
    # Once in each process, and no part of the time of its first trial.
    loading.load(loading.kernels_of_training([]))

    def report(epoch: int, value: float) -> bool:
        connection.send((epoch, value))
        return bool(connection.recv())

    try:
        with progress.silence():
            while True:
                task = connection.recv()
                connection.send(_Started())
                connection.send(_run_or_error(runner, task, report))
    except (EOFError, OSError):
        return


def _run_or_error(runner: TrialRunner, task: Task, report: Callable[[int, float], bool]) -> Outcome | Exception:
    try:
        return runner.run(task, report)
    except (OSError, RecctlError) as error:
        return error


def _exit_with_parent(parent: int) -> None:
    """Exit when the parent is gone: this process would write into a folder that a resumed search uses."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
