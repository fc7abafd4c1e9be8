"""Selection of the engine that computes blocks of work: this machine's threads, or a cluster.

Code that divides its work calls `current().map(function, tasks)`, whatever the engine. Tasks depend on the data alone,
and results come in the order of the tasks: they are the same for any engine and any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from recctl.engines import local
from recctl.engines.interface import Engine, Result, Shared, Task, Value, WorkerPool

if TYPE_CHECKING:
    from recctl.config.schema import EngineConfig


class Local:
    """The engine that computes on this machine's threads."""

    def share(self, value: Value) -> Shared[Value]:
        """Wrap the value; nothing is copied."""
        return Shared(value)

    def map(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], name: str | None = None
    ) -> Iterator[Result]:
        """Compute the tasks with `map_threads`."""
        return local.map_threads(function, tasks)

    @contextmanager
    def worker_pool(self, name: str | None = None) -> Iterator[WorkerPool]:
        """A context with a pool of threads; both of its functions compute on them."""
        with local.worker_pool() as map_tasks:
            yield WorkerPool(map_tasks, map_tasks)


_LOCAL = Local()
_current: Engine | None = None


def current() -> Engine:
    """The engine in use: this machine's threads, except inside of `using`."""
    return _current or _LOCAL


@contextmanager
def using(engine: Engine) -> Iterator[None]:
    """A context in which work is computed by an engine.

    with engines.opened(EngineConfig(name="ray", address="head:6379")):
        SLIMRecommender().fit(train)
    """
    global _current
    previous = _current
    _current = engine
    try:
        yield
    finally:
        _current = previous


@contextmanager
def opened(config: EngineConfig | None) -> Iterator[Any]:
    """A context in which work is computed by the engine of a config; inside of another such context, by its engine.

    Raises:
        ConfigError: Ray is not installed, no cluster is at the address, or no node has the resources of a task.
    """
    if _current is not None or config is None:
        yield current()
        return
    if config.name == "local":
        with using(_LOCAL):
            yield _LOCAL
        return
    from recctl.engines.ray_engine import connected

    with connected(config) as engine, using(engine):
        yield engine
