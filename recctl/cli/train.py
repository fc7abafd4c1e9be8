"""`recctl train`."""

from __future__ import annotations

from typing import Annotated

import typer

from recctl.cli.app import (
    ConfigArgument,
    EngineOption,
    SetOption,
    TestSinceOption,
    WarmStartOption,
    app,
    register_command,
)


@register_command(app)
def train(
    config: ConfigArgument = None,
    overrides: SetOption = None,
    refit: Annotated[
        bool,
        typer.Option("--refit", help="Refit on train + validation before the test evaluation. Sets training.refit."),
    ] = False,
    test_since: TestSinceOption = None,
    warm_start: WarmStartOption = None,
    engine: EngineOption = None,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="Resume an interrupted or failed run.")
    ] = None,
) -> None:
    """Split the data, fit a model, evaluate and save it, as one run."""
    from rich.markup import escape

    from recctl import experiment
    from recctl.cli import common, terminal
    from recctl.cli.diagnose import print_warnings
    from recctl.errors import ConfigError

    if resume is not None:
        if config is not None or refit or test_since or warm_start:
            # A changed config would make the run something that its metadata does not describe.
            raise ConfigError(
                "--resume uses the config and the split of the run: omit CONFIG, --refit, --test-since and --warm-start"
            )
        common.apply_threads()
        run = common.store().resolve_to_resume(resume, ("train", "fit", "split"))
        with terminal.bars(), common.on_engine(engine):
            resumed = experiment.resume(run, overrides or [])
            if resumed:
                common.store_report(run)
        if not resumed:
            terminal.info(f"{run.id} is complete: nothing to do")
    else:
        # After --set, so that the dedicated options win.
        all_overrides = (overrides or []) + common.engine_overrides(engine)
        all_overrides += common.warm_start_overrides(warm_start)
        if refit:
            all_overrides.append("training.refit=true")
        loaded = common.load_config(config, all_overrides)
        earlier_run = None if test_since is None else common.store().resolve_model(test_since)
        with terminal.bars():
            run = experiment.train(loaded, common.store(), earlier_run)
            common.store_report(run)
    metrics = run.metrics()
    terminal.metrics_table(metrics)
    common.print_segments(run.segments(), run)
    test_evaluations = common.print_test_evaluations(run) if run.metadata["test_looks"] else 0
    message = f"run: [bold]{escape(str(run.path))}[/bold]"
    fit_seconds = run.metadata["timings"].get("fit")
    if fit_seconds:
        message += f"  (fit {fit_seconds:.2f} s)"
    terminal.print_result(message)
    terminal.info(f"next: recctl runs show {run.id}")
    if run.metadata["models"]:
        terminal.info(f"      recctl recommend {run.id} USER_ID")
    print_warnings(run)
    terminal.print_json(common.describe(run, test_looks=test_evaluations))
