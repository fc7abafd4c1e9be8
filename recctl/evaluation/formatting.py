"""Metrics as people read them."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recctl.metrics import MetricKey


def print_results(results: Mapping[str, float]) -> None:
    """Print metrics to the terminal: a row for each metric, a column for each cutoff; off a terminal as plain text."""
    on_terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, width=None if on_terminal else 10_000, highlight=False)
    console.print(_table(results, box.SIMPLE_HEAD if on_terminal else None))


def _table(results: Mapping[str, float], style: box.Box | None) -> Table:
    keys = [MetricKey.parse(key) for key in results]
    columns: list[int | None] = []
    columns.extend(sorted({key.k for key in keys if key.k is not None}))
    if any(key.k is None for key in keys):
        columns.insert(0, None)
    table = Table(box=style, pad_edge=False)
    table.add_column("metric")
    for k in columns:
        table.add_column("value" if k is None else f"@{k}", justify="right")
    for metric in dict.fromkeys(key.at(None) for key in keys):
        values = [results.get(str(metric.at(k))) for k in columns]
        cells = ["" if value is None else f"{value:.4f}" for value in values]
        table.add_row(escape(str(metric)), *cells)
    return table
