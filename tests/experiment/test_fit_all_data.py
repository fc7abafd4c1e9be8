"""Fits on everything that the source holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recctl import InteractionDataset, RunStore, experiment, load_model, make_model
from recctl.errors import ArtifactError, ConfigError, DataError
from recctl.models.svd import SVDRecommender
from recctl.runs import Run
from recctl.runs.verification import verify
from tests.experiment.growing_data import EASE, SVD, rows_until, write


@pytest.fixture
def folder(workdir: Path) -> Path:
    write(workdir / "d.csv", rows_until(3))
    (workdir / "ease.yaml").write_text(EASE)
    (workdir / "svd.yaml").write_text(SVD)
    return workdir


def interactions(folder: Path) -> InteractionDataset:
    return InteractionDataset(pd.read_csv(folder / "d.csv"), implicit=False)


def open_run(outcome: Any) -> Run:
    assert outcome.code == 0, outcome.err
    return Run.open(Path(outcome.json["path"]))


def model_of(run: Run) -> Any:
    return load_model(run.path / run.model_entry()["file"])


def test_model_is_fitted_on_every_row(recctl: Any, folder: Path) -> None:
    run = open_run(recctl("fit", "ease.yaml", "--all-data", "--json"))
    rows = rows_until(3)
    model = model_of(run)
    assert model.seen.nnz == len({(user, item) for user, item, _, _ in rows})
    by_hand = make_model("ease", l2_reg=20.0).fit(pd.read_csv(folder / "d.csv"))
    np.testing.assert_array_equal(model.weights, by_hand.weights)
    entry = run.model_entry()
    assert entry["fitted_on"] == "all"
    assert entry["last_timestamp"] == max(moment for *_, moment in rows)
    assert (run.metadata["kind"], run.metadata["parent_run"]) == ("fit", None)
    assert run.metrics() == {}


def test_exported_items_are_never_the_users_own(recctl: Any, folder: Path) -> None:
    run = open_run(recctl("fit", "ease.yaml", "--all-data", "--json"))
    assert recctl("export", run.id, "-f", "recommendations", "-o", "out", "--file-format", "csv").code == 0
    exported = pd.read_csv("out/recommendations.csv")
    own = {(user, item) for user, item, _, _ in rows_until(3)}
    assert not own & set(zip(exported.user_id, exported.item_id, strict=True))
    assert set(exported.user_id) == {user for user, _ in own}


def test_run_gives_settings_and_source_gives_data_of_now(recctl: Any, folder: Path) -> None:
    trained = open_run(recctl("train", "ease.yaml", "--json", "-q", "--set", "model.params.l2_reg=7.0"))
    write(folder / "d.csv", rows_until(4))
    run = open_run(recctl("fit", trained.id, "--all-data", "--json"))
    assert run.metadata["parent_run"] == trained.id
    assert run.metadata["data"]["interactions"] == 800
    assert run.metadata["data"]["hash"] != trained.metadata["data"]["hash"]
    by_hand = make_model("ease", l2_reg=7.0).fit(pd.read_csv(folder / "d.csv"))
    np.testing.assert_array_equal(model_of(run).weights, by_hand.weights)
    changed = open_run(recctl("fit", trained.id, "--all-data", "--set", "model.params.l2_reg=9.0", "--json"))
    assert model_of(changed).l2_reg == 9.0


def test_number_of_epochs_is_the_one_that_training_chose(recctl: Any, folder: Path) -> None:
    trained = open_run(recctl("train", "svd.yaml", "--json", "-q"))
    chosen = trained.metadata["training"]["best_epoch"]
    assert 1 < chosen < 40, "the test needs a training that stops early"
    write(folder / "d.csv", rows_until(4))
    run = open_run(recctl("fit", trained.id, "--all-data", "--json"))
    by_hand = SVDRecommender(n_factors=4, n_epochs=40, lr=0.05)
    for _ in range(chosen):
        by_hand.train_epoch(interactions(folder))
    np.testing.assert_array_equal(model_of(run).item_factors, by_hand.item_factors)
    assert len((run.path / "history.jsonl").read_text().splitlines()) == chosen
    # The next night: the settings of a run that was fitted on all data itself.
    again = open_run(recctl("fit", run.id, "--all-data", "--json"))
    assert again.model_entry()["sha256"] == run.model_entry()["sha256"]
    assert again.metadata["all_data"] == {"n_epochs": chosen}


def test_early_stopping_that_nothing_has_decided_is_refused(recctl: Any, folder: Path) -> None:
    outcome = recctl("fit", "svd.yaml", "--all-data")
    assert outcome.code == 2
    assert "rmse on validation chooses the number of epochs" in outcome.err
    assert "recctl train svd.yaml, then recctl fit RUN --all-data" in outcome.err
    trained = open_run(recctl("train", "svd.yaml", "--json", "-q"))
    changed = recctl("fit", trained.id, "--all-data", "--set", "model.params.lr=0.01")
    assert changed.code == 2
    assert f"{trained.id} was trained with other settings than lr=0.01" in changed.err
    other = recctl("fit", trained.id, "--all-data", "--set", "model.name=svdpp")
    assert "other settings than model.name=svdpp" in other.err
    assert recctl("fit", trained.id, "--all-data", "--set", "model.params.seed=9").code == 0


@pytest.mark.parametrize("suggestion", ["training.early_stopping=null", "training.early_stopping.monitor=loss"])
def test_all_epochs_are_trained_where_nothing_stops_them(recctl: Any, folder: Path, suggestion: str) -> None:
    run = open_run(recctl("fit", "svd.yaml", "--all-data", "--set", suggestion, "--json", "-q"))
    by_hand = SVDRecommender(n_factors=4, n_epochs=40, lr=0.05).fit(interactions(folder))
    np.testing.assert_array_equal(model_of(run).item_factors, by_hand.item_factors)


def test_search_gives_its_best_parameters(recctl: Any, folder: Path) -> None:
    options = ["--set", "tuning.space={l2_reg: {low: 1.0, high: 500.0, log: true}}", "--trials", "3"]
    search = open_run(recctl("tune", "ease.yaml", "--strategy", "random", *options, "--json", "-q"))
    best = search.metadata["tuning"]["best_point"]["l2_reg"]
    assert best != 20.0 or search.metadata["tuning"]["best_trial"] == 0
    run = open_run(recctl("fit", search.id, "--all-data", "--json"))
    assert model_of(run).l2_reg == best
    assert run.metadata["parent_run"] == search.id


def test_comparison_gives_its_winner(recctl: Any, folder: Path) -> None:
    models = "models: [{name: popularity}, {name: ease, params: {l2_reg: 30.0}}]\n"
    (folder / "both.yaml").write_text(EASE.replace("model: {name: ease, params: {l2_reg: 20.0}}\n", models))
    comparison = recctl("compare", "both.yaml", "--json", "-q").json
    best = comparison["comparison"]["best"]
    (winner,) = [model["runs"][0] for model in comparison["comparison"]["compared"] if model["label"] == best]
    outcome = recctl("fit", comparison["run_id"], "--all-data", "--json")
    run = open_run(outcome)
    assert run.metadata["parent_run"] == winner
    assert model_of(run).name == best
    assert f"using its winner {best}: {winner}" in outcome.err


def test_commands_work_on_run_or_say_what_it_lacks(recctl: Any, folder: Path) -> None:
    run = open_run(recctl("fit", "ease.yaml", "--all-data", "--json"))
    assert verify(run) == []
    assert recctl("recommend", run.id, "1", "-k", "3").code == 0
    assert "v1 ease on all" in recctl("runs", "show", run.id).out
    assert recctl("runs", "list").code == 0
    assert recctl("runs", "promote", run.id, "--as", "production").code == 0
    assert recctl("diagnose", run.id).code == 0
    assert recctl("report", run.id, "-o", "r.html").code == 0
    assert "fitted on all data" in Path("r.html").read_text()
    refused = recctl("evaluate", run.id)
    assert refused.code == 4
    assert "has no held-out part to evaluate on" in refused.err
    pd.DataFrame({"user_id": [1, 2], "item_id": [60, 60]}).to_csv("new.csv", index=False)
    assert recctl("evaluate", run.id, "--data", "new.csv", "-m", "recall", "-k", "10").code == 0
    assert recctl("report", run.id, "-o", "measured.html").code == 0
    assert "recall@10" in Path("measured.html").read_text()
    again = recctl("fit", run.id)
    assert again.code == 2
    assert f"recctl fit {run.id} --all-data" in again.err
    assert recctl("train", "--resume", run.id).code == 0


def test_unfinished_run_has_no_settings_to_use(recctl: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> float:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SVDRecommender, "train_epoch", interrupt)
        assert recctl("train", "svd.yaml").code == 130
    run = RunStore().runs()[-1]
    with pytest.raises(ArtifactError, match=rf"interrupted, .* resume it with: recctl train --resume {run.id}"):
        experiment.load_settings(run)


@pytest.mark.parametrize("monitor", ["rmse", "loss"])
def test_resumed_fit_gives_same_model(folder: Path, monkeypatch: pytest.MonkeyPatch, monitor: str) -> None:
    loaded = experiment.load(folder / "svd.yaml", [f"training.early_stopping.monitor={monitor}"])
    parent = experiment.train(loaded, RunStore()) if monitor == "rmse" else None
    whole = experiment.fit_all_data(loaded, RunStore(), parent)
    count = 0
    train_epoch = SVDRecommender.train_epoch

    def epoch(self: SVDRecommender, data: Any) -> float:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return train_epoch(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(SVDRecommender, "train_epoch", epoch)
        with pytest.raises(KeyboardInterrupt):
            experiment.fit_all_data(loaded, RunStore(), parent)
    run = next(run for run in RunStore().runs() if run.status == "interrupted")
    assert not run.metadata["models"]
    assert experiment.resume(run)
    assert run.model_entry() == whole.model_entry()
    write(folder / "d.csv", rows_until(4))
    run.metadata["status"] = "interrupted"
    run.save_metadata()
    with pytest.raises(DataError, match="the data have changed since the run was created"):
        experiment.resume(run)


def test_whole_of_a_predefined_split_is_fitted(recctl: Any, folder: Path) -> None:
    rows = rows_until(3)
    for name, part in (("train", rows[:400]), ("validation", rows[400:500]), ("test", rows[500:])):
        write(folder / f"{name}.csv", part)
    split = "split: {strategy: predefined, validation: validation.csv, test: test.csv}\n"
    (folder / "parts.yaml").write_text(f"data: {{source: train.csv}}\n{split}model: {{name: popularity}}\n")
    run = open_run(recctl("fit", "parts.yaml", "--all-data", "--json"))
    assert model_of(run).seen.nnz == len(rows)


def test_config_of_several_models_is_refused(folder: Path) -> None:
    (folder / "both.yaml").write_text("data: {source: d.csv}\nmodels: [{name: popularity}, {name: ease}]\n")
    with pytest.raises(ConfigError, match="models"):
        experiment.fit_all_data(experiment.load(folder / "both.yaml"), RunStore())
