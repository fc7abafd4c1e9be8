"""Metrics with their intervals, and metrics as functions of the cutoff k."""

from __future__ import annotations

from typing import Any

from recctl.errors import RecctlError
from recctl.metrics import MetricKey
from recctl.reports.errors import SectionOmittedError
from recctl.reports.render import formatting, plots
from recctl.reports.render.blocks import Block, Figure, Grid, Heading, Inline, Note, Table, strong
from recctl.reports.report_data import ReportData
from recctl.reports.run_view import RunView

NO_METRICS = "no metrics: the run was not evaluated; run recctl evaluate RUN"

ValuesByK = dict[int, float]
Intervals = dict[str, dict[str, Any]]


def metrics(report_data: ReportData) -> list[Block] | None:
    """All metrics of a single run."""
    if len(report_data.views) != 1:
        return None
    return _metrics_of(report_data, report_data.views[0])


def metrics_of_each_run(report_data: ReportData) -> list[Block] | None:
    """All metrics of several runs that cannot be compared, one after the other."""
    if not report_data.has_several_models or report_data.comparison is not None:
        return None
    evaluated = [view for view in report_data.views if view.metrics]
    if not evaluated:
        raise SectionOmittedError(NO_METRICS)
    blocks: list[Block] = [Note(f"These runs cannot be compared: {report_data.why_not_compared}.")]
    for view in evaluated:
        blocks.append(Heading(view.label))
        blocks += _metrics_of(report_data, view)
    return blocks


def _metrics_of(report_data: ReportData, view: RunView) -> list[Block]:
    """A table with a row for each metric; for each part its value and interval."""
    split_parts = list(view.metrics)
    if view.run.is_fitted_on_all and not split_parts:
        raise SectionOmittedError("no metrics: the run was fitted on all data, so that nothing was held out")
    if not split_parts:
        raise SectionOmittedError(NO_METRICS)
    intervals: dict[str, Intervals] = {}
    errors = []
    for split_part in split_parts:
        try:
            # A part without values by user still shows its metrics.
            intervals[split_part] = report_data.intervals(view, split_part)
        except RecctlError as error:
            errors.append(str(error))
    headings = ["Metric"]
    for split_part in split_parts:
        headings.append(split_part.capitalize())
        if split_part in intervals:
            headings.append(f"95% interval on {split_part}")
    metric_keys = list(dict.fromkeys(metric_key for values in view.metrics.values() for metric_key in values))
    blocks: list[Block] = [
        Table(f"Metrics of {view.label}", headings, [_row(view, metric_key, intervals) for metric_key in metric_keys])
    ]
    if intervals:
        blocks.append(
            Note(
                "The monitored metric is in bold. Intervals are bias-corrected and accelerated (BCa) bootstrap "
                f"intervals of the mean over users ({_user_counts(intervals)}). Metrics of the whole catalog, such as "
                "coverage, have none."
            )
        )
    blocks += [Note(f"Intervals are missing: {error}.") for error in errors]
    return blocks


def _user_counts(intervals: dict[str, Intervals]) -> str:
    counts = []
    for split_part, figures in intervals.items():
        if figures:
            n_users = max(figure["n_users"] for figure in figures.values())
            counts.append(f"{split_part}: {formatting.count(n_users)} users")
    return ", ".join(counts) or "no users"


def _row(view: RunView, key: str, intervals: dict[str, Intervals]) -> list[Inline]:
    display_name = formatting.metric_name(key)
    is_monitored = key == view.monitored_metric
    row_cells: list[Inline] = [strong(display_name) if is_monitored else display_name]
    for split_part, values in view.metrics.items():
        row_cells.append(formatting.metric_value(values.get(key)))
        if split_part in intervals:
            row_cells.append(formatting.interval(intervals[split_part].get(key, {})))
    return row_cells


# ---- metrics over k


