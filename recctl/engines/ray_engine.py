"""Blocks of work on a Ray cluster."""

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
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from recctl import progress
from recctl.engines import local
from recctl.engines.engine import Shared, WorkerPool
from recctl.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from recctl.config.schema import EngineConfig

Task = TypeVar("Task")
Result = TypeVar("Result")
Value = TypeVar("Value")

# What a worker is lost with so often is not begun again.
MAX_ATTEMPTS = 3
# Tasks go out in bundles of at most, and at least, about so many seconds: long enough that handing over (some 5 ms)
# costs little, short enough that the work ends at about the same time everywhere.
_BUNDLE, _SMALL_BUNDLE = 0.4, 0.05
# A bundle is what falls to each of what is left, divided by this: whoever is slower by a third ends with the others.
_RESERVE = 1.5
# Bundles that may be done and wait for one before them, for each that can be computed at once.
_AHEAD = 16
# A bundle that takes so many times as long as the usual one, and so many seconds, is begun a second time elsewhere.
_SLOW, _LONG = 4.0, 2.0
_BEAT = 1.0
# What a worker process keeps of functions and shared values: what two phases need that alternate.
_KEPT = 6


class OnRay:
    """A Ray cluster. What a function holds lies in its object store once, and the workers of a node map it from there.

    Ray begins a task again whose worker or node is lost. Tasks that seem to be stuck are begun a second time when there
    is nothing else to do, and the first answer counts: both are the same.

    Args:
        ray: The module, connected.
        config: What a task asks for.
    """

    def __init__(self, ray: Any, config: EngineConfig) -> None:
        self.ray = ray
        self.cpus = config.cpus_per_task
        self.threads = max(1, int(config.cpus_per_task))
        self._asked = {
            "num_cpus": config.cpus_per_task,
            "num_gpus": config.gpus_per_task,
            "max_retries": MAX_ATTEMPTS - 1,
        }
        self.run = self.remote(_run)
        self._slots, self._counted = 1, -float("inf")

    @property
    def slots(self) -> int:
        """How many tasks the cluster computes at once; nodes come and go."""
        if monotonic() > self._counted + _BEAT:
            self._slots = max(1, int(self.ray.cluster_resources().get("CPU", 1) / self.cpus))
            self._counted = monotonic()
        return self._slots

    def remote(self, function: Callable[..., Any]) -> Any:
        """The function as Ray runs it, with what a task asks for."""
        return self.ray.remote(function).options(**self._asked)

    def share(self, value: Value) -> Shared[Value]:
        """Put a value into the object store."""
        return _Put(self.ray.put(value))

    def map(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], pace: _Pace | None = None
    ) -> Iterator[Result]:
        """Results of `function` for each task, in order; a single task is computed here."""
        tasks = list(tasks)
        if len(tasks) < 2:
            return local.map_threads(function, tasks)
        return _Map(self, function, tasks, pace or _Pace()).results()

    @contextlib.contextmanager
    def crew(self) -> Iterator[WorkerPool]:
        """A block for work in many phases."""
        pace = _Pace()
        with local.crew() as here:
            yield WorkerPool(lambda function, tasks: self.map(function, tasks, pace), here)


class _Put(Shared[Value]):
    """A value in the object store; where it is pickled, only its reference is."""

    def __init__(self, reference: Any) -> None:
        self.reference = reference

    @property
    def value(self) -> Value:
        value: Value = _fetched(self.reference)
        return value


@dataclass
class _Pace:
    """How long a task takes, in seconds: before the first is done, as long as those of the phase before."""

    of_phase_before: float = 0.0
    seconds: float = 0.0
    n_tasks: int = 0

    @property
    def usual(self) -> float:
        """The mean of what was timed, or 0."""
        return self.seconds / self.n_tasks if self.n_tasks else self.of_phase_before

    def begin_phase(self) -> None:
        """Keep only the mean of what was timed so far."""
        self.of_phase_before, self.seconds, self.n_tasks = self.usual, 0.0, 0


