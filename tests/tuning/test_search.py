"""Searches from a config to a run."""

import shutil
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
import yaml

from recctl import RunStore, experiment, tuning
from recctl.errors import ConfigError, DataError, TrainingError
from recctl.models.ease import EASERecommender
from recctl.models.svd import SVDRecommender
from recctl.runs import Run
from tests.tuning.searches import EASE, EPOCHS, load, optuna_study, trials


def search(tmp_path: Path, text: str, *overrides: str) -> Run:
    return tuning.tune(load(tmp_path, text, *overrides), RunStore(tmp_path / "runs"))


def test_trials_equal_fitting_and_evaluating_by_hand(tmp_path: Path) -> None:
    loaded = load(tmp_path, EASE, "tuning.n_trials=6")
    run = tuning.tune(loaded, RunStore(tmp_path / "runs"))
    prepared = experiment.prepare(loaded)
    train, validation = prepared.split.train(prepared.dataset), prepared.split.validation(prepared.dataset)
    table = trials(run)
    assert list(table["number"]) == list(range(6))
    assert table["l2_reg"][0] == 500.0, "trial 0 uses the values of the config"
    assert table["l2_reg"].nunique() == 6
    for row in table.itertuples():
        model = EASERecommender(l2_reg=row.l2_reg).fit(train)
        measured = experiment.stages.evaluate_model(model, validation, None, loaded.config).metrics
        assert measured["ndcg@10"] == pytest.approx(row[table.columns.get_loc("ndcg@10") + 1], abs=1e-12)


def test_search_run_holds_best_model_metrics_and_config(tmp_path: Path) -> None:
    run = search(tmp_path, EASE, "tuning.n_trials=8", "tuning.strategy=random")
    table = trials(run)
    best = table.loc[table["ndcg@10"].idxmax()]
    assert run.metadata["tuning"]["best_trial"] == best["number"]
    assert run.metrics()["validation"]["ndcg@10"] == pytest.approx(best["ndcg@10"], abs=1e-12)
    assert run.metadata["test_looks"] == 1
    assert experiment.load_version(run).l2_reg == best["l2_reg"]
    assert {"history.html", "slices.html", "parallel.html", "plotly.min.js"} == {
        path.name for path in (run.path / "figures").iterdir()
    }
    again = experiment.train(experiment.load(run.path / "best.yaml"), RunStore(tmp_path / "runs"))
    assert again.metrics() == run.metrics()
    assert again.metadata["split"]["hash"] == run.metadata["split"]["hash"]
    assert not (run.path / "trials").exists()


def test_file_of_trials_is_closed_and_complete_when_a_search_ends(tmp_path: Path) -> None:
    run = search(tmp_path, EASE, "tuning.n_trials=2")
    assert [path.name for path in run.path.glob("study.db*")] == ["study.db"]
    copied = shutil.copy(run.path / "study.db", tmp_path / "copied.db")
    study = optuna.load_study(study_name=run.id, storage=f"sqlite:///{copied}")
    assert [trial.value for trial in study.trials] == list(trials(run)["ndcg@10"])


def test_refit_fits_best_point_on_train_and_validation(tmp_path: Path) -> None:
    run = search(tmp_path, EPOCHS, "tuning.n_trials=3", "training.refit=true")
    assert [entry["fitted_on"] for entry in run.metadata["models"]] == ["train", "train+validation"]
    assert run.metadata["tuning"]["best_point"]["n_factors"] == experiment.load_version(run).n_factors


FOURTEEN_TRIALS = ("training={}", "model.params.n_epochs=3", "tuning.pruner=none", "tuning.n_trials=14")


