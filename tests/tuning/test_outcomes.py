"""What a user of Optuna finds in the storage of a search, and outcomes in the form of every version."""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState, create_trial

from recctl import RunStore, tuning
from recctl.models.base.search_space import Space
from recctl.runs import Run
from recctl.tuning.outcomes import Outcome, baseline_attributes, baseline_of, outcome_of
from recctl.tuning.study import Study
from tests.tuning.searches import EASE, EPOCHS, load, optuna_study, store_as_version_0_2, trials

# The config's own value lies outside the space.
OUTSIDE = "tuning={strategy: random, n_trials: 3, space: {l2_reg: {low: 1.0, high: 10.0, log: true}}}"
# Trial 1 diverges, and later ones are pruned after two epochs where they fall behind.
MIXED = "tuning={strategy: random, n_trials: 12, monitor: rmse, space: {lr: {low: 0.0001, high: 9000, log: true}}}"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A search of a model trained in epochs, with complete, pruned and failed trials."""
    folder = tmp_path_factory.mktemp("mixed")
    return tuning.tune(load(folder, EPOCHS, MIXED), RunStore(folder / "runs"))


def read_back(outcome: Outcome, state: TrialState, **more: Any) -> Outcome:
    """An outcome from the trial that Optuna's storage returns for it."""
    storage = optuna.storages.RDBStorage("sqlite:///:memory:")
    study = optuna.create_study(storage=storage)
    values = outcome.values if state == TrialState.COMPLETE else None
    study.add_trial(create_trial(state=state, values=values, user_attrs=more | outcome.as_attributes()))
    return outcome_of(study.trials[0])


def test_outcome_is_read_back_from_the_attributes_of_its_trial() -> None:
    windows = [{"ndcg@10": 0.25, "rmse": 1.5}, {"ndcg@10": 0.75, "rmse": 2.5}]
    metrics = {"ndcg@10": 0.5, "rmse": 2.0}
    complete = Outcome("complete", [0.5], metrics, 1.5, 0.25, best_epoch=7, windows=windows)
    assert read_back(complete, TrialState.COMPLETE) == complete
    pruned = Outcome("pruned", fit_seconds=1.5, best_epoch=2)
    assert read_back(pruned, TrialState.PRUNED) == pruned
    failed = Outcome("failed", error="out of memory", fit_seconds=0.5)
    assert read_back(failed, TrialState.FAIL) == failed


def test_metrics_are_read_in_the_order_of_their_names_and_cutoffs() -> None:
    metrics = {"recall@10": 0.1, "ndcg@20": 0.2, "ndcg@5": 0.3, "auc": 0.4, "sampled_ndcg@5": 0.5}
    in_order = ["auc", "ndcg@5", "sampled_ndcg@5", "ndcg@20", "recall@10"]
    assert list(read_back(Outcome("complete", [0.1], metrics), TrialState.COMPLETE).metrics) == in_order


def test_figures_of_an_interrupted_attempt_are_no_part_of_a_failed_outcome() -> None:
    failed = Outcome("failed", error="out of memory", fit_seconds=0.5)
    stale = Outcome("complete", [0.5], {"ndcg@10": 0.5}, 1.0).as_attributes()
    assert read_back(failed, TrialState.FAIL, **stale) == failed


def test_attributes_that_users_add_are_no_metrics() -> None:
    complete = Outcome("complete", [0.5], {"ndcg@10": 0.5})
    added = {"comment": "looks odd", "checked": True, "tags": ["a"], "dashboard/rating": 5, "owner": "run", "alive": ""}
    assert read_back(complete, TrialState.COMPLETE, **added) == complete


def test_undefined_metric_is_stored_as_null_and_read_as_nan() -> None:
    outcome = Outcome("complete", [0.5], {"ndcg@10": 0.5, "rmse": math.nan})
    assert json.loads(json.dumps(outcome.as_attributes(), allow_nan=False))["rmse"] is None
    assert math.isnan(read_back(outcome, TrialState.COMPLETE).metrics["rmse"])


def test_baseline_is_read_back_and_has_metrics_although_its_state_is_failed() -> None:
    attributes = baseline_attributes({"l2_reg": 500.0, "hidden_layers": [8, 4], "norm": None})
    assert baseline_of(attributes) == {"l2_reg": 500.0, "hidden_layers": [8, 4], "norm": None}
    measured = read_back(Outcome("complete", [0.5], {"ndcg@10": 0.5}), TrialState.FAIL, **attributes)
    assert (measured.state, measured.metrics) == ("complete", {"ndcg@10": 0.5})
    failed = read_back(Outcome("failed", error="out of memory"), TrialState.FAIL, **attributes)
    assert (failed.state, failed.metrics) == ("failed", {})
    assert baseline_of({"baseline": {"l2_reg": 500.0}}) == {"l2_reg": 500.0}, "as version 0.2 stored it"
    assert baseline_of({"ndcg@10": 0.5}) is None


def test_study_has_the_id_of_its_run_and_the_names_of_its_metrics(mixed: Run) -> None:
    study = optuna_study(mixed)
    assert study.study_name == study.user_attrs["run_id"] == mixed.id
    assert study.metric_names == ["rmse"]
    assert study.directions == [optuna.study.StudyDirection.MINIMIZE]
    assert study.user_attrs["model"] == "svd"
    assert study.user_attrs["data_hash"] == mixed.metadata["data"]["hash"]
    assert study.user_attrs["split_hash"] == mixed.metadata["split"]["hash"]
    assert study.user_attrs["strategy"] == "random"
    assert study.trials_dataframe()["value_rmse"].dropna().min() == mixed.metadata["tuning"]["best_values"][0]


