"""Tables in LaTeX that fit the page of a paper.

A table that is too wide has its intervals below the values; if it still is, its columns are divided among several
tables, each with the leading columns of text. A table that is too long is divided as well. Widths are estimated from
those of the characters of Computer Modern, generously, since LaTeX is not needed to write a report.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from recctl.reports.render.paper_tables import Cell, PaperTable

PACKAGES = r"\usepackage{array,booktabs}"

# Points. The width of the text of `article` at 10 points, which is the narrowest of the standard classes.
_TEXT_WIDTH = 345.0
_COLUMN_SEPARATION = 4.0  # on each side of a column; by default it is 6
_MAX_LABEL_WIDTH = 120.0  # longer labels are wrapped
# Lines of \small that fit on a page beside a caption of some lines.
_MAX_LINES = 40
_LINE_BETWEEN_ROWS = 0.5

# Widths of characters in \small, and that of \scriptsize and of bold type relative to it.
_CAPITAL_WIDTH = 7.0
_PUNCTUATION_WIDTH = 3.6
_CHARACTER_WIDTH = 4.9
_SCRIPT_SCALE = 0.88
_BOLD_SCALE = 1.16

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "–": "--",
    "<": "$<$",
    ">": "$>$",
} | {character: f"\\{character}" for character in "&%$#_{}"}
# LaTeX breaks lines at spaces and hyphens; words such as paths and settings get more places.
_LONG_WORD = re.compile(r"\S{25,}")
_BREAKABLE = re.compile(r"(\\_|[/=,.:+])(?=.)")


def escape_latex(text: str) -> str:
    """Escape all characters that have a meaning in LaTeX, and join lines."""
    return "".join(_ESCAPES.get(character, character) for character in " ".join(text.split()))


def latex_tables(table: PaperTable) -> str:
    """Render a table, as several tables if it does not fit on a page."""
    layouts = list(_divide(table))
    tables = []
    for number, layout in enumerate(layouts, 1):
        part = layout.table
        if len(layouts) > 1:
            caption = f"{table.caption} ({number} of {len(layouts)})"
            part = replace(part, caption=caption, label=f"{table.label}-{number}")
        tables.append(_render(part, layout.is_stacked))
    return "\n".join(tables)


# ---- layout


@dataclass(frozen=True)
class _Layout:
    """A table that fits on a page.

    Attributes:
        table: The table.
        is_stacked: Whether intervals are below their values.
    """

    table: PaperTable
    is_stacked: bool


def _divide(table: PaperTable) -> Iterator[_Layout]:
    columns = range(len(table.headings))
    if sum(_column_width(table, column, is_stacked=False) for column in columns) <= _TEXT_WIDTH:
        yield from _divide_rows(_Layout(table, is_stacked=False))
        return
    has_intervals = any(cell.interval for row in table.rows for cell in row)
    for selected in _groups_of_columns(table, has_intervals):
        part = replace(
            table,
            headings=[table.headings[column] for column in selected],
            rows=[[row[column] for column in selected] for row in table.rows],
        )
        yield from _divide_rows(_Layout(part, has_intervals))


def _groups_of_columns(table: PaperTable, is_stacked: bool) -> Iterator[list[int]]:
    """The columns of each table: those of text, and as many others as fit, at least one."""
    text_columns = list(range(table.n_text_columns))
    text_width = sum(_column_width(table, column, is_stacked) for column in text_columns)
    selected: list[int] = []
    width = text_width
    for column in range(table.n_text_columns, len(table.headings)):
        column_width = _column_width(table, column, is_stacked)
        if selected and width + column_width > _TEXT_WIDTH:
            yield text_columns + selected
            selected = []
            width = text_width
        selected.append(column)
        width += column_width
    yield text_columns + selected


def _divide_rows(layout: _Layout) -> Iterator[_Layout]:
    table = layout.table
    rows: list[Sequence[Cell]] = []
    n_lines = 0.0
    for row in table.rows:
        n_row_lines = _count_lines(row, table.n_text_columns, layout.is_stacked)
        if rows and n_lines + n_row_lines > _MAX_LINES:
            yield replace(layout, table=replace(table, rows=rows))
            rows = []
            n_lines = 0.0
        rows.append(row)
        n_lines += n_row_lines
    yield replace(layout, table=replace(table, rows=rows))


def _count_lines(row: Sequence[Cell], n_text_columns: int, is_stacked: bool) -> float:
    label_width = max(_text_width(cell.text, cell.bold) for cell in row[:n_text_columns])
    n_lines = math.ceil(label_width / _MAX_LABEL_WIDTH)
    return n_lines + 1 + _LINE_BETWEEN_ROWS if is_stacked else n_lines


def _column_width(table: PaperTable, column: int, is_stacked: bool) -> float:
    widths = [_text_width(table.headings[column])]
    for row in table.rows:
        cell = row[column]
        widths.append(_text_width(cell.text, cell.bold))
        if is_stacked:
            widths.append(_SCRIPT_SCALE * _text_width(cell.interval))
        elif cell.interval:
            widths[-1] += _text_width(f" {cell.interval}")
    width = max(widths)
    if column < table.n_text_columns:
        width = min(width, _MAX_LABEL_WIDTH)
    return width + 2 * _COLUMN_SEPARATION


def _text_width(text: str, bold: bool = False) -> float:
    width = 0.0
    for character in text:
        if character.isupper() or character in "−@%&<>=+":
            width += _CAPITAL_WIDTH
        elif character.isalnum():
            width += _CHARACTER_WIDTH
        else:
            width += _PUNCTUATION_WIDTH
    return width * _BOLD_SCALE if bold else width


# ---- rendering


def _render(table: PaperTable, is_stacked: bool) -> str:
    lines = [
        r"\begin{table}",
        r"\centering",
        r"\small",
        f"\\setlength{{\\tabcolsep}}{{{_COLUMN_SEPARATION:g}pt}}",
        f"\\caption{{{_breakable(table.caption)}}}",
        f"\\label{{tab:{table.label}}}",
        f"\\begin{{tabular}}{{{_column_types(table)}}}",
        r"\toprule",
        _row([escape_latex(heading) for heading in table.headings]),
        r"\midrule",
    ]
    for number, row in enumerate(table.rows):
        if is_stacked:
            if number:
                lines.append(r"\addlinespace")
            lines.append(_row(_value(table, column, cell) for column, cell in enumerate(row)))
            lines.append(_row(_small_interval(cell) for cell in row))
        else:
            lines.append(_row(_value_and_interval(table, column, cell) for column, cell in enumerate(row)))
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "".join(f"{line}\n" for line in lines)


def _column_types(table: PaperTable) -> str:
    types = ""
    for column in range(len(table.headings)):
        if column >= table.n_text_columns:
            types += "r"
        elif _is_wrapped(table, column):
            types += f">{{\\raggedright\\arraybackslash}}p{{{_MAX_LABEL_WIDTH:g}pt}}"
        else:
            types += "l"
    return types


def _is_wrapped(table: PaperTable, column: int) -> bool:
    return any(_text_width(row[column].text, row[column].bold) > _MAX_LABEL_WIDTH for row in table.rows)


def _row(cells: Iterator[str] | Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _value(table: PaperTable, column: int, cell: Cell) -> str:
    is_wrapped = column < table.n_text_columns and _is_wrapped(table, column)
    text = _breakable(cell.text) if is_wrapped else escape_latex(cell.text)
    if text.startswith("["):
        text = f"{{}}{text}"  # otherwise LaTeX takes it for an argument of the preceding \\
    return f"\\textbf{{{text}}}" if cell.bold else text


def _value_and_interval(table: PaperTable, column: int, cell: Cell) -> str:
    value = _value(table, column, cell)
    return f"{value} {escape_latex(cell.interval)}" if cell.interval else value


def _small_interval(cell: Cell) -> str:
    return f"{{\\scriptsize {escape_latex(cell.interval)}}}" if cell.interval else ""


def _breakable(text: str) -> str:
    """Text in which lines can also be broken inside of long words."""
    words = [
        _BREAKABLE.sub(r"\1\\allowbreak{}", escape_latex(word)) if _LONG_WORD.search(word) else escape_latex(word)
        for word in text.split()
    ]
    return " ".join(words)
