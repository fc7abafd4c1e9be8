"""Resuming a search: what is refused leaves everything as it was, and what was changed is stored."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
import yaml

from recctl import RunStore, experiment, tuning
from recctl.errors import ArtifactError, ConfigError, DataError, RecctlError, TrainingError
from recctl.experiment.lifecycle import next_step
from recctl.models.svd import SVDRecommender
from recctl.runs import Run
from recctl.tuning import tuner
from recctl.tuning.storage import open_storage
from tests.tuning.searches import EASE, EPOCHS, load, store_as_version_0_2, trials

RANDOM = "tuning={strategy: random, n_trials: 3, monitor: ndcg@10}"


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a complete search of three trials."""
    folder = tmp_path_factory.mktemp("complete")
    return tuning.tune(load(folder, EASE, RANDOM), RunStore(folder / "runs")).path


@pytest.fixture
def run(complete: Path, tmp_path: Path) -> Run:
    """A copy of the search, which a test may change."""
    return Run.open(shutil.copytree(complete, tmp_path / "runs" / complete.name))


def contents(path: Path) -> dict[str, Any]:
    """Every file of a search, and the trials of its study, whose file SQLite touches when it is read."""
    files: dict[str, Any] = {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and not file.name.startswith("study.db")
    }
    if (path / "study.db").exists():
        study = optuna.load_study(study_name=None, storage=f"sqlite:///{path / 'study.db'}")
        files["study"] = (study.trials, study.user_attrs)
    return files


def assert_refused(run: Run, error: type[RecctlError], message: str, **options: Any) -> None:
    before = contents(run.path)
    with pytest.raises(error, match=message):
        tuning.resume(run, **options)
    assert contents(run.path) == before
    assert Run.open(run.path).status == before_status(before)


def before_status(files: dict[str, Any]) -> str:
    status: str = yaml.safe_load(files["metadata.json"])["status"]
    return status


def test_complete_search_is_not_resumed_with_settings_alone(run: Run) -> None:
    assert_refused(run, ConfigError, f"{run.id} is complete", overrides=["data.source=elsewhere.csv"])
    assert not tuning.resume(run)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            "tuning.monitor=recall@10",
            r"--monitor recall@10: .* compared by ndcg@10; .*recctl tune .*--monitor recall@10",
        ),
        ("tuning.monitor=[ndcg@10, recall@10]", r"--monitor ndcg@10 --monitor recall@10: .* compared by ndcg@10"),
        ("tuning.strategy=grid", r"--strategy grid: .* chosen by random; .*recctl tune .*config\.yaml --strategy grid"),
        ("tuning.n_trials=2", r"--trials 2: .* has 3 finished trials already"),
        ("tuning.monitor=auc", r"'auc' is not measured"),
    ],
)
def test_other_settings_are_refused_and_leave_the_search_as_it_was(run: Run, more: str, message: str) -> None:
    assert_refused(run, ConfigError, message, more=[more])


def test_same_strategy_and_metric_are_accepted(run: Run) -> None:
    assert tuning.resume(run, more=["tuning.monitor=ndcg@10", "tuning.strategy=random", "tuning.n_trials=4"])
    assert len(trials(run)) == 4


def test_missing_study_is_refused_and_not_begun_anew(run: Run) -> None:
    (run.path / "study.db").unlink()
    assert_refused(run, ArtifactError, r"study\.db: missing, although .* has trials", more=["tuning.n_trials=4"])
    assert not (run.path / "study.db").exists()


def test_study_of_another_model_is_refused(run: Run) -> None:
    config = (run.path / "config.yaml").read_text()
    values = yaml.safe_load(config)
    values["model"] = {"name": "item-knn"}
    (run.path / "config.yaml").write_text(yaml.safe_dump(values))
    message = r"another model \(ease, not item-knn\).*; start a new search: recctl tune .*config\.yaml"
    assert_refused(run, DataError, message, more=["tuning.n_trials=4"])


