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


def imported_by(folder: Path, *commands: str, exit_code: int = 0) -> set[str]:
    """The modules of `SLOW` and NumPy that commands have imported, which one process runs one after another."""
    code = (
        "import sys; from recctl.cli import run; codes = [run(command.split()) for command in sys.argv[1:]];"
        f"print('imported', *({set(SLOW) | {'numpy'}} & set(sys.modules)), file=sys.stderr);"
        f"sys.exit(0 if codes == [{exit_code}] * {len(commands)} else f'exit codes: {{codes}}')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *commands], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
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
    assert imported_by(folder, "runs list") == set()


def test_error_and_its_next_command_import_nothing_slow(folder: Path) -> None:
    assert imported_by(folder, "", "trian", "runs list --foo", exit_code=2) == set()


def test_listing_runs_by_a_condition_imports_arrays_alone(folder: Path) -> None:
    assert imported_by(folder, "runs list --where ndcg@10>0.1 --sort created") == {"numpy"}


def test_recommending_imports_neither_tables_nor_what_training_needs(folder: Path) -> None:
    requests = ("100", "--history 3,10", "7 --on-unknown popular")
    commands = [f"recommend latest {request}" for request in requests]
    # Kernels need numba, which imports SciPy, but not `scipy.linalg`.
    assert imported_by(folder, *commands) <= {"numpy", "numba", "scipy"}
