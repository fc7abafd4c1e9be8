"""Every command of an installed recctl, run as a process, as a person runs it.

These tests need pytest and the package alone, so that `.ci/wheel` runs them against a built wheel: of the repository,
they import only what starts the processes. They use whatever formats, trackers and engines are installed. Those marked
as slow have a test in one process in another folder.
"""

from __future__ import annotations

import json
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests import preloaded

# The data of tests/conftest.py, which these tests must not import.
CONFIG = """\
seed: 7
data:
  source: synthetic
  synthetic: {n_users: 120, n_items: 60, n_interactions: 2500}
  min_user_interactions: 3
split: {strategy: random, test_size: 0.2, val_size: 0.1}
model: {name: als, params: {n_factors: 8, n_iterations: 3}}
evaluation: {metrics: [ndcg, recall], k_values: [5]}
"""
# Hyperparameters that make the fit of a model quick.
SMALL: dict[str, dict[str, Any]] = {
    "als": {"n_factors": 4, "n_iterations": 3},
    "bpr": {"n_factors": 4, "epochs": 2},
    "ease": {},
    "item-knn": {"n_neighbors": 5},
    "lightgcn": {"embedding_dim": 4, "epochs": 2},
    "mult-vae": {"embedding_dim": 4, "hidden_layers": [8], "epochs": 2},
    "ncf": {"embedding_dim": 4, "hidden_layers": [8, 4], "epochs": 2},
    "popularity": {},
    "random": {},
    "rp3beta": {"n_neighbors": 5},
    "sansa": {"n_neighbors": 3},
    "sasrec": {"embedding_dim": 4, "n_blocks": 1, "max_length": 8, "epochs": 2},
    "slim": {},
    "svd": {"n_factors": 4, "n_epochs": 2},
    "svdpp": {"n_factors": 4, "n_epochs": 2},
    "user-knn": {"n_neighbors": 5},
}
# The package that an export format needs beyond those of recctl itself.
FORMATS = {
    "recommendations": "recctl",
    "similar-items": "recctl",
    "embeddings": "recctl",
    "safetensors": "recctl",
    "onnx": "onnxruntime",
    "ann": "usearch",
    "mlflow": "mlflow",
}
LOAD_EVERY_MODEL = """
import sys
import recctl
for path in sys.argv[1:]:
    model = recctl.load_model(path)
    users = model.user_vocabulary.ids[:2].tolist()
    print(model.name, len(model.recommend(users, k=3)))
"""


def skip_without(package: str) -> None:
    """Skip a test whose package is missing; fail instead if RECCTL_TEST_ALL says that all are installed."""
    if find_spec(package) is not None:
        return
    if os.environ.get("RECCTL_TEST_ALL"):
        pytest.fail(f"RECCTL_TEST_ALL is set, and a package is missing: {package}", pytrace=False)
    pytest.skip(f"needs {package}")


class Workplace:
    """A folder with a config and runs.

    Args:
        folder: The folder.

    Attributes:
        trained: The id of a trained run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trained = ""
        (folder / "small.yaml").write_text(CONFIG)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RECCTL_")},
            "RECCTL_DATA_HOME": str(folder / "data-home"),
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        }

    def call(self, *arguments: str) -> str:
        """Run a process of Python in the folder; returns what it printed."""
        done = self._run(*arguments)
        assert done.returncode == 0, f"{arguments}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return preloaded.run(*arguments, cwd=self.folder, env=self.environment)

    def text(self, *arguments: str) -> str:
        """Run a command; returns what it printed."""
        return self.call("-m", "recctl", *arguments)

    def json(self, *arguments: str) -> Any:
        """Run a command; returns its JSON document."""
        return json.loads(self.text(*arguments, "--json", "--quiet"))

    def fails(self, *arguments: str) -> tuple[int, str]:
        """Run a command that fails; returns its exit code and what it printed on stderr."""
        done = self._run("-m", "recctl", *arguments)
        return done.returncode, done.stderr


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A folder with one trained run."""
    made = Workplace(tmp_path_factory.mktemp("blackbox"))
    made.trained = made.json("train", "small.yaml")["run_id"]
    return made