def test_interruption_while_the_data_are_read_leaves_the_search_complete(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(tuner, "prepare_for", interrupted)
    before = contents(run.path)
    with pytest.raises(KeyboardInterrupt):
        tuning.resume(run, more=["tuning.n_trials=4"])
    assert contents(run.path) == before


def test_options_are_stored_and_the_stored_config_repeats_the_search(run: Run, tmp_path: Path) -> None:
    recorded = Run.open(run.path).metadata["files"]["config.yaml"]
    assert tuning.resume(run, more=["tuning.n_trials=5", "tuning.timeout_minutes=30"])
    stored = yaml.safe_load((run.path / "config.yaml").read_text())
    assert (stored["tuning"]["n_trials"], stored["tuning"]["timeout_minutes"]) == (5, 30)
    assert Run.open(run.path).metadata["files"]["config.yaml"] != recorded
    again = tuning.tune(experiment.load(run.path / "config.yaml"), RunStore(tmp_path / "again"))
    pd.testing.assert_frame_equal(trials(again), trials(run))
    assert again.metrics() == run.metrics()


def test_place_of_the_data_is_not_stored(tmp_path: Path) -> None:
    data = tmp_path / "ratings.csv"
    rows = [f"{user},{item}" for user in range(30) for item in range(user % 7, 40, 3)]
    data.write_text("user_id,item_id\n" + "\n".join(rows) + "\n")
    text = EASE.replace("data: {source: synthetic, synthetic: {n_users: 80, n_items: 60, n_interactions: 2000}}", "")
    search = tuning.tune(load(tmp_path, text, RANDOM, f"data.source={data}"), RunStore(tmp_path / "runs"))
    moved = data.rename(tmp_path / "moved.csv")
    assert tuning.resume(search, more=["tuning.n_trials=4"], overrides=[f"data.source={moved}"])
    stored = yaml.safe_load((search.path / "config.yaml").read_text())
    assert stored["tuning"]["n_trials"] == 4
    assert stored["data"]["source"] == str(data)


def test_rounds_keep_their_size_when_trials_are_added(tmp_path: Path) -> None:
    settings = "tuning={strategy: coarse_to_fine, n_rounds: 2, n_trials: 7}"
    search = tuning.tune(load(tmp_path, EASE, settings), RunStore(tmp_path / "runs"))
    assert tuning.resume(search, more=["tuning.n_trials=9"])
    assert yaml.safe_load((search.path / "config.yaml").read_text())["tuning"]["round_size"] == 3
    again = tuning.tune(experiment.load(search.path / "config.yaml"), RunStore(tmp_path / "again"))
    pd.testing.assert_frame_equal(trials(again), trials(search))


def test_interrupted_resume_continues_to_the_number_of_trials_it_was_given(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_trial = tuner.TrialRunner.run

    def interrupted_in_trial_4(self: Any, task: Any, report: Any) -> Any:
        if task.number == 4:
            raise KeyboardInterrupt
        return run_trial(self, task, report)

    with monkeypatch.context() as patch:
        patch.setattr(tuner.TrialRunner, "run", interrupted_in_trial_4)
        with pytest.raises(KeyboardInterrupt):
            tuning.resume(run, more=["tuning.n_trials=6"])
    stopped = Run.open(run.path)
    assert stopped.status == "interrupted"
    assert len(trials(stopped)) == 4
    assert tuning.resume(stopped)
    assert list(trials(stopped)["number"]) == [0, 1, 2, 3, 4, 5]
    assert stopped.status == "complete"


def test_database_without_the_study_is_refused(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    search = tuning.tune(load(tmp_path, EASE, RANDOM), RunStore(tmp_path / "runs"), storage, "ours")
    other = f"sqlite:///{tmp_path / 'other.db'}"
    message = r"study 'ours' of the database: missing, although .* has trials .*check the URL"
    assert_refused(search, ArtifactError, message, storage=other, more=["tuning.n_trials=4"])
    assert open_storage(other).get_all_studies() == []
    assert tuning.resume(search, storage, ["tuning.n_trials=4"])
    assert len(trials(search)) == 4


def test_storage_of_other_searches_is_not_used_for_a_search_with_its_own(
    run: Run, tmp_path: Path, listener: Any
) -> None:
    assert tuning.resume(run, f"sqlite:///{tmp_path / 'shared.db'}", ["tuning.n_trials=4"])
    assert list(trials(run)["number"]) == [0, 1, 2, 3]
    assert not (tmp_path / "shared.db").exists()
    assert any("--storage is not used" in notice for notice in listener.notices)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{strategy: random, n_trials: 2}", "{strategy: bayesian, n_trials: 4}"),
        ("{strategy: manual, points: [{l2_reg: 1.0}, {l2_reg: 2.0}]}", "{strategy: manual, points: [{l2_reg: 1.0}]}"),
        ("{strategy: grid, grid_size: 2}", "{strategy: grid, grid_size: 3}"),
    ],
)
def test_shared_study_refuses_another_strategy_before_a_run_is_created(tmp_path: Path, first: str, second: str) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    store = RunStore(tmp_path / "runs")
    tuning.tune(load(tmp_path, EASE, f"tuning={first}"), store, storage, "ours")
    with pytest.raises(DataError, match=r"'ours' has trials with another strategy \(.*; choose another name"):
        tuning.tune(load(tmp_path, EASE, f"tuning={second}"), store, storage, "ours")
    assert len(store.ids()) == 1


def test_study_of_a_version_that_did_not_store_the_strategy_is_continued(run: Run) -> None:
    study = store_as_version_0_2(run)
    identity = dict(study.user_attrs["recctl"])
    del identity["strategy"]
    study.set_user_attr("recctl", identity)
    assert tuning.resume(run, more=["tuning.n_trials=4"])
    assert len(trials(run)) == 4


# ---- searches whose trials all fail


def test_search_without_a_model_names_the_causes_and_does_not_advise_to_resume(tmp_path: Path) -> None:
    settings = ("model.params.lr=5000.0", "tuning={strategy: manual, points: [{lr: 4000.0}, {lr: 3000.0}]}")
    store = RunStore(tmp_path / "runs")
    message = r"all 3 trials failed, so there is no model: .*diverged"
    with pytest.raises(TrainingError, match=message):
        tuning.tune(load(tmp_path, EPOCHS, *settings), store)
    (search,) = store.runs()
    assert search.status == "failed"
    assert next_step(search) == f"for possible causes: recctl diagnose {search.id}"
    assert_refused(search, TrainingError, message)


def test_interrupted_search_without_a_model_is_advised_to_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(SVDRecommender, "train_epoch", interrupted)
    store = RunStore(tmp_path / "runs")
    with pytest.raises(KeyboardInterrupt):
        tuning.tune(load(tmp_path, EPOCHS), store)
    (search,) = store.runs()
    assert next_step(search) == f"resume with: recctl tune --resume {search.id}"
