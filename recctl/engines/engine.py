"""Where blocks of work are computed: on this machine, or wherever an engine in use takes them.

Code that divides its work writes `current().map(function, tasks)` and knows no engine. Tasks are cut by the data alone,
and results come in their order: so they are the same whatever computes them, and however many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from recctl.engines import local

if TYPE_CHECKING:
    from recctl.config.schema import EngineConfig

Task = TypeVar("Task")
Result = TypeVar("Result")
Value = TypeVar("Value")


class Shared(Generic[Value]):
    """A value that tasks read, wherever they run: it gets there once, not with each of them."""

    def __init__(self, value: Value) -> None:
        self._value = value

    @property
    def value(self) -> Value:
        """The value; what it holds must not be changed."""
        return self._value


class MapFn(Protocol):
    """Computes tasks, and gives their results in order, some perhaps while others are still computed."""

    def __call__(self, function: Callable[[Task], Result], tasks: Iterable[Task], /) -> Iterable[Result]:
        """Results of `function` for each task."""
        ...


class WorkerPool(NamedTuple):
    """What computes phase after phase.

    Attributes:
        each: On the engine; `function` must be such as `Engine.map` takes.
        here: On this machine, whatever the engine: for what is less work than to send it, and may change arrays.
    """

    each: MapFn
    here: MapFn


class Engine(Protocol):
    """Computes tasks."""

    def share(self, value: Value) -> Shared[Value]:
        """Put a value where all tasks can read it; `function` may hold what this returns."""
        ...

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Results of `function` for each task, in the order of the tasks; few tasks are under way at a time.

        Args:
            function: Changes nothing that it is given or holds, unless it returns it too. It may run in another
                process, which gets what it holds once: hold what is needed, and no more.
            tasks: Cut by the data, each some hundredths of a second of work.
        """
        ...

    def crew(self) -> AbstractContextManager[WorkerPool]:
        """A block for work in many phases."""
        ...


class Local:
    """This machine's threads."""

    def share(self, value: Value) -> Shared[Value]:
        """The value as it is."""
        return Shared(value)

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """As `map_threads`."""
        return local.map_threads(function, tasks)

    @contextmanager
    def crew(self) -> Iterator[WorkerPool]:
        """As the `crew` of threads."""
        with local.crew() as each:
            yield WorkerPool(each, each)


_LOCAL = Local()
_in_use: Engine | None = None


def current() -> Engine:
    """The engine in use: this machine's threads, unless `using` says otherwise."""
    return _in_use or _LOCAL


@contextmanager
def using(engine: Engine) -> Iterator[None]:
    """A block that computes on an engine what it can divide.

    with engines.opened(EngineConfig(name="ray", address="head:6379")):
        SLIMRecommender().fit(train)
    """
    global _in_use
    before, _in_use = _in_use, engine
    try:
        yield
    finally:
        _in_use = before


@contextmanager
def opened(config: EngineConfig | None) -> Iterator[Any]:
    """A block that uses the engine of a config; inside of another such block, that one's goes on to be used.

    Raises:
        ConfigError: Ray is not installed, or no cluster is at the address, or none that has what a task asks for.
    """
    if _in_use is not None or config is None:
        yield current()
        return
    if config.name == "local":
        with using(_LOCAL):
            yield _LOCAL
        return
    from recctl.engines.ray_engine import connected

    with connected(config) as engine, using(engine):
        yield engine