@pytest.fixture(scope="module")
def at_random(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A search that learns nothing from its trials."""
    return search(tmp_path_factory.mktemp("random"), EPOCHS, "tuning.strategy=random", *FOURTEEN_TRIALS)


@pytest.mark.parametrize("sampler", ["tpe", pytest.param("gp", marks=pytest.mark.slow), "cmaes"])
def test_equal_searches_have_equal_trials_however_often_resumed(tmp_path: Path, at_random: Run, sampler: str) -> None:
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    settings = (*FOURTEEN_TRIALS, f"tuning.sampler={sampler}")
    whole = search(tmp_path, EPOCHS, *settings)
    by_parts = search(tmp_path, EPOCHS, *settings, "tuning.n_trials=5")
    for n in (9, 14):
        assert tuning.resume(by_parts, more=[f"tuning.n_trials={n}"])
    pd.testing.assert_frame_equal(trials(whole), trials(by_parts))
    assert not trials(at_random)["n_factors"].equals(trials(whole)["n_factors"]), (
        "the sampler learns from finished trials"
    )


NINE_TRIALS = ("model.params.n_epochs=6", "tuning.n_trials=9", "tuning.grid_size=3", "tuning.pruner=median")


@pytest.fixture(scope="module", params=["bayesian", "random", "coarse_to_fine", "grid"])
def strategy(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def whole(strategy: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A search of this strategy that nothing interrupts."""
    return search(tmp_path_factory.mktemp("whole"), EPOCHS, *NINE_TRIALS, f"tuning.strategy={strategy}")


@pytest.mark.parametrize("at", [pytest.param(1, marks=pytest.mark.slow), 13])
def test_search_interrupted_at_any_epoch_resumes_to_the_same_trials(
    tmp_path: Path, strategy: str, whole: Run, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (*NINE_TRIALS, f"tuning.strategy={strategy}")
    count, train_epoch = 0, SVDRecommender.train_epoch

    def epoch(self: SVDRecommender, interactions: object) -> float:
        nonlocal count
        count += 1
        if count == at:
            raise KeyboardInterrupt
        return train_epoch(self, interactions)

    with monkeypatch.context() as patch:
        patch.setattr(SVDRecommender, "train_epoch", epoch)
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path, EPOCHS, *settings)
    run = RunStore(tmp_path / "runs").runs()[-1]
    assert run.status == "interrupted"
    if at > 6:
        assert (run.path / "best.yaml").exists(), "the best so far is written"
    count = 0
    with monkeypatch.context() as patch:
        patch.setattr(SVDRecommender, "train_epoch", epoch)
        at = -1
        assert tuning.resume(run)
    pd.testing.assert_frame_equal(trials(run), trials(whole))
    assert run.metrics() == whole.metrics()
    assert run.metadata["models"][0]["sha256"] == whole.metadata["models"][0]["sha256"]


def test_interrupted_trial_continues_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count, train_epoch = 0, SVDRecommender.train_epoch

    def epoch(self: SVDRecommender, interactions: object) -> float:
        nonlocal count
        count += 1
        if count == 6:
            raise KeyboardInterrupt
        return train_epoch(self, interactions)

    monkeypatch.setattr(SVDRecommender, "train_epoch", epoch)
    settings = ("tuning.n_trials=1", "training={}", "model.params.n_epochs=8")
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, EPOCHS, *settings)
    count = 100
    assert tuning.resume(RunStore(tmp_path / "runs").runs()[-1])
    assert count == 100 + 3, "5 of 8 epochs were done"


def test_resume_adds_trials_to_a_complete_search(tmp_path: Path) -> None:
    run = search(tmp_path, EASE, "tuning.n_trials=4")
    assert not tuning.resume(run)
    assert tuning.resume(run, more=["tuning.n_trials=9"])
    whole = search(tmp_path, EASE, "tuning.n_trials=9")
    pd.testing.assert_frame_equal(trials(run), trials(whole))
    assert run.metrics() == whole.metrics()
    assert experiment.load_version(run).l2_reg == experiment.load_version(whole).l2_reg


def test_pruned_trials_are_marked_and_trial_0_is_never_pruned(tmp_path: Path) -> None:
    space = "{lr: {low: 0.00001, high: 0.02, log: true}}"
    run = search(tmp_path, EPOCHS, f"tuning.space={space}", "tuning.n_trials=16", "tuning.strategy=random")
    table = trials(run)
    pruned = table[table["state"] == "pruned"]
    assert len(pruned) > 0
    assert table["state"][0] == "complete"
    assert pruned["rmse"].isna().all()
    assert pruned["lr"].median() < table[table["state"] == "complete"]["lr"].median()


def test_failed_trial_is_recorded_and_search_continues(tmp_path: Path, listener) -> None:
    run = search(
        tmp_path, EPOCHS, "tuning.strategy=manual", "tuning.points=[{lr: 1000.0}, {lr: 0.01}]", "tuning.space={}"
    )
    table = trials(run)
    assert list(table["state"]) == ["complete", "failed", "complete"]
    assert "diverged" in table["error"][1]
    assert any("trial 1 failed" in notice for notice in listener.notices)


