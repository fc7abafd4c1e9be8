"""Readers can follow the pages of docs/start as they are written: commands run, and print what the pages show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.pages import read_blocks
from tests.tutorial import Tutorial


def test_tutorial_with_own_data_prints_what_it_shows(recctl: Any, workdir: Path) -> None:
    Tutorial(recctl).run(read_blocks("start/ten-minutes.md"))
    assert len(list((workdir / "runs").glob("*/report.html"))) == 1
