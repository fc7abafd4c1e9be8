"""Tables for a paper, in Markdown or LaTeX: metrics with intervals, and the comparison of models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, Literal

from recctl.errors import ArtifactError, RecctlError
from recctl.reports.render import formatting
from recctl.reports.render.latex import PACKAGES, latex_tables
from recctl.reports.render.paper_tables import Cell, PaperTable
from recctl.reports.report_data import ReportData
from recctl.reports.run_view import RunView
from recctl.reports.sections.comparison import best_models
from recctl.reports.sections.segments import MeasuredSegments, measured_segments

# The first line of a file, by which `recctl report` knows that it may replace the file.
SIGNATURES = {"md": "<!-- Written by recctl report -->", "latex": "% Written by recctl report"}


def tables(report_data: ReportData, form: Literal["md", "latex"]) -> str:
    """Render the metrics of the runs, or their comparison, as tables.

    Raises:
        ArtifactError: No run has metrics.
    """
    if report_data.comparison is not None:
        paper_tables = _comparison_tables(report_data.comparison)
    else:
        paper_tables = [_metrics_table(report_data, run_view) for run_view in report_data.views if run_view.metrics]
    if not paper_tables:
        run_ids = ", ".join(run.id for run in report_data.runs)
        raise ArtifactError(f"{run_ids}: no metrics to put into a table; measure them: recctl evaluate RUN")
    not_compared = ""
    if len(paper_tables) > 1 and report_data.comparison is None:
        not_compared = f"These runs cannot be compared: {report_data.why_not_compared}."
    measured = measured_segments(report_data)
    if measured is not None:
        paper_tables.append(_segments_table(report_data.metric, report_data.part, measured))
    if form == "md":
        paragraphs = [f"{SIGNATURES[form]}\n"]
        if not_compared:
            paragraphs.append(f"{not_compared}\n")
        return "\n".join(paragraphs + [_markdown_table(table) for table in paper_tables])
    if not_compared:
        not_compared = f"% {not_compared}\n"
    head = f"{SIGNATURES[form]}\n{not_compared}% needs {PACKAGES}\n"
    return head + "\n".join(latex_tables(table) for table in paper_tables)


# ---- contents


def _metrics_table(report_data: ReportData, view: RunView) -> PaperTable:
    """All metrics of one run, a column for each part."""
    intervals: dict[str, dict[str, Any]] = {}
    for split_part in view.metrics:
        try:
            intervals[split_part] = report_data.intervals(view, split_part)
        except RecctlError:  # no per-user metrics: values without intervals
            intervals[split_part] = {}
    table_rows = []
    for metric_key in dict.fromkeys(metric_key for values in view.metrics.values() for metric_key in values):
        row_cells = [Cell(formatting.metric_name(metric_key))]
        for split_part, values in view.metrics.items():
            interval = intervals[split_part].get(metric_key, {})
            row_cells.append(_value_with_interval(values.get(metric_key), interval))
        table_rows.append(row_cells)
    source = PurePath(report_data.runs[0].metadata.get("data", {}).get("source", "unknown data")).name
    with_intervals = ", with 95% bootstrap intervals over users" if any(intervals.values()) else ""
    headings = ["Metric"]
    headings += [split_part.capitalize() for split_part in view.metrics]
    return PaperTable(
        f"{view.label} on {source}{with_intervals}. Run {view.run.id}.",
        _anchor(f"metrics-{view.label}"),
        headings,
        table_rows,
    )


def _comparison_tables(comparison: dict[str, Any]) -> list[PaperTable]:
    """The metrics of the compared models; and their differences from the reference, unless all lack a test."""
    all_tables = [_models_table(comparison)]
    differences = _differences_table(comparison)
    if differences.rows:
        all_tables.append(differences)
    if comparison.get("windows"):
        all_tables.append(_windows_table(comparison))
    return all_tables


def _windows_table(comparison: dict[str, Any]) -> PaperTable:
    """The metric of each model in each window of a backtest, a row for each window."""
    metric = comparison["metric"]
    records = [model["metrics"][metric] for model in comparison["compared"]]
    table_rows = []
    for position, window in enumerate(comparison["windows"]):
        row_cells = [Cell(window["test_start"])]
        for record in records:
            estimate = record["windows"][position]
            row_cells.append(_value_with_interval(estimate["value"], estimate))
        table_rows.append(row_cells)
    table_rows.append([Cell("Mean"), *(_value_with_interval(record["value"], record) for record in records)])
    table_rows.append([Cell("SD"), *(Cell(formatting.metric_value(record["spread"])) for record in records)])
    table_rows.append([Cell("Won"), *(Cell(formatting.count(record["windows_won"])) for record in records)])
    headings = ["Test from"]
    headings += [model["label"] for model in comparison["compared"]]
    return PaperTable(
        f"{formatting.metric_name(metric)} on {comparison['on']} in each window, with {comparison['confidence']:.0%} "
        "bootstrap intervals over its users; of the mean, users were resampled with all of their windows. SD: standard "
        "deviation over windows. Won: windows in which the model is better than every other.",
        "windows",
        headings,
        table_rows,
    )


def _models_table(comparison: dict[str, Any]) -> PaperTable:
    models = comparison["compared"]
    metric_keys = list(models[0]["metrics"])
    best_labels = {metric_key: best_models(comparison, metric_key) for metric_key in metric_keys}
    table_rows = []
    for model in models:
        row_cells = [Cell(model["label"])]
        for metric_key in metric_keys:
            figure = model["metrics"][metric_key]
            row_cells.append(_value_with_interval(figure["value"], figure, model["label"] in best_labels[metric_key]))
        table_rows.append(row_cells)
    headings = ["Model"]
    headings += [formatting.metric_name(metric_key) for metric_key in metric_keys]
    unequal_training = comparison.get("unequal_training")
    unequal = f" Unequal training data: {'; '.join(unequal_training)}." if unequal_training else ""
    return PaperTable(
        f"Models on {comparison['on']} ({formatting.count(comparison['n_users'])} users), with "
        f"{comparison['confidence']:.0%} bootstrap intervals. The best values are in bold.{unequal}",
        "models",
        headings,
        table_rows,
    )


def _differences_table(comparison: dict[str, Any]) -> PaperTable:
    reference = comparison["reference"]
    percent = f"{comparison['confidence']:.0%}"
    significance = 1 - comparison["confidence"]
    others = [model for model in comparison["compared"] if model["label"] != reference]
    table_rows = []
    for metric_key in comparison["compared"][0]["metrics"]:
        if not others or others[0]["metrics"][metric_key]["difference"] is None:
            continue  # a metric without per-user values, such as coverage
        for model in others:
            figure = model["metrics"][metric_key]
            is_significant = figure["p_holm"] is not None and figure["p_holm"] < significance
            row_cells = [
                Cell(formatting.metric_name(metric_key)),
                Cell(model["label"]),
                Cell(formatting.difference(figure["difference"])),
                Cell(formatting.interval(figure, "difference_")),
                Cell(formatting.p_value(figure["p_holm"]), bold=is_significant),
            ]
            table_rows.append(row_cells)
    return PaperTable(
        f"Differences from {reference} on {comparison['on']}, paired by user, with {percent} bootstrap intervals and "
        f"p-values of a paired {comparison['test']} test, corrected for the number of models by Holm's method. "
        f"p-values below {significance:.2g} are in bold.",
        "differences",
        ["Metric", "Model", "Difference", f"{percent} interval", "p (Holm)"],
        table_rows,
        n_text_columns=2,
    )


def _segments_table(metric: str, part: str, measured: MeasuredSegments) -> PaperTable:
    """A row for each segment, a column for each model."""
    table_rows = []
    for position, name in enumerate(measured.names):
        row_cells = [Cell(name), Cell(formatting.count(measured.n_users[position]))]
        for estimates in measured.estimates.values():
            figure = estimates[position].get(metric, {})
            row_cells.append(_value_with_interval(figure.get("value"), figure))
        table_rows.append(row_cells)
    return PaperTable(
        f"{formatting.metric_name(metric)} by segment on {part}, with {measured.confidence:.0%} bootstrap intervals.",
        "segments",
        ["Segment", "Users", *measured.estimates],
        table_rows,
    )


def _value_with_interval(value: float | None, figure: dict[str, Any], bold: bool = False) -> Cell:
    interval = formatting.interval(figure)
    if interval == formatting.MISSING:
        return Cell(formatting.metric_value(value), bold)
    return Cell(formatting.metric_value(value), bold, f"[{interval.replace(' to ', ', ')}]")


def _anchor(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()


# ---- Markdown


def _markdown_table(table: PaperTable) -> str:
    headings = [escape_markdown(heading) for heading in table.headings]
    alignments = [":--" if column_number == 0 else "--:" for column_number in range(len(headings))]
    table_lines = [escape_markdown(table.caption), "", _markdown_row(headings), _markdown_row(alignments)]
    table_lines += [_markdown_row([_markdown_cell(cell) for cell in row_cells]) for row_cells in table.rows]
    return "".join(f"{table_line}\n" for table_line in table_lines)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(cell: Cell) -> str:
    cell_text = escape_markdown(cell.text)
    if cell.bold:
        cell_text = f"**{cell_text}**"
    return f"{cell_text} {escape_markdown(cell.interval)}" if cell.interval else cell_text


def escape_markdown(text: str) -> str:
    """Escape all characters that have a meaning in Markdown, and join lines."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$])", r"\\\1", " ".join(text.split()))
