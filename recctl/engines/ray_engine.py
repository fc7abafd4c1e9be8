"""The engine that computes blocks of work on a Ray cluster."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import signal
import socket
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

from recctl import progress
from recctl.engines import local
from recctl.engines.interface import Result, Shared, Task, Value, WorkerPool
from recctl.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from recctl.config.schema import EngineConfig

# How often Ray runs a task whose worker is lost.
MAX_ATTEMPTS = 3
# Tasks are sent in batches that take at most, and at least, this many seconds: long enough that the overhead of sending
# (about 5 ms) matters little, short enough that all workers finish at about the same time.
_BATCH_SECONDS = 0.4
_SMALL_BATCH_SECONDS = 0.05
# A batch is a slot's share of the remaining tasks, divided by this: a slot that is a third slower finishes in time.
_RESERVE = 1.5
# Finished batches that may wait for an earlier one, per slot.
_MAX_AHEAD = 16
# A batch that takes this many times the expected time, and this many seconds, is run a second time elsewhere.
_SLOW_FACTOR = 4.0
_SLOW_SECONDS = 2.0
# How often the state of the cluster is checked.
_POLL_SECONDS = 1.0
# Functions and shared values that a worker process caches: enough for two phases that alternate.
_CACHE_SIZE = 6


class RayEngine:
    """A Ray cluster. What a function refers to is put into its object store once; the workers of a node map it.

    Ray reruns a task whose worker or node is lost. Batches that seem to be stuck are run a second time when a slot is
    idle, and the first result counts: both are equal.

    Args:
        ray: The module, connected to a cluster.
        config: Resources of a task.
    """

    def __init__(self, ray: Any, config: EngineConfig) -> None:
        self.ray = ray
        self.cpus = config.cpus_per_task
        self.threads = max(1, int(config.cpus_per_task))
        self._task_options = {
            "num_cpus": config.cpus_per_task,
            "num_gpus": config.gpus_per_task,
            "max_retries": MAX_ATTEMPTS - 1,
        }
        self._compute_batch = ray.remote(compute_batch)
        self._slots = 1
        self._slots_updated_at = -float("inf")

    @property
    def slots(self) -> int:
        """Number of batches that the cluster computes at the same time; nodes may join and leave."""
        if monotonic() > self._slots_updated_at + _POLL_SECONDS:
            self._slots = max(1, int(self.ray.cluster_resources().get("CPU", 1) / self.cpus))
            self._slots_updated_at = monotonic()
        return self._slots

    def options(self, name: str) -> dict[str, Any]:
        """Options of a Ray task: the resources of the config, and what the task does, as Ray's tools show it."""
        return {**self._task_options, "name": f"recctl: {name}"}

    def compute_batch(self, name: str) -> Any:
        """`compute_batch` as a Ray task."""
        return self._compute_batch.options(**self.options(name))

    def share(self, value: Value) -> Shared[Value]:
        """Put a value into the object store."""
        return _StoredValue(self.ray.put(value))

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Iterable[Task],
        name: str | None = None,
        pace: _Pace | None = None,
    ) -> Iterator[Result]:
        """Results of `function` for each task, in order; a single task is computed on this machine."""
        tasks = list(tasks)
        if len(tasks) < 2:
            return local.map_threads(function, tasks)
        return _MapRun(self, function, tasks, name or _name_of(function), pace or _Pace()).results()

    @contextlib.contextmanager
    def worker_pool(self, name: str | None = None) -> Iterator[WorkerPool]:
        """A context with a worker pool, for work in many phases; each phase starts at the pace of the previous one."""
        pace = _Pace()
        with local.worker_pool() as map_here:
            yield WorkerPool(lambda function, tasks: self.map(function, tasks, name, pace), map_here)


class _StoredValue(Shared[Value]):
    """A value in the object store; pickling it pickles only the reference."""

    def __init__(self, reference: Any) -> None:
        self.reference = reference

    @property
    def value(self) -> Value:
        value: Value = _fetch_cached(self.reference)
        return value


@dataclass
class _Pace:
    """Mean seconds per task, of the current phase, or of the previous one until a task has finished."""

    previous_phase: float = 0.0
    seconds: float = 0.0
    n_tasks: int = 0

    @property
    def seconds_per_task(self) -> float:
        """The mean, or 0 if nothing has been timed."""
        return self.seconds / self.n_tasks if self.n_tasks else self.previous_phase

    def begin_phase(self) -> None:
        """Start a new phase."""
        self.previous_phase = self.seconds_per_task
        self.seconds = 0.0
        self.n_tasks = 0


