"""How long work tells where it is.

Library code says what it is doing; whoever listens (the command line, a notebook) shows it. Nobody listening costs
nothing.

    for block in track(blocks, "Evaluating", total=n):
        ...
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

T = TypeVar("T")


class Task(Protocol):
    """One piece of work under way."""

    def update(self, done: float, **values: float | str) -> None:
        """Say how much is done in all, and the figures of the moment (`loss=0.31`)."""
        ...


class Listener(Protocol):
    """Shows work to a person."""

    def start(self, title: str, total: float | None, unit: str) -> Task:
        """A piece of work begins; `total` is None where its size is not known."""
        ...

    def finish(self, task: Task) -> None:
        """The piece of work is over, done or not."""
        ...

    def notice(self, message: str) -> None:
        """Something a person should know, while work goes on."""
        ...


class _Silence:
    def start(self, title: str, total: float | None, unit: str) -> Task:
        return self

    def update(self, done: float, **values: float | str) -> None:
        pass

    def finish(self, task: Task) -> None:
        pass

    def notice(self, message: str) -> None:
        pass


_listener: Listener = _Silence()


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send everything that is told inside the block to `listener`."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


@contextmanager
def silence() -> Iterator[None]:
    """A block that tells nobody: small work that is repeated inside work that tells already."""
    with listening(_Silence()):
        yield


@contextmanager
def task(title: str, total: float | None = None, unit: str = "") -> Iterator[Task]:
    """Announce a piece of work for the length of the block.

    Args:
        title: What is being done: "Downloading ml-1m".
        total: Its size, None where unknown.
        unit: What `total` counts: "users", "bytes", "epochs".
    """
    listener = _listener
    started = listener.start(title, total, unit)
    try:
        yield started
    finally:
        listener.finish(started)


def track(items: Iterable[T], title: str, total: int | None = None, unit: str = "") -> Iterator[T]:
    """The items, telling of each one that is used up."""
    with task(title, total, unit) as started:
        for done, item in enumerate(items, start=1):
            yield item
            started.update(done)


def notice(message: str) -> None:
    """Tell a person something that is no error."""
    _listener.notice(message)
