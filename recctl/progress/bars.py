"""Progress bars on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as RichTask
from rich.text import Text

from recctl import progress
from recctl.progress.display import DisplayedTask, LineListener, format_amount, format_values


class _RateColumn(ProgressColumn):
    """Column of a progress bar: completed and total amount, rate, and current values such as the loss."""

    def render(self, task: RichTask) -> Text:
        unit = task.fields["unit"]
        parts = []
        if task.total is not None and unit:
            parts.append(f"{format_amount(task.completed, unit)}/{format_amount(task.total, unit)}")
        if task.speed and unit:
            parts.append(f"{format_amount(task.speed, unit)}/s")
        if task.fields["values"]:
            parts.append(format_values(task.fields["values"]))
        return Text(" ".join(parts), style="dim")


class BarListener:
    """Shows tasks as progress bars.

    Args:
        display: A display that was started.
    """

    def __init__(self, display: Progress) -> None:
        self.display = display

    def start(self, title: str, total: float | None, unit: str) -> _Bar:
        """Add a bar."""
        task_id = self.display.add_task(escape(title), total=total, unit=unit, values={})
        return _Bar(self.display, task_id)

    def finish(self, task: progress.Task) -> None:
        """Remove a bar: a finished bar says nothing that the result does not."""
        assert isinstance(task, _Bar)
        self.display.remove_task(task.id)

    def notice(self, message: str) -> None:
        """Print a message above the bars."""
        self.display.console.print(Text(f"note: {message}", style="yellow"), soft_wrap=True)


class _Bar:
    def __init__(self, display: Progress, task_id: TaskID) -> None:
        self.display = display
        self.id = task_id

    def update(self, done: float, **values: float | str) -> None:
        self.display.update(self.id, completed=done, values=values)


class TerminalListener(LineListener):
    """Shows bars while tasks are running, and leaves a final line for each outermost task.

    The display only lives as long as a task: between tasks the terminal belongs to the program.
    """

    def __init__(self) -> None:
        super().__init__(writes_results=True)
        self._bars: dict[DisplayedTask, Any] = {}
        self._listener: BarListener | None = None

    def updated(self, task: DisplayedTask) -> None:
        """Redraw the bar of a task."""
        bar = self._bars.get(task)
        if bar is not None:
            bar.update(task.done, **task.values)

    def _started(self, task: DisplayedTask) -> None:
        if self._listener is None:
            display = make_display(Console(stderr=True, highlight=False))
            display.start()
            self._listener = BarListener(display)
        self._bars[task] = self._listener.start(task.title, task.total, task.unit)

    def _finished(self, task: DisplayedTask, is_outermost: bool) -> None:
        assert self._listener is not None
        self._listener.finish(self._bars.pop(task))
        if is_outermost:
            self._listener.display.stop()
            self._listener = None
            sys.stderr.write(f"{task.final_line()}\n")


def make_display(console: Console) -> Progress:
    """A display of progress bars, which is not started yet."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        _RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # Transient: finished bars disappear, so that only results and notices remain.
    return Progress(*columns, console=console, transient=True)


@contextmanager
def bars(console: Console) -> Iterator[None]:
    """Show progress bars on a terminal while the block runs."""
    display = make_display(console)
    with display, progress.listening(BarListener(display)):
        yield
