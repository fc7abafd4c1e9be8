"""Tables off a terminal: laid out as Rich does, without the time that it takes."""

from __future__ import annotations

import io
import random
import string
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from recctl.cli import terminal
from recctl.cli.settings import settings

CHARACTERS = string.ascii_letters + string.digits + " .,:[]/@-"


@pytest.fixture(autouse=True)
def _default_settings() -> None:
    """Options of commands that other tests ran stay set in the process."""
    settings.reset()


def with_rich(columns: list[str], cells: list[list[str]], is_numeric: list[bool]) -> str:
    table = Table(box=None, pad_edge=False)
    for heading, numeric in zip(columns, is_numeric, strict=True):
        table.add_column(Text(heading), justify="right" if numeric else "left")
    for line in cells:
        table.add_row(*(Text(cell) for cell in line))
    output = io.StringIO()
    Console(file=output, width=10_000).print(table)
    return output.getvalue()


@pytest.mark.parametrize("seed", range(20))
def test_plain_table_is_laid_out_as_rich_does(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(seed)
    columns = ["".join(rng.choices(string.ascii_letters, k=rng.randrange(1, 12))) for _ in range(rng.randrange(1, 6))]
    is_numeric = [rng.random() < 0.5 for _ in columns]
    rows: list[list[Any]] = [
        [
            rng.randrange(10**9) if numeric else "".join(rng.choices(CHARACTERS, k=rng.randrange(1, 20)))
            for numeric in is_numeric
        ]
        for _ in range(rng.randrange(1, 8))
    ]
    terminal.table(columns, rows)
    expected = with_rich(columns, [[str(cell) for cell in line] for line in rows], is_numeric)
    assert capsys.readouterr().out == expected


def test_ids_that_look_like_markup_or_emoji_codes_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.table(["item_id", "title"], [[":smile:", "[bold]"], ["ü", "\tx"]])
    assert capsys.readouterr().out.split() == ["item_id", "title", ":smile:", "[bold]", "ü", "x"]
