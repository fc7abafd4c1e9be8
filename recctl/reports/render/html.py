"""HTML that is safe by construction: what is not markup is escaped wherever it is put."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any


class Html(str):
    """Markup, which goes into a page as it is; every other text is escaped."""

    __slots__ = ()


def tag(name: str, *children: Any, **attributes: Any) -> Html:
    """An element.

    Args:
        name: Of the element.
        children: Markup, text (escaped), sequences of these, or None, which is nothing.
        attributes: Values are escaped; `class_` is `class`, `data_x` is `data-x`; None leaves one out, True has no
            value.
    """
    written = "".join(_attribute(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def _attribute(name: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escape(str(value), quote=True)}"'


def join(children: Iterable[Any]) -> Html:
    """Markup and texts one after another; texts are escaped."""
    return Html("".join(_child(child) for child in children))


def _child(child: Any) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, list | tuple):
        return join(child)
    return escape(str(child), quote=True)


def paragraph(*children: Any) -> Html:
    """A paragraph."""
    return tag("p", *children)


def note(*children: Any) -> Html:
    """A paragraph in small print."""
    return tag("p", *children, class_="note")


def bullets(lines: Sequence[Any]) -> Html:
    """A list."""
    return tag("ul", [tag("li", line) for line in lines])


def table(
    caption: str, heads: Sequence[str], rows: Sequence[Sequence[Any]], *, words: Sequence[int] = (0,), hide: bool = True
) -> Html:
    """A table in a box of its own, which scrolls where the page is narrow.

    Args:
        caption: What it holds, for those who can't see it too.
        heads: Of the columns.
        rows: Cells: markup or text; the first of each row is its head.
        words: Columns of text; the others are numbers, and stand to the right.
        hide: Whether the caption is only for those who can't see the headings above.
    """
    head = tag(
        "tr", [tag("th", name, scope="col", class_=None if at in words else "n") for at, name in enumerate(heads)]
    )
    body = [
        tag(
            "tr",
            [
                tag("td" if at else "th", cell, scope=None if at else "row", class_=None if at in words else "n")
                for at, cell in enumerate(row)
            ],
        )
        for row in rows
    ]
    whole = tag(
        "table",
        tag("caption", caption, class_="unseen" if hide else None),
        tag("thead", head),
        tag("tbody", body),
    )
    return tag("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)


def facts(pairs: Mapping[str, Any]) -> Html:
    """Names and what they are; those without a value are left out."""
    rows = [
        [tag("dt", name), tag("dd", value)]
        for name, value in pairs.items()
        if value is not None and value not in ("", [])
    ]
    return tag("dl", rows)


def fold(summary: str, *children: Any) -> Html:
    """What is shown when it is asked for."""
    return tag("details", tag("summary", summary), children)


def code(text: str) -> Html:
    """A hash, a path or a command."""
    return tag("code", text)


def figure(caption: str, plot: Mapping[str, Any], said: Any = None) -> Html:
    """A figure that the page's script draws with plotly.

    Args:
        caption: Its title, in words.
        plot: `data` and `layout` as plotly has them; colours are `@name`s of the style sheet's.
        said: A sentence beneath the title: how to read it.
    """
    return tag(
        "figure",
        tag("figcaption", tag("strong", caption), None if said is None else tag("span", said)),
        tag("div", class_="plot", role="img", aria_label=caption),
        Html(f'<script type="application/json">{to_json(plot)}</script>'),
    )


def grid(figures: Sequence[Html], *, small: bool = False) -> Html:
    """Figures side by side where there is room; small ones by three."""
    return tag("div", figures, class_="grid small" if small else "grid")


def to_json(value: Any) -> str:
    """JSON that can stand in a script element: no text in it can end the element, or begin another."""
    text = json.dumps(_plain(value), allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _plain(value: Any) -> Any:
    """The same of plain values: numbers of six digits, null where there is none."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def label(text: Any) -> str:
    """A text of data inside a figure, where plotly would take some of it for markup."""
    return escape(" ".join(str(text).split()), quote=False)
