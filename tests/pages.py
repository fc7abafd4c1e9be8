"""The fenced blocks of code in the pages of the documentation, for tests that run what is shown."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

_BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)(?P<attributes>[^\n]*)\n(?P<code>.*?)^(?P=indent)```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        language: Such as `python`.
        code: Its text, without the indentation of a list.
        title: The file that it is to be written to: `title="NAME"` after the language.
        line: Where it begins in the page.
        heading: The heading above it.
    """

    language: str
    code: str
    title: str | None
    line: int
    heading: str


def read_blocks(page: Path | str) -> list[Block]:
    """All blocks of a page, which is a path or a name in `docs/`."""
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = []
    for match in _BLOCK.finditer(text):
        before = text[: match.start()]
        headings = re.findall(r"^#+ (.*)$", before, flags=re.MULTILINE)
        title = re.search(r'title="([^"]+)"', match["attributes"])
        blocks.append(
            Block(
                language=match["language"],
                code=textwrap.dedent(match["code"]),
                title=title[1] if title else None,
                line=before.count("\n") + 1,
                heading=headings[-1] if headings else "",
            )
        )
    return blocks