def test_trial_has_one_attribute_for_each_figure_and_none_for_a_file(mixed: Run) -> None:
    table = pd.read_parquet(mixed.path / "trials.parquet")
    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    assert set(table["state"]) == set(states), "so that the test means something"
    lr = optuna.distributions.FloatDistribution(0.0001, 9000, log=True)
    for row, trial in zip(table.to_dict("records"), optuna_study(mixed).trials, strict=True):
        attributes = trial.user_attrs
        assert trial.state == states[row["state"]]
        assert trial.params == {"lr": row["lr"]}
        assert trial.distributions == {"lr": lr}
        assert not [value for value in attributes.values() if isinstance(value, dict | list)]
        assert not [value for value in attributes.values() if isinstance(value, str) and "/" in value]
        assert attributes["fit_seconds"] == row["fit_seconds"]
        assert trial.datetime_start is not None
        assert trial.duration.total_seconds() >= row["fit_seconds"] + row["evaluate_seconds"]
        if row["state"] == "complete":
            assert trial.values == [attributes["rmse"]] == [row["rmse"]]
            assert attributes["ndcg@10"] == row["ndcg@10"]
            assert attributes["best_epoch"] == row["chosen_epoch"]
            assert trial.intermediate_values[row["chosen_epoch"]] == row["rmse"]
        else:
            assert "rmse" not in attributes
        if row["state"] == "failed":
            assert attributes["error"] == row["error"]
            assert "diverged" in attributes["error"]


def test_trials_record_the_run_and_the_process_that_own_them(tmp_path: Path, mixed: Run) -> None:
    process = f"{socket.gethostname()}:{os.getpid()}"
    for trial in optuna_study(mixed).trials:
        assert (trial.user_attrs["owner"], trial.user_attrs["process"]) == (mixed.id, process)
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    store = RunStore(tmp_path / "runs")
    first = tuning.tune(load(tmp_path, EASE, "tuning.n_trials=2"), store, storage, "ours")
    second = tuning.tune(load(tmp_path, EASE, "tuning.n_trials=3"), store, storage, "ours")
    study = optuna.load_study(study_name="ours", storage=storage)
    assert [trial.user_attrs["owner"] for trial in study.trials] == [first.id, first.id, second.id]
    assert {trial.user_attrs["process"] for trial in study.trials} == {process}
    assert study.user_attrs["run_id"] == first.id
    unnamed = tuning.tune(load(tmp_path, EASE, "tuning.n_trials=1"), store, storage)
    assert optuna.load_study(study_name=unnamed.id, storage=storage).user_attrs["run_id"] == unnamed.id


def test_several_metrics_are_named_in_their_order(tmp_path: Path) -> None:
    settings = "tuning={strategy: random, n_trials: 2, monitor: [coverage@10, ndcg@10]}"
    study = optuna_study(tuning.tune(load(tmp_path, EASE, settings), RunStore(tmp_path / "runs")))
    assert study.metric_names == ["coverage@10", "ndcg@10"]
    for trial in study.trials:
        assert trial.values == [trial.user_attrs["coverage@10"], trial.user_attrs["ndcg@10"]]


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A search whose trial 0 is a baseline outside of the space."""
    folder = tmp_path_factory.mktemp("outside")
    return tuning.tune(load(folder, EASE, OUTSIDE), RunStore(folder / "runs"))


def copied(run: Run, store: Path) -> Run:
    """A copy of a run, for tests that change it."""
    return Run.open(shutil.copytree(run.path, store / run.id))


@pytest.mark.parametrize("search", ["outside", "mixed"])
def test_search_of_version_0_2_is_resumed_with_its_outcomes(
    tmp_path: Path, request: pytest.FixtureRequest, search: str
) -> None:
    run = copied(request.getfixturevalue(search), tmp_path / "runs")
    before = trials(run)
    store_as_version_0_2(run)
    n_trials = len(before) + 1
    assert tuning.resume(run, more=[f"tuning.n_trials={n_trials}"])
    after = trials(run)
    assert len(after) == n_trials
    pd.testing.assert_frame_equal(after[:-1][before.columns], before, check_dtype=False)
    study = optuna_study(run)
    assert (study.study_name, study.user_attrs["run_id"]) == ("study", run.id)
    assert study.metric_names == run.metadata["tuning"]["monitors"]
    assert "recctl" in study.trials[0].user_attrs, "stored trials are left as they are"
    assert "recctl" not in study.trials[-1].user_attrs


def test_search_whose_folder_was_renamed_keeps_its_study(tmp_path: Path, outside: Run) -> None:
    run = copied(outside, tmp_path / "runs")
    renamed = Run.open(run.path.rename(run.path.with_name("renamed")))
    assert tuning.resume(renamed, more=["tuning.n_trials=4"])
    assert len(trials(renamed)) == 4
    assert optuna_study(renamed).study_name == run.id


def test_trial_of_another_time_zone_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = optuna.storages.InMemoryStorage()
    shared = optuna.create_study(storage=storage, study_name="shared")
    ours = Study(shared, storage, Space(()), "ours", shared=True)
    try:
        monkeypatch.setenv("TZ", "America/New_York")
        time.tzset()
        Study(shared, storage, Space(()), "other", shared=True).claim()
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        ours.heartbeat()
        assert ours.has_running()
        # As version 0.2 wrote it, without a time zone.
        alive = datetime.now() - timedelta(minutes=4)  # noqa: DTZ005
        storage.set_trial_user_attr(0, "alive", alive.isoformat())
        ours.heartbeat()
        assert ours.has_running()
        storage.set_trial_user_attr(0, "alive", (alive - timedelta(minutes=2)).isoformat())
        ours.heartbeat()
        assert not ours.has_running()
    finally:
        monkeypatch.undo()
        time.tzset()
