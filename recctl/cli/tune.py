"""`recctl tune`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from recctl.cli.app import ConfigArgument, EngineOption, SetOption, app, register_command

# Rows of the table of trials.
_MAX_ROWS = 10


@register_command(app)
def tune(
    config: ConfigArgument = None,
    overrides: SetOption = None,
    trials: Annotated[
        int | None, typer.Option("--trials", min=1, help="Number of trials. Sets tuning.n_trials.")
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option("--strategy", help="manual, grid, random, bayesian or coarse_to_fine. Sets tuning.strategy."),
    ] = None,
    allocation: Annotated[
        str | None,
        typer.Option("--allocation", help="With models:, equal or adaptive. Sets tuning.allocation."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, help="Number of parallel trials. Sets tuning.jobs.")
    ] = None,
    timeout_minutes: Annotated[
        float | None,
        typer.Option(
            "--timeout-minutes", "--minutes", help="Start no trial after this time. Sets tuning.timeout_minutes."
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            "--patience",
            "--no-gain",
            min=1,
            help="Stop after this many trials in a row without improvement. Sets tuning.patience.",
        ),
    ] = None,
    monitor: Annotated[
        list[str] | None, typer.Option("--monitor", help="Metric to optimize. Sets tuning.monitor. Repeatable.")
    ] = None,
    pick: Annotated[
        list[str] | None,
        typer.Option(
            "--pick",
            metavar="CONDITION",
            help="With several metrics: keep the best trial of the Pareto front that satisfies a condition, e.g. "
            "'coverage@10>=0.3'; with --resume, also of a finished search. Sets tuning.pick. Repeatable.",
        ),
    ] = None,
    engine: EngineOption = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            envvar="RECCTL_STORAGE",
            metavar="URL",
            help="Database of studies that several processes share.",
        ),
    ] = None,
    study: Annotated[
        str | None, typer.Option("--study", metavar="NAME", help="Name of the study in --storage.")
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="RUN", help="Resume a search; --trials then sets its total number of trials."),
    ] = None,
) -> None:
    """Search hyperparameters on validation, as one run with all trials, the best config and the best model."""
    from recctl import tuning
    from recctl.cli import common, terminal
    from recctl.errors import ConfigError

    options = {
        "strategy": strategy,
        "allocation": allocation,
        "n_trials": trials,
        "jobs": jobs,
        "timeout_minutes": timeout_minutes,
        "patience": patience,
    }
    if monitor:
        # Several metrics are a list in YAML: a search for the Pareto front.
        options["monitor"] = monitor[0] if len(monitor) == 1 else f"[{', '.join(monitor)}]"
    if pick:
        # JSON is YAML, and quotes the operators.
        options["pick"] = json.dumps(pick)
    # Overrides rather than arguments, so that the config of the run records them.
    tuning_overrides = [
        f"tuning.{option_name}={option_value}"
        for option_name, option_value in options.items()
        if option_value is not None
    ]
    tuning_overrides += common.engine_overrides(engine)
    if resume is not None:
        if config is not None or study:
            raise ConfigError("--resume uses the config of the run: omit CONFIG and --study")
        common.apply_threads()
        run = common.store().resolve_to_resume(resume, ("tune",))
        if run.metadata.get("kind") != "tune":
            raise ConfigError(f"{run.id} is not a search; resume with: recctl train --resume {run.id}")
        with terminal.bars():
            resumed = tuning.resume(run, storage, tuning_overrides, overrides or [])
            if resumed:
                common.store_report(run)
        if not resumed:
            is_extendable = run.metadata["tuning"].get("allocation") != "equal"
            hint = "; --trials N adds trials" if is_extendable else ""
            terminal.info(f"{run.id} is complete: nothing to do{hint}")
    else:
        if study and not storage:
            raise ConfigError("--study requires --storage, the database of the study")
        loaded = common.load_config(config, (overrides or []) + tuning_overrides)
        with terminal.bars():
            run = tuning.tune(loaded, common.store(), storage, study)
            common.store_report(run)
    _print_search(run)


def _print_search(run: Any) -> None:
    from rich.markup import escape

    from recctl.cli import common, terminal

    record = run.metadata["tuning"]
    trials = run.trials()
    if "models" in record:
        _print_models(record)
    _print_trials(trials, record)
    if "windows" in record:
        _print_windows(record)
    if "baseline" in record:
        values = zip(record["monitors"], record["baseline"]["values"], strict=False)
        measured = ", ".join(f"{monitor} = {value:.6g}" for monitor, value in values) or "no value"
        terminal.info(f"baseline: trial 0, the config's own values, outside the search space: {measured}")
    for metric_key, importances in run.importances().items():
        shares = ", ".join(f"{hyperparameter} {importance:.0%}" for hyperparameter, importance in importances.items())
        terminal.info(f"hyperparameter importance for {metric_key}: {shares}")
    counts = trials["state"].value_counts()
    # Only if some were pruned or failed.
    if set(counts.index) - {"complete"}:
        terminal.info("trials: " + ", ".join(f"{count} {state}" for state, count in counts.items()))
    if run.metrics():
        terminal.metrics_table(run.metrics())
    test_evaluations = common.print_test_evaluations(run) if run.metadata["test_looks"] else 0
    best_config = run.path / "best.yaml"
    best = f"best: trial {record['best_trial']}"
    if "best_model" in record:
        best = f"best: {record['best_model']}, trial {record['best_trial']}"
    if record["pareto"]:
        picked_by = f" by {' and '.join(record['pick'])}" if record["pick"] else ""
        best = f"kept: trial {record['best_trial']}, of {len(record['pareto'])} on the Pareto front{picked_by}"
    terminal.print_result(f"run: [bold]{escape(str(run.path))}[/bold]  ({escape(best)})")
    terminal.info(f"next: recctl train {best_config}")
    if len(record["pareto"]) > 1:
        terminal.info(f"      keep another trial of the front: recctl tune --resume {run.id} --pick 'METRIC>=NUMBER'")
    terminal.info(f"      figures in {run.path / 'figures'}")
    terminal.print_json(common.describe(run, test_looks=test_evaluations, tuning=record, best_config=str(best_config)))


def _print_windows(record: dict[str, Any]) -> None:
    """Print the windows of a rolling split, with the first metric of the best trial and of trial 0 in each."""
    from recctl.cli import terminal

    monitor = record["monitors"][0]
    table_rows = [
        [
            window["number"],
            window["test_start"],
            window["best"][monitor],
            window["trial_0"][monitor] if window["trial_0"] else None,
        ]
        for window in record["windows"]
    ]
    columns = ["window", "test from", f"trial {record['best_trial']}", "trial 0 (config)"]
    terminal.table(columns, table_rows, f"{monitor} on validation of each window; trials are compared by the mean")


def _print_models(record: dict[str, Any]) -> None:
    """Print what each model got of the budget, and achieved with it."""
    from rich.markup import escape

    from recctl.cli import terminal

    rows = [
        [model["label"], model["best_value"], model["trials"], model["seconds"], model["rungs"]]
        for model in record["models"]
    ]
    terminal.table(["model", record["monitors"][0], "trials", "seconds", "rungs"], rows, "Models, the best first")
    for model in record["models"]:
        if model["error"]:
            terminal.info(escape(f"{model['label']}: {model['error']}"))
    if "comparison" in record:
        terminal.info(f"comparison of the best of each model on test: recctl runs show {record['comparison']}")


def _print_trials(trials: Any, record: dict[str, Any]) -> None:
    import pandas as pd

    from recctl.cli import terminal
    from recctl.runs.trials import best_first

    monitors = record["monitors"]
    shown_trials = best_first(trials, monitors, record["pareto"]).head(_MAX_ROWS)
    hyperparameters = [hyperparameter for hyperparameter in record["best_point"] if hyperparameter in shown_trials]
    of_model = ["model"] if "models" in record else []
    columns = ["number", *of_model, *monitors, *hyperparameters, "fit_seconds"]
    trial_rows = [
        [None if pd.isna(value) else value for value in trial_row]
        for trial_row in shown_trials[columns].to_numpy(object).tolist()
    ]
    table_title = "Pareto front of the trials" if record["pareto"] else f"Best of {len(trials)} trials"
    terminal.table(columns, trial_rows, table_title)
