"""HTML of objects in notebooks: a title, a line of text and tables, readable on light and dark backgrounds.

There are no scripts, and all values are escaped: ids, titles and file names come from data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template

_MAX_CELL_LENGTH = 80  # characters; one long title would make a table unreadable

# Colors are inherited or half transparent, because the theme of the notebook is not known. The class `dataframe` is
# that of pandas: front ends that remove style sheets, as GitHub does, format its tables themselves.
_TEMPLATE = """\
<div class="recctl-repr">
<style>
.recctl-repr {color: inherit; line-height: 1.4}
.recctl-repr .recctl-title {font-weight: bold}
.recctl-repr .recctl-badge {border: 1px solid rgba(128, 128, 128, .6); border-radius: .3em; margin-left: .5em;
  padding: 0 .4em; font-size: .85em; font-weight: normal}
.recctl-repr table.dataframe {border: none; border-collapse: collapse; color: inherit; font-size: inherit;
  margin: .5em 0}
.recctl-repr table.dataframe caption {caption-side: top; color: inherit; padding: .2em 0; text-align: left}
.recctl-repr table.dataframe th, .recctl-repr table.dataframe td {background: transparent; border: none;
  border-bottom: 1px solid rgba(128, 128, 128, .35); color: inherit; padding: .2em .7em; text-align: left;
  vertical-align: top; white-space: normal}
.recctl-repr table.dataframe .recctl-number {font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap}
.recctl-repr table.dataframe tr.recctl-strong td {font-weight: bold}
.recctl-repr summary {cursor: pointer}
.recctl-repr ul {margin: .5em 0}
</style>
<div><span class="recctl-title">{{ title }}</span>
{%- for badge in badges %} <span class="recctl-badge">{{ badge }}</span>{% endfor %}</div>
{% for line in lines %}<div>{{ line }}</div>
{% endfor %}
{%- macro draw(table) %}
<table class="dataframe">
{% if table.caption %}<caption>{{ table.caption }}</caption>
{% endif %}
{%- if table.has_header %}<thead><tr>
{%- for column in table.columns %}<th{% if table.numeric[loop.index0] %} class="recctl-number"{% endif %}>\
{{ column }}</th>{% endfor %}</tr></thead>
{% endif -%}
<tbody>
{% for row in table.cells %}<tr{% if loop.index0 in table.strong %} class="recctl-strong"{% endif %}>
{%- for cell in row %}<td{% if table.numeric[loop.index0] %} class="recctl-number"{% endif %}>{{ cell }}</td>\
{% endfor %}</tr>
{% endfor %}</tbody>
</table>
{% endmacro %}
{%- for table in tables %}
{%- if table.is_folded %}<details><summary>{{ table.summary }}</summary>{{ draw(table) }}</details>
{% else %}{{ draw(table) }}
{%- endif %}
{%- endfor %}
{%- if sentences %}<ul>
{% for sentence in sentences %}<li>{{ sentence }}</li>
{% endfor %}</ul>
{% endif -%}
</div>
"""


@dataclass(frozen=True)
class Table:
    """A table. Columns that only hold numbers are aligned to the right.

    Attributes:
        columns: Headings; empty strings for a table without headings.
        rows: Values of each row.
        caption: A line above the table.
        strong: Positions of rows in bold type.
        summary: If it is set, the table is folded, and this is its label.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str | None = None
    strong: Sequence[int] = field(default_factory=tuple)
    summary: str | None = None

    @property
    def is_folded(self) -> bool:
        """Whether the table is shown on request only."""
        return self.summary is not None

    @property
    def has_header(self) -> bool:
        """Whether there is a heading."""
        return any(self.columns)

    @property
    def numeric(self) -> list[bool]:
        """Whether each column only holds numbers."""
        return [
            all(row[position] is None or _is_number(row[position]) for row in self.rows)
            for position in range(len(self.columns))
        ]

    @property
    def cells(self) -> list[list[str]]:
        """The texts of all cells."""
        return [[format_cell(value) for value in row] for row in self.rows]


def render(
    title: str,
    badges: Sequence[str] = (),
    lines: Sequence[str] = (),
    tables: Sequence[Table] = (),
    sentences: Sequence[str] = (),
) -> str:
    """The HTML of an object.

    Args:
        title: Its name.
        badges: Short states after it, such as `fitted`.
        lines: Lines of text below it.
        tables: Tables.
        sentences: A list below them.
    """
    html: str = _template().render(
        title=title,
        badges=badges,
        lines=lines,
        tables=[table for table in tables if table.rows],
        sentences=sentences,
    )
    return html


def format_cell(value: Any) -> str:
    """A value as a cell shows it."""
    if value is None:
        return "-"
    if isinstance(value, bool | str):
        text = str(value)
    elif isinstance(value, int):
        text = f"{value:,}"
    elif isinstance(value, float):
        text = f"{value:.4g}" if abs(value) >= 100 or 0 < abs(value) < 0.001 else f"{value:.4f}"
    else:
        text = str(value)
    if len(text) > _MAX_CELL_LENGTH:
        return text[: _MAX_CELL_LENGTH - 1] + "…"
    return text


def format_interval(low: float | None, high: float | None) -> str | None:
    """An interval: `0.3120 to 0.3350`."""
    if low is None or high is None:
        return None
    return f"{low:.4f} to {high:.4f}"


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, str):
        # Formatted by the caller, such as seconds with one digit, or ids, which have no separators.
        return value.replace(".", "", 1).isdecimal()
    return isinstance(value, int | float)


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(_TEMPLATE)
