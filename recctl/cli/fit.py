"""`recctl fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recctl.cli.app import EngineOption, SetOption, app, verb


@verb(app)
def fit(
    source: Annotated[
        str,
        typer.Argument(metavar="CONFIG|RUN", help="A YAML config; or a run, whose config and split are then used."),
    ],
    overrides: SetOption = None,
    engine: EngineOption = None,
) -> None:
    """Fit a model on a split that exists or is made, and save it; no evaluation."""
    from rich.markup import escape

    from recctl import experiment
    from recctl.cli import common, terminal

    common.apply_threads()
    path = Path(source)
    is_config = path.is_file() or path.suffix in (".yaml", ".yml")
    parent = None if is_config else common.store().resolve(source)
    given = [*(overrides or []), *common.engine_overrides(engine)]
    loaded = experiment.load(path if parent is None else parent.path / "config.yaml", given)
    with terminal.bars(), common.on_engine(engine):
        run = experiment.fit(loaded, common.store(), parent)
    terminal.print_result(f"run: [bold]{escape(str(run.path))}[/bold]  (fit {run.metadata['timings']['fit']:.2f} s)")
    terminal.info(f"next: recctl evaluate {run.id}")
    terminal.print_json(common.describe(run, parent_run=run.metadata["parent_run"]))
