"""Metrics as people read them."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def print_results(results: Mapping[str, float]) -> None:
    """Print metrics to the terminal: a row for each metric, a column for each cutoff; off a terminal as plain text."""
    on_terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, width=None if on_terminal else 10_000, highlight=False)
    console.print(_table(results, box.SIMPLE_HEAD if on_terminal else None))


def _table(results: Mapping[str, float], style: box.Box | None) -> Table:
    parts = [key.rpartition("@") if key.rpartition("@")[2].isdecimal() else (key, "", "") for key in results]
    cutoffs = sorted({int(k) for _, at, k in parts if at})
    without = [""] if any(not at for _, at, _ in parts) else []
    table = Table(box=style, pad_edge=False)
    table.add_column("metric")
    columns = without + [str(k) for k in cutoffs]
    for k in columns:
        table.add_column(f"@{k}" if k else "value", justify="right")
    for name in dict.fromkeys(name for name, _, _ in parts):
        cells = [results.get(f"{name}@{k}" if k else name) for k in columns]
        table.add_row(escape(name), *("" if value is None else f"{value:.4f}" for value in cells))
    return table
