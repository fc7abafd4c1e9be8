"""`recctl report`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from recctl.cli.app import app, verb


class Form(StrEnum):
    """What a report is written as."""

    html = "html"
    md = "md"
    latex = "latex"


@verb(app)
def report(
    run_ids: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Runs; the models of several are compared, if of one data and split."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: report.html in the run's directory."),
    ] = None,
    form: Annotated[
        Form, typer.Option("--format", help="html: one page that works offline; md, latex: tables for a paper.")
    ] = Form.html,
    metric: Annotated[
        str | None, typer.Option("--metric", "-m", help="Tell quality by this; default: what the runs monitor.")
    ] = None,
) -> None:
    """Write what runs came to: one page to look at, or tables for a paper."""
    from rich.markup import escape

    from recctl.cli import common, terminal
    from recctl.engines import format_bytes
    from recctl.reports.report import write_report

    common.apply_threads()
    store = common.store()
    runs = list({run.id: run for run in map(store.resolve, run_ids)}.values())
    with terminal.bars():
        written = write_report(runs, output, form.value, metric)
    for title, reason in written.left_out.items():
        terminal.info(f"left out: {title}: {reason}")
    terminal.print_result(f"report: [bold]{escape(str(written.path))}[/bold]  ({format_bytes(written.bytes)})")
    terminal.print_json(
        {
            "path": str(written.path),
            "bytes": written.bytes,
            "format": form.value,
            "runs": [run.id for run in runs],
            "left_out": written.left_out,
        }
    )