def test_contradicting_values_give_a_failed_trial(tmp_path: Path) -> None:
    text = EASE.replace("model: {name: ease}", "model: {name: sasrec, params: {epochs: 1, embedding_dim: 8}}")
    run = search(tmp_path, text, "tuning={strategy: grid, space: {n_heads: [1, 3, 2]}}")
    table = trials(run).set_index("n_heads")
    assert table["state"].to_dict() == {1: "complete", 3: "failed", 2: "complete"}
    assert "not a multiple of n_heads=3" in table["error"][3]


def test_several_metrics_give_the_pareto_front(tmp_path: Path) -> None:
    run = search(tmp_path, EASE, "tuning.monitor=[ndcg@10, coverage@10]", "tuning.n_trials=15")
    table = trials(run)
    values = table[["ndcg@10", "coverage@10"]].to_numpy()
    beaten = [any((other >= own).all() and (other > own).any() for other in values) for own in values]
    assert run.metadata["tuning"]["pareto"] == np.flatnonzero(~np.array(beaten)).tolist()
    assert (run.path / "figures" / "pareto.html").exists()


def test_budgets_end_the_search(tmp_path: Path) -> None:
    run = search(tmp_path, EASE, "tuning.n_trials=40", "tuning.patience=5", "tuning.strategy=random")
    table = trials(run)
    assert len(table) < 40
    assert len(table) - 1 - table["ndcg@10"].idxmax() == 5
    with pytest.raises(TrainingError, match=r"no trial was run within tuning\.timeout_minutes=1e-09; raise it"):
        search(tmp_path, EASE, "tuning.timeout_minutes=0.000000001")


def test_lists_and_conditional_dimensions_are_searched(tmp_path: Path) -> None:
    text = EASE.replace("model: {name: ease}", "model: {name: ncf, params: {epochs: 1, embedding_dim: 4}}")
    space = "{variant: [gmf, mlp], hidden_layers: {choices: [[8], [8, 4]], when: {variant: mlp}}}"
    run = search(tmp_path, text, f"tuning.space={space}", "tuning.strategy=grid", "model.params.hidden_layers=[8]")
    table = trials(run)
    assert sorted(table["hidden_layers"].dropna()) == ["[8, 4]", "[8]"]
    study = optuna_study(run)
    assert {trial.params.get("hidden_layers") for trial in study.trials} == {None, "[8]", "[8, 4]"}
    best = yaml.safe_load((run.path / "best.yaml").read_text())
    assert isinstance(best["model"]["params"]["hidden_layers"], list)


def test_data_options_are_searched_with_their_own_validation_sets(tmp_path: Path, listener) -> None:
    run = search(tmp_path, EASE, "tuning={strategy: grid, space: {data.min_item_interactions: [0, 30, 60]}}")
    table = trials(run)
    assert len(table) == 3
    assert table["ndcg@10"].nunique() > 1
    assert any("different validation sets" in notice for notice in listener.notices)
    again = experiment.train(experiment.load(run.path / "best.yaml"), RunStore(tmp_path / "runs"))
    assert again.metrics()["validation"]["ndcg@10"] == pytest.approx(table["ndcg@10"].max(), abs=1e-12)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("split.val_size=0", "a search compares trials on validation data"),
        ("model.name=popularity", "popularity has no search ranges; define some in tuning.space"),
    ],
)
def test_unsearchable_config_is_refused_before_reading_data(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        search(tmp_path, EASE, override)
    assert not (tmp_path / "runs").exists()


def test_shared_study_refuses_another_data_set_or_split(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    store = RunStore(tmp_path / "runs")
    loaded = load(tmp_path, EASE, "tuning.n_trials=3")
    run = tuning.tune(loaded, store, storage, "ours")
    assert not (run.path / "study.db").exists()
    second = tuning.tune(load(tmp_path, EASE, "tuning.n_trials=5"), store, storage, "ours")
    assert len(trials(second)) == 5, "two trials were added"
    with pytest.raises(
        DataError, match=r"'ours' has trials with another data \(.*, split \(.*; choose another name with --study"
    ):
        tuning.tune(load(tmp_path, EASE, "seed=1"), store, storage, "ours")
    assert len(store.ids()) == 2, "it is refused before a run is created"
    with pytest.raises(ConfigError, match="cannot be opened"):
        tuning.tune(loaded, store, f"sqlite:///{tmp_path}/no/such/folder.db", "x")
    assert len(store.ids()) == 2


def test_storage_error_hides_the_password(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        tuning.tune(load(tmp_path, EASE), RunStore(tmp_path / "runs"), "nosuchdb://me:secret@host/x", "x")
    assert "secret" not in str(caught.value)
