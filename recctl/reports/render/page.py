"""The HTML page: Jinja2 templates, a content security policy, and plotly.js."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from recctl.reports.render.blocks import Block, Figure, Inline


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        title: Its heading.
        blocks: Its content.
    """

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """The id of its element, which the table of contents links to."""
        return "".join(character if character.isalnum() else "-" for character in self.title.lower())


@dataclass(frozen=True)
class Tile:
    """A key figure at the top of the page.

    Attributes:
        name: What the value is.
        value: The value.
        detail: Small print below it.
    """

    name: str
    value: str
    detail: str | None = None


@dataclass(frozen=True)
class Header:
    """What precedes the table of contents.

    Attributes:
        lines: Paragraphs, one for each run.
        warnings: Messages that the reader must not miss.
        tiles: Key figures.
    """

    lines: Sequence[Inline] = ()
    warnings: Sequence[str] = ()
    tiles: Sequence[Tile] = ()


def render_page(
    title: str, header: Header, sections: Sequence[Section], footer: str, plotly_file: str | None = None
) -> str:
    """Render a page.

    Args:
        title: The title and main heading.
        header: What precedes the table of contents.
        sections: The sections, in order.
        footer: The last line.
        plotly_file: A file beside the page that holds plotly.js; None puts a copy of plotly.js into the page.

    Returns:
        An HTML document. It loads nothing but `plotly_file`.
    """
    scripts = []
    script_files = []
    if any(_contains_figure(section.blocks) for section in sections):
        if plotly_file is None:
            scripts.append(plotly_script())
        else:
            script_files.append(plotly_file)
        scripts.append(_asset("report.js"))
    template = _environment().get_template("page.html.j2")
    return template.render(
        title=title,
        header=header,
        sections=sections,
        footer=footer,
        policy=_content_security_policy(scripts, allow_files=bool(script_files)),
        style=_asset("report.css"),
        script_files=script_files,
        scripts=scripts,
    )


@cache
def _environment() -> Environment:
    # StrictUndefined: a misspelled variable is an error and not an empty text.
    environment = Environment(
        loader=PackageLoader("recctl.reports.render", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["script_json"] = script_json
    return environment


def _contains_figure(blocks: Sequence[Block]) -> bool:
    return any(isinstance(block, Figure) or _contains_figure(getattr(block, "blocks", ())) for block in blocks)


def _content_security_policy(scripts: Sequence[str], allow_files: bool) -> str:
    """A policy that loads nothing and runs only the page's own scripts, identified by their hashes.

    Even a text of the data that a browser took for a script would not run.
    """
    sources = []
    if allow_files:
        # 'self' matches the origin of a served page, `file:` a page that is opened from disk.
        sources += ["'self'", "file:"]
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        sources.append(f"'sha256-{digest}'")
    allowed = " ".join(sources) or "'none'"
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"


def _asset(name: str) -> str:
    return (files("recctl.reports.render") / "assets" / name).read_text(encoding="utf-8")


def plotly_script() -> str:
    """The source of plotly.js, such that it can be the text of a script element."""
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    return script.replace("</script", "<\\/script")


def script_json(value: Any) -> str:
    r"""JSON that can be the text of a script element.

    `<`, `>`, `&` and line separators become `\uXXXX`, so that no text in it can end the element or begin another one.
    Numbers are rounded to six significant digits; NaN and infinity become null.
    """
    json_text = json.dumps(_plain_value(value), allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        json_text = json_text.replace(character, f"\\u{ord(character):04x}")
    return json_text


def _plain_value(value: Any) -> Any:
    """The same value of lists, dicts, strings and numbers that JSON can represent."""
    if isinstance(value, Mapping):
        return {str(key): _plain_value(contained) for key, contained in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_value(contained) for contained in value]
    if hasattr(value, "tolist"):  # an array or a scalar of NumPy
        return _plain_value(value.tolist())
    if isinstance(value, float):
        # JSON has no NaN and no infinity; plotly draws nothing for null.
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
