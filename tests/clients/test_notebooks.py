"""Notebooks: those of docs/ run and show what is stored in them, and progress and commands behave in cells."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import skip_without

skip_without("nbclient", "pip install nbclient")
skip_without("ipykernel", "pip install ipykernel")

import nbformat  # noqa: E402

from tests.clients import notebooks  # noqa: E402

CONFIG = """\
data: {source: synthetic, synthetic: {n_users: 60, n_items: 40, n_interactions: 900}}
model: {name: svd, params: {n_epochs: 3}}
evaluation: {metrics: [ndcg], k_values: [5]}
"""
RUN_ID = re.compile(r"\d{8}-\d{6}-[\w-]+?-[0-9a-f]{4}\b")
SECONDS = re.compile(r"\b\d+\.\d s\b")
NUMBER = re.compile(r"-?\b\d+\.\d+(?:e[-+]\d+)?")
# Metrics and fitted values on other processors and with other versions of libraries.
TOLERANCE = 0.02


def run_cells(folder: Path, *sources: str) -> list[list[Any]]:
    """The outputs of each cell of a notebook."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    return [cell.outputs for cell in notebooks.execute_notebook(notebook, folder).cells]


def stable(texts: list[str]) -> tuple[list[str], list[float]]:
    """Outputs without what changes with each execution: their texts without numbers, and the numbers."""
    without_times = [SECONDS.sub("SECONDS", RUN_ID.sub("RUN", text)) for text in texts]
    numbers = [float(number) for text in without_times for number in NUMBER.findall(text)]
    # The width of columns and of escape codes depends on the numbers.
    return [" ".join(NUMBER.sub("#", text).split()) for text in without_times], numbers


# The guides and the first notebook have the calls of the others.
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[] if path.stem == "first_model" else pytest.mark.slow)
        for path in notebooks.NOTEBOOKS
    ],
)
def test_notebook_runs_and_shows_what_is_stored_in_it(path: Path, tmp_path: Path) -> None:
    stored = notebooks.outputs_of(nbformat.read(path, as_version=4))
    stored_texts, stored_numbers = stable(stored)
    texts, numbers = stable(notebooks.outputs_of(notebooks.execute(path, tmp_path)))
    assert texts == stored_texts, "run `make notebooks` and look at what changed"
    assert numbers == pytest.approx(stored_numbers, abs=TOLERANCE, rel=TOLERANCE)


@pytest.mark.parametrize("path", notebooks.NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_notebook_has_nothing_of_the_machine_that_made_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert notebooks.outputs_of(nbformat.reads(text, as_version=4))
    assert "\\u001b" not in text  # escape codes
    for trace in (str(notebooks.ROOT), str(Path.home()), "/tmp/", "site-packages", "Traceback"):
        assert trace not in text, trace


def test_progress_of_a_cell_leaves_one_line(tmp_path: Path) -> None:
    _, fit, fits, hidden, block = run_cells(
        tmp_path,
        "import pandas as pd, recctl\n"
        "table = pd.DataFrame({'user_id': [1, 1, 2, 2], 'item_id': [5, 6, 5, 7], 'rating': [5.0, 3.0, 4.0, 1.0]})\n"
        "recctl.progress.show();",
        "recctl.SVDRecommender(n_epochs=3).fit(table);",
        "for n_factors in (2, 3): recctl.SVDRecommender(n_factors=n_factors).fit(table)\n"
        "recctl.EASERecommender().fit(table);",
        "recctl.progress.hide()\nrecctl.EASERecommender().fit(table);",
        "with recctl.progress.show(): recctl.EASERecommender().fit(table);",
    )
    assert [output.output_type for output in fit] == ["display_data"]
    assert re.fullmatch(r"Fitting svd: 3 epochs, loss=[\d.]+, \d+\.\d s", fit[0].data["text/plain"])
    assert [output.output_type for output in fits] == ["display_data"]
    assert re.fullmatch(r"Fitting svd x2, Fitting ease: \d+\.\d s", fits[0].data["text/plain"])
    assert hidden == []
    assert re.fullmatch(r"Fitting ease: \d+\.\d s", block[0].data["text/plain"])


def test_command_in_a_cell_prints_plain_lines(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    train, listed, script = run_cells(
        tmp_path,
        "!recctl train config.yaml",
        "lines = !recctl runs list\nprint(lines)",
        "%%bash\nrecctl runs list",
    )
    printed = train[0].text
    assert [output.output_type for output in train] == ["stream"]
    assert "\x1b" not in printed
    # The terminal writes \r\n. A frame of an animation would begin with \r.
    lines = printed.replace("\r\n", "\n").splitlines()
    assert "\r" not in printed.replace("\r\n", "\n")
    assert 5 < len(lines) < 25
    assert re.search(r"^ndcg@5 +0\.\d+", printed, flags=re.MULTILINE)
    assert any(len(line) > 80 for line in lines)  # not wrapped
    rows = listed[0].text
    assert "complete" in rows
    assert "\\x1b" not in rows
    assert "\x1b" not in script[0].text
