"""Progress reporting.

A Python program shows no progress by default. `show` turns it on, in a terminal, a notebook or a log:

    import recctl

    recctl.progress.show()  # from now on; recctl.progress.hide() ends it
    with recctl.progress.show():  # or in a block
        model.fit(train)

Library code announces its work as tasks; a listener (the command line, a notebook) displays them. Without a listener
tasks are not displayed and reporting costs almost nothing; notices become warnings of the class `RecctlWarning`.

    for block in track(blocks, "Evaluating", total=n):
        ...
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import ParamSpec, Protocol, TypeVar

from recctl.errors import RecctlWarning

T = TypeVar("T")
P = ParamSpec("P")
Result = TypeVar("Result")


class Task(Protocol):
    """A task in progress."""

    def update(self, done: float, **values: float | str) -> None:
        """Report the total amount done so far, and current values such as `loss=0.31`."""
        ...


class Listener(Protocol):
    """Displays tasks and notices to a user."""

    def start(self, title: str, total: float | None, unit: str) -> Task:
        """Start a task; `total` is None if its size is unknown."""
        ...

    def finish(self, task: Task) -> None:
        """End a task, whether it was completed or not."""
        ...

    def notice(self, message: str) -> None:
        """Display a message that the user should read; tasks may be in progress."""
        ...


class _Silence:
    """Listener and task that display nothing."""

    def start(self, title: str, total: float | None, unit: str) -> Task:
        return self

    def update(self, done: float, **values: float | str) -> None:
        pass

    def finish(self, task: Task) -> None:
        pass

    def notice(self, message: str) -> None:
        pass

    def step(self, message: str) -> None:
        pass


class _Warnings(_Silence):
    """The listener of a Python program that has not set one: it displays no tasks, and notices as warnings."""

    def notice(self, message: str) -> None:
        warnings.warn(message, RecctlWarning, stacklevel=_stack_level_of_caller())


class _Shown(_Warnings):
    """The listener that `show` sets: another one displays tasks; notices are warnings, as without it."""

    def __init__(self, display: Listener) -> None:
        self._display = display

    def start(self, title: str, total: float | None, unit: str) -> Task:
        return self._display.start(title, total, unit)

    def finish(self, task: Task) -> None:
        self._display.finish(task)


_PACKAGE = f"{Path(__file__).parent.parent}{os.sep}"
_WARNINGS = _Warnings()
# A context variable, because contexts of two threads do not end in the reverse order of their beginning: with a global
# variable, a fit in one thread could silence the other ones for good. recctl's thread pool uses that of its caller.
_listener: ContextVar[Listener | None] = ContextVar("_listener", default=None)
# The listeners of calls of `show` that have not ended; the last one applies to all threads without one of their own.
# No context variable: kernels may run each cell of a notebook in a context of its own.
_shown: list[Listener] = []


def current_listener() -> Listener:
    """The listener that tasks and notices of this thread are sent to."""
    listener = _listener.get()
    if listener is not None:
        return listener
    return _shown[-1] if _shown else _WARNINGS


class _Display:
    """What `show` returns: a context manager that ends the display."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        # Not the last one: blocks of several threads end in any order.
        if self._listener in _shown:
            _shown.remove(self._listener)

    def __repr__(self) -> str:
        return "<progress is shown; recctl.progress.hide() ends it>"


def show() -> AbstractContextManager[None]:
    """Show the progress of fits, evaluations, searches and exports, in all threads of this process.

    A terminal shows bars; a notebook shows one line per cell, which is replaced while work goes on; a log file gets a
    line every ten seconds. When the work is done, one line with its result and duration remains. All are written to
    stderr. `recctl` commands show progress anyway.

    Returns:
        A context manager: progress is hidden again at the end of a `with` block. Without `with`, it is shown until
        `hide` is called.

    Examples:
        ```python
        import recctl

        recctl.progress.show()
        model = recctl.ALSRecommender().fit(train)

        with recctl.progress.show():
            recctl.compare(["ease.yaml", "als.yaml"])
        ```
    """
    listener = _Shown(_make_display())
    _shown.append(listener)
    return _Display(listener)


def hide() -> None:
    """Stop showing progress; see `show`.

    Examples:
        ```python
        import recctl

        recctl.progress.hide()
        ```
    """
    _shown.clear()


def _make_display() -> Listener:
    """The display for where this program runs."""
    from recctl.progress.notebook import is_started_by_notebook, kernel_shell

    if kernel_shell() is not None:
        from recctl.progress.display import NotebookListener

        return NotebookListener()
    if sys.stderr.isatty() and not is_started_by_notebook():
        from recctl.progress.bars import TerminalListener

        return TerminalListener()
    from recctl.progress.display import LineListener

    return LineListener(writes_results=True)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send all tasks and notices of the block to `listener`."""
    previous = _listener.get()
    _listener.set(listener)
    try:
        yield
    finally:
        _listener.set(previous)


def with_listener(function: Callable[P, Result]) -> Callable[P, Result]:
    """The function, for a call in another thread: what it reports is sent to the listener of this thread."""
    listener = current_listener()

    def call(*arguments: P.args, **options: P.kwargs) -> Result:
        with listening(listener):
            return function(*arguments, **options)

    return call


@contextmanager
def silence() -> Iterator[None]:
    """Drop the tasks and notices of the block: small work repeated inside a task that reports progress itself."""
    with listening(_Silence()):
        yield


class _WithoutRepeats:
    """Passes everything on to another listener but notices that it has passed on before."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._notices: set[str] = set()

    def start(self, title: str, total: float | None, unit: str) -> Task:
        return self._listener.start(title, total, unit)

    def finish(self, task: Task) -> None:
        self._listener.finish(task)

    def notice(self, message: str) -> None:
        if message not in self._notices:
            self._notices.add(message)
            self._listener.notice(message)

    def step(self, message: str) -> None:
        with listening(self._listener):
            step(message)


@contextmanager
def without_repeats() -> Iterator[None]:
    """Display repeated notices of the block only once; many apply to every model of a comparison."""
    with listening(_WithoutRepeats(current_listener())):
        yield


@contextmanager
def task(title: str, total: float | None = None, unit: str = "") -> Iterator[Task]:
    """Report the block as a task.

    Args:
        title: The work, such as "Downloading ml-1m".
        total: Its size; None if unknown.
        unit: The unit of `total`: "users", "bytes", "epochs".
    """
    listener = current_listener()
    started = listener.start(title, total, unit)
    try:
        yield started
    finally:
        listener.finish(started)


def track(items: Iterable[T], title: str, total: int | None = None, unit: str = "") -> Iterator[T]:
    """Iterate over `items` and report each one as done once the loop body has finished with it."""
    with task(title, total, unit) as started:
        for done, item in enumerate(items, start=1):
            yield item
            started.update(done)


def notice(message: str) -> None:
    """Display a message that is not an error."""
    current_listener().notice(message)


def step(message: str) -> None:
    """Display what a long piece of work does next, or what its last part resulted in.

    The command line prints it like a notice. In a Python program it is no warning: nothing is wrong.
    """
    listener = current_listener()
    getattr(listener, "step", listener.notice)(message)


def _stack_level_of_caller() -> int:
    """The stack level, for a warning that the function calling this one sends, of the line that called recctl.

    That line is outside of the outermost function of recctl: between two of them there may be frames of other packages.
    """
    frame: FrameType | None = sys._getframe(1)
    level = 1
    level_of_caller = 1
    while frame is not None:
        if frame.f_code.co_filename.startswith(_PACKAGE):
            level_of_caller = level + 1
        frame = frame.f_back
        level += 1
    return level_of_caller
