"""Refit of the best model on train + validation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recctl import InteractionDataset, RunStore, experiment, load_model, make_model
from recctl.config import LoadedConfig
from recctl.errors import ConfigError
from recctl.models.svd import SVDRecommender
from recctl.runs import Run

DATA = "data: {source: synthetic, synthetic: {n_users: 60, n_items: 60, n_interactions: 1500}}\n"
EASE = f"{DATA}split: {{test_size: 0.2, val_size: 0.2}}\nmodel: {{name: ease}}\ntraining: {{refit: true}}\n"
SVD = f"""{DATA}split: {{test_size: 0.2, val_size: 0.2}}
model: {{name: svd, params: {{n_epochs: 30, lr: 0.02}}}}
training: {{refit: true, early_stopping: {{patience: 2}}}}
evaluation: {{metrics: [rmse, ndcg], k_values: [10]}}
"""


def load(tmp_path: Path, text: str, *overrides: str) -> LoadedConfig:
    (tmp_path / "config.yaml").write_text(text)
    return experiment.load(tmp_path / "config.yaml", overrides)


def trained(tmp_path: Path, text: str) -> tuple[Run, InteractionDataset, Any]:
    loaded = load(tmp_path, text)
    run = experiment.train(loaded, RunStore(tmp_path / "runs"))
    prepared = experiment.prepare(loaded)
    return run, prepared.split.train_and_validation(prepared.dataset), prepared.split.test(prepared.dataset)


def test_refitted_version_is_fitted_on_validation_and_evaluated_on_test(tmp_path: Path) -> None:
    run, both, test = trained(tmp_path, EASE)
    assert [entry["fitted_on"] for entry in run.metadata["models"]] == ["train", "train+validation"]
    by_hand = make_model("ease").fit(both)
    second = load_model(run.path / "models" / "v2.pkl")
    np.testing.assert_array_equal(second.weights, by_hand.weights)
    assert second.seen.nnz == both.matrix.nnz, "the items it was fitted on are seen"
    measured = experiment.stages.evaluate_model(by_hand, test, None, load(tmp_path, EASE).config)
    assert run.metrics()["test"] == measured.metrics
    assert run.metadata["test_looks"] == 1


def test_refit_trains_best_number_of_epochs_with_full_schedule(tmp_path: Path) -> None:
    run, both, _ = trained(tmp_path, SVD)
    chosen = run.metadata["training"]["best_epoch"]
    assert 1 <= chosen < 30, "the test needs a training that stops early"
    second = load_model(run.path / "models" / "v2.pkl")
    assert second.best_epoch == chosen
    by_hand = SVDRecommender(n_epochs=30, lr=0.02)
    for _ in range(chosen):
        by_hand.train_epoch(both)
    np.testing.assert_array_equal(second.item_factors, by_hand.item_factors)
    assert len((run.path / "history-refit.jsonl").read_text().splitlines()) == chosen


def test_validation_is_evaluated_with_version_fitted_on_train(tmp_path: Path) -> None:
    run, _, _ = trained(tmp_path, EASE)
    before = run.metrics()["validation"]
    assert experiment.evaluate(run, "validation") == ("validation", before)
    assert experiment.evaluate(run, "test")[1] == run.metrics()["test"]


@pytest.mark.parametrize("stage", ["fit", "refit", "evaluate_test"])
def test_resumed_refit_gives_same_models(tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "whole").mkdir()
    whole, _, _ = trained(tmp_path / "whole", SVD)
    store = RunStore(tmp_path / "runs")
    timed, after_epoch = Run.timed, SVDRecommender.train_epoch
    count = 0

    def broken(self: Run, name: str) -> Any:
        if name == stage and stage == "evaluate_test":
            raise KeyboardInterrupt
        nonlocal count
        count = 0 if name == stage else -1000
        return timed(self, name)

    def epoch(self: SVDRecommender, interactions: Any) -> float:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return after_epoch(self, interactions)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "timed", broken)
        patch.setattr(SVDRecommender, "train_epoch", epoch)
        with pytest.raises(KeyboardInterrupt):
            experiment.train(load(tmp_path, SVD), store)
    run = store.runs()[-1]
    assert run.status == "interrupted"
    assert experiment.resume(run)
    run = store.resolve("latest")
    assert [entry["sha256"] for entry in run.metadata["models"]] == [
        entry["sha256"] for entry in whole.metadata["models"]
    ]
    assert run.metrics() == whole.metrics()
    assert run.metadata["training"] == whole.metadata["training"]


def test_refit_without_validation_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.refit: needs a validation part to add to the training data; set"):
        load(tmp_path, EASE, "split.val_size=0")
