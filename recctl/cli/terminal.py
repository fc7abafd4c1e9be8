"""Everything that is printed: results to stdout, the rest (progress, notices, errors) to stderr."""

from __future__ import annotations

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
from rich.progress import Task as RichTask
from rich.table import Table
from rich.text import Text

from recctl import progress
from recctl.cli import document
from recctl.cli.settings import settings

# Where output is not a terminal, lines are neither wrapped nor cut: scripts read them.
_WIDTH_OFF_TERMINAL = 10_000
_SECONDS_BETWEEN_LINES = 10.0


def _console(stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    # Made for each call: tests and progress bars replace the streams.
    line_width = None if stream.isatty() else _WIDTH_OFF_TERMINAL
    return Console(stderr=stderr, width=line_width, highlight=False, soft_wrap=not stream.isatty())


def print_result(text: str) -> None:
    """Print a line of the result, unless --json is set.

    Args:
        text: Line with Rich markup; escape values that come from data.
    """
    if not settings.json:
        _console(stderr=False).print(text)


def info(text: str) -> None:
    """Print a line that is not part of the result, unless --quiet is set."""
    if not settings.quiet:
        _console(stderr=True).print(text, style="dim")


def error(text: str) -> None:
    """Print an error message, each line with the prefix `error:`."""
    console = _console(stderr=True)
    for line in text.splitlines() or [""]:
        # Every line has the prefix, so that a search of a log finds all problems of a config. Text, not markup: values
        # in brackets would disappear.
        console.print(Text("error: ", style="bold red").append(line, style="default"), soft_wrap=True)


def print_json(values: Mapping[str, Any]) -> None:
    """Set the JSON document of a command, which is printed when the command ends if --json is set."""
    document.set_values(values)


def print_text(text: str) -> None:
    """Print text verbatim, e.g. YAML or a JSON Schema."""
    if not text.endswith("\n"):
        text += "\n"
    sys.stdout.write(text)


class Count(int):
    """A number of things, which a table prints with separators of thousands.

    Other integers are printed as they are: ids, times, seeds.
    """


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
    """Print a table with right-aligned numbers, unless --json is set.

    Args:
        columns: Headings.
        rows: Cells of each row; they are escaped here.
        title: Title with Rich markup.
    """
    if settings.json:
        return
    # One text, such as an interval, makes a column text: mixed alignment is hard to read.
    is_numeric = [
        bool(rows) and all(_is_number_or_none(row_cells[position]) for row_cells in rows)
        for position in range(len(columns))
    ]
    cells = [[_format_cell(cell_value) for cell_value in row_cells] for row_cells in rows]
    console = _console(stderr=False)
    lines = [list(columns), *cells]
    if title is None and not console.is_terminal and all(_is_plain(cell) for line in lines for cell in line):
        sys.stdout.write(_plain_table(lines, is_numeric))
        return
    # Lines only on a terminal: scripts split the columns at spaces.
    border = box.SIMPLE_HEAD if console.is_terminal else None
    rich_table = Table(title=title, title_justify="left", box=border, pad_edge=False)
    for heading, numeric in zip(columns, is_numeric, strict=True):
        rich_table.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for line in cells:
        rich_table.add_row(*(Text(cell) for cell in line))
    console.print(rich_table)


def _plain_table(lines: Sequence[Sequence[str]], is_numeric: Sequence[bool]) -> str:
    """Return a table as Rich lays it out off a terminal, in a tenth of the time: lists can have thousands of rows."""
    padded_columns = []
    for cells, numeric in zip(zip(*lines, strict=True), is_numeric, strict=True):
        width = max(map(len, cells))
        pad = str.rjust if numeric else str.ljust
        padded_columns.append([pad(cell, width) for cell in cells])
    return "".join("  ".join(line) + "\n" for line in zip(*padded_columns, strict=True))


def _is_plain(cell: str) -> bool:
    """Whether a cell is one line whose width is its length."""
    return cell.isascii() and cell.isprintable()


def metrics_table(metrics: Mapping[str, Mapping[str, float]]) -> None:
    """Print a table with a row per metric and a column per part of the split.

    Args:
        metrics: Values by part and metric.
    """
    if not metrics:
        return
    metric_names = list(dict.fromkeys(metric_name for values in metrics.values() for metric_name in values))
    metric_rows = [
        [metric_name, *(values.get(metric_name) for values in metrics.values())] for metric_name in metric_names
    ]
    table(["metric", *metrics], metric_rows)


def _is_number_or_none(value: Any) -> bool:
    return value is None or isinstance(value, int | float)


def _format_cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        # Four digits: smaller differences are noise on test sets of the usual sizes.
        return f"{value:.4f}"
    if isinstance(value, Count):
        return f"{value:,}"
    return str(value)


# ---- progress on a terminal


class _RateColumn(ProgressColumn):
    """Column of a progress bar: completed and total amount, rate, and current values such as the loss."""

    def render(self, task: RichTask) -> Text:
        unit = task.fields["unit"]
        parts = []
        if task.total is not None and unit:
            parts.append(f"{_format_amount(task.completed, unit)}/{_format_amount(task.total, unit)}")
        if task.speed and unit:
            parts.append(f"{_format_amount(task.speed, unit)}/s")
        for value_name, value in task.fields["values"].items():
            value_text = f"{value:.4g}" if isinstance(value, float) else str(value)
            parts.append(f"{value_name}={value_text}")
        return Text(" ".join(parts), style="dim")


def _format_amount(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 1e6:.1f} MB"
    return f"{value:,.0f} {unit}"


class _BarListener:
    """Shows tasks as progress bars."""

    def __init__(self, display: Progress) -> None:
        self.display = display

    def start(self, title: str, total: float | None, unit: str) -> _Bar:
        task_id = self.display.add_task(escape(title), total=total, unit=unit, values={})
        return _Bar(self.display, task_id)

    def finish(self, task: progress.Task) -> None:
        assert isinstance(task, _Bar)
        # A finished bar says nothing that the result does not.
        self.display.remove_task(task.id)

    def notice(self, message: str) -> None:
        # Through the display, which moves its bars below the line.
        self.display.console.print(Text(f"note: {message}", style="yellow"), soft_wrap=True)


class _Bar:
    def __init__(self, display: Progress, task_id: TaskID) -> None:
        self.display = display
        self.id = task_id

    def update(self, done: float, **values: float | str) -> None:
        self.display.update(self.id, completed=done, values=values)


# ---- progress elsewhere


class _LineListener:
    """Writes a plain line about each task that has been running for a while, at regular intervals."""

    def start(self, title: str, total: float | None, unit: str) -> _LineTask:
        if settings.verbose:
            sys.stderr.write(f"{title}\n")
        return _LineTask(title, total, unit)

    def finish(self, task: progress.Task) -> None:
        pass

    def notice(self, message: str) -> None:
        sys.stderr.write(f"note: {message}\n")


class _LineTask:
    def __init__(self, title: str, total: float | None, unit: str) -> None:
        self.title = title
        self.total = total
        self.unit = unit
        self.next_line_at = time.monotonic() + _SECONDS_BETWEEN_LINES
        self.lock = threading.Lock()

    def update(self, done: float, **values: float | str) -> None:
        with self.lock:
            if time.monotonic() < self.next_line_at:
                return
            self.next_line_at = time.monotonic() + _SECONDS_BETWEEN_LINES
        amount = f"{done / self.total:.0%}" if self.total else _format_amount(done, self.unit)
        current_values = " ".join(f"{value_name}={value}" for value_name, value in values.items())
        sys.stderr.write(f"{self.title}: {amount} {current_values}".rstrip() + "\n")


@contextmanager
def plain_progress() -> Iterator[None]:
    """Report long tasks and notices in plain lines while a command runs, unless --quiet is set."""
    if settings.quiet:
        with progress.silence():
            yield
    else:
        with progress.listening(_LineListener()):
            yield


@contextmanager
def bars() -> Iterator[None]:
    """Show progress bars while the block runs, if stderr is a terminal and --quiet is not set."""
    if settings.quiet or not sys.stderr.isatty():
        yield
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        _RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # Transient: finished bars disappear, so that only results and notices remain.
    display = Progress(*columns, console=_console(stderr=True), transient=True)
    with display, progress.listening(_BarListener(display)):
        yield
