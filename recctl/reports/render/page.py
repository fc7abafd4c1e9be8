"""The page: a head that lets nothing in from outside, contents, sections, and one copy of plotly.js."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from recctl.reports.render.html import Html, join, tag


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: Its heading.
        body: What is under it.
    """

    title: str
    body: Html

    @property
    def anchor(self) -> str:
        """Where the contents lead."""
        return "".join(sign if sign.isalnum() else "-" for sign in self.title.lower())


def page(title: str, lead: Html, sections: Sequence[Section], foot: str) -> str:
    """A whole page.

    Args:
        title: In words.
        lead: What stands above the contents.
        sections: In order.
        foot: The last line.
    """
    scripts = []
    if any('class="plot"' in section.body for section in sections):
        scripts = [_plotly(), _asset("report.js")]
    style = _asset("report.css")
    contents = tag(
        "nav",
        tag("ol", [tag("li", tag("a", one.title, href=f"#{one.anchor}")) for one in sections]),
        aria_label="Contents",
    )
    body = [tag("section", tag("h2", one.title), one.body, id=one.anchor, aria_label=one.title) for one in sections]
    return "".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            '<meta name="color-scheme" content="light dark">\n',
            tag("title", title),
            f"\n<style>{style}</style>\n</head>\n<body>\n",
            tag("a", "To the contents", href="#main", class_="skip"),
            '<div class="page">\n',
            tag("header", tag("h1", title), lead),
            '\n<div class="columns">\n',
            contents,
            tag("main", join(body), id="main"),
            "\n</div>\n",
            tag("footer", foot),
            "\n</div>\n",
            *(f"<script>{script}</script>\n" for script in scripts),
            "</body>\n</html>\n",
        ]
    )


def _policy(scripts: Sequence[str]) -> str:
    """Nothing is loaded, and of scripts only those that are ours run, whatever a text of the data is taken for."""
    ours = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    ours = ours or "'none'"
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {ours}"


def _asset(name: str) -> str:
    return (files("recctl.reports.render") / "assets" / name).read_text(encoding="utf-8")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    return script.replace("</script", "<\\/script")
