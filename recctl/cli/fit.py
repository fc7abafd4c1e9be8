"""`recctl fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recctl.cli.app import EngineOption, SetOption, app, register_command


@register_command(app)
def fit(
    source: Annotated[
        str,
        typer.Argument(metavar="CONFIG|RUN", help="YAML config, or a run whose config and split are reused."),
    ],
    overrides: SetOption = None,
    engine: EngineOption = None,
) -> None:
    """Fit and save a model without evaluating it, on a new split or on that of a run."""
    from rich.markup import escape

    from recctl import experiment
    from recctl.cli import common, terminal

    common.apply_threads()
    source_path = Path(source)
    parent = None
    # A missing file with the suffix of a config is reported as such, not as an unknown run.
    if not source_path.is_file() and source_path.suffix not in common.CONFIG_SUFFIXES:
        parent = common.store().resolve(source)
    all_overrides = (overrides or []) + common.engine_overrides(engine)
    if parent is None:
        loaded = experiment.load(source_path, all_overrides)
    else:
        loaded = experiment.load_run_config(parent, settings=all_overrides)
    with terminal.bars(), common.on_engine(engine):
        run = experiment.fit(loaded, common.store(), parent)
    terminal.print_result(f"run: [bold]{escape(str(run.path))}[/bold]  (fit {run.metadata['timings']['fit']:.2f} s)")
    terminal.info(f"next: recctl evaluate {run.id}")
    terminal.print_json(common.describe(run, parent_run=run.metadata["parent_run"]))
