"""Metrics as a table."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recctl.metrics import MetricKey

_PLAIN_TEXT_WIDTH = 10_000  # characters: redirected output is never wrapped


def print_results(results: Mapping[str, float]) -> None:
    """Print metrics with a row for each metric and a column for each cutoff; as plain text if stdout is no terminal."""
    if sys.stdout.isatty():
        console = Console(file=sys.stdout, highlight=False)
        console.print(_table(results, box.SIMPLE_HEAD))
    else:
        # Also in a notebook, which Rich would write HTML to.
        console = Console(
            file=sys.stdout, width=_PLAIN_TEXT_WIDTH, highlight=False, force_terminal=False, force_jupyter=False
        )
        console.print(_table(results, None))


def _table(results: Mapping[str, float], style: box.Box | None) -> Table:
    metric_keys = [MetricKey.parse(metric_name) for metric_name in results]
    columns: list[int | None] = []
    if any(metric_key.k is None for metric_key in metric_keys):
        columns.append(None)
    columns.extend(sorted({metric_key.k for metric_key in metric_keys if metric_key.k is not None}))
    table = Table(box=style, pad_edge=False)
    table.add_column("metric")
    for cutoff in columns:
        table.add_column("value" if cutoff is None else f"@{cutoff}", justify="right")
    for row_key in dict.fromkeys(metric_key.at(None) for metric_key in metric_keys):
        values = [results.get(str(row_key.at(cutoff))) for cutoff in columns]
        table.add_row(escape(str(row_key)), *("" if value is None else f"{value:.4f}" for value in values))
    return table
