"""The blocks that a report page consists of.

Sections return blocks, which are plain data; the macros in `templates/blocks.html.j2` turn them into HTML. Only the
templates contain markup, and they escape every text (Jinja2's autoescape).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Style = Literal["code", "strong", "small", "hit"]


@dataclass(frozen=True)
class Styled:
    """A text in a style of its own: code, bold, small print, or a hit among recommendations."""

    text: str
    style: Style


Inline: TypeAlias = "str | Styled | Sequence[str | Styled]"
"""The content of a line: a text, a styled text, or several in a row."""


class Block:
    """A part of a page. The macro of its `kind` renders it."""

    @property
    def kind(self) -> str:
        """Name of the macro: the class name in lower case."""
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Paragraph(Block):
    """A paragraph."""

    content: Inline


@dataclass(frozen=True)
class Note(Block):
    """A paragraph in small print."""

    content: Inline


@dataclass(frozen=True)
class Heading(Block):
    """A heading inside a section."""

    content: Inline


@dataclass(frozen=True)
class Bullets(Block):
    """A bulleted list."""

    items: Sequence[Inline]


@dataclass(frozen=True)
class Table(Block):
    """A table.

    Attributes:
        caption: Description, which screen readers announce.
        headings: One for each column.
        rows: The cells; the first cell of a row is its heading.
        text_columns: Indices of the columns that hold text; all others hold numbers and are aligned to the right.
        show_caption: Whether the caption is visible, for a table without a heading of its own.
    """

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Inline]]
    text_columns: Sequence[int] = (0,)
    show_caption: bool = False


@dataclass(frozen=True)
class Figure(Block):
    """A figure that plotly draws in the browser.

    Attributes:
        caption: The title.
        plot: `data` and `layout` as plotly.js takes them; a color `@name` is the style sheet's `--c-name`.
        note: A sentence below the title that explains how to read the figure.
    """

    caption: str
    plot: Mapping[str, Any]
    note: str | None = None


@dataclass(frozen=True)
class Group(Block):
    """Blocks that form one cell of a grid."""

    blocks: Sequence[Block]


@dataclass(frozen=True)
class Grid(Block):
    """Blocks side by side, as many as the width of the page allows.

    Attributes:
        blocks: Figures or groups.
        small: Whether up to three fit into a row, instead of two.
    """

    blocks: Sequence[Block]
    small: bool = False


@dataclass(frozen=True)
class Facts(Block):
    """Names and values, as a list of two columns."""

    values: Mapping[str, Inline | Block]


@dataclass(frozen=True)
class Details(Block):
    """Blocks that are collapsed until the reader opens them."""

    summary: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Preformatted(Block):
    """A text whose line breaks and spaces are preserved."""

    text: str


@dataclass(frozen=True)
class FindingBox(Block):
    """A finding of the diagnosis.

    Attributes:
        title: What is wrong.
        severity: "problem", "warning" or "hint".
        evidence: The values that led to the finding.
        rule: The threshold they exceeded.
        suggestions: Settings to try, as command line options.
        models: Labels of the models concerned; empty in the report of a single run.
    """

    title: str
    severity: str
    evidence: str
    rule: str
    suggestions: Sequence[str]
    models: Sequence[str] = ()


def code(text: str) -> Styled:
    """A hash, a path or a command."""
    return Styled(text, "code")


def strong(text: str) -> Styled:
    """A text in bold."""
    return Styled(text, "strong")


def small(text: str) -> Styled:
    """A text in small print."""
    return Styled(text, "small")


def facts(values: Mapping[str, Inline | Block | None]) -> Facts:
    """The facts that are known: entries without a value are dropped."""
    return Facts({fact_name: value for fact_name, value in values.items() if value is not None and value != ""})