class _Map:
    """Hands out the tasks of one map, and takes the results in their order."""

    def __init__(self, engine: OnRay, function: Callable[[Any], Any], tasks: Sequence[Any], pace: _Pace) -> None:
        self.engine, self.ray, self.tasks, self.pace = engine, engine.ray, tasks, pace
        pace.begin_phase()
        self.function = [self.ray.put(function)]  # in a list it stays a reference: the worker fetches it once
        self.bundles: list[slice] = []
        self.under_way: dict[Any, int] = {}  # the bundle of each reference that is not done
        self.begun: dict[int, list[float]] = {}  # when a bundle that is not done was handed out
        self.done: dict[int, Any] = {}
        self.next = 0  # the bundle whose results are due

    def results(self) -> Iterator[Any]:
        """All results."""
        try:
            while self._hand_out():
                self._wait()
                while self.next in self.done:
                    seconds, results = self._fetch(self.done.pop(self.next))
                    self.pace.seconds += seconds
                    self.pace.n_tasks += len(results)
                    self.next += 1
                    yield from results
        finally:
            for reference in self.under_way:
                self.ray.cancel(reference)

    def _hand_out(self) -> bool:
        """Keep all busy; whether anything is still to come."""
        slots = self.engine.slots
        while len(self.under_way) < 2 * slots and len(self.bundles) < self.next + _AHEAD * slots:
            begin = self.bundles[-1].stop if self.bundles else 0
            if begin == len(self.tasks):
                break
            self.bundles.append(slice(begin, begin + self._size(len(self.tasks) - begin, slots)))
            self._begin(len(self.bundles) - 1)
        else:
            if len(self.under_way) >= slots:
                return True
        self._begin_again(slots - len(self.under_way))
        return self.next < len(self.bundles)

    def _size(self, left: int, slots: int) -> int:
        """How many tasks go into the next bundle: fewer towards the end, so that all end together."""
        threads, usual = self.engine.threads, self.pace.usual
        most, least = (int(threads * limit / usual) if usual else threads for limit in (_BUNDLE, _SMALL_BUNDLE))
        return min(left, max(threads, least, min(most, int(left / (_RESERVE * slots)))))

    def _begin(self, bundle: int) -> None:
        tasks = list(self.tasks[self.bundles[bundle]])
        self.under_way[self.engine.run.remote(self.function, tasks, self.engine.threads)] = bundle
        self.begun.setdefault(bundle, []).append(monotonic())

    def _begin_again(self, idle: int) -> None:
        """Begin the oldest bundles that seem to be stuck a second time, as far as somebody is idle."""
        if not self.pace.n_tasks:
            return
        for bundle, times in sorted(self.begun.items())[: max(0, idle)]:
            size = self.bundles[bundle].stop - self.bundles[bundle].start
            if len(times) == 1 and monotonic() - times[0] > max(_LONG, _SLOW * size * self.pace.usual):
                self._begin(bundle)

    def _wait(self) -> None:
        """Wait until something is done, for a beat at most."""
        references = list(self.under_way)
        ready, _ = self.ray.wait(references, num_returns=1, timeout=_BEAT)
        if ready:
            ready, _ = self.ray.wait(references, num_returns=len(references), timeout=0)
        for reference in ready:
            bundle = self.under_way.pop(reference)
            if self.begun.pop(bundle, None):  # else its twin was first
                self.done[bundle] = reference

    def _fetch(self, reference: Any) -> tuple[float, list[Any]]:
        try:
            fetched: tuple[float, list[Any]] = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self.ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[0]
            raise TrainingError(
                f"the cluster lost a task {MAX_ATTEMPTS} times: {reason}; if memory ran out, raise "
                "engine.cpus_per_task "
                "so that fewer run side by side"
            ) from error
        return fetched


# ---- on the workers

_kept: OrderedDict[Any, Any] = OrderedDict()


def _run(function: list[Any], tasks: list[Any], threads: int) -> tuple[float, list[Any]]:
    """Compute a bundle of tasks; the seconds it took, and the results."""
    call = _fetched(function[0])
    local.set_threads(threads)
    begin = perf_counter()
    results = list(local.map_threads(call, tasks))
    return perf_counter() - begin, results


def _fetched(reference: Any) -> Any:
    """A value of the object store; the last few are kept, for to take apart a large one takes a while."""
    import ray

    if reference not in _kept:
        _kept[reference] = ray.get(reference)
        if len(_kept) > _KEPT:
            _kept.popitem(last=False)
    _kept.move_to_end(reference)
    return _kept[reference]


# ---- the connection

# What Ray reads when it is imported. By default it takes a worker back after half a second, which is less than many a
# phase, and one of another node is not found again at once: see docs/cluster.md for what that costs.
_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_lease_timeout_milliseconds": "10000"}


def import_ray() -> Any:
    """The module, with settings that suit phases of a second; those of the environment come first.

    Raises:
        ConfigError: It is not installed.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise ConfigError("engine: ray is not installed: pip install 'recctl[ray]'") from None
    return ray


@contextlib.contextmanager
def connected(config: EngineConfig) -> Iterator[OnRay]:
    """A block that is connected to a cluster.

    Raises:
        ConfigError: Ray is not installed, no cluster is at the address, or no node has what a task asks for.
    """
    ray = import_ray()
    was_connected = ray.is_initialized()
    # Ray writes what befalls the cluster to stdout, where only results belong.
    with contextlib.redirect_stdout(_Heard()):
        if not was_connected:
            _connect(ray, config.address)
        try:
            _require_resources(ray, config)
            yield OnRay(ray, config)
        finally:
            _kept.clear()
            if not was_connected:
                ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    _require_listener(address)
    where: dict[str, Any] = {"address": address} if address else {"num_cpus": local.threads()}
    if not address:
        where["include_dashboard"] = False
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **where)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise ConfigError(f"engine.address: no Ray cluster at {address!r}: {error}; {_WAY_OUT}") from error
    for number, handler in handlers.items():  # Ray's own would end the process with the run unfinished
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(number, handler)


_WAY_OUT = "start one with `ray start --head`, name another with --engine ray=ADDRESS, or take --engine local"


def _require_listener(address: str | None) -> None:
    """Refuse an address where no such server answers: Ray would try for minutes."""
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
        raise ConfigError(f"engine.address: no Ray cluster at {address!r}: {reason}; {_WAY_OUT}") from None


def _require_grpc(connection: socket.socket) -> None:
    """Say hello in HTTP/2, which gRPC is spoken over: the answer must begin with a frame of settings.

    Raises:
        OSError: It doesn't, or nothing comes.
    """
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
    if connection.recv(9)[3:4] != bytes([4]):
        raise OSError("what answers there is something else")


def _require_resources(ray: Any, config: EngineConfig) -> None:
    """Refuse what no node has: its tasks would wait for ever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for key, resource, wanted in (("cpus", "CPU", config.cpus_per_task), ("gpus", "GPU", config.gpus_per_task)):
        most = max((node.get(resource, 0) for node in nodes), default=0)
        if wanted > most:
            raise ConfigError(
                f"engine.{key}_per_task: {wanted:g}, but the largest node has {most:g} {resource}s; lower it, or add a "
                "larger node"
            )


class _Heard(io.TextIOBase):
    """Takes what Ray prints, and tells of tasks and nodes that were lost, a line each."""

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if ("Task" in line and "failed" in line) or "marked dead" in line:
                progress.notice(re.sub(r"\x1b\[[0-9;]*m", "", line).partition(". ")[0][:200])
        return len(text)
