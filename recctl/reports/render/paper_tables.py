"""Tables for a paper, as plain data that is rendered as Markdown or LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: The text, not escaped.
        bold: Whether the text is set in bold.
        interval: The interval of the value, such as `[0.71, 0.80]`; empty if there is none.
    """

    text: str
    bold: bool = False
    interval: str = ""


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