class _MapRun:
    """One call of `RayEngine.map`: submits batches and yields the results in order."""

    def __init__(
        self, engine: RayEngine, function: Callable[[Any], Any], tasks: Sequence[Any], name: str, pace: _Pace
    ) -> None:
        self.engine = engine
        self.compute_batch = engine.compute_batch(name)
        self.ray = engine.ray
        self.tasks = tasks
        self.pace = pace
        pace.begin_phase()
        # Inside a list the reference is not resolved by Ray: the worker fetches it once and caches it.
        self.function = [self.ray.put(function)]
        self.batches: list[slice] = []
        self.running: dict[Any, int] = {}  # the batch of each unfinished reference
        self.started_at: dict[int, list[float]] = {}  # start times of each unfinished batch
        self.finished: dict[int, Any] = {}  # references to results that wait for their turn
        self.next_batch = 0  # the batch whose results are yielded next

    def results(self) -> Iterator[Any]:
        """All results, in order."""
        try:
            while self._submit():
                self._wait()
                while self.next_batch in self.finished:
                    seconds, results = self._fetch(self.finished.pop(self.next_batch))
                    self.pace.seconds += seconds
                    self.pace.n_tasks += len(results)
                    self.next_batch += 1
                    yield from results
        finally:
            for reference in self.running:
                self.ray.cancel(reference)

    def _submit(self) -> bool:
        """Keep all slots busy; returns whether results are still to come."""
        slots = self.engine.slots
        while len(self.running) < 2 * slots and len(self.batches) < self.next_batch + _MAX_AHEAD * slots:
            begin = self.batches[-1].stop if self.batches else 0
            if begin == len(self.tasks):
                break
            self.batches.append(slice(begin, begin + self._batch_size(len(self.tasks) - begin, slots)))
            self._start(len(self.batches) - 1)
        else:
            if len(self.running) >= slots:
                return True
        self._restart_stuck(slots - len(self.running))
        return self.next_batch < len(self.batches)

    def _batch_size(self, n_remaining: int, slots: int) -> int:
        """Number of tasks in the next batch; batches become smaller so that all slots finish at the same time."""
        threads = self.engine.threads
        seconds_per_task = self.pace.seconds_per_task
        largest = threads
        smallest = threads
        if seconds_per_task:
            largest = int(threads * _BATCH_SECONDS / seconds_per_task)
            smallest = int(threads * _SMALL_BATCH_SECONDS / seconds_per_task)
        share = int(n_remaining / (_RESERVE * slots))
        return min(n_remaining, max(threads, smallest, min(largest, share)))

    def _start(self, batch: int) -> None:
        tasks = list(self.tasks[self.batches[batch]])
        self.running[self.compute_batch.remote(self.function, tasks, self.engine.threads)] = batch
        self.started_at.setdefault(batch, []).append(monotonic())

    def _restart_stuck(self, n_idle: int) -> None:
        """Run the oldest batches that seem to be stuck a second time, at most one for each idle slot."""
        if not self.pace.n_tasks:
            return
        for batch, times in sorted(self.started_at.items())[: max(0, n_idle)]:
            size = self.batches[batch].stop - self.batches[batch].start
            limit = max(_SLOW_SECONDS, _SLOW_FACTOR * size * self.pace.seconds_per_task)
            if len(times) == 1 and monotonic() - times[0] > limit:
                self._start(batch)

    def _wait(self) -> None:
        """Wait until a batch has finished, or for the poll interval."""
        references = list(self.running)
        ready, _ = self.ray.wait(references, num_returns=1, timeout=_POLL_SECONDS)
        if ready:
            ready, _ = self.ray.wait(references, num_returns=len(references), timeout=0)
        for reference in ready:
            batch = self.running.pop(reference)
            if self.started_at.pop(batch, None):  # otherwise its second run was faster
                self.finished[batch] = reference

    def _fetch(self, reference: Any) -> tuple[float, list[Any]]:
        try:
            fetched: tuple[float, list[Any]] = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self.ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[0]
            raise TrainingError(
                f"the cluster lost a task {MAX_ATTEMPTS} times: {reason}; if it ran out of memory, raise "
                "engine.cpus_per_task so that fewer tasks run at the same time on a node"
            ) from error
        return fetched


