"""`recctl fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recctl.cli.app import EngineOption, SetOption, WarmStartOption, app, register_command


@register_command(app)
def fit(
    source: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG|RUN",
            help="YAML config, or a run whose config and split (with --all-data: settings) are used.",
        ),
    ],
    overrides: SetOption = None,
    all_data: Annotated[
        bool,
        typer.Option(
            "--all-data",
            help="Fit on everything that the source holds now. With RUN: its settings, and the number of epochs that "
            "its training chose.",
        ),
    ] = False,
    warm_start: WarmStartOption = None,
    engine: EngineOption = None,
) -> None:
    """Fit and save a model without evaluating it, on a new split, on that of a run, or on all data."""
    from rich.markup import escape

    from recctl import experiment
    from recctl.cli import common, terminal

    common.apply_threads()
    source_path = Path(source)
    parent = None
    # A missing file with the suffix of a config is reported as such, not as an unknown run.
    if not source_path.is_file() and source_path.suffix not in common.CONFIG_SUFFIXES:
        parent = common.store().resolve(source)
        # A comparison has no settings of its own that could be fitted: its winner is meant.
        parent = common.store().run_of_model(parent) if all_data else parent
    all_overrides = (overrides or []) + common.engine_overrides(engine) + common.warm_start_overrides(warm_start)
    if parent is None:
        loaded = experiment.load(source_path, all_overrides)
    elif all_data:
        loaded = experiment.load_settings(parent, all_overrides)
    else:
        loaded = experiment.load_run_config(parent, settings=all_overrides)
    fit_model = experiment.fit_all_data if all_data else experiment.fit
    with terminal.bars(), common.on_engine(engine):
        run = fit_model(loaded, common.store(), parent)
        common.store_report(run)
    terminal.print_result(f"run: [bold]{escape(str(run.path))}[/bold]  (fit {run.metadata['timings']['fit']:.2f} s)")
    if all_data:
        terminal.info(f"next: recctl export {run.id} --format recommendations")
    else:
        terminal.info(f"next: recctl evaluate {run.id}")
    terminal.print_json(common.describe(run, parent_run=run.metadata["parent_run"]))
