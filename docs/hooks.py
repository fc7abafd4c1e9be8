"""Hooks of MkDocs: pages that are made from other files when the site is built."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]


def on_files(files: Files, *, config: Any) -> Files:
    """Add the changelog and the notebooks."""
    files.append(File.generated(config, "changelog.md", content=changelog()))
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        notebook = files.get_file_from_path(f"notebooks/{path.name}")
        if notebook is not None:
            files.remove(notebook)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=notebook_page(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    r"""Write `a\|b` in tables as `a|b`: GitHub wants the backslash, and Python-Markdown shows it.

    Links to notebooks lead to their pages.
    """
    markdown = re.sub(r"\]\((?!https?:)([^)\s]+)\.ipynb\)", r"](\1.md)", markdown)
    return "\n".join(
        re.sub(r"`[^`]*`", lambda code: code[0].replace("\\|", "|"), line) if line.startswith("|") else line
        for line in markdown.split("\n")
    )


def changelog() -> str:
    """CHANGELOG.md, whose links start in the top folder."""
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "](")


def notebook_page(path: Path) -> str:
    """A notebook as Markdown, with the outputs that are stored in it."""
    source = f"https://github.com/recctl/recctl/blob/main/docs/notebooks/{path.name}"
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
        elif cell["cell_type"] == "code" and text:
            parts.append(f"```python\n{text}\n```")
            parts += [output_part(output) for output in cell["outputs"]]
    heading, *rest = parts
    return "\n\n".join([heading, f"This page is a notebook: [{path.name}]({source}).", *rest]) + "\n"


def output_part(output: dict[str, Any]) -> str:
    """An output of a cell: HTML if it has any, else a picture, else text."""
    data = output.get("data", {})
    if "text/html" in data:
        html = "".join(data["text/html"])
        # A blank line would end the block of HTML.
        lines = [line for line in html.splitlines() if line.strip()]
        return '<div class="notebook-output">\n' + "\n".join(lines) + "\n</div>"
    if "image/png" in data:
        return f'<img alt="Output of the cell above" src="data:image/png;base64,{data["image/png"].strip()}">'
    text = "".join(data.get("text/plain", output.get("text", "")))
    return f"```text\n{text.rstrip()}\n```" if text.strip() else ""
