"""Readers can follow the pages of docs/start as they are written: commands run, and print what the pages show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import recctl as package
from tests.pages import DOCS, read_blocks
from tests.tutorial import Tutorial


def test_tutorial_with_own_data_prints_what_it_shows(recctl: Any, workdir: Path) -> None:
    Tutorial(recctl).run(read_blocks("start/ten-minutes.md"))
    assert len(list((workdir / "runs").glob("*/report.html"))) == 1


def shop_files() -> None:
    """Write the files of the tutorial into the current folder."""
    [script] = [block for block in read_blocks("start/ten-minutes.md") if block.title == "make_events.py"]
    exec(compile(script.code, "make_events.py", "exec"), {})


@pytest.mark.parametrize("page", [pytest.param("choose", marks=pytest.mark.slow), "paper"])
def test_tutorials_with_files_of_the_first_one_print_what_they_show(recctl: Any, workdir: Path, page: str) -> None:
    shop_files()
    Tutorial(recctl).run(read_blocks(f"start/{page}.md"))


def test_calls_named_for_users_of_other_libraries_exist(workdir: Path) -> None:
    shop_files()
    [block] = read_blocks("start/coming-from.md")
    namespace: dict[str, Any] = {}
    exec(compile(block.code, "coming-from.md", "exec"), namespace)
    assert namespace["dataset"].n_users == 800
    text = (DOCS / "start" / "coming-from.md").read_text()
    names = set(re.findall(r"\b(\w+Recommender)\b", text)) - {
        "CosineRecommender",
        "TFIDFRecommender",
        "BM25Recommender",
    }
    assert len(names) > 10
    assert names <= set(package.__all__)
    for name, arguments in re.findall(r"`(\w+Recommender)\(([^)]*)\)", text):
        if name in names:
            eval(f"package.{name}({arguments})", {"package": package})
