"""Figures of a hyperparameter search, for the report and for the pages that `recctl tune` writes.

Optuna's own figures are not used: its parallel coordinates need WebGL, which a content security policy blocks and paper
lacks, and they would look different from the rest of the report.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from recctl import atomic
from recctl.errors import ArtifactError
from recctl.metrics import MetricKey
from recctl.reports.errors import SectionOmittedError
from recctl.reports.render import formatting, plots
from recctl.reports.render.blocks import Block, Figure, Grid
from recctl.reports.render.page import Header, Section, plotly_script, render_page
from recctl.runs import Run, layout
from recctl.version import __version__

PLOTLY_FILE = "plotly.min.js"
# Columns of trials.parquet that are neither hyperparameters nor metrics.
_OTHER_COLUMNS = (
    "number",
    "trial",
    "state",
    "chosen_epoch",
    "fit_seconds",
    "evaluate_seconds",
    "error",
    "in_space",
    "pareto",
)
# More lines than this hide each other in parallel coordinates.
_MAX_LINES = 300
# More words than this overlap on an axis.
_MAX_CATEGORIES = 12
# Colors @s0 (worst trials) to @s4 (best) of the style sheet.
_N_SHADES = 5
# Values that span more than this factor are drawn on a logarithmic axis.
_LOG_SPAN = 20.0
# One trial makes no figure.
_MIN_TRIALS = 2


class SearchTrials:
    """The trials of a search.

    Args:
        run: A run of `recctl tune`.

    Attributes:
        run: The run.
        summary: The `tuning` section of its metadata.
        trials: The table of all trials.
        metrics: Keys of the optimized metrics.
        metric: The first of them, which the figures show.
        title: Its name.
        settings: Names of the hyperparameters of the search space that any trial with a value has.
        complete: The trials that have a value, best first, without the baseline. With several metrics the trial whose
            model the run keeps comes first, which conditions may have chosen.
        kept: Number of this trial; None if the search is not finished.
        baseline: Trial 0, the config's own values, if it lies outside the search space; else None.

    Raises:
        SectionOmittedError: trials.parquet is missing or damaged, or no trial has a value.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.summary: dict[str, Any] = run.metadata.get("tuning", {})
        self.trials = _read_trials(run)
        columns = [str(column) for column in self.trials]
        measured = [column for column in columns if MetricKey.parse(column).is_known]
        # A search that is still running has no summary yet.
        self.metrics: list[str] = self.summary.get("monitors") or measured[:1]
        if not self.metrics or self.metrics[0] not in columns:
            raise SectionOmittedError("no trial of the search has a value")
        self.metric = self.metrics[0]
        self.title = formatting.metric_name(self.metric)
        eligible = self.trials
        self.baseline: pd.Series[Any] | None = None
        if "in_space" in columns:
            eligible = self.trials[self.trials["in_space"]]
            self.baseline = self.trials[~self.trials["in_space"]].iloc[0]
        has_value = eligible[eligible[self.metric].notna()]
        if not len(has_value):
            raise SectionOmittedError("no trial of the search has a value")
        self.kept: int | None = self.summary.get("best_trial")
        sort_keys = [metric_key for metric_key in self.metrics if metric_key in columns]
        ascending = [MetricKey.parse(metric_key).sign < 0 for metric_key in sort_keys]
        # Stable, so that of equal trials the earlier one ranks first, as in the search itself.
        self.complete = has_value.sort_values(sort_keys, ascending=ascending, kind="stable")
        if len(self.metrics) > 1:
            is_kept = self.complete["number"] == self.kept
            self.complete = pd.concat([self.complete[is_kept], self.complete[~is_kept]])
        self.settings = [
            column
            for column in columns
            if column not in _OTHER_COLUMNS and column not in measured and self.complete[column].notna().any()
        ]

    @property
    def sign(self) -> int:
        """1 if higher values of the metric are better, else -1."""
        return MetricKey.parse(self.metric).sign

    def front(self) -> pd.DataFrame:
        """The trials on the Pareto front of several metrics, in the order of `complete`; empty for one metric."""
        if "pareto" not in self.complete:
            return self.complete.head(0)
        return self.complete[self.complete["pareto"].astype(bool)]

    def is_text(self, setting: str) -> bool:
        """Whether the values of a setting are not numbers."""
        return self.complete[setting].dtype.kind not in "iuf"

    def is_logarithmic(self, setting: str) -> bool:
        """Whether a setting is drawn on a logarithmic axis."""
        if self.is_text(setting):
            return False
        lowest = self.complete[setting].min()
        highest = self.complete[setting].max()
        # By the values, not by the declared scale, which trials.parquet does not store.
        return bool(lowest > 0 and highest / lowest > _LOG_SPAN)


