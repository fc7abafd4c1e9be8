"""The reference pages are up to date, links are valid, and the examples of the documentation work."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.conftest import SMALL
from tests.pages import DOCS, read_blocks

REPOSITORY = "https://github.com/recctl/recctl/blob/main/"
SITE = "https://recctl.github.io/recctl/"
PAGES = sorted([*DOCS.rglob("*.md"), DOCS.parent / "README.md"])


def test_reference_pages_are_up_to_date(tmp_path: Path) -> None:
    spec = spec_from_file_location("reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    reference = module_from_spec(spec)
    spec.loader.exec_module(reference)
    reference.main(tmp_path)
    expected_pages = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.md")}
    all_pages = {path.relative_to(DOCS / "reference"): path.read_text() for path in (DOCS / "reference").rglob("*.md")}
    pages = {name: text for name, text in all_pages.items() if text.startswith(reference.NOTE)}
    assert pages.keys() == expected_pages.keys(), "run `make docs`"
    for name, text in expected_pages.items():
        assert pages[name] == text, f"docs/reference/{name} is out of date: run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS.parent)))
def test_links_are_valid(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, anchor = linked_file(page, link)
        if path is None:
            continue
        assert path.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in heading_anchors(path), f"{page.name}: {link}"


def linked_file(page: Path, link: str) -> tuple[Path | None, str]:
    """The file and the anchor of a link; None for addresses of others."""
    target, _, anchor = link.partition("#")
    if target.startswith(REPOSITORY):
        return DOCS.parent / target.removeprefix(REPOSITORY), anchor
    if target.startswith(SITE):
        name = target.removeprefix(SITE).rstrip("/")
        path = DOCS / f"{name}.md"
        if (DOCS / name).is_dir():
            path = DOCS / name / "index.md"
    elif "://" in target:
        return None, ""
    else:
        path = (page.parent / target).resolve() if target else page
    # The pages of notebooks and of the changelog are made when the site is built.
    if path.with_suffix(".ipynb").exists():
        path = path.with_suffix(".ipynb")
    if path == DOCS / "changelog.md":
        path = DOCS.parent / "CHANGELOG.md"
    return path, anchor


def heading_anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def example_code(heading: str) -> str:
    """The code of a section of extending.md."""
    [code] = [block.code for block in read_blocks("guides/extending.md") if block.heading == heading]
    return code


def test_extension_examples_work_as_written(recctl: Any, workdir: Path, package: Any) -> None:
    package("metrics", "first_hit", example_code("A metric"), "FIRST_HIT")
    package("sources", "clicks", example_code("A source"), "read")
    package("strategies", "halving", example_code("A strategy"), "make")
    package("exports", "popular-csv", example_code("An export format"), "PopularCsvFormat")
    config = SMALL.replace("source: synthetic", "source: clicks").replace("hit_rate]", "first_hit]")
    (workdir / "x.yaml").write_text("\n".join(line for line in config.splitlines() if "synthetic:" not in line))
    search = recctl("tune", "x.yaml", "--strategy", "halving", "--trials", "4", "--json").json
    assert 0 <= search["metrics"]["test"]["first_hit@5"] <= 1
    trials = pd.read_parquet(workdir / search["path"] / "trials.parquet")
    assert trials["l2_reg"].nunique() == 4
    result = recctl("export", search["run_id"], "--format", "popular-csv", "-O", "limit=7", "-o", "out")
    assert result.code == 0, result.err
    assert len(pd.read_csv(workdir / "out" / "popular.csv")) == 7
    assert "popular-csv" in recctl("export", "--list").out
