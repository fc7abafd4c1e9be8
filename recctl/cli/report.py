"""`recctl report`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from recctl.cli.app import DataSetOption, app, register_command


class Form(StrEnum):
    """Format of a report."""

    html = "html"
    md = "md"
    latex = "latex"


@register_command(app)
def report(
    run_ids: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Runs to report; several runs of the same data and split are compared."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="File to write. Default: report.html in the directory of the run."
        ),
    ] = None,
    form: Annotated[
        Form, typer.Option("--format", help="html: a self-contained page; md, latex: tables for a paper.")
    ] = Form.html,
    metric: Annotated[
        str | None,
        typer.Option("--metric", "-m", help="Main metric of the report. Default: the metric that the runs monitor."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file at --output that is no report.")] = False,
    overrides: DataSetOption = None,
) -> None:
    """Report the results of runs as a web page, or as tables for a paper."""
    from rich.markup import escape

    from recctl.cli import common, terminal
    from recctl.engines import format_bytes
    from recctl.reports.report import write_report

    common.apply_threads()
    store = common.store()
    runs_by_id = {run.id: run for run in map(store.resolve, run_ids)}
    reported_runs = list(runs_by_id.values())
    with terminal.bars():
        written = write_report(reported_runs, output, form.value, metric, overrides or [], force)
    for section_title, reason in written.left_out.items():
        terminal.info(f"omitted: {section_title}: {reason}")
    terminal.print_result(f"report: [bold]{escape(str(written.path))}[/bold]  ({format_bytes(written.bytes)})")
    terminal.print_json(
        {
            "path": str(written.path),
            "bytes": written.bytes,
            "format": form.value,
            "runs": [run.id for run in reported_runs],
            "left_out": written.left_out,
        }
    )