def metrics_over_k(report_data: ReportData) -> list[Block]:
    """Precision against recall for lists of growing length, and another metric as a function of the length."""
    curves = _curves(report_data)
    if not curves:
        raise SectionOmittedError("no ranking metric was measured at more than one k (evaluation.k_values)")
    figures = []
    curve_pairs = {curve_name: values for curve_name, values in curves.items() if len(_common_k(values)) > 1}
    if curve_pairs:
        show_k = len(curve_pairs) < 3  # labels of more curves overlap
        traces = [
            _precision_recall_line(curve_name, values, color_index, show_k)
            for color_index, (curve_name, values) in enumerate(curve_pairs.items())
        ]
        k_values = ", ".join(str(k) for k in _common_k(next(iter(curve_pairs.values()))))
        figures.append(
            Figure(
                "Precision and recall",
                plots.plot(traces, "Recall", "Precision", height=380),
                f"Each point is a list length k; from left to right k = {k_values}.",
            )
        )
    figures += [
        _metric_over_k(metric_name, curves)
        for metric_name in _metrics_to_plot(curves, has_precision_recall=bool(curve_pairs))
    ]
    return [Grid(figures)]


def _metrics_to_plot(curves: dict[str, dict[str, ValuesByK]], has_precision_recall: bool) -> list[str]:
    """One further metric beside the precision-recall figure, two without it."""
    plotted_names = [metric_name for values in curves.values() for metric_name, by_k in values.items() if len(by_k) > 1]
    plotted_names = list(dict.fromkeys(plotted_names))
    if has_precision_recall:
        return [metric_name for metric_name in plotted_names if metric_name not in ("precision", "recall")][:1]
    return plotted_names[:2]


def _metric_over_k(name: str, curves: dict[str, dict[str, ValuesByK]]) -> Figure:
    traces = []
    k_values: set[int] = set()
    for color_index, (label, values) in enumerate(curves.items()):
        if name in values:
            by_k = values[name]
            traces.append(plots.line(label, list(by_k), list(by_k.values()), color_index))
            k_values |= by_k.keys()
    axis_settings = {"title": "List length k", "tickvals": sorted(k_values)}
    plot_title = formatting.metric_name(name)
    return Figure(f"{plot_title} over k", plots.plot(traces, axis_settings, plot_title, height=380))


def _curves(report_data: ReportData) -> dict[str, dict[str, ValuesByK]]:
    """By curve and metric, the values by k. The curves are the parts of one run, or several runs on one part."""
    if len(report_data.views) == 1:
        metrics_by_part = report_data.views[0].metrics
        curves = {split_part.capitalize(): _group_by_metric(values) for split_part, values in metrics_by_part.items()}
    else:
        split_part = report_data.part
        curves = {view.label: _group_by_metric(view.metrics.get(split_part, {})) for view in report_data.views}
    return {name: values for name, values in curves.items() if any(len(by_k) > 1 for by_k in values.values())}


def _group_by_metric(values: dict[str, float]) -> dict[str, ValuesByK]:
    """The values of each metric by cutoff, in ascending order."""
    groups: dict[str, ValuesByK] = {}
    for metric_key, value in values.items():
        metric = MetricKey.parse(metric_key)
        if metric.k is not None:
            groups.setdefault(metric.name, {})[metric.k] = value
    return {metric_name: dict(sorted(by_k.items())) for metric_name, by_k in groups.items()}


def _common_k(values: dict[str, ValuesByK]) -> list[int]:
    """The cutoffs that have both precision and recall."""
    # A point of the curve needs both.
    return sorted(values.get("precision", {}).keys() & values.get("recall", {}).keys())


def _precision_recall_line(name: str, values: dict[str, ValuesByK], index: int, show_k: bool) -> plots.Plot:
    k_values = _common_k(values)
    return plots.line(
        name,
        [values["recall"][k] for k in k_values],
        [values["precision"][k] for k in k_values],
        index,
        mode="lines+markers+text" if show_k else "lines+markers",
        text=[f"k={k}" for k in k_values],
        textposition="top right",
        textfont={"size": 11},
        cliponaxis=False,
    )
