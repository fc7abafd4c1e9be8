"""Tables for a paper, as Markdown or LaTeX: metrics with intervals, and models beside each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from recctl.errors import ArtifactError, RecctlError
from recctl.reports.render import formatting
from recctl.reports.report_data import ReportData, RunView
from recctl.reports.sections.comparison import best_of

Row = list["Cell"]


@dataclass(frozen=True)
class Cell:
    """A text of a table.

    Attributes:
        text: Not escaped.
        bold: Whether it is the best.
    """

    text: str
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """A table; the first column is text, the others are numbers."""

    caption: str
    label: str
    heads: Sequence[str]
    rows: Sequence[Row]


def tables(material: ReportData, form: Literal["md", "latex"]) -> str:
    """The tables of some runs.

    Raises:
        ArtifactError: Nothing was measured.
    """
    found = _compared(material.comparison) if material.comparison else _alone(material)
    if not found:
        raise ArtifactError(
            f"{', '.join(run.id for run in material.runs)}: nothing was measured, and there is nothing to put into a "
            "table: recctl evaluate RUN"
        )
    write: Callable[[Table], str] = _markdown if form == "md" else _latex
    head = "" if form == "md" else "% needs \\usepackage{booktabs}\n"
    return head + "\n".join(write(one) for one in found)


# ---- what is in them


def _alone(material: ReportData) -> list[Table]:
    return [_metrics_of(material, one) for one in material.subjects if one.metrics]


def _metrics_of(material: ReportData, subject: RunView) -> Table:
    parts = list(subject.metrics)
    known = {}
    for part in parts:
        try:
            known[part] = material.intervals(subject, part)
        except RecctlError:
            known[part] = {}
    keys = list(dict.fromkeys(key for part in parts for key in subject.metrics[part]))
    rows = [
        [
            Cell(formatting.metric_name(key)),
            *(Cell(_with_interval(subject.metrics[part].get(key), known[part].get(key, {}))) for part in parts),
        ]
        for key in keys
    ]
    with_intervals = ", with 95% bootstrap intervals over users" if any(known.values()) else ""
    caption = f"{subject.label} on {_data(material)}{with_intervals}. Run {subject.run.id}."
    return Table(caption, _anchor(f"metrics-{subject.label}"), ["Metric", *(part.capitalize() for part in parts)], rows)


def _compared(document: dict[str, Any]) -> list[Table]:
    models = document["compared"]
    keys = list(models[0]["metrics"])
    best = {key: best_of(document, key) for key in keys}
    values = [
        [
            Cell(model["label"]),
            *(
                Cell(_with_interval(model["metrics"][key]["value"], model["metrics"][key]), model["label"] in best[key])
                for key in keys
            ),
        ]
        for model in models
    ]
    others = [model for model in models if model["label"] != document["reference"]]
    tested = [key for key in keys if others and others[0]["metrics"][key]["difference"] is not None]
    differences = [
        [
            Cell(formatting.metric_name(key)),
            Cell(model["label"]),
            Cell(formatting.difference(found["difference"])),
            Cell(formatting.interval(found, "difference_low", "difference_high")),
            Cell(
                formatting.p_value(found["p_holm"]),
                found["p_holm"] is not None and found["p_holm"] < 1 - document["confidence"],
            ),
        ]
        for key in tested
        for model in others
        if (found := model["metrics"][key])
    ]
    percent = f"{document['confidence']:.0%}"
    users = formatting.count(document["n_users"])
    one = Table(
        f"Models on {document['on']} ({users} users), with {percent} bootstrap intervals; the best is bold.",
        "models",
        ["Model", *map(formatting.metric_name, keys)],
        values,
    )
    other = Table(
        f"Differences from {document['reference']} on {document['on']}, paired by user, with {percent} bootstrap "
        f"intervals; p of a paired {document['test']} test, corrected by Holm's method for the number of models; bold "
        f"below {1 - document['confidence']:.2g}.",
        "differences",
        ["Metric", "Model", "Difference", f"{percent} interval", "p (Holm)"],
        differences,
    )
    return [one, other] if differences else [one]


def _with_interval(value: float | None, figure: dict[str, Any]) -> str:
    between = formatting.interval(figure)
    shown = formatting.value(value)
    return shown if between == formatting.NOTHING else f"{shown} [{between.replace(' to ', ', ')}]"


def _data(material: ReportData) -> str:
    return str(material.runs[0].metadata.get("data", {}).get("source", "unknown data"))


def _anchor(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()


# ---- how they are written


def _markdown(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |\n"

    rows = "".join(
        line([f"**{markdown(cell.text)}**" if cell.bold else markdown(cell.text) for cell in row]) for row in table.rows
    )
    marks = [":--", *("--:" for _ in table.heads[1:])]
    return f"{markdown(table.caption)}\n\n{line([markdown(head) for head in table.heads])}{line(marks)}{rows}"


def markdown(text: str) -> str:
    """A text that Markdown takes for nothing but text."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$])", r"\\\1", " ".join(text.split()))


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "–": "--",
    "<": "$<$",
    ">": "$>$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def latex(text: str) -> str:
    """A text that LaTeX takes for nothing but text."""
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))


def _latex(table: Table) -> str:
    n_words = 2 if table.heads[1:2] == ["Model"] else 1
    columns = "l" * n_words + "r" * (len(table.heads) - n_words)
    rows = "".join(f"{' & '.join(_latex_cell(cell) for cell in row)} \\\\\n" for row in table.rows)
    return (
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{latex(table.caption)}}}\n\\label{{tab:{table.label}}}\n"
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n"
        f"{' & '.join(latex(head) for head in table.heads)} \\\\\n\\midrule\n{rows}\\bottomrule\n"
        "\\end{tabular}\n\\end{table}\n"
    )


def _latex_cell(cell: Cell) -> str:
    text = latex(cell.text)
    text = f"{{}}{text}" if text.startswith("[") else text  # else it is an option of the line's end before it
    return f"\\textbf{{{text}}}" if cell.bold else text