@pytest.fixture
def user(workplace: Workplace) -> str:
    """The id of a user of the run's model."""
    script = "import sys, recctl; print(recctl.load_model(sys.argv[1]).user_vocabulary.ids[0])"
    return workplace.call("-c", script, f"runs/{workplace.trained}/models/v1.pkl").strip()


def test_trained_model_is_evaluated_and_recommends(workplace: Workplace, user: str) -> None:
    run = workplace.json("train", "small.yaml")
    assert run["status"] == "complete"
    measured = workplace.json("evaluate", run["run_id"], "--on", "test")["measured"]
    assert measured == run["metrics"]["test"]
    assert user in workplace.text("recommend", run["run_id"], user, "-k", "3")
    assert len(workplace.json("similar", run["run_id"], "1", "-k", "3")["similar_items"]) == 3
    assert workplace.json("recommend", run["run_id"], "--history", "1,2", "-k", "3")


@pytest.mark.slow
def test_every_model_is_saved_and_loaded(workplace: Workplace) -> None:
    names = [entry["name"] for entry in workplace.json("models")["models"]]
    assert set(names) == set(SMALL)
    entries = [{"label": name, "name": name, "params": SMALL[name]} for name in names]
    lines = [line for line in CONFIG.splitlines() if not line.startswith("model:")]
    # Some models learn from ratings, the others take each interaction as one; a comparison needs the same data.
    lines.insert(lines.index("data:") + 1, "  implicit: false")
    (workplace.folder / "all.yaml").write_text("\n".join([*lines, f"models: {json.dumps(entries)}"]))
    found = workplace.json("compare", "all.yaml", "--resamples", "100")
    assert found["status"] == "complete"
    paths = sorted((workplace.folder / "runs").glob("*/models/v1.pkl"))
    loaded = workplace.call("-c", LOAD_EVERY_MODEL, *map(str, paths)).splitlines()
    assert len(loaded) == len(paths)
    assert {line.split()[0] for line in loaded} == set(names)
    assert all(line.split()[1] == "6" for line in loaded)
    workplace.text("runs", "verify")


def test_split_then_fit_on_it(workplace: Workplace) -> None:
    split = workplace.json("split", "small.yaml", "--export", "parts")
    assert any((workplace.folder / "parts").iterdir())
    assert workplace.json("fit", split["run_id"])["models"]
    assert workplace.json("fit", "small.yaml")["models"]


