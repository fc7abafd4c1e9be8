"""Display of tasks without a terminal: plain lines in logs, and one line per cell in notebooks.

A task that is started while no other one is running is called outermost. It leaves one final line when it ends; the
tasks inside it only appear while they are running.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from recctl.progress.notebook import kernel_shell

_SECONDS_BETWEEN_LINES = 10.0
# More often, a front end that is far away lags behind.
_SECONDS_BETWEEN_UPDATES = 0.2
_BAR_LENGTH = 20
# Titles in the final line of a cell; further ones are counted.
_MAX_TITLES = 6


class DisplayedTask:
    """A task in progress, with the amount and the values that were reported last."""

    def __init__(self, listener: LineListener, title: str, total: float | None, unit: str) -> None:
        self.listener = listener
        self.title = title
        self.total = total
        self.unit = unit
        self.done = 0.0
        self.values: dict[str, float | str] = {}
        self.started_at = time.monotonic()
        self.next_line_at = self.started_at + _SECONDS_BETWEEN_LINES
        self.inner_result = ""  # that of the last task inside this one that had an amount

    def update(self, done: float, **values: float | str) -> None:
        """Report the total amount done so far, and current values."""
        self.done = done
        self.values = values
        self.listener.updated(self)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started_at

    def result(self) -> str:
        """What was done, such as `7 of 20 epochs, loss=0.31`; empty if no amount is known."""
        parts = []
        if self.unit and self.done:
            amount = format_amount(self.done, self.unit)
            if self.total is not None and self.done < self.total:
                amount = f"{amount.partition(' ')[0]} of {format_amount(self.total, self.unit)}"
            parts.append(amount)
        if self.values:
            parts.append(format_values(self.values))
        return ", ".join(parts)

    def final_line(self) -> str:
        """The line that remains of an outermost task."""
        parts = [self.result() or self.inner_result, f"{self.seconds:.1f} s"]
        return f"{self.title}: {', '.join(part for part in parts if part)}"


class LineListener:
    """Writes a plain line to stderr about each task that has been running for a while, at regular intervals.

    Args:
        writes_starts: Whether a line is written when a task starts.
        writes_results: Whether an outermost task leaves a final line.
    """

    def __init__(self, writes_starts: bool = False, writes_results: bool = False) -> None:
        self.writes_starts = writes_starts
        self.writes_results = writes_results
        self._active: list[DisplayedTask] = []
        # Tasks of several threads are reported to one listener.
        self._lock = threading.RLock()

    def start(self, title: str, total: float | None, unit: str) -> DisplayedTask:
        """Start a task."""
        task = DisplayedTask(self, title, total, unit)
        with self._lock:
            self._active.append(task)
            self._started(task)
        return task

    def finish(self, task: Any) -> None:
        """End a task."""
        with self._lock:
            self._active.remove(task)
            if self._active:
                self._active[0].inner_result = task.result() or self._active[0].inner_result
            self._finished(task, is_outermost=not self._active)

    def notice(self, message: str) -> None:
        """Write a message."""
        sys.stderr.write(f"note: {message}\n")

    def updated(self, task: DisplayedTask) -> None:
        """Called after each update of a task."""
        with self._lock:
            if time.monotonic() < task.next_line_at:
                return
            task.next_line_at = time.monotonic() + _SECONDS_BETWEEN_LINES
        if task.total:
            amount = f"{task.done / task.total:.0%}"
        else:
            amount = format_amount(task.done, task.unit)
        sys.stderr.write(f"{task.title}: {amount} {format_values(task.values)}".rstrip() + "\n")

    def _started(self, task: DisplayedTask) -> None:
        if self.writes_starts:
            sys.stderr.write(f"{task.title}\n")

    def _finished(self, task: DisplayedTask, is_outermost: bool) -> None:
        if self.writes_results and is_outermost:
            sys.stderr.write(f"{task.final_line()}\n")


class NotebookListener(LineListener):
    """Shows tasks in one line of text per cell, which is replaced in place and stays with the results at the end.

    The line is an output with an id, which every front end can replace (Jupyter, VS Code, Colab) and which nbconvert
    and nbclient store in its last state. Widgets would need an extension, and carriage returns are stored one by one.
    """

    def __init__(self) -> None:
        super().__init__(writes_results=True)
        self._cell: object = None
        self._handle: Any = None
        self._results: list[str] = []
        self._titles: Counter[str] = Counter()
        self._seconds = 0.0
        self._next_update_at = 0.0

    def updated(self, task: DisplayedTask) -> None:
        """Show the task that was updated."""
        with self._lock:
            # A thread may report a task that an error in another thread has ended.
            if task in self._active:
                self._show_active(task)

    def _started(self, task: DisplayedTask) -> None:
        cell = _current_cell()
        if len(self._active) == 1 and cell != self._cell:
            self._cell = cell
            self._handle = None
            self._results = []
            self._titles = Counter()
            self._seconds = 0.0
        self._show_active(task)

    def _finished(self, task: DisplayedTask, is_outermost: bool) -> None:
        if not is_outermost:
            return
        self._results.append(task.final_line())
        self._titles[task.title] += 1
        self._seconds += task.seconds
        self._show(self._cell_line())

    def _show_active(self, task: DisplayedTask) -> None:
        if self._handle is not None and time.monotonic() < self._next_update_at:
            return
        self._next_update_at = time.monotonic() + _SECONDS_BETWEEN_UPDATES
        outermost = self._active[0]
        line = f"{outermost.title}: "
        if task is not outermost and task.title != outermost.title:
            line += f"{task.title}: "
        if task.total:
            share = min(task.done / task.total, 1.0)
            n_full = round(share * _BAR_LENGTH)
            line += f"{'█' * n_full}{'░' * (_BAR_LENGTH - n_full)} {share:.0%} "
        line += f"{task.result()} {outermost.seconds:.0f} s"
        self._show(" ".join(line.split()))

    def _cell_line(self) -> str:
        """The final line of a cell: the result of its task, or the titles of all tasks."""
        if len(self._results) == 1:
            return self._results[0]
        titles = [f"{title} x{count}" if count > 1 else title for title, count in self._titles.items()]
        if len(titles) > _MAX_TITLES:
            titles = [*titles[:_MAX_TITLES], f"{len(titles) - _MAX_TITLES} more"]
        return f"{', '.join(titles)}: {self._seconds:.1f} s"

    def _show(self, line: str) -> None:
        from IPython.display import display

        if self._handle is None:
            self._handle = display({"text/plain": line}, raw=True, display_id=True)
        else:
            self._handle.update({"text/plain": line}, raw=True)


def format_amount(value: float, unit: str) -> str:
    """An amount with its unit: `12 epochs`, `3.4 MB`."""
    if unit == "bytes":
        return f"{value / 1e6:.1f} MB"
    return f"{value:,.0f} {unit}"


def format_values(values: Mapping[str, float | str]) -> str:
    """Current values: `loss=0.31 ndcg@10=0.2`."""
    texts = []
    for name, value in values.items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        texts.append(f"{name}={text}")
    return " ".join(texts)


def _current_cell() -> object:
    """What differs between two executions of cells."""
    shell = kernel_shell()
    return None if shell is None else shell.execution_count