def _read_trials(run: Run) -> pd.DataFrame:
    trials_path = run.path / layout.TRIALS
    if not trials_path.exists():
        raise SectionOmittedError(f"{run.id} has no completed trials yet")
    try:
        return run.trials()
    except ArtifactError as error:
        raise SectionOmittedError(str(error)) from None


# ---- figures


def history_figure(search: SearchTrials) -> Figure:
    """The value of each trial, and the best value until then."""
    in_order = search.complete.sort_values("number")
    values = in_order[search.metric].tolist()
    best_values = []
    best_so_far = -math.inf
    for value in values:
        best_so_far = max(best_so_far, search.sign * value)
        best_values.append(search.sign * best_so_far)
    numbers = in_order["number"].tolist()
    best_line = {"color": "@2", "width": 2, "shape": "hv"}
    traces = [
        plots.points("Trial", numbers, values, 0, marker={"opacity": 0.7}),
        plots.line("Best so far", numbers, best_values, 1, markers=False, line=best_line),
    ]
    return Figure("Optimization history", plots.plot(traces, plots.whole_number_axis("Trial", numbers), search.title))


def importance_figures(search: SearchTrials) -> list[Figure]:
    """The importance of each hyperparameter for each metric, a figure a metric; empty if it was not computed."""
    importances = search.run.importances()
    return [_importance_figure(metric_key, shares, len(importances)) for metric_key, shares in importances.items()]


def _importance_figure(metric_key: str, importances: dict[str, float], n_metrics: int) -> Figure:
    settings_by_importance = sorted(importances, key=lambda setting: importances[setting])
    labels = [plots.escape_label(setting) for setting in settings_by_importance]
    trace = plots.bars(None, [importances[setting] for setting in settings_by_importance], labels, 2, horizontal=True)
    x_axis = {"title": "Share of the importance", "tickformat": ".0%"}
    y_axis = {"type": "category", "showgrid": False, "title": ""}
    height = max(220, 90 + 34 * len(settings_by_importance))
    title = "Hyperparameter importance"
    metric_name = formatting.metric_name(metric_key)
    if n_metrics > 1:
        title += f" for {metric_name}"
    return Figure(
        title,
        plots.plot([trace], x_axis, y_axis, height=height),
        f"How much each hyperparameter distinguishes the trials with the best {metric_name} from others (PED-ANOVA).",
    )


def pareto_figure(search: SearchTrials) -> Figure | None:
    """The trials by the first two optimized metrics, with the Pareto front; None if one metric was optimized."""
    if len(search.metrics) < 2 or search.metrics[1] not in search.complete:
        return None
    first_metric, second_metric = search.metrics[:2]
    on_front = search.complete["number"].isin(search.front()["number"])
    is_kept = search.complete["number"] == search.kept
    series = [
        ("Other trials", search.complete[~on_front & ~is_kept]),
        ("Pareto front", search.complete[on_front & ~is_kept]),
        (f"Trial {search.kept}, whose model is kept", search.complete[is_kept]),
    ]
    traces = []
    for series_number, (series_name, trials) in enumerate(series):
        if len(trials):
            traces.append(
                plots.points(series_name, trials[first_metric].tolist(), trials[second_metric].tolist(), series_number)
            )
    axis_titles = [formatting.metric_name(metric_key) for metric_key in (first_metric, second_metric)]
    description = "No trial is at least as good as one of the front in all metrics, and better in one."
    picked_by = search.summary.get("pick")
    if picked_by:
        description += f" The kept trial is the best one of the front with {' and '.join(picked_by)}."
    drawing = plots.plot(traces, axis_titles[0], axis_titles[1], height=380)
    return Figure("Pareto front of the trials", drawing, description)


