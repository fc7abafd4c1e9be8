"""Tables for a paper, in Markdown or LaTeX: metrics with intervals, and the comparison of models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from recctl.errors import ArtifactError, RecctlError
from recctl.reports.render import formatting
from recctl.reports.report_data import ReportData
from recctl.reports.run_view import RunView
from recctl.reports.sections.comparison import best_models


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: The text, not escaped.
        bold: Whether it is set in bold.
    """

    text: str
    bold: bool = False


@dataclass(frozen=True)
class PaperTable:
    """A table with a caption.

    Attributes:
        caption: The caption.
        label: The label of the table in LaTeX, without the prefix `tab:`.
        headings: One for each column.
        rows: The cells.
        n_text_columns: Number of leading columns that hold text; all others hold numbers.
    """

    caption: str
    label: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    n_text_columns: int = 1


def tables(report_data: ReportData, form: Literal["md", "latex"]) -> str:
    """Render the metrics of the runs, or their comparison, as tables.

    Raises:
        ArtifactError: No run has metrics.
    """
    if report_data.comparison is not None:
        paper_tables = _comparison_tables(report_data.comparison)
    else:
        paper_tables = [_metrics_table(report_data, view) for view in report_data.views if view.metrics]
    if not paper_tables:
        run_ids = ", ".join(run.id for run in report_data.runs)
        raise ArtifactError(f"{run_ids}: no metrics to put into a table; measure them: recctl evaluate RUN")
    if form == "md":
        return "\n".join(_markdown_table(table) for table in paper_tables)
    return "% needs \\usepackage{booktabs}\n" + "\n".join(_latex_table(table) for table in paper_tables)


# ---- contents


def _metrics_table(report_data: ReportData, view: RunView) -> PaperTable:
    """All metrics of one run, a column for each part."""
    intervals: dict[str, dict[str, Any]] = {}
    for part in view.metrics:
        try:
            intervals[part] = report_data.intervals(view, part)
        except RecctlError:  # no per-user metrics: values without intervals
            intervals[part] = {}
    rows = []
    for key in dict.fromkeys(key for values in view.metrics.values() for key in values):
        row = [Cell(formatting.metric_name(key))]
        for part, values in view.metrics.items():
            row.append(Cell(_value_with_interval(values.get(key), intervals[part].get(key, {}))))
        rows.append(row)
    source = report_data.runs[0].metadata.get("data", {}).get("source", "unknown data")
    with_intervals = ", with 95% bootstrap intervals over users" if any(intervals.values()) else ""
    headings = ["Metric"]
    headings += [part.capitalize() for part in view.metrics]
    return PaperTable(
        f"{view.label} on {source}{with_intervals}. Run {view.run.id}.",
        _anchor(f"metrics-{view.label}"),
        headings,
        rows,
    )


def _comparison_tables(comparison: dict[str, Any]) -> list[PaperTable]:
    """The metrics of the compared models; and their differences from the reference, unless all lack a test."""
    all_tables = [_models_table(comparison)]
    differences = _differences_table(comparison)
    if differences.rows:
        all_tables.append(differences)
    return all_tables


def _models_table(comparison: dict[str, Any]) -> PaperTable:
    models = comparison["compared"]
    keys = list(models[0]["metrics"])
    best = {key: best_models(comparison, key) for key in keys}
    rows = []
    for model in models:
        row = [Cell(model["label"])]
        for key in keys:
            figure = model["metrics"][key]
            row.append(Cell(_value_with_interval(figure["value"], figure), bold=model["label"] in best[key]))
        rows.append(row)
    headings = ["Model"]
    headings += [formatting.metric_name(key) for key in keys]
    return PaperTable(
        f"Models on {comparison['on']} ({formatting.count(comparison['n_users'])} users), with "
        f"{comparison['confidence']:.0%} bootstrap intervals. The best values are in bold.",
        "models",
        headings,
        rows,
    )


def _differences_table(comparison: dict[str, Any]) -> PaperTable:
    reference = comparison["reference"]
    percent = f"{comparison['confidence']:.0%}"
    level = 1 - comparison["confidence"]
    others = [model for model in comparison["compared"] if model["label"] != reference]
    rows = []
    for key in comparison["compared"][0]["metrics"]:
        if not others or others[0]["metrics"][key]["difference"] is None:
            continue  # a metric without per-user values, such as coverage
        for model in others:
            figure = model["metrics"][key]
            is_significant = figure["p_holm"] is not None and figure["p_holm"] < level
            row = [
                Cell(formatting.metric_name(key)),
                Cell(model["label"]),
                Cell(formatting.difference(figure["difference"])),
                Cell(formatting.interval(figure, "difference_")),
                Cell(formatting.p_value(figure["p_holm"]), bold=is_significant),
            ]
            rows.append(row)
    return PaperTable(
        f"Differences from {reference} on {comparison['on']}, paired by user, with {percent} bootstrap intervals and "
        f"p-values of a paired {comparison['test']} test, corrected for the number of models by Holm's method. "
        f"p-values below {level:.2g} are in bold.",
        "differences",
        ["Metric", "Model", "Difference", f"{percent} interval", "p (Holm)"],
        rows,
        n_text_columns=2,
    )


def _value_with_interval(value: float | None, figure: dict[str, Any]) -> str:
    text = formatting.metric_value(value)
    interval = formatting.interval(figure)
    if interval == formatting.MISSING:
        return text
    return f"{text} [{interval.replace(' to ', ', ')}]"


def _anchor(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()


# ---- Markdown


def _markdown_table(table: PaperTable) -> str:
    headings = [escape_markdown(heading) for heading in table.headings]
    alignments = [":--" if i == 0 else "--:" for i in range(len(headings))]
    lines = [escape_markdown(table.caption), "", _markdown_row(headings), _markdown_row(alignments)]
    lines += [_markdown_row([_markdown_cell(cell) for cell in row]) for row in table.rows]
    return "".join(f"{line}\n" for line in lines)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(cell: Cell) -> str:
    text = escape_markdown(cell.text)
    return f"**{text}**" if cell.bold else text


def escape_markdown(text: str) -> str:
    """Escape all characters that have a meaning in Markdown, and join lines."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$])", r"\\\1", " ".join(text.split()))


# ---- LaTeX

_LATEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "–": "--",
    "<": "$<$",
    ">": "$>$",
} | {character: f"\\{character}" for character in "&%$#_{}"}


def escape_latex(text: str) -> str:
    """Escape all characters that have a meaning in LaTeX, and join lines."""
    return "".join(_LATEX_ESCAPES.get(character, character) for character in " ".join(text.split()))


def _latex_table(table: PaperTable) -> str:
    columns = "l" * table.n_text_columns + "r" * (len(table.headings) - table.n_text_columns)
    lines = [
        r"\begin{table}",
        r"\centering",
        f"\\caption{{{escape_latex(table.caption)}}}",
        f"\\label{{tab:{table.label}}}",
        f"\\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _latex_row([escape_latex(heading) for heading in table.headings]),
        r"\midrule",
    ]
    lines += [_latex_row([_latex_cell(cell) for cell in row]) for row in table.rows]
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "".join(f"{line}\n" for line in lines)


def _latex_row(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _latex_cell(cell: Cell) -> str:
    text = escape_latex(cell.text)
    if text.startswith("["):
        text = f"{{}}{text}"  # otherwise LaTeX takes it for an argument of the preceding \\
    return f"\\textbf{{{text}}}" if cell.bold else text
