"""`recctl split`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
    window = run.metadata["split"].get("window", {})
    columns = ["part", *next(iter(leakage["parts"].values()))]
    part_rows: list[list[Any]] = [
        [part_name, *map(terminal.Count, part_sizes.values())] for part_name, part_sizes in leakage["parts"].items()
    ]
    if window:
        columns += ["from", "until"]
        for row in part_rows:
            row += [window.get(f"{row[0]}_start"), window.get(f"{row[0]}_end")]
    terminal.table(columns, part_rows)
    windows = run.metadata.get("windows")
    if windows:
        _print_windows(windows)
    if export is not None:
        terminal.print_result(f"parts: {escape(str(export))}")
    terminal.print_result(f"run: [bold]{escape(str(run.path))}[/bold]")
    terminal.info(f"next: recctl fit {run.id} --set model.name=ease")
    terminal.print_json(
        common.describe(
            run, leakage=leakage, window=window or None, windows=windows, export=str(export) if export else None
        )
    )


def _print_windows(windows: list[dict[str, Any]]) -> None:
    """Print the dates and sizes of the windows of a rolling split; the parts above are those of the newest."""
    from recctl.cli import terminal

    has_validation = windows[0]["validation_start"] is not None
    columns = ["window", "train until", "test from", "test until", "train", "test"]
    if has_validation:
        columns[2:2] = ["validation from", "validation until"]
        columns.insert(-1, "validation")
    rows = []
    for window in windows:
        sizes = [terminal.Count(window["interactions"][part]) for part in columns if part in window["interactions"]]
        dates = [window["train_end"]]
        if has_validation:
            dates += [window["validation_start"], window["validation_end"]]
        rows.append([window["number"], *dates, window["test_start"], window["test_end"], *sizes])
    terminal.table(columns, rows, "windows; the ends are exclusive")