def slice_figures(search: SearchTrials) -> list[Figure]:
    """For each hyperparameter, the values of the trials as a function of its setting."""
    return [_slice_figure(search, setting) for setting in search.settings]


def _slice_figure(search: SearchTrials, setting: str) -> Figure:
    trials = search.complete[search.complete[setting].notna()]
    x_axis: dict[str, Any] = {"title": setting}
    x_values: list[Any]
    if search.is_text(setting):
        x_axis["type"] = "category"
        x_values = [plots.escape_label(formatting.setting(setting_value)) for setting_value in trials[setting]]
    else:
        x_values = [float(setting_value) for setting_value in trials[setting]]
        if search.is_logarithmic(setting):
            x_axis |= {"type": "log", "dtick": 1}
        elif all(x_value.is_integer() for x_value in x_values):
            x_axis = plots.whole_number_axis(setting, x_values)
    colors = [_shade(trial_rank, len(trials)) for trial_rank in range(len(trials))]
    marker = {"color": colors, "line": {"color": "@line", "width": 0.5}}
    trace = plots.points(None, x_values, trials[search.metric].tolist(), 0, marker=marker)
    return Figure(setting, plots.plot([trace], x_axis, search.title, height=260))


def _shade(rank: int, n_trials: int) -> str:
    """The color of a trial by its rank, 0 for the best."""
    shade_number = min(_N_SHADES - 1, rank * _N_SHADES // max(1, n_trials))
    return f"@s{_N_SHADES - 1 - shade_number}"


def parallel_figure(search: SearchTrials) -> Figure:
    """Parallel coordinates: each trial is a line across the hyperparameters and the metric."""
    axes = [
        _ParallelAxis(
            setting,
            search.complete[setting].tolist(),
            is_text=search.is_text(setting),
            is_logarithmic=search.is_logarithmic(setting),
        )
        for setting in search.settings
    ]
    axes.append(_ParallelAxis(search.title, search.complete[search.metric].tolist()))
    n_lines = min(len(search.complete), _MAX_LINES)
    # The best trial is drawn last, on top of the others.
    traces = [_parallel_line(search, axes, trial_rank, n_lines) for trial_rank in reversed(range(n_lines))]
    positions = list(range(len(axes)))
    x_axis = {
        "title": "",
        "tickvals": positions,
        "ticktext": [plots.escape_label(axis.name) for axis in axes],
        "showgrid": False,
        "zeroline": False,
        "range": [-0.3, len(axes) - 0.7],
    }
    y_axis = {"title": "", "visible": False, "range": [-0.12, 1.12]}
    axis_line = {"line": {"color": "@line", "width": 1}, "layer": "below"}
    drawing = plots.plot(
        traces,
        x_axis,
        y_axis,
        height=400,
        shapes=[plots.vertical_line(position) | axis_line for position in positions],
        annotations=[label for position, axis in zip(positions, axes, strict=True) for label in axis.labels(position)],
    )
    description = "Each line is a trial; the more intense its color, the better. The best trial is highlighted."
    if n_lines < len(search.complete):
        description += f" The best {n_lines:,} of {len(search.complete):,} trials are shown."
    return Figure("Hyperparameters together", drawing, description)


def _parallel_line(search: SearchTrials, axes: Sequence[_ParallelAxis], rank: int, n_lines: int) -> plots.Plot:
    trace: plots.Plot = {
        "type": "scatter",
        "mode": "lines",
        "x": list(range(len(axes))),
        "y": [axis.heights[rank] for axis in axes],
        "line": {"color": _shade(rank, n_lines), "width": 1},
        "opacity": 0.75,
        "hovertemplate": f"trial {search.complete['number'].iloc[rank]}<extra></extra>",
        "showlegend": False,
    }
    # Rank 0 is the best trial.
    if rank == 0:
        trace |= {"mode": "lines+markers", "line": {"color": "@2", "width": 3}, "opacity": 1}
    return trace


class _ParallelAxis:
    """An axis of parallel coordinates.

    Args:
        name: Its title.
        values: The value of each trial; NaN where a trial has none.
        is_text: Whether values are categories, ordered alphabetically.
        is_logarithmic: Whether the scale is logarithmic.

    Attributes:
        name: Its title.
        heights: For each trial, the position of its value on the axis, from 0 to 1; None where it has none.
    """

    def __init__(self, name: str, values: list[Any], *, is_text: bool = False, is_logarithmic: bool = False) -> None:
        self.name = name
        self.heights: list[float | None] = []
        self._label_heights: list[tuple[float, str]] = []
        if is_text:
            self._place_categories(values)
        else:
            self._place_numbers(values, is_logarithmic)

    def _place_categories(self, values: list[Any]) -> None:
        category_texts = [formatting.setting(value) for value in values]
        categories = sorted(set(category_texts))
        n_steps = max(1, len(categories) - 1)
        heights = {category: position / n_steps for position, category in enumerate(categories)}
        self.heights = [heights[category_text] for category_text in category_texts]
        self._label_heights = [(heights[category], category) for category in categories[:_MAX_CATEGORIES]]

    def _place_numbers(self, values: list[Any], is_logarithmic: bool) -> None:
        scale = math.log if is_logarithmic else float
        known_numbers = [float(value) for value in values if value == value]  # NaN differs from itself
        lowest = min(known_numbers)
        highest = max(known_numbers)
        scaled_range = (scale(highest) - scale(lowest)) or 1.0
        self.heights = [
            (scale(float(value)) - scale(lowest)) / scaled_range if value == value else None for value in values
        ]
        self._label_heights = [(0.0, formatting.setting(lowest)), (1.0, formatting.setting(highest))]

    def labels(self, position: int) -> list[dict[str, Any]]:
        """The annotations of the axis at a horizontal position: its ends, or its categories."""
        shifts = {0.0: -12, 1.0: 12}  # pixels away from the ends of the axis
        return [
            {
                "x": position,
                "y": height,
                "text": plots.escape_label(label_text),
                "showarrow": False,
                "yshift": shifts.get(height, 0),
                "font": {"size": 11, "color": "@muted"},
                "bgcolor": "@paper",
            }
            for height, label_text in self._label_heights
        ]


# ---- pages of `recctl tune`


def write_search_figures(run: Run) -> list[str]:
    """Write the figures of a search as pages that work offline, in `figures/` of its run.

    The pages share one copy of plotly.js. A search with fewer than two trials that have a value gets none.

    Returns:
        The names of the pages.
    """
    try:
        search = SearchTrials(run)
    except SectionOmittedError:
        return []
    if len(search.complete) < _MIN_TRIALS:
        return []
    figure_pages: dict[str, tuple[str, list[Block]]] = {
        "history.html": ("History", [history_figure(search)]),
        "slices.html": ("Hyperparameters one by one", [Grid(slice_figures(search), small=True)]),
        "parallel.html": ("Hyperparameters together", [parallel_figure(search)]),
    }
    importances = importance_figures(search)
    if importances:
        figure_pages["importances.html"] = ("Hyperparameter importance", [Grid(importances)])
    pareto = pareto_figure(search)
    if pareto is not None:
        figure_pages["pareto.html"] = ("Pareto front", [pareto])
    folder = run.path / layout.FIGURES
    script_path = folder / PLOTLY_FILE
    # plotly.js has 5 MB: one copy serves the pages of a search.
    if not script_path.exists():
        atomic.write_bytes(script_path, plotly_script().encode())
    for file_name, (title, blocks) in figure_pages.items():
        header = Header(lines=[f"Search {run.id}"])
        footer = f"Written by recctl {__version__}. Needs {PLOTLY_FILE} in the same directory."
        page_html = render_page(title, header, [Section(title, blocks)], footer, plotly_file=PLOTLY_FILE)
        atomic.write_bytes(folder / file_name, page_html.encode())
    return list(figure_pages)
