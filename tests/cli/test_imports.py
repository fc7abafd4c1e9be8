"""What short commands must not import: it would take longer than their work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from recctl.models.popularity import PopularityRecommender
from recctl.runs import Run
from tests.models.suite import toy

SLOW = (
    *("numba", "optuna", "pandas", "plotly", "scipy", "scipy.linalg", "scipy.special", "torch"),
    "recctl.config.schema",
)


def imported_by(folder: Path, *arguments: str, exit_code: int = 0) -> set[str]:
    """The modules of `SLOW` and NumPy that a command has imported when it ends."""
    code = (
        "import sys; from recctl.cli import run; code = run(sys.argv[1:]);"
        f"print('imported', *({set(SLOW) | {'numpy'}} & set(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ended.returncode == exit_code, ended.stderr
    return set(ended.stderr.splitlines()[-1].split()[1:])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    config = {"seed": 1, "data": {"source": "x"}}
    run = Run.create(folder / "runs", "popularity-x", "train", config, extra_metadata={"titles": None})
    run.save_model(PopularityRecommender().fit(toy()), "train")
    run.end("complete")
    return folder


def test_listing_runs_imports_no_arrays_and_no_models(folder: Path) -> None:
    assert imported_by(folder, "runs", "list") == set()


@pytest.mark.parametrize("arguments", [(), ("trian",), ("runs", "list", "--foo")])
def test_error_and_its_next_command_import_nothing_slow(folder: Path, arguments: tuple[str, ...]) -> None:
    assert imported_by(folder, *arguments, exit_code=2) == set()


def test_listing_runs_by_a_condition_imports_arrays_alone(folder: Path) -> None:
    assert imported_by(folder, "runs", "list", "--where", "ndcg@10>0.1", "--sort", "created") == {"numpy"}


@pytest.mark.parametrize("arguments", [("100",), ("--history", "3,10"), ("7", "--on-unknown", "popular")])
def test_recommending_imports_neither_tables_nor_what_training_needs(folder: Path, arguments: tuple[str, ...]) -> None:
    # Kernels need numba, which imports SciPy, but not `scipy.linalg`.
    assert imported_by(folder, "recommend", "latest", *arguments) <= {"numpy", "numba", "scipy"}
