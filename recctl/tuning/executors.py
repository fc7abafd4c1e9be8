"""Where trials run: in this process, or in several of their own."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

from recctl import engines
from recctl.config import Config
from recctl.data import shared_arrays
from recctl.errors import RecctlError, TrainingError
from recctl.tuning.study import Outcome
from recctl.tuning.trial_runner import Task, TrialRunner

OnReport = Callable[[int, int, float], bool]
"""Takes a trial's number, an epoch and its value; answers whether the trial is to be given up."""

# A trial whose worker dies so often is not begun again.
MAX_ATTEMPTS = 3


class Pool(Protocol):
    """Runs trials. `on_report` is called in the process of the search, while `wait` waits."""

    @property
    def free(self) -> int:
        """How many more trials can be started now."""
        ...

    @property
    def under_way(self) -> list[int]:
        """Numbers of the trials that were started and are not over."""
        ...

    def start(self, task: Task) -> None:
        """Begin a trial."""
        ...

    def wait(self, seconds: float) -> list[tuple[int, Outcome]]:
        """The trials that are over since the last call; waits for one, at most for some time."""
        ...

    def close(self) -> None:
        """Stop, trials under way included."""
        ...


class InProcess:
    """Runs a trial when it is waited for."""

    def __init__(self, workbench: TrialRunner, on_report: OnReport) -> None:
        self.workbench = workbench
        self.on_report = on_report
        self._tasks: list[Task] = []

    @property
    def free(self) -> int:
        """One, unless one is to be run."""
        return 1 - len(self._tasks)

    @property
    def under_way(self) -> list[int]:
        """The one that is to be run."""
        return [task.number for task in self._tasks]

    def start(self, task: Task) -> None:
        """Take a trial."""
        self._tasks.append(task)

    def wait(self, seconds: float) -> list[tuple[int, Outcome]]:
        """Run it."""
        task = self._tasks[0]
        outcome = self.workbench.run(task, lambda epoch, value: self.on_report(task.number, epoch, value))
        self._tasks.clear()
        return [(task.number, outcome)]

    def close(self) -> None:
        """Nothing is under way."""


class Processes:
    """Spawned worker processes, which share the data by memory maps and divide the threads among them.

    They are not forked: OpenMP does not survive it. A trial whose worker dies is begun again by another.

    Args:
        workbench: What trials need; its data sets are written to `folder`.
        jobs: How many workers.
        on_report: Called for each epoch that was measured.
        folder: For the data.
    """

    def __init__(self, workbench: TrialRunner, jobs: int, on_report: OnReport, folder: Path) -> None:
        shared_arrays.save(workbench.train, folder / "train")
        shared_arrays.save(workbench.validation, folder / "validation")
        self.on_report = on_report
        threads = max(1, engines.threads() // jobs)
        self._arguments = (folder, workbench.base, list(workbench.monitors), workbench.sign, threads)
        self._deaths: dict[int, int] = {}
        self._idle_deaths = 0
        self._workers = [_Worker(self._arguments) for _ in range(jobs)]

    @property
    def free(self) -> int:
        """Workers that have nothing to do."""
        return sum(worker.task is None for worker in self._workers)

    @property
    def under_way(self) -> list[int]:
        """Trials that workers have."""
        return [worker.task.number for worker in self._workers if worker.task is not None]

    def start(self, task: Task) -> None:
        """Give a trial to a free worker."""
        next(worker for worker in self._workers if worker.task is None).give(task)

    def wait(self, seconds: float) -> list[tuple[int, Outcome]]:
        """Hear what workers say; those that died are replaced."""
        ends = [worker.end for worker in self._workers]
        over: list[tuple[int, Outcome]] = []
        for end in wait(ends, seconds):
            worker = self._workers[ends.index(end)]  # type: ignore[arg-type]
            try:
                said = worker.end.recv()
            except (EOFError, OSError):
                over += self._buried(worker)
                continue
            assert worker.task is not None
            if isinstance(said, Exception):
                raise said
            if isinstance(said, Outcome):
                over.append((worker.task.number, said))
                worker.task = None
            else:
                worker.tell(self.on_report(worker.task.number, *said))
        return over

    def _buried(self, worker: _Worker) -> list[tuple[int, Outcome]]:
        task = worker.task
        worker.close()
        fresh = _Worker(self._arguments)
        self._workers[self._workers.index(worker)] = fresh
        if task is None:
            self._idle_deaths += 1
            if self._idle_deaths >= MAX_ATTEMPTS * len(self._workers):
                raise TrainingError("worker processes die before they begin; run with --jobs 1 to see why")
            return []
        self._deaths[task.number] = deaths = self._deaths.get(task.number, 0) + 1
        if deaths < MAX_ATTEMPTS:
            fresh.give(task)
            return []
        error = f"its process died {deaths} times; out of memory? fewer --jobs leave more for each"
        return [(task.number, Outcome("failed", error=error))]

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.close()


class _Worker:
    """A process and what it is at."""

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        context = multiprocessing.get_context("spawn")
        self.end, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, os.getpid(), *arguments), daemon=True)
        self.process.start()
        theirs.close()  # so that its death is heard here
        self.task: Task | None = None

    def give(self, task: Task) -> None:
        self.task = task
        self.tell(task)

    def tell(self, what: Task | bool) -> None:
        with suppress(OSError):  # it has died; `wait` will hear of it
            self.end.send(what)

    def close(self) -> None:
        self.end.close()
        self.process.kill()
        self.process.join()


def _work(
    end: Connection[Any, Any],
    parent: int,
    folder: Path,
    base: Config,
    monitors: Sequence[str],
    sign: float,
    threads: int,
) -> None:
    """What a worker does until nobody listens any more."""
    import signal

    # Ctrl-C reaches every process of the terminal; the search ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    engines.set_threads(threads)
    workbench = TrialRunner(
        base, shared_arrays.load(folder / "train"), shared_arrays.load(folder / "validation"), monitors, sign
    )

    def report(epoch: int, value: float) -> bool:
        end.send((epoch, value))
        return bool(end.recv())

    try:
        while True:
            task = end.recv()
            try:
                said: Outcome | Exception = workbench.run(task, report)
            except (OSError, RecctlError) as error:
                said = error
            end.send(said)
    except (EOFError, OSError):
        return


def _die_with(parent: int) -> None:
    """End this process when its parent is gone: it would write into a folder that a resumed search uses."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
