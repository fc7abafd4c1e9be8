"""`recctl tune`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from recctl.cli.app import ConfigArgument, EngineOption, SetOption, app, verb

_SHOWN = 10


@verb(app)
def tune(
    config: ConfigArgument = None,
    overrides: SetOption = None,
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="How many trials: tuning.n_trials.")] = None,
    strategy: Annotated[
        str | None,
        typer.Option("--strategy", help="manual, grid, random, bayesian or coarse_to_fine: tuning.strategy."),
    ] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, help="How many trials at once: tuning.jobs.")] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="Begin no trial after so many: tuning.minutes.")
    ] = None,
    no_gain: Annotated[
        int | None, typer.Option("--no-gain", min=1, help="Stop when so many trials gained nothing: tuning.no_gain.")
    ] = None,
    monitor: Annotated[
        list[str] | None, typer.Option("--monitor", help="The metric that is sought: tuning.monitor. Repeatable.")
    ] = None,
    engine: EngineOption = None,
    storage: Annotated[
        str | None,
        typer.Option("--storage", envvar="RECCTL_STORAGE", metavar="URL", help="A database that searches share."),
    ] = None,
    study: Annotated[str | None, typer.Option("--study", metavar="NAME", help="The study's name in --storage.")] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="RUN", help="Go on with a search; with --trials, until it has so many."),
    ] = None,
) -> None:
    """Search hyperparameters by validation: one run with all trials, the best config and the best model."""
    from recctl import tuning
    from recctl.cli import common, terminal
    from recctl.errors import ConfigError

    said = {
        "strategy": strategy,
        "n_trials": trials,
        "jobs": jobs,
        "minutes": minutes,
        "no_gain": no_gain,
        "monitor": monitor and (monitor[0] if len(monitor) == 1 else f"[{', '.join(monitor)}]"),
    }
    given = [f"tuning.{key}={value}" for key, value in said.items() if value is not None]
    given += common.engine_overrides(engine)
    if resume is not None:
        if config is not None or overrides or study:
            raise ConfigError("--resume goes on with the run's own config: leave CONFIG, --set and --study out")
        common.apply_threads()
        run = common.store().resolve(resume)
        if run.metadata.get("kind") != "tune":
            raise ConfigError(f"{run.id} is not a search; resume with: recctl train --resume {run.id}")
        with terminal.bars():
            went_on = tuning.resume(run, storage, given)
        if not went_on:
            terminal.info(f"{run.id} is complete: nothing to do; --trials N gives it more")
    else:
        if study and not storage:
            raise ConfigError("--study names a study in a database: say --storage too, or leave it out")
        loaded = common.load_config(config, [*(overrides or []), *given])
        with terminal.bars():
            run = tuning.tune(loaded, common.store(), storage, study)
    _say(run)


def _say(run: Any) -> None:
    import pandas as pd
    from rich.markup import escape

    from recctl.cli import common, terminal

    facts = run.metadata["tuning"]
    trials = run.trials()
    monitors, point = facts["monitors"], facts["best_point"]
    shown = _best_first(trials, monitors, facts["pareto"]).head(_SHOWN)
    columns = ["number", *monitors, *(name for name in point if name in shown), "fit_seconds"]
    rows = [[None if pd.isna(value) else value for value in row] for row in shown[columns].to_numpy(object).tolist()]
    title = "Trials that no other beats in every metric" if facts["pareto"] else f"The best of {len(trials)} trials"
    terminal.table(columns, rows, title)
    if facts["importances"]:
        terminal.info("matters most: " + ", ".join(f"{key} {value:.0%}" for key, value in facts["importances"].items()))
    counts = trials["state"].value_counts()
    if set(counts.index) - {"complete"}:
        terminal.info(", ".join(f"{count} {state}" for state, count in counts.items()))
    if run.metrics():
        terminal.metrics_table(run.metrics())
    looks = common.say_test_looks(run) if run.metadata["test_looks"] else 0
    terminal.print_result(f"run: [bold]{escape(str(run.path))}[/bold]  (best: trial {facts['best_trial']})")
    terminal.info(f"next: recctl train {run.path / 'best.yaml'}")
    terminal.info(f"      figures in {run.path / 'figures'}")
    terminal.print_json(common.describe(run, test_looks=looks, tuning=facts, best_config=str(run.path / "best.yaml")))


def _best_first(trials: Any, monitors: list[str], pareto: list[int]) -> Any:
    from recctl.training.early_stopping import direction

    if pareto:
        trials = trials[trials["number"].isin(pareto)]
    trials = trials[trials["state"] == "complete"]
    return trials.sort_values([monitors[0], "number"], ascending=[direction(monitors[0]) == "min", True])
