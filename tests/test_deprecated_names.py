"""Names that were renamed still work until 0.4, with a warning that names the new one."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from recctl import RunStore, artifacts, compare, export_model, load_model, make_model
from recctl.experiment.comparison.result import ComparisonOptions
from tests.conftest import SMALL
from tests.models.suite import toy


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("recctl.data.sources", "catalogue", "catalog"),
        ("recctl.data.sources", "CatalogueEntry", "CatalogDataset"),
        ("recctl.tuning.strategies", "Listed", "FixedPoints"),
        ("recctl.tuning.strategies", "Sampled", "SampledPoints"),
        ("recctl.tuning.strategies", "Tried", "FinishedTrial"),
    ],
)
def test_old_name_is_the_new_object(module: str, old: str, new: str) -> None:
    loaded = importlib.import_module(module)
    with pytest.warns(FutureWarning, match=f"{old} is now {new}; .*0.4"):
        assert getattr(loaded, old) is getattr(loaded, new)


def test_old_metrics_module_has_the_metrics() -> None:
    sys.modules.pop("recctl.ranking.metrics", None)
    with pytest.warns(FutureWarning, match=r"recctl\.ranking\.metrics is now recctl\.metrics"):
        old = importlib.import_module("recctl.ranking.metrics")
    new = importlib.import_module("recctl.metrics")
    for name in ("METRICS", "Catalog", "Float64Array", "Lists", "Metric"):
        assert getattr(old, name) is getattr(new, name)


def test_plugin_imports_of_models_still_work() -> None:
    declared = importlib.import_module("recctl.models.hyperparameters")
    base = importlib.import_module("recctl.models.base")
    for name in ("Between", "Choices", "fitted", "hyperparameter"):
        assert getattr(declared, name) is getattr(base, name)


def test_chosen_epoch_is_best_epoch() -> None:
    model = make_model("svd", n_factors=2, n_epochs=3).fit(toy())
    with pytest.warns(FutureWarning, match=r"chosen_epoch is now best_epoch; .*0\.4"):
        assert model.chosen_epoch == model.best_epoch == 3
    with pytest.warns(FutureWarning, match="best_epoch"):
        model.chosen_epoch = 2
    assert model.best_epoch == 2


def test_files_keep_the_key_chosen_epoch(tmp_path: Path) -> None:
    model = make_model("svd", n_factors=2, n_epochs=3).fit(toy())
    model.save(tmp_path / "model.pkl")
    stored = artifacts.load(tmp_path / "model.pkl", "model")["fitted"]
    assert (stored["chosen_epoch"], "best_epoch" in stored) == (3, False)
    assert load_model(tmp_path / "model.pkl").best_epoch == 3
    assert model.snapshot()["chosen_epoch"] == model.training_state()["chosen_epoch"] == 3
    export_model(model, "safetensors", tmp_path / "export")
    with safe_open(tmp_path / "export" / "model.safetensors", framework="numpy") as file:
        assert json.loads(file.metadata()["recctl"])["numbers"]["chosen_epoch"] == 3


def test_store_names_are_the_aliases(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    with pytest.warns(FutureWarning, match="aliases"):
        assert store.names.all() == store.aliases.all()


def test_compare_takes_terms_for_options(workdir: Path) -> None:
    (workdir / "other.yaml").write_text(SMALL.replace("l2_reg: 50.0", "l2_reg: 5.0"))
    with pytest.warns(FutureWarning, match="options"):
        run = compare(["small.yaml", "other.yaml"], terms=ComparisonOptions(n_resamples=100))
    assert run.status == "complete"
