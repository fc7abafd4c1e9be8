"""Everything that is printed: results to stdout, the rest (progress, notices, errors) to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from recctl import progress
from recctl.cli import document
from recctl.cli.settings import settings
from recctl.progress.display import LineListener
from recctl.progress.notebook import is_started_by_notebook

# Where output is not a terminal, lines are neither wrapped nor cut: scripts read them.
_WIDTH_OFF_TERMINAL = 10_000


def is_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal with a person in front of it, and not the output of a notebook's cell."""
    return stream.isatty() and not is_started_by_notebook()


def _console(stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    # Made for each call: tests and progress bars replace the streams.
    if is_terminal(stream):
        return Console(stderr=stderr, highlight=False)
    # Kernels set FORCE_COLOR, by which Rich would write escape codes also where a cell captures the output.
    force_terminal = False if is_started_by_notebook() else None
    return Console(
        stderr=stderr, width=_WIDTH_OFF_TERMINAL, highlight=False, soft_wrap=True, force_terminal=force_terminal
    )


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


# ---- progress


@contextmanager
def plain_progress() -> Iterator[None]:
    """Report long tasks and notices in plain lines while a command runs, unless --quiet is set."""
    if settings.quiet:
        with progress.silence():
            yield
    else:
        with progress.listening(LineListener(writes_starts=settings.verbose)):
            yield


@contextmanager
def bars() -> Iterator[None]:
    """Show progress bars while the block runs, if stderr is a terminal and --quiet is not set."""
    if settings.quiet or not is_terminal(sys.stderr):
        yield
        return
    from recctl.progress.bars import bars as bars_on

    with bars_on(_console(stderr=True)):
        yield
