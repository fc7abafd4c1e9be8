"""The documentation is what the code says, and what it tells one to type works."""

from __future__ import annotations

import re
import textwrap
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.conftest import SMALL

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), DOCS.parent / "README.md"])


def test_the_reference_pages_are_what_the_code_says(tmp_path: Path) -> None:
    spec = spec_from_file_location("reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    reference = module_from_spec(spec)
    spec.loader.exec_module(reference)
    reference.main(tmp_path)
    written = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.md")}
    there = {path.relative_to(DOCS): path.read_text() for path in DOCS.rglob("*.md")}
    there = {name: text for name, text in there.items() if text.startswith(reference.NOTE)}
    assert there.keys() == written.keys(), "run `make docs`"
    for name, text in written.items():
        assert there[name] == text, f"docs/{name} is not what the code says: run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS.parent)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page.name}: {link}"
        if anchor:
            heads = re.findall(r"^#+ (.*)$", path.read_text(), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}, link


def recipe(heading: str) -> str:
    """The code of a section of extending.md."""
    section = (DOCS / "extending.md").read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    at = section.index('    """')
    lines = section[at:].splitlines()
    end = next((n for n, line in enumerate(lines) if line and not line.startswith("    ")), len(lines))
    return textwrap.dedent("\n".join(lines[:end]))


def test_the_recipes_work_as_written(recctl: Any, workdir: Path, package: Any) -> None:
    package("metrics", "first_hit", recipe("A metric"), "FIRST_HIT")
    package("sources", "clicks", recipe("A source"), "read")
    package("strategies", "halving", recipe("A strategy"), "make")
    package("exports", "popular-csv", recipe("An export format"), "PopularCsvFormat")
    config = SMALL.replace("source: synthetic", "source: clicks").replace("hit_rate]", "first_hit]")
    (workdir / "x.yaml").write_text("\n".join(line for line in config.splitlines() if "synthetic:" not in line))
    found = recctl("tune", "x.yaml", "--strategy", "halving", "--trials", "4", "--json").json
    assert 0 <= found["metrics"]["test"]["first_hit@5"] <= 1
    trials = pd.read_parquet(workdir / found["path"] / "trials.parquet")
    assert trials["l2_reg"].nunique() == 4
    done = recctl("export", found["run_id"], "--format", "popular-csv", "-O", "limit=7", "-o", "out")
    assert done.code == 0, done.err
    assert len(pd.read_csv(workdir / "out" / "popular.csv")) == 7
    assert "popular-csv" in recctl("export", "--list").out