def _name_of(function: Callable[..., Any]) -> str:
    """The name of a function, or of the class of an object that is called."""
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__qualname__", type(function).__qualname__)


# ---- in the worker processes

_cache: OrderedDict[Any, Any] = OrderedDict()


def compute_batch(function: list[Any], tasks: list[Any], threads: int) -> tuple[float, list[Any]]:
    """Compute a batch of tasks; returns the seconds it took, and the results."""
    task_function = _fetch_cached(function[0])
    local.set_threads(threads)
    begin = perf_counter()
    with progress.silence():
        results = list(local.map_threads(task_function, tasks))
    return perf_counter() - begin, results


def _fetch_cached(reference: Any) -> Any:
    """A value of the object store. The last few are cached, because unpickling a large value takes a while."""
    import ray

    if reference not in _cache:
        _cache[reference] = ray.get(reference)
        if len(_cache) > _CACHE_SIZE:
            _cache.popitem(last=False)
    _cache.move_to_end(reference)
    return _cache[reference]


# ---- the connection

# Ray reads these when it is imported. By default it takes back an idle worker after half a second, which is shorter
# than many phases, and does not find one of another node again at once: see docs/explanation/clusters.md for the cost.
_RAY_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_lease_timeout_milliseconds": "10000"}

_NO_CLUSTER_HINT = (
    "start one with `ray start --head`, name another one with --engine ray=ADDRESS, or use --engine local"
)


def import_ray() -> Any:
    """Import Ray with settings for phases of about a second; settings in the environment take precedence.

    Raises:
        ConfigError: Ray is not installed.
    """
    for name, value in _RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise ConfigError("engine: ray is not installed: pip install 'recctl[ray]'") from None
    return ray


@contextlib.contextmanager
def connected(config: EngineConfig) -> Iterator[RayEngine]:
    """A context with a connection to a cluster.

    Raises:
        ConfigError: Ray is not installed, no cluster is at the address, or no node has the resources of a task.
    """
    ray = import_ray()
    was_connected = ray.is_initialized()
    # Ray prints the cluster's events to stdout, which is reserved for results.
    with contextlib.redirect_stdout(_EventFilter()):
        if not was_connected:
            _connect(ray, config.address)
        try:
            _require_resources(ray, config)
            yield RayEngine(ray, config)
        finally:
            _cache.clear()
            if not was_connected:
                ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    _require_server(address)
    arguments: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        arguments["address"] = address
    else:
        arguments["num_cpus"] = local.threads()
        arguments["include_dashboard"] = False
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        ray.init(**arguments)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise ConfigError(f"engine.address: no Ray cluster at {address!r}: {error}; {_NO_CLUSTER_HINT}") from error
    # Ray installs handlers that would end the process without finishing the run.
    for number, handler in handlers.items():
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(number, handler)


def _require_server(address: str | None) -> None:
    """Refuse an address at which no Ray server answers; Ray itself would try for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=10) as connection:
            connection.settimeout(5)
            if not os.environ.get("RAY_USE_TLS"):
                _require_grpc(connection)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"engine.address: no Ray cluster at {address!r}: {reason}; {_NO_CLUSTER_HINT}") from None


def _require_grpc(connection: socket.socket) -> None:
    """Check for gRPC: after an HTTP/2 preface, the server must send a SETTINGS frame (type 4).

    Raises:
        OSError: The server sends something else, or nothing.
    """
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
    if connection.recv(9)[3:4] != bytes([4]):
        raise OSError("the server at this address does not speak gRPC")


def _require_resources(ray: Any, config: EngineConfig) -> None:
    """Refuse resources that no node has; the tasks would wait forever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for key, resource, requested in (("cpus", "CPU", config.cpus_per_task), ("gpus", "GPU", config.gpus_per_task)):
        largest = max((node.get(resource, 0) for node in nodes), default=0)
        if requested > largest:
            raise ConfigError(
                f"engine.{key}_per_task: {requested:g}, but the largest node has {largest:g} {resource}s; lower it, or "
                "add a larger node"
            )


class _EventFilter(io.TextIOBase):
    """Discards what Ray prints, except for lost tasks and nodes, which become one-line notices."""

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if ("Task" in line and "failed" in line) or "marked dead" in line:
                without_colors = re.sub(r"\x1b\[[0-9;]*m", "", line)
                progress.notice(without_colors.partition(". ")[0][:200])
        return len(text)
