"""All that is printed: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
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
from rich.progress import Task as BarTask
from rich.table import Table
from rich.text import Text

from recctl import progress
from recctl.cli.app import settings

_OFF_TERMINAL_WIDTH = 10_000  # off a terminal nothing is folded or cut


def _console(stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _OFF_TERMINAL_WIDTH
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=not stream.isatty())


def print_result(text: str) -> None:
    """Print a line of the result; markup is rich's, values from data must be escaped."""
    if not settings.json:
        _console(stderr=False).print(text)


def info(text: str) -> None:
    """Print a line that is no result; not with --quiet."""
    if not settings.quiet:
        _console(stderr=True).print(text, style="dim")


def error(text: str) -> None:
    """Print an error."""
    console = _console(stderr=True)
    for line in text.splitlines() or [""]:
        console.print(Text("error: ", style="bold red").append(line, style="default"), soft_wrap=True)


def print_json(values: Mapping[str, Any]) -> None:
    """With --json, the one document that is printed."""
    if settings.json:
        sys.stdout.write(json.dumps(values, indent=2, default=str) + "\n")


def print_text(text: str) -> None:
    """Print text as it is: YAML, JSON Schema."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
    """Print a table; numbers stand to the right. Values are escaped here."""
    if settings.json:
        return
    console = _console(stderr=False)
    grid = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False
    )
    for at, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[at], int | float) or row[at] is None for row in rows)
        grid.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(escape(_cell(value)) for value in row))
    console.print(grid)


def metrics_table(metrics: Mapping[str, Mapping[str, float]]) -> None:
    """Print metrics, a row for each and a column for each part."""
    if not metrics:
        return
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    table(["metric", *metrics], [[name, *(values.get(name) for values in metrics.values())] for name in names])


def _cell(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)


# ---- progress


class _Figures(ProgressColumn):
    """How much is done, at which rate, and the figures of the moment."""

    def render(self, task: BarTask) -> Text:
        unit = task.fields["unit"]
        parts = []
        if task.total is not None and unit:
            parts.append(f"{_amount(task.completed, unit)}/{_amount(task.total, unit)}")
        if task.speed and unit:
            parts.append(f"{_amount(task.speed, unit)}/s")
        parts += [
            f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in task.fields["values"].items()
        ]
        return Text(" ".join(parts), style="dim")


def _amount(value: float, unit: str) -> str:
    return f"{value / 1e6:.1f} MB" if unit == "bytes" else f"{value:,.0f} {unit}"


class _Bars:
    """Progress on a terminal."""

    def __init__(self, bars: Progress) -> None:
        self.bars = bars

    def start(self, title: str, total: float | None, unit: str) -> _Bar:
        return _Bar(self.bars, self.bars.add_task(escape(title), total=total, unit=unit, values={}))

    def finish(self, task: progress.Task) -> None:
        assert isinstance(task, _Bar)
        self.bars.remove_task(task.id)

    def notice(self, message: str) -> None:
        self.bars.console.print(Text(f"note: {message}", style="yellow"), soft_wrap=True)


class _Bar:
    def __init__(self, bars: Progress, task_id: TaskID) -> None:
        self.bars = bars
        self.id = task_id

    def update(self, done: float, **values: float | str) -> None:
        self.bars.update(self.id, completed=done, values=values)


class _Lines:
    """Progress off a terminal: a plain line when long work has gone on for a while."""

    every = 10.0

    def start(self, title: str, total: float | None, unit: str) -> _Line:
        if settings.verbose:
            sys.stderr.write(f"{title}\n")
        return _Line(title, total, unit, time.monotonic() + self.every)

    def finish(self, task: progress.Task) -> None:
        pass

    def notice(self, message: str) -> None:
        sys.stderr.write(f"note: {message}\n")


class _Line:
    def __init__(self, title: str, total: float | None, unit: str, due: float) -> None:
        self.title, self.total, self.unit, self.due = title, total, unit, due
        self.lock = threading.Lock()

    def update(self, done: float, **values: float | str) -> None:
        with self.lock:
            if time.monotonic() < self.due:
                return
            self.due = time.monotonic() + _Lines.every
        of = f"{done / self.total:.0%}" if self.total else _amount(done, self.unit)
        figures = " ".join(f"{name}={value}" for name, value in values.items())
        sys.stderr.write(f"{self.title}: {of} {figures}".rstrip() + "\n")


@contextmanager
def plain_progress() -> Iterator[None]:
    """Tell of long work and notices in plain lines while a verb runs, unless the options want it quiet."""
    if settings.quiet:
        yield
    else:
        with progress.listening(_Lines()):
            yield


@contextmanager
def bars() -> Iterator[None]:
    """Show progress in bars while the block runs, where there is a terminal."""
    if settings.quiet or not sys.stderr.isatty():
        yield
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        _Figures(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_console(stderr=True), transient=True) as bars, progress.listening(_Bars(bars)):
        yield
