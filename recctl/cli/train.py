"""`recctl train`."""

from __future__ import annotations

from typing import Annotated

import typer

from recctl.cli.app import ConfigArgument, EngineOption, SetOption, app, verb


@verb(app)
def train(
    config: ConfigArgument = None,
    overrides: SetOption = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="Fit anew on train and validation before test: training.refit=true.")
    ] = False,
    engine: EngineOption = None,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="Go on with a run that was interrupted or failed.")
    ] = None,
) -> None:
    """Split, fit, evaluate and save: one run."""
    from rich.markup import escape

    from recctl import experiment
    from recctl.cli import common, terminal
    from recctl.cli.diagnose import tell_briefly
    from recctl.errors import ConfigError

    if resume is not None:
        if config is not None or overrides or refit:
            raise ConfigError("--resume goes on with the run's own config: leave CONFIG, --set and --refit out")
        common.apply_threads()
        run = common.store().resolve(resume)
        with terminal.bars(), common.on_engine(engine):
            went_on = experiment.resume(run)
        if not went_on:
            terminal.info(f"{run.id} is complete: nothing to do")
    else:
        given = [*(overrides or []), *(["training.refit=true"] if refit else []), *common.engine_overrides(engine)]
        loaded = common.load_config(config, given)
        with terminal.bars():
            run = experiment.train(loaded, common.store())
    metrics = run.metrics()
    terminal.metrics_table(metrics)
    looks = common.say_test_looks(run) if run.metadata["test_looks"] else 0
    fit_seconds = run.metadata["timings"].get("fit")
    terminal.print_result(
        f"run: [bold]{escape(str(run.path))}[/bold]" + (f"  (fit {fit_seconds:.2f} s)" if fit_seconds else "")
    )
    terminal.info(f"next: recctl runs show {run.id}")
    if run.metadata["models"]:
        terminal.info(f"      recctl recommend {run.id} USER_ID")
    tell_briefly(run)
    terminal.print_json(common.describe(run, test_looks=looks))
