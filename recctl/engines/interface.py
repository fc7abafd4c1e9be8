"""The interface of engines: where blocks of work are computed, on this machine's threads or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Generic, NamedTuple, Protocol, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
Value = TypeVar("Value")


class Shared(Generic[Value]):
    """A value that tasks read. It is sent to each machine once, instead of with every task."""

    def __init__(self, value: Value) -> None:
        self._value = value

    @property
    def value(self) -> Value:
        """The value; must not be modified."""
        return self._value


class MapFn(Protocol):
    """Computes tasks and returns their results in order, possibly while later tasks are still running."""

    def __call__(self, function: Callable[[Task], Result], tasks: Iterable[Task], /) -> Iterable[Result]:
        """Results of `function` for each task."""
        ...


class WorkerPool(NamedTuple):
    """Workers for work in many short phases.

    Attributes:
        map: Computes tasks on the engine; `function` must satisfy the conditions of `Engine.map`.
        map_here: Computes tasks on this machine whatever the engine, for tasks that cost less than sending them. They
            may modify arrays.
    """

    map: MapFn
    map_here: MapFn


class Engine(Protocol):
    """Computes tasks."""

    def share(self, value: Value) -> Shared[Value]:
        """Make a value available to all tasks; `function` may hold the result."""
        ...

    def map(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], name: str | None = None
    ) -> Iterator[Result]:
        """Results of `function` for each task, in the order of the tasks; few tasks are in progress at a time.

        Args:
            function: Must not modify its argument or anything it refers to, unless it also returns it. It may run in
                another process, to which everything it refers to is sent once: it should refer to what it needs only.
            tasks: Depend on the data alone, not on the number of workers; each takes some hundredths of a second.
            name: What the tasks do, for the tools of a cluster; by default the name of `function`.

        Returns:
            The results.
        """
        ...

    def worker_pool(self, name: str | None = None) -> AbstractContextManager[WorkerPool]:
        """A context with a worker pool, for work in many phases, whose tasks have a name as in `map`."""
        ...
