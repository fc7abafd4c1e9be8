"""The searches among the runs: figures, and the best trials."""

from __future__ import annotations

import pandas as pd

from recctl.reports.render import formatting
from recctl.reports.render.blocks import Block, Grid, Heading, Note, Table, code
from recctl.reports.report_data import ReportData
from recctl.reports.search_figures import (
    SearchTrials,
    history_figure,
    importance_figures,
    parallel_figure,
    pareto_figure,
    slice_figures,
)

_N_BEST = 10


def search(report_data: ReportData) -> list[Block] | None:
    """The trials of each search; None if no run is a search."""
    searches = [run for run in report_data.runs if run.metadata.get("kind") == "tune"]
    if not searches:
        return None
    blocks: list[Block] = []
    for run in searches:
        if len(searches) > 1:
            blocks.append(Heading(code(run.id)))
        blocks += _search_blocks(SearchTrials(run))
    return blocks


def _search_blocks(trials: SearchTrials) -> list[Block]:
    overview = [history_figure(trials), *importance_figures(trials)]
    blocks: list[Block] = [Note(_description(trials))]
    if "models" in trials.summary:
        blocks.append(_models(trials))
    blocks.append(Grid(overview))
    pareto = pareto_figure(trials)
    if pareto is not None:
        blocks.append(pareto)
    if len(trials.settings) > 1:
        blocks.append(parallel_figure(trials))
    blocks += [
        Heading("Hyperparameters one by one"),
        Grid(slice_figures(trials), small=len(trials.settings) > 2),
        *_best_trials(trials),
    ]
    return blocks


def _models(trials: SearchTrials) -> Table:
    """What each model of a search over several got of the budget, and achieved with it."""
    table_rows = []
    for model in trials.summary["models"]:
        is_best = model["label"] == trials.summary["best_model"]
        table_rows.append(
            [
                f"{model['label']} (best)" if is_best else model["label"],
                formatting.metric_value(model["best_value"]),
                formatting.count(model["trials"]),
                formatting.duration(model["seconds"]),
                formatting.MISSING if model["rungs"] is None else str(model["rungs"]),
                model["error"] or "",
            ]
        )
    headings = ["Model", trials.title, "Trials", "Time of the trials", "Rungs", "Why it has no value"]
    return Table("Models", headings, table_rows, text_columns=(0, 5), show_caption=True)


def _description(trials: SearchTrials) -> str:
    counts = trials.trials["state"].value_counts().to_dict()
    states = ", ".join(f"{count} {state}" for state, count in counts.items())
    description = f"{len(trials.trials)} trials"
    if "strategy" in trials.summary:
        description += f", {trials.summary['strategy']}"
    description += f": {states}. All values are on validation."
    if trials.baseline is not None and pd.notna(trials.baseline[trials.metric]):
        description += (
            f" Trial 0, the config's own values, lies outside the search space, so that it is a baseline only: "
            f"{trials.title} {formatting.metric_value(trials.baseline[trials.metric])}."
        )
    if "fit_seconds" in trials.trials:
        description += f" Total fit time: {formatting.duration(float(trials.trials['fit_seconds'].sum()))}."
    return description


def _best_trials(trials: SearchTrials) -> list[Block]:
    title = "The best trials"
    shown = trials.complete.head(_N_BEST)
    metrics = [trials.metric]
    if len(trials.front()):
        # Of several metrics: each of the other trials is dominated by one of the front.
        title = "The Pareto front"
        shown = trials.front()
        metrics = trials.metrics
    table_rows = []
    for trial in shown.to_dict("records"):
        is_marked = len(metrics) > 1 and trial["number"] == trials.kept
        row_cells = [f"{trial['number']} (kept)" if is_marked else str(trial["number"])]
        row_cells += [formatting.metric_value(trial[metric_key]) for metric_key in metrics]
        row_cells += [formatting.setting(trial[setting_name]) for setting_name in trials.settings]
        row_cells.append(formatting.duration(trial.get("fit_seconds")))
        table_rows.append(row_cells)
    headings = ["Trial"]
    headings += [formatting.metric_name(metric_key) for metric_key in metrics]
    headings += trials.settings
    headings.append("Fit time")
    return [Heading(title), Table(title, headings, table_rows, text_columns=())]