@pytest.mark.parametrize("sampler", ["tpe", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gp", "cmaes"))])
def test_search_keeps_the_best_model(workplace: Workplace, sampler: str) -> None:
    if sampler == "cmaes":
        skip_without("cmaes")
    settings = ["--set", f"tuning.sampler={sampler}", "--strategy", "bayesian", "--trials", "3"]
    run = workplace.json("tune", "small.yaml", *settings)
    assert run["status"] == "complete"
    assert workplace.json("recommend", run["run_id"], "--history", "1,2", "-k", "3")
    more = workplace.json("tune", "--resume", run["run_id"], "--trials", "5")
    assert more["run_id"] == run["run_id"]


@pytest.mark.slow
def test_search_in_worker_processes(workplace: Workplace) -> None:
    assert workplace.json("tune", "small.yaml", "--strategy", "random", "--trials", "3", "--jobs", "2")["models"]


def test_formats_are_listed(workplace: Workplace) -> None:
    listed = workplace.text("export", "--list")
    for name in FORMATS:
        assert name in listed


@pytest.mark.parametrize(
    "name", ["recommendations", *(pytest.param(name, marks=pytest.mark.slow) for name in list(FORMATS)[1:])]
)
def test_export_is_written_and_verified(workplace: Workplace, name: str) -> None:
    skip_without(FORMATS[name])
    folder = f"exported-{name}"
    workplace.text("export", workplace.trained, "--format", name, "--output", folder)
    workplace.text("export", "--verify", folder)


@pytest.mark.slow
def test_reports(workplace: Workplace) -> None:
    for name in ("html", "md", "latex"):
        workplace.text("report", workplace.trained, "--format", name, "--output", f"report.{name}")
        assert (workplace.folder / f"report.{name}").stat().st_size > 200


@pytest.mark.slow
def test_diagnosis_and_estimate(workplace: Workplace) -> None:
    workplace.json("diagnose", "small.yaml")
    workplace.json("diagnose", workplace.trained)
    for name in ("als", "sasrec", "slim", "svd"):
        model = json.dumps({"name": name, "params": SMALL[name]})
        workplace.json("estimate", "small.yaml", "-s", f"model={model}")


@pytest.mark.slow
def test_runs(workplace: Workplace) -> None:
    first = workplace.json("train", "small.yaml")["run_id"]
    second = workplace.json("train", "small.yaml", "-s", "model.params.n_factors=4")["run_id"]
    assert {first, second} <= {run["run_id"] for run in workplace.json("runs", "list")["runs"]}
    assert workplace.json("runs", "show", first)["run_id"] == first
    workplace.json("runs", "compare", first, second)
    workplace.json("compare", first, second, "--resamples", "100")
    workplace.json("runs", "promote", first, "--as", "production")
    workplace.json("runs", "promote", second, "--as", "production")
    workplace.json("runs", "rollback", "production")
    workplace.json("runs", "names")
    workplace.json("runs", "tag", first, "good")
    workplace.json("runs", "note", first, "The first run.")
    workplace.text("runs", "verify", "production")
    workplace.json("runs", "rm", second, "--yes")
    workplace.json("runs", "gc", "--yes")


def test_damaged_model_is_reported(workplace: Workplace) -> None:
    run = workplace.json("train", "small.yaml")
    path = Path(workplace.folder, run["path"], "models", "v1.pkl")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    code, printed = workplace.fails("runs", "verify", run["run_id"])
    assert code == 4, printed
    workplace.json("runs", "rm", run["run_id"], "--yes")


@pytest.mark.slow
def test_models_data_and_configs(workplace: Workplace) -> None:
    assert "n_factors" in workplace.json("models", "als")["parameters"]
    workplace.json("data", "list")
    workplace.json("data", "describe", "small.yaml")
    workplace.text("config", "init", "ease", "-o", "ease.yaml")
    # It comes with the package.
    assert "leave_last" in workplace.text("config", "init", "sasrec")
    workplace.text("config", "copy", "choose")
    workplace.json("config", "validate", "choose.yaml")
    for arguments in (("validate", "ease.yaml"), ("show", "ease.yaml"), ("schema",), ("steps",), ("metrics",)):
        workplace.json("config", *arguments)


@pytest.mark.parametrize("arguments", [("trian",), ("train", "--threads", "0"), ("train", "--no-such"), ("evaluate",)])
def test_usage_error_has_its_exit_code(workplace: Workplace, arguments: tuple[str, ...]) -> None:
    code, printed = workplace.fails(*arguments)
    assert code == 2
    assert "--help" in printed


def test_help_and_version(workplace: Workplace) -> None:
    assert "train" in workplace.text("--help")
    assert "--set" in workplace.text("train", "--help")
    assert workplace.text("--version").startswith("recctl ")


@pytest.mark.slow
@pytest.mark.parametrize(("tracker", "package"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow")])
def test_tracking(workplace: Workplace, tracker: str, package: str) -> None:
    skip_without(package)
    values = {"tensorboard": "true", "mlflow": "{uri: 'sqlite:///tracked.db'}"}
    svd = json.dumps({"name": "svd", "params": SMALL["svd"]})
    workplace.json("train", "small.yaml", "-s", f"model={svd}", "-s", f"tracking.{tracker}={values[tracker]}")


@pytest.mark.slow
def test_ray_engine(workplace: Workplace) -> None:
    skip_without("ray")
    assert workplace.json("train", "small.yaml", "--engine", "ray")["models"]
