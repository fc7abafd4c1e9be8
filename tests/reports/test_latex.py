"""Tables for a paper in LaTeX: they fit a page, however many models and metrics there are, and hold every value."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess

import pytest

from recctl.reports.render.latex import PACKAGES, escape_latex, latex_tables
from recctl.reports.render.paper_tables import Cell, PaperTable

METRICS = ["NDCG@10", "Precision@5", "Hit rate@20", "Sampled hit rate@100", "MAP@10", "Recall@20", "Coverage@10", "MRR"]
LONG_LABEL = "lightgcn_embedding_dim=128,n_layers=3,learning_rate=0.0005,l2_reg=0.0001"
TEXT_WIDTH = 345.0  # points: \textwidth of article at 10pt
# Widths in points of cmr9, in which \small sets the values, and of cmr7, in which \scriptsize sets the intervals.
CMR9 = {"digit": 4.625, ".": 2.569, ",": 2.569, "[": 2.569, "]": 2.569, " ": 3.083, "−": 7.194}
CMR7 = {"digit": 3.986, ".": 2.260, ",": 2.260, "[": 2.260, "]": 2.260, " ": 2.650, "−": 6.200}


def table_of_models(n_models: int, n_metrics: int, label: str = "item-knn", interval: bool = True) -> PaperTable:
    generator = random.Random(n_models)
    metrics = [METRICS[number % len(METRICS)] for number in range(n_metrics)]
    rows = []
    for model in range(n_models):
        row = [Cell(f"{label} {model}")]
        for _ in metrics:
            value = generator.random()
            ends = f"[{value - 0.05:.4f}, {value + 0.05:.4f}]".replace("-", "−") if interval else ""
            row.append(Cell(f"{value:.4f}", bold=value > 0.9, interval=ends))
        rows.append(row)
    return PaperTable("Models on test, with 95% intervals.", "models", ["Model", *metrics], rows)


def table_of_differences(n_rows: int) -> PaperTable:
    row = [
        Cell("Sampled hit rate@100"),
        Cell(LONG_LABEL),
        Cell("−0.1234"),
        Cell("−0.1234 to −0.4321"),
        Cell("< 0.0001"),
    ]
    headings = ["Metric", "Model", "Difference", "95% interval", "p (Holm)"]
    return PaperTable(f"Differences from {LONG_LABEL} on test.", "differences", headings, [row] * n_rows, 2)


TABLES = {
    "small": table_of_models(2, 2),
    "eight metrics": table_of_models(2, 8),
    "many metrics and models": table_of_models(12, 16),
    "many models": table_of_models(60, 3, interval=False),
    "long labels": table_of_models(3, 8, LONG_LABEL),
    "differences": table_of_differences(3),
    "many differences": table_of_differences(60),
}


def tabulars(text: str) -> list[tuple[str, list[list[str]]]]:
    """The column types, and the cells of each row, of every table in a text."""
    found = []
    for types, body in re.findall(r"(?s)\\begin\{tabular\}\{(.*?)\}\n(.*?)\\end\{tabular\}", text):
        lines = [line.removesuffix(r" \\") for line in body.splitlines() if line.endswith(r"\\")]
        found.append((types, [line.split(" & ") for line in lines]))
    return found


def plain(cell: str) -> str:
    return re.sub(r"\\(textbf|scriptsize|allowbreak)|[{}]", "", cell).replace("$-$", "−").strip()


def width_of(cell: str) -> float:
    widths = CMR7 if "scriptsize" in cell else CMR9
    return sum(widths["digit"] if character.isdigit() else widths[character] for character in plain(cell))


@pytest.mark.parametrize("name", TABLES)
def test_values_and_their_intervals_fit_the_width_of_a_page(name):
    for types, rows in tabulars(latex_tables(TABLES[name])):
        n_text_columns = len(re.findall(r"l|p\{", types))
        number_columns = range(n_text_columns, len(rows[0]))
        numeric = [row for row in rows[1:] if row[-1].strip() and not re.search("[A-Za-z<]", plain(row[-1]))]
        width = sum(max((width_of(row[column]) for row in numeric), default=0) for column in number_columns)
        separation = 8.0 * len(rows[0])
        assert width + separation < TEXT_WIDTH


@pytest.mark.parametrize("name", TABLES)
def test_divided_tables_hold_every_value_once(name):
    table = TABLES[name]
    text = latex_tables(table)
    cells = [plain(cell) for _, rows in tabulars(text) for row in rows[1:] for cell in row]
    for row in table.rows[:: max(1, len(table.rows) // 5)]:
        for cell in row[table.n_text_columns :]:
            n_equal = sum(other == cell for other_row in table.rows for other in other_row)
            shown = [
                found for found in cells if found.replace("$<$", "<") in (cell.text, f"{cell.text} {cell.interval}")
            ]
            assert len(shown) == n_equal
    captions = re.findall(r"\\caption\{(.*)\}", text)
    labels = re.findall(r"\\label\{(.*)\}", text)
    assert len(set(labels)) == len(labels) == len(captions) == text.count(r"\begin{table}")
    if len(captions) > 1:
        assert all(f"({number} of {len(captions)})" in caption for number, caption in enumerate(captions, 1))


def test_small_table_stays_one_with_intervals_beside_the_values():
    (tabular,) = tabulars(latex_tables(TABLES["small"]))
    types, rows = tabular
    assert types == "lrr"
    assert len(rows) == 3
    assert re.fullmatch(r"\d\.\d{4} \[.*\]", plain(rows[1][1]))


def test_wide_table_has_intervals_below_the_values():
    found = tabulars(latex_tables(TABLES["eight metrics"]))
    assert 1 < len(found) <= 3
    for _, rows in found:
        assert [plain(row[0]) for row in rows] == ["Model", "item-knn 0", "", "item-knn 1", ""]
        assert all("scriptsize" in cell for cell in rows[2][1:])


def test_long_tables_are_divided_at_rows():
    found = tabulars(latex_tables(TABLES["many models"]))
    assert len(found) == 2
    assert sum(len(rows) - 1 for _, rows in found) == 60


def test_text_is_escaped():
    assert escape_latex("50% of_a & {b} ~ ^ \\ #1 $") == (
        r"50\% of\_a \& \{b\} \textasciitilde{} \textasciicircum{} \textbackslash{} \#1 \$"
    )


def compile_with_latex(folder, tables: str) -> str:
    """The messages of LaTeX."""
    document = "\\documentclass[10pt]{article}\n" + PACKAGES + "\n\\begin{document}\n" + tables + "\\end{document}\n"
    (folder / "paper.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


def test_latex_finds_no_table_too_wide_or_too_high(tmp_path):
    if not shutil.which("pdflatex"):
        assert not os.environ.get("RECCTL_TEST_ALL"), "pdflatex must be installed"
        pytest.skip("needs pdflatex: apt install texlive-latex-recommended")
    page_break = "\\clearpage\n"
    messages = compile_with_latex(tmp_path, page_break.join(map(latex_tables, TABLES.values())))
    assert "Overfull" not in messages
    assert "Float too large" not in messages
    # LaTeX does find what does not fit.
    columns = "0.1234 [0.1234, 0.5678] & " * 7 + "1"
    wide = f"\\begin{{table}}\\centering\\begin{{tabular}}{{llllllll}}{columns}\\\\\\end{{tabular}}\\end{{table}}\n"
    assert "Overfull" in compile_with_latex(tmp_path, wide)
