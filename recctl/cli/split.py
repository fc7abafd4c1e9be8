"""`recctl split`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recctl.cli.app import ConfigArgument, SetOption, app, register_command


@register_command(app)
def split(
    config: ConfigArgument = None,
    overrides: SetOption = None,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="DIR", help="Also write each part to this directory as Parquet.")
    ] = None,
) -> None:
    """Create a run with only the split, and report leakage between its parts."""
    from rich.markup import escape

    from recctl import experiment
    from recctl.cli import common, terminal

    loaded = common.load_config(config, overrides)
    with terminal.bars():
        run = experiment.split(loaded, common.store(), export)
    leakage = run.metadata["split"]["leakage"]
    part_rows = [
        [part_name, *map(terminal.Count, part_sizes.values())] for part_name, part_sizes in leakage["parts"].items()
    ]
    terminal.table(["part", *next(iter(leakage["parts"].values()))], part_rows)
    if export is not None:
        terminal.print_result(f"parts: {escape(str(export))}")
    terminal.print_result(f"run: [bold]{escape(str(run.path))}[/bold]")
    terminal.info(f"next: recctl fit {run.id} --set model.name=ease")
    terminal.print_json(common.describe(run, leakage=leakage, export=str(export) if export else None))
