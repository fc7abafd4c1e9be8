"""Every public name can be found, documents itself, and has an example that runs."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import recctl
from recctl import InteractionDataset, RunStore, experiment
from recctl.data import synthetic

NAMES = [name for name in recctl.__all__ if name != "__version__"]
NEEDS = {"MLflowLogger": "mlflow", "TensorBoardLogger": "tensorboard"}
CONFIG = """\
data: {{source: table.csv}}
split: {{test_size: 0.2, val_size: 0.1}}
model: {{name: {model}}}
"""


def examples(value: Any) -> list[str]:
    """The code of all examples of a docstring."""
    docstring = inspect.getdoc(value) or ""
    return [textwrap.dedent(code) for code in re.findall(r"^ *```python\n(.*?)^ *```", docstring, flags=re.M | re.S)]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return synthetic.generate(n_users=60, n_items=40, n_interactions=900, seed=1)


@pytest.fixture(scope="module")
def names(table: pd.DataFrame) -> dict[str, Any]:
    """What the examples begin with."""
    train, val, test = InteractionDataset(table, implicit=False).split(test_size=0.2, val_size=0.1)
    return {"table": table, "train": train, "val": val, "test": test}


@pytest.fixture
def folder(table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with two configs."""
    monkeypatch.chdir(tmp_path)
    table.to_csv("table.csv", index=False)
    for model in ("ease", "als"):
        Path(f"{model}.yaml").write_text(CONFIG.format(model=model))
    yield tmp_path
    recctl.progress.hide()


@pytest.mark.filterwarnings("ignore::recctl.errors.RecctlWarning")
@pytest.mark.parametrize("name", NAMES)
def test_public_name_has_an_example_that_runs(
    name: str, names: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    [code] = examples(getattr(recctl, name))
    if "RunStore" in code or name == "write_report":
        experiment.train(experiment.load("ease.yaml"), RunStore("runs"))
    if name == "load_movielens":
        monkeypatch.setattr(recctl.data.sources, "load_movielens", lambda size: names["table"])
    exec(compile(code, f"<example of {name}>", "exec"), dict(names))


@pytest.mark.parametrize("name", ["show", "hide"])
def test_function_of_progress_has_an_example_that_runs(name: str, names: dict[str, Any], folder: Path) -> None:
    [code] = examples(getattr(recctl.progress, name))
    exec(compile(code, f"<example of {name}>", "exec"), dict(names))


def test_names_and_packages_are_completed_after_import_alone() -> None:
    code = "import recctl; print(*dir(recctl)); print(recctl.progress.show.__name__, recctl.experiment.load.__name__)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    completed, called = printed.splitlines()
    assert {*recctl.__all__, "progress", "experiment", "tuning"} <= set(completed.split())
    assert called == "show load"


def test_importing_everything_by_star_gives_exactly_the_public_names() -> None:
    namespace: dict[str, Any] = {}
    exec("from recctl import *", namespace)
    assert namespace.keys() - {"__builtins__"} == set(recctl.__all__)


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("Recommender") and name != "Recommender"])
def test_constructor_of_a_model_shows_its_hyperparameters(name: str) -> None:
    model_class = getattr(recctl, name)
    assert list(inspect.signature(model_class).parameters) == list(model_class.parameters)
