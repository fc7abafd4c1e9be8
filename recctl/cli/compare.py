"""`recctl compare`."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recctl.cli.app import EngineOption, SetOption, app, register_command
from recctl.cli.evaluate import Part

if TYPE_CHECKING:
    from recctl.experiment.comparison.new_data import NewData
    from recctl.experiment.comparison.result import ComparisonOptions
    from recctl.experiment.comparison.run import Repeats
    from recctl.runs import Run


class Significance(StrEnum):
    """Paired significance test."""

    randomisation = "randomisation"
    wilcoxon = "wilcoxon"


@register_command(app)
def compare(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG|RUN...",
            help="Configs, one config with models:, or runs; all must share data and split.",
            show_default=False,
        ),
    ] = None,
    overrides: SetOption = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", "-m", help="Metric that ranks the models. Default: evaluation.monitor."),
    ] = None,
    on: Annotated[
        Part | None,
        typer.Option("--on", help="Part of the split to compare on. Default: test; validation with --refit."),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="1,2,3", help="Seeds; randomized models are fitted once for each.")
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option("--folds", min=2, metavar="K", help="Use K-fold cross-validation instead of one split."),
    ] = None,
    refit: Annotated[
        bool,
        typer.Option("--refit", help="Refit the best model on train + validation; only this model is tested."),
    ] = False,
    significance: Annotated[
        Significance, typer.Option("--significance", help="Paired significance test.")
    ] = Significance.randomisation,
    confidence: Annotated[
        float,
        typer.Option(
            "--confidence",
            min=0.5,
            max=0.9999,
            help="Confidence level of the intervals; the significance level is 1 minus it.",
        ),
    ] = 0.95,
    resamples: Annotated[
        int, typer.Option("--resamples", min=100, help="Number of resamples for intervals and randomization tests.")
    ] = 10_000,
    engine: EngineOption = None,
    fail_if_worse: Annotated[
        bool,
        typer.Option(
            "--fail-if-worse",
            help="With RUN BASELINE: exit with code 6 if RUN is significantly worse than BASELINE.",
        ),
    ] = False,
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-drop",
            min=0,
            help="With --fail-if-worse: exit with code 6 unless RUN is known to lose less than this; the lower end of "
            "the interval of the difference decides.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="FILE",
            help="Compare the models of runs, whatever data they were fitted on, on the interactions of this file or "
            "URL.",
        ),
    ] = None,
    test_of: Annotated[
        str | None,
        typer.Option("--test-of", metavar="RUN", help="The same on the test part of RUN."),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="RUN", help="Resume a comparison: fit the models that are missing."),
    ] = None,
) -> None:
    """Compare models on one split, or existing runs, and test whether their differences are significant."""
    from rich.markup import escape

    from recctl.cli import common, terminal
    from recctl.errors import AssertionFailedError, ConfigError
    from recctl.experiment.comparison import run as comparison_run
    from recctl.experiment.comparison.new_data import NewData
    from recctl.experiment.comparison.result import ComparisonOptions, gate_failure
    from recctl.experiment.comparison.run import Repeats

    common.apply_threads()
    if max_drop is not None and not fail_if_worse:
        raise ConfigError("--max-drop is the margin of a gate; add --fail-if-worse")
    if resume is not None:
        if sources:
            raise ConfigError("--resume uses the settings of the comparison: omit CONFIG and RUN")
        run = _resume(common.store().resolve_to_resume(resume, ("compare",)), overrides or [], engine)
    else:
        evaluated_part = on.value if on else None
        options = ComparisonOptions(evaluated_part, metric, None, confidence, significance.value, resamples)
        repeats = Repeats(_parse_seeds(seeds), folds, refit)
        if data is not None or test_of is not None:
            _require_stored_models_only(on, repeats, data, test_of)
            new_data = NewData(data, test_of, tuple(overrides or ()), fail_if_worse)
            run = _compare_on_new_data(sources or [], options, new_data, fail_if_worse)
        else:
            all_overrides = (overrides or []) + common.engine_overrides(engine)
            run = _compare(sources or [], options, repeats, all_overrides, fail_if_worse)
    document = comparison_run.comparison_result(run)
    _print_comparison(document)
    uses_test = "new_data" not in run.metadata and (document["on"] == "test" or document["refit"])
    test_evaluations = common.print_test_evaluations(run) if uses_test else None
    terminal.print_result(f"comparison: [bold]{escape(str(run.path))}[/bold]")
    # `latest` would be the last model that was fitted.
    terminal.info(f"next: recctl report {run.id}")
    failure = None
    if fail_if_worse:
        candidate = next(label for label in run.metadata["labels"] if label != document["reference"])
        failure = gate_failure(document, candidate, max_drop)
    gate = {"passed": failure is None, "reason": failure} if fail_if_worse else None
    terminal.print_json(common.describe(run, comparison=document, test_looks=test_evaluations, gate=gate))
    if failure is not None:
        raise AssertionFailedError(f"on {document['on']}: {failure}")


def _compare(
    sources: list[str], options: ComparisonOptions, repeats: Repeats, overrides: list[str], fail_if_worse: bool
) -> Run:
    from dataclasses import replace

    from recctl.cli import common, terminal
    from recctl.experiment.comparison.entries import collect_entries
    from recctl.experiment.comparison.run import compare_entries

    store = common.store()
    if not sources:
        sources = [str(common.default_config())]
    if len(sources) == 1 and Path(sources[0]).suffix not in common.CONFIG_SUFFIXES:
        # A comparison that exists is shown again; nothing is fitted.
        compared_run = store.resolve(sources[0])
        if compared_run.metadata.get("kind") == "compare":
            _require_baseline(1, fail_if_worse)
            return compared_run
    with terminal.bars():
        entries = collect_entries(sources, store, overrides)
        _require_baseline(len(entries), fail_if_worse)
        if fail_if_worse:
            # Differences from the baseline, not from the best model.
            options = replace(options, reference=entries[-1].label)
        run = compare_entries(entries, store, options, repeats)
        common.store_report(run)
    return run


def _compare_on_new_data(sources: list[str], options: ComparisonOptions, new_data: NewData, fail_if_worse: bool) -> Run:
    from dataclasses import replace

    from recctl.cli import common, terminal
    from recctl.experiment.comparison.entries import collect_entries
    from recctl.experiment.comparison.run import compare_on_new_data

    store = common.store()
    with terminal.bars():
        entries = collect_entries(sources, store, on_new_data=True)
        _require_baseline(len(entries), fail_if_worse)
        if fail_if_worse:
            options = replace(options, reference=entries[-1].label)
        run = compare_on_new_data(entries, store, options, new_data)
        common.store_report(run)
    return run


def _require_baseline(n_compared: int, fail_if_worse: bool) -> None:
    from recctl.errors import ConfigError

    if fail_if_worse and n_compared != 2:
        raise ConfigError(
            "--fail-if-worse requires two runs: recctl compare RUN BASELINE --fail-if-worse; or a config with two "
            "models:, of which the second is the baseline"
        )


def _require_stored_models_only(on: Part | None, repeats: Repeats, data: str | None, test_of: str | None) -> None:
    from recctl.errors import ConfigError

    problems = []
    if data is not None and test_of is not None:
        problems.append("--data and --test-of cannot be used together")
    if on is not None:
        problems.append("--on is a part of the runs' own split; --data and --test-of say what is measured")
    if repeats.seeds or repeats.n_folds or repeats.refit:
        problems.append("--seeds, --folds and --refit fit models; --data and --test-of compare those that runs have")
    if problems:
        raise ConfigError(*problems)


def _resume(run: Run, overrides: list[str], engine: str | None) -> Run:
    from recctl.cli import common, terminal
    from recctl.experiment.comparison import run as comparison_run

    with terminal.bars(), common.on_engine(engine):
        resumed = comparison_run.resume(run, overrides)
        if resumed:
            common.store_report(run)
    if not resumed:
        terminal.info(f"{run.id} is complete: nothing to do")
    return run


def _parse_seeds(text: str | None) -> tuple[int, ...]:
    from recctl.errors import ConfigError

    if text is None:
        return ()
    seed_texts = [seed_text.strip() for seed_text in text.split(",")]
    if not all(seed_text.isdecimal() for seed_text in seed_texts) or len(set(seed_texts)) < len(seed_texts):
        raise ConfigError(f"--seeds {text!r}: must be distinct non-negative integers, e.g. --seeds 1,2,3")
    return tuple(map(int, seed_texts))


def _print_comparison(document: dict[str, Any]) -> None:
    """Print a table of all metrics, one of the costs, and the conclusions."""
    from rich.markup import escape

    from recctl.cli import terminal

    compared = document["compared"]
    interval = f"{document['confidence']:.0%} interval"
    is_repeated = any(len(model["runs"]) > 1 for model in compared)
    columns = ["metric", "model", "value", interval, "difference", interval, "p (Holm)"]
    if is_repeated:
        columns.append("spread")
    table_rows = []
    for metric_key in compared[0]["metrics"]:
        for model in compared:
            estimate = model["metrics"][metric_key]
            row_cells = [metric_key, model["label"], *_estimate_cells(estimate)]
            if is_repeated:
                row_cells.append(estimate["spread"])
            table_rows.append(row_cells)
    measured = document["on"]
    if document.get("file"):
        measured = f"{Path(document['file']).name} ({measured})"
    table_title = f"on {measured}, {document['n_users']:,} users; differences from {document['reference']}"
    if "windows" in document:
        table_title = f"mean over {len(document['windows'])} windows {table_title}; spread is over windows"
    terminal.table(columns, table_rows, escape(table_title))
    if "windows" in document:
        _print_windows(document)

    _print_segments(document, interval)

    # Costs in a table of their own: together with the metrics it would be wider than a terminal.
    headings = [
        "model",
        f"validation {document['metric']}",
        "fit, s",
        "model, MB",
        "coverage",
        "Pareto-optimal with",
    ]
    terminal.table(headings, [_cost_cells(model) for model in compared])

    if document["refit"]:
        _print_refit(document, interval)
    for sentence in document["words"]:
        terminal.print_result(escape(sentence))


def _print_refit(document: dict[str, Any], interval: str) -> None:
    """Print the metrics on test of the best model, refitted on train and validation."""
    from rich.markup import escape

    from recctl.cli import terminal
    from recctl.cli.common import format_interval

    refit = document["refit"]
    table_rows = []
    for metric_key, estimate in refit["metrics"].items():
        table_rows.append([metric_key, estimate["value"], format_interval(estimate["low"], estimate["high"])])
    table_title = (
        f"{document['best']} refitted on train + validation (v{refit['version']} of {refit['run_id']}), on test"
    )
    terminal.table(["metric", "value", interval], table_rows, escape(table_title))


def _print_windows(document: dict[str, Any]) -> None:
    """Print the metric of each model in each window of a backtest."""
    from recctl.cli import terminal

    records = [model["metrics"][document["metric"]] for model in document["compared"]]
    table_rows = []
    for position, window in enumerate(document["windows"]):
        estimates = [record["windows"][position] for record in records]
        row_cells = [
            window["number"],
            window["test_start"],
            window["test_end"],
            terminal.Count(estimates[0]["n_users"]),
        ]
        row_cells += [estimate["value"] for estimate in estimates]
        table_rows.append(row_cells)
    table_rows.append(["won", None, None, None, *(terminal.Count(record["windows_won"]) for record in records)])
    columns = ["window", "test from", "until", "users"]
    columns += [model["label"] for model in document["compared"]]
    terminal.table(columns, table_rows, f"{document['metric']} by window")


def _print_segments(document: dict[str, Any], interval: str) -> None:
    """Print the metric of each model in each segment, if there are any."""
    from recctl.cli import terminal

    headings = ["segment", "users", "model", document["metric"], interval, "difference", interval, "p (Holm)"]
    table_rows = list(_segment_rows(document))
    if table_rows:
        terminal.table(headings, table_rows, "within segments; p over all models and segments")


def _segment_rows(document: dict[str, Any]) -> Iterator[list[Any]]:
    from recctl.cli import terminal

    labels = [model["label"] for model in document["compared"]]
    for key, segment in document.get("segments", {}).items():
        name = f"{key} ({segment['range']})" if "range" in segment else key
        for label in labels:
            estimate = segment["models"].get(label, {}).get(document["metric"])
            cells = [None] * 5 if estimate is None else _estimate_cells(estimate)
            yield [name, terminal.Count(segment["n_users"]), label, *cells]


def _estimate_cells(estimate: dict[str, Any]) -> list[Any]:
    from recctl.cli.common import format_interval

    p_value = estimate["p_holm"]
    return [
        estimate["value"],
        format_interval(estimate["low"], estimate["high"]),
        estimate["difference"],
        format_interval(estimate["difference_low"], estimate["difference_high"]),
        None if p_value is None else f"{p_value:.2g}",
    ]


def _cost_cells(model: dict[str, Any]) -> list[Any]:
    model_bytes = model["model_bytes"]
    return [
        model["label"],
        model["validation"],
        model["fit_seconds"],
        None if model_bytes is None else model_bytes / 1e6,
        model["coverage"],
        ", ".join(model["front"]) or None,
    ]
