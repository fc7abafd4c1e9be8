"""`recctl warmup`, and which kernels are loaded before a command measures its time."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recctl import cli, experiment
from recctl.data import InteractionDataset
from recctl.errors import ArtifactError, ConfigError
from recctl.experiment.warmup import warm_up
from recctl.kernels import loading
from recctl.kernels.compile import CompiledFunction, find_kernels
from recctl.models.registry import model_class, model_names


def usage() -> dict[str, Any]:
    return json.loads((Path(loading.__file__).parent / "usage.json").read_text())


def test_usage_has_the_cost_of_each_kernel() -> None:
    # After adding a kernel: python -m tests.benchmarks.kernel_usage
    assert sorted(usage()["seconds"]) == sorted(loading.all_kernels())


def test_all_kernels_of_the_usage_exist() -> None:
    lists = [usage()["split"], usage()["evaluate"], usage()["other commands"], *usage()["models"].values()]
    named = {name for names in lists for name in names} | set(usage()["seconds"])
    assert named <= set(loading.all_kernels())
    assert all(find_kernels([name]) for name in named)


def test_usage_names_each_model() -> None:
    assert sorted(usage()["models"]) == model_names()


@pytest.fixture
def recorded_calls(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the kernels that are called."""
    names = set()

    def call(kernel: CompiledFunction, *arguments: Any) -> Any:
        names.add(kernel.name)
        return kernel.dispatcher(*arguments)

    monkeypatch.setattr(CompiledFunction, "__call__", call)
    return names


def test_training_calls_no_kernel_that_was_not_loaded_ahead(workdir: Path, recorded_calls: set[str]) -> None:
    experiment.train(experiment.load(workdir / "small.yaml"))
    # Kernels of synthetic data are called by no other source.
    assert {name for name in recorded_calls if not name.startswith("synthetic_sampling.")} <= set(
        loading.kernels_of_training(["ease"])
    )


@pytest.mark.parametrize("name", model_names())
def test_fitting_a_model_calls_no_kernel_that_was_not_loaded_ahead(
    name: str, recorded_calls: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    pairs = pd.DataFrame({"user_id": rng.integers(0, 200, 4_000), "item_id": rng.integers(0, 100, 4_000)})
    pairs["rating"] = rng.integers(1, 6, len(pairs)).astype(float)
    pairs["timestamp"] = np.arange(len(pairs))
    model = model_class(name)
    dataset = InteractionDataset(pairs.drop_duplicates(["user_id", "item_id"]), implicit=not model.needs_ratings)
    epochs = {key: 1 for key in ("epochs", "n_epochs", "n_iterations") if key in model.parameters}
    recorded_calls.clear()
    model(**epochs).fit(dataset)
    assert recorded_calls
    assert recorded_calls - set(loading.kernels_of_training([name], evaluates=False)) == set()


def test_splitting_loads_fewer_kernels_than_fitting_and_that_fewer_than_training() -> None:
    split = set(loading.kernels_of_training([], evaluates=False))
    fit = set(loading.kernels_of_training(["ease"], evaluates=False))
    train = set(loading.kernels_of_training(["ease"]))
    assert split < fit < train
    assert "elastic_net._solve_targets" not in train
    assert "elastic_net._solve_targets" in loading.kernels_of_training(["slim"])


@pytest.fixture
def _full_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "count_cached", lambda names: len(find_kernels(names)))


@pytest.mark.usefixtures("_full_cache")
def test_warmup_of_a_model_loads_its_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[list[str]] = []
    monkeypatch.setattr(loading, "load", lambda names: loaded.append(names) or 3)
    result = warm_up(["ease"])
    assert result.n_compiled == 3
    assert set(loaded[0]) >= set(loading.kernels_of_training(["ease"]))
    assert "elastic_net._solve_targets" not in loaded[0]


@pytest.mark.usefixtures("_full_cache")
def test_warmup_without_models_loads_all_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[list[str]] = []
    monkeypatch.setattr(loading, "load", lambda names: loaded.append(names) or 0)
    assert warm_up().n_kernels == len(find_kernels(loading.all_kernels()))
    assert sorted(loaded[0]) == sorted(loading.all_kernels())


def test_warmup_of_an_unknown_model_names_a_similar_one() -> None:
    with pytest.raises(ConfigError, match="unknown model 'esae'; did you mean ease"):
        warm_up(["esae"])


def test_warmup_without_a_folder_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recctl.kernels.cache.folder_to_write", lambda: None)
    with pytest.raises(ConfigError, match="RECCTL_KERNELS_DIR"):
        warm_up(["ease"])


def test_warmup_whose_kernels_cannot_be_written_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECCTL_KERNELS_DIR", str(tmp_path / "kernels"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("recctl.kernels.cache.folder_to_write", lambda: tmp_path / "kernels")
    # As on a full disk: kernels are compiled, and none is kept.
    monkeypatch.setattr(loading, "load", lambda names: len(find_kernels(names)))
    with pytest.raises(ArtifactError, match=r"(\d+) of \1 compiled kernels could not be kept; check that the disk"):
        warm_up(["popularity"])


@pytest.mark.usefixtures("_full_cache")
def test_warmup_prints_what_it_compiled_and_where(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("recctl.kernels.cache.folder_to_write", lambda: tmp_path)
    monkeypatch.setattr(loading, "load", lambda names: 2)
    assert cli.run(["warmup", "ease", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    n_kernels = len(find_kernels(loading.kernels_of_all_commands(["ease"])))
    assert {key: document[key] for key in ("folder", "n_kernels", "n_compiled")} == {
        "folder": str(tmp_path),
        "n_kernels": n_kernels,
        "n_compiled": 2,
    }
    assert cli.run(["warmup", "ease"]) == 0
    text = capsys.readouterr().out
    assert "compiled 2 kernels" in text
    assert f"{n_kernels - 2} were cached" in text


@pytest.mark.usefixtures("_full_cache")
def test_warmup_counts_kernels_of_two_types_of_ids_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    names = loading.kernels_of_all_commands(["popularity"])
    assert "factorize._look_up" in names
    monkeypatch.setattr(loading, "load", lambda names: len(find_kernels(names)))
    result = warm_up(["popularity"])
    assert result.n_kernels == result.n_compiled > len(names)
