"""`recctl compare`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recctl.cli.app import EngineOption, SetOption, app, verb
from recctl.cli.evaluate import Part

if TYPE_CHECKING:
    from recctl.experiment.comparison.result import ComparisonOptions
    from recctl.experiment.comparison.run import Repeats
    from recctl.runs import Run


class Significance(StrEnum):
    """A test of paired differences."""

    randomisation = "randomisation"
    wilcoxon = "wilcoxon"


@verb(app)
def compare(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG|RUN...",
            help="Configs (files), a config with several models:, or runs; all of one data and split.",
            show_default=False,
        ),
    ] = None,
    overrides: SetOption = None,
    metric: Annotated[
        str | None, typer.Option("--metric", "-m", help="Choose and decide by this; default: evaluation.monitor.")
    ] = None,
    on: Annotated[
        Part | None, typer.Option("--on", help="Which part's figures; default: test, with --refit validation.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="1,2,3", help="Fit models that draw numbers with each of these.")
    ] = None,
    folds: Annotated[
        int | None, typer.Option("--folds", min=2, metavar="K", help="Each part of K is test once, instead of a split.")
    ] = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="Fit the best anew on train and validation; it alone reads test.")
    ] = False,
    significance: Annotated[
        Significance, typer.Option("--significance", help="The test p is of.")
    ] = Significance.randomisation,
    confidence: Annotated[
        float, typer.Option("--confidence", min=0.5, max=0.9999, help="Of the intervals; 1 less it is the level of p.")
    ] = 0.95,
    resamples: Annotated[int, typer.Option("--resamples", min=100, help="Of intervals and tests.")] = 10_000,
    engine: EngineOption = None,
    fail_if_worse: Annotated[
        bool,
        typer.Option(
            "--fail-if-worse", help="compare RUN BASELINE: end with exit code 6 if RUN is significantly worse."
        ),
    ] = False,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="Fit what is missing of a comparison, and show it.")
    ] = None,
) -> None:
    """Fit models on one split, or take runs as they are; tell which differences are more than chance."""
    from rich.markup import escape

    from recctl.cli import common, terminal
    from recctl.errors import AssertionFailedError, ConfigError
    from recctl.experiment.comparison import run as comparison_run
    from recctl.experiment.comparison.result import ComparisonOptions
    from recctl.experiment.comparison.run import Repeats

    common.apply_threads()
    if resume is not None:
        if sources or overrides:
            raise ConfigError("--resume goes on with what the comparison was asked: leave the rest out")
        run = _resumed(common.store().resolve(resume), engine)
    else:
        terms = ComparisonOptions(on.value if on else None, metric, None, confidence, significance.value, resamples)
        repeats = Repeats(_seeds(seeds), folds, refit)
        given = [*(overrides or []), *common.engine_overrides(engine)]
        run = _compared(sources or [], terms, repeats, given, fail_if_worse)
    document = comparison_run.comparison_result(run)
    _show(document)
    looks = common.say_test_looks(run) if document["on"] == "test" or document["refit"] else None
    terminal.print_result(f"comparison: [bold]{escape(str(run.path))}[/bold]")
    best = next(model for model in document["compared"] if model["label"] == document["best"])
    terminal.info(f"next: recctl runs show {best['runs'][0]}")
    terminal.print_json(common.describe(run, comparison=document, test_looks=looks))
    if fail_if_worse and document["worse"]:
        level = 1 - document["confidence"]
        terminal.error(f"on {document['on']}: {'; '.join(document['worse'])} (significance level {level:.2g})")
        raise typer.Exit(AssertionFailedError.exit_code)  # not raised itself: its JSON would be a second document


def _compared(
    sources: list[str], terms: ComparisonOptions, repeats: Repeats, overrides: list[str], fail_if_worse: bool
) -> Run:
    from dataclasses import replace

    from recctl.cli import common, terminal
    from recctl.config import find_config
    from recctl.errors import ConfigError
    from recctl.experiment.comparison.entries import collect_entries
    from recctl.experiment.comparison.run import compare_entries

    store = common.store()
    if not sources:
        path, why = find_config()
        terminal.info(f"config: {path} ({why})")
        sources = [str(path)]
    if fail_if_worse and len(sources) != 2:
        raise ConfigError("--fail-if-worse takes two: recctl compare RUN BASELINE --fail-if-worse")
    if len(sources) == 1 and Path(sources[0]).suffix not in (".yaml", ".yml"):
        run = store.resolve(sources[0])
        if run.metadata.get("kind") == "compare":
            return run
    with terminal.bars():
        contenders = collect_entries(sources, store, overrides)
        if fail_if_worse:
            terms = replace(terms, reference=contenders[-1].label)
        return compare_entries(contenders, store, terms, repeats)


def _resumed(run: Run, engine: str | None) -> Run:
    from recctl.cli import common, terminal
    from recctl.experiment.comparison import run as comparison_run

    with terminal.bars(), common.on_engine(engine):
        went_on = comparison_run.resume(run)
    if not went_on:
        terminal.info(f"{run.id} is complete: nothing to do")
    return run


def _seeds(text: str | None) -> tuple[int, ...]:
    from recctl.errors import ConfigError

    if text is None:
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise ConfigError(f"--seeds {text!r}: give different whole numbers, as in --seeds 1,2,3")
    return tuple(map(int, parts))


def _show(document: dict[str, Any]) -> None:
    """Every figure in one table, what it costs in another, and what it means in words."""
    from rich.markup import escape

    from recctl.cli import terminal

    percent = f"{document['confidence']:.0%}"
    repeated = any(len(model["runs"]) > 1 for model in document["compared"])
    columns = ["metric", "model", "value", f"{percent} interval", "difference", f"{percent} interval", "p (Holm)"]
    rows = [
        [key, model["label"], *_cells(model["metrics"][key]), *([model["metrics"][key]["spread"]] if repeated else [])]
        for key in document["compared"][0]["metrics"]
        for model in document["compared"]
    ]
    title = f"on {document['on']}, {document['n_users']:,} users; differences from {document['reference']}"
    terminal.table([*columns, *(["spread"] if repeated else [])], rows, escape(title))
    costs = [
        [model["label"], model["validation"], *_costs(model), ", ".join(model["front"]) or None]
        for model in document["compared"]
    ]
    heads = ["model", f"validation {document['metric']}", "fit, s", "model, MB", "coverage", "best trade-off with"]
    terminal.table(heads, costs)
    if document["refit"]:
        done = document["refit"]
        rows = [[key, figure["value"], _interval(figure, "low", "high")] for key, figure in done["metrics"].items()]
        terminal.table(
            ["metric", "value", f"{percent} interval"],
            rows,
            escape(
                f"{document['best']} fitted on train and validation (v{done['version']} of {done['run_id']}), on test"
            ),
        )
    for sentence in document["words"]:
        terminal.print_result(escape(sentence))


def _cells(figure: dict[str, Any]) -> list[Any]:
    return [
        figure["value"],
        _interval(figure, "low", "high"),
        figure["difference"],
        _interval(figure, "difference_low", "difference_high"),
        None if figure["p_holm"] is None else f"{figure['p_holm']:.2g}",
    ]


def _interval(figure: dict[str, Any], low: str, high: str) -> str | None:
    return None if figure[low] is None else f"{figure[low]:.4f} to {figure[high]:.4f}"


def _costs(model: dict[str, Any]) -> list[Any]:
    size = model["model_bytes"]
    return [model["fit_seconds"], None if size is None else size / 1e6, model["coverage"]]
