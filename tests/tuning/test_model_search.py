"""`recctl tune` with several models: allocation, resuming, limits, and what the run holds."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
import yaml

from recctl import RunStore, experiment, tuning
from recctl.errors import ConfigError
from recctl.experiment.comparison.run import comparison_result
from recctl.models.base.search_space import Space
from recctl.runs import Run
from recctl.tuning import executors, model_search
from recctl.tuning.executors import InProcessExecutor
from recctl.tuning.study import Study
from recctl.tuning.trial_runner import Task, TrialRunner
from recctl.tuning.tuner import Search
from tests import preloaded
from tests.tuning.searches import MODELS, MODELS_COLUMNS


@pytest.fixture
def models(workdir: Path) -> Path:
    Path("models.yaml").write_text(MODELS)
    return Path("models.yaml")


def search(path: Path, *overrides: str) -> Run:
    return tuning.tune(experiment.load(path, [f"tuning.{override}" for override in overrides]))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An adaptive search of sixteen trials that nothing interrupts."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    (folder / "models.yaml").write_text(MODELS)
    loaded = experiment.load(folder / "models.yaml", ["tuning.allocation=adaptive", "tuning.n_trials=16"])
    return tuning.tune(loaded, RunStore(folder / "runs"))


def interrupt_in(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, n_calls: int) -> None:
    """Let a call of a method raise KeyboardInterrupt: the n-th one, from 1."""
    original = getattr(owner, name)
    calls = 0

    def interrupt(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == n_calls:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, interrupt)


def by_label(run: Run) -> dict[str, dict[str, Any]]:
    return {model["label"]: model for model in run.metadata["tuning"]["models"]}


def test_adaptive_search_halves_the_models_and_gives_the_rest_to_the_last(models: Path) -> None:
    run = search(models, "allocation=adaptive", "n_trials=24")
    record = run.metadata["tuning"]
    rungs = record["rungs"]
    # Two rungs and the rest, each a third of 24 trials; popularity has nothing to search, and leaves one of its two.
    assert [rung["share"]["trials"] for rung in rungs[:2]] == [2, 4]
    assert rungs[0]["models"] == ["ease", "knn", "popularity", "random"]
    assert set(rungs[0]["survivors"]) == {"ease", "knn"}
    assert rungs[1]["models"] == rungs[0]["survivors"]
    (last,) = rungs[2]["models"]
    assert last == rungs[1]["survivors"][0] == record["best_model"]
    table = run.trials()
    assert len(table) == record["n_trials"] <= 24
    assert table["number"].tolist() == list(range(len(table)))
    counts = table["model"].value_counts().to_dict()
    assert counts == {label: model["trials"] for label, model in by_label(run).items()}
    assert counts["popularity"] == 1
    assert counts["random"] <= 2
    assert counts[last] == max(counts.values()) == 24 - sum(counts.values()) + counts[last]
    # Survivors of each rung are the better half by the trials until then, recomputed from the table.
    for rung in rungs[:2]:
        until = {label: rung["n_trials_before"][label] + rung["share"]["trials"] for label in rung["models"]}
        best = {
            label: table[(table["model"] == label) & (table["trial"] < n)]["ndcg@10"].max()
            for label, n in until.items()
        }
        assert rung["survivors"] == sorted(best, key=lambda label: -best[label])[: 2 if len(best) > 2 else 1]
    kept = table.loc[table["number"] == record["best_trial"]].iloc[0]
    assert kept["ndcg@10"] == table["ndcg@10"].max() == record["best_values"][0]
    assert run.model_entry()["trial"] == record["best_trial"]
    assert run.metrics()["validation"]["ndcg@10"] == pytest.approx(kept["ndcg@10"])
    assert run.metadata["test_looks"] == 1
    best_config = yaml.safe_load((run.path / "best.yaml").read_text())
    assert best_config["model"]["name"] == {"ease": "ease", "knn": "item-knn"}[last]
    assert "models" not in best_config


@pytest.mark.parametrize("place", ["trial", "decided", "noted", "kept"])
def test_interrupted_search_ends_as_an_uninterrupted_one(
    models: Path, uninterrupted: Run, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    targets: dict[str, tuple[Any, str, int]] = {
        "trial": (Search, "_start", 7),
        "decided": (model_search._ModelSearch, "_store", 3),
        "noted": (model_search._ModelSearch, "_note_rung", 1),
        "kept": (Search, "keep_model", 1),
    }
    with monkeypatch.context() as patch:
        interrupt_in(patch, *targets[place])
        with pytest.raises(KeyboardInterrupt):
            search(models, "allocation=adaptive", "n_trials=16")
    (interrupted,) = RunStore().runs()
    assert interrupted.status == "interrupted"
    assert tuning.resume(interrupted)
    pd.testing.assert_frame_equal(interrupted.trials()[MODELS_COLUMNS], uninterrupted.trials()[MODELS_COLUMNS])
    assert [rung["survivors"] for rung in interrupted.metadata["tuning"]["rungs"]] == [
        rung["survivors"] for rung in uninterrupted.metadata["tuning"]["rungs"]
    ]
    assert interrupted.metrics() == uninterrupted.metrics()
    assert not tuning.resume(interrupted), "it is complete"


def test_more_trials_of_a_finished_search_go_to_the_last_model(models: Path) -> None:
    run = search(models, "allocation=adaptive", "n_trials=12")
    before = by_label(run)
    best = run.metadata["tuning"]["best_model"]
    assert tuning.resume(run, more=["tuning.n_trials=16"])
    after = by_label(run)
    assert run.metadata["tuning"]["n_trials"] == 16
    assert after[best]["trials"] == before[best]["trials"] + 16 - sum(model["trials"] for model in before.values())
    with pytest.raises(ConfigError, match="--allocation equal"):
        tuning.resume(run, more=["tuning.allocation=equal"])


@pytest.mark.usefixtures("forked_workers")
def test_equal_search_tests_the_best_of_each_model_once(models: Path) -> None:
    run = search(models, "n_trials=4", "jobs=2")
    record = run.metadata["tuning"]
    assert [path.name for path in run.path.glob("study.db*")] == ["study.db"]
    assert {label: model["trials"] for label, model in by_label(run).items()} == {
        "ease": 4,
        "knn": 4,
        "popularity": 1,
        "random": 1,
    }
    comparison = RunStore().resolve(record["comparison"])
    document = comparison_result(comparison)
    assert document["on"] == "test"
    table = run.trials()
    for model in document["compared"]:
        (compared,) = [RunStore().resolve(run_id) for run_id in model["runs"]]
        assert model["validation"] == pytest.approx(table[table["model"] == model["label"]]["ndcg@10"].max())
        assert compared.model_entry()["fitted_on"] == "train+validation"
        assert compared.metadata["test_looks"] == 1
    # The run has the refitted model and its figures, without another use of the test set.
    (best,) = [model for model in document["compared"] if model["label"] == record["best_model"]]
    assert run.metadata["test_looks"] == 0
    assert run.metrics()["test"] == RunStore().resolve(best["runs"][0]).metrics()["test"]
    assert run.model_entry()["fitted_on"] == "train+validation"
    assert run.model_entry()["trial"] == record["best_trial"]
    markdown = (run.path / "table.md").read_text()
    for label in ("ease", "knn", "popularity", "random"):
        assert label in markdown
    assert "tabular" in (run.path / "table.tex").read_text()


@pytest.mark.usefixtures("forked_workers")
def test_default_configuration_beyond_its_share_of_time_is_stopped_and_reported(models: Path) -> None:
    slow_models = "models:\n  - {name: ease}\n  - {name: bpr, params: {epochs: 1000000}}\n  - {name: popularity}\n"
    Path("slow.yaml").write_text(MODELS.partition("models:")[0] + slow_models)
    run = search(Path("slow.yaml"), "allocation=adaptive", "timeout_minutes=0.45", "n_trials=6")
    # Two rungs and the rest: a third of 6 trials, or of 27 seconds, for three models.
    share = run.metadata["tuning"]["rungs"][0]["share"]
    assert (share["trials"], share["seconds"]) == (1, pytest.approx(3))
    stopped = by_label(run)["bpr"]
    assert stopped["trials"] == 1
    assert stopped["best_value"] is None
    assert "its default configuration exceeds the share of time, 3.0 s" in stopped["error"]
    assert set(run.metadata["tuning"]["rungs"][0]["survivors"]) == {"ease", "popularity"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["allocation=adaptive", "n_trials=3"], "each of the 4 models needs a trial, so set n_trials: 4 or more"),
        (["allocation=adaptive", "strategy=grid"], "grid plans all of its trials"),
        (["monitor=[ndcg@10, hit_rate@10]"], "models are compared by one metric"),
        (["strategy=manual", "points=[{l2_reg: 1.0}]"], "l2_reg"),
    ],
)
def test_search_that_models_can_not_share_is_refused_before_data_are_read(
    models: Path, settings: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        search(models, *settings)
    assert not RunStore().ids()


def test_problems_of_the_spaces_of_models_are_reported_with_their_lines(models: Path) -> None:
    models.write_text(MODELS.replace("l2_reg: {low", "l2: {low") + "tuning: {space: {l2_reg: [1.0]}}\n")
    with pytest.raises(ConfigError, match=r"models.yaml:8: models.0.space.l2") as refused:
        experiment.load(models)
    assert "models.yaml:12: tuning.space: is that of one model" in str(refused.value)


@pytest.mark.slow
def test_search_killed_with_sigkill_ends_as_an_uninterrupted_one(models: Path, uninterrupted: Run) -> None:
    command = ["-m", "recctl", "tune", "--json", "-q", "--runs-dir", "killed"]
    program = preloaded.Program(*command, "models.yaml", "--allocation", "adaptive", "--trials", "16")
    deadline = time.monotonic() + 60
    while True:
        logs = list(Path("killed").glob("*/log.txt"))
        if logs and logs[0].read_text().count(", trial ") >= 9:  # in the second rung
            break
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(program.pid, signal.SIGKILL)
    program.communicate(timeout=60)
    resumed = preloaded.run(*command, "--resume", logs[0].parent.name, check=True).stdout
    run = RunStore(Path("killed")).resolve(json.loads(resumed)["run_id"])
    pd.testing.assert_frame_equal(run.trials()[MODELS_COLUMNS], uninterrupted.trials()[MODELS_COLUMNS])
    assert run.metadata["tuning"]["rungs"] == uninterrupted.metadata["tuning"]["rungs"]
    assert run.metrics() == uninterrupted.metrics()


def interrupted_search(monkeypatch: pytest.MonkeyPatch, path: Path, place: tuple[Any, str, int], *settings: str) -> Run:
    with monkeypatch.context() as patch:
        interrupt_in(patch, *place)
        with pytest.raises(KeyboardInterrupt):
            search(path, *settings)
    (run,) = [run for run in RunStore().runs() if run.metadata["kind"] == "tune"]
    return run


def test_equal_search_interrupted_between_model_and_figures_ends_with_both(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The model of the table is saved in the run of the search, but none of its figures.
    run = interrupted_search(monkeypatch, models, (model_search, "replace", 1), "n_trials=2")
    (saved,) = run.metadata["models"]
    assert tuning.resume(run)
    comparison = RunStore().resolve(run.metadata["tuning"]["comparison"])
    document = comparison_result(comparison)
    best = next(model for model in document["compared"] if model["label"] == run.metadata["tuning"]["best_model"])
    other = RunStore().resolve(best["runs"][0])
    assert run.metrics() == other.metrics()
    assert len(run.metadata["models"]) == len(other.metadata["models"]), "no model is stored twice"
    assert run.metadata["models"][0]["version"] == saved["version"]
    with pytest.raises(ConfigError, match="its models are refitted and tested"):
        tuning.resume(run, more=["tuning.n_trials=4"])


def test_equal_search_that_gets_more_trials_stays_equal(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In the second trial of the second model: the first one had finished with its two.
    run = interrupted_search(monkeypatch, models, (Search, "_start", 4), "n_trials=2")
    with pytest.raises(ConfigError, match=r"--trials 1: .* has 2 finished trials already"):
        tuning.resume(run, more=["tuning.n_trials=1"])
    assert tuning.resume(run, more=["tuning.n_trials=4"])
    assert {label: model["trials"] for label, model in by_label(run).items()} == {
        "ease": 4,
        "knn": 4,
        "popularity": 1,
        "random": 1,
    }


def test_more_trials_of_a_search_interrupted_in_its_last_rung_are_run(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The third rung, the last one, was planned and has begun.
    run = interrupted_search(
        monkeypatch, models, (model_search._ModelSearch, "_run_share", 7), "allocation=adaptive", "n_trials=12"
    )
    assert tuning.resume(run, more=["tuning.n_trials=20"])
    assert run.metadata["tuning"]["n_trials"] == 20
    with pytest.raises(ConfigError, match=r"--trials 10: .* has 20 finished trials already"):
        tuning.resume(run, more=["tuning.n_trials=10"])


def test_figures_of_segments_are_taken_over_from_the_table(models: Path) -> None:
    models.write_text(MODELS.replace("k_values: [10]", "k_values: [10], segments: [activity]"))
    run = search(models, "n_trials=1")
    record = run.evaluation("test")
    assert record is not None
    tables = run.segment_tables(record)
    measured = {key for key, segment in record.segments.items() if segment["n_users"]}
    assert tables.keys() == measured != set()
    for key in measured:
        assert tables[key]["ndcg@10"].mean() == pytest.approx(record.segment_metrics[key]["ndcg@10"])


def test_abandoned_trial_of_a_shared_study_is_not_waited_for() -> None:
    storage = optuna.storages.InMemoryStorage()
    shared = optuna.create_study(storage=storage, study_name="shared")
    other = Study(shared, storage, Space(()), "other", shared=True)
    ours = Study(shared, storage, Space(()), "ours", shared=True)
    other.claim()
    ours.heartbeat()
    assert ours.has_running()
    # Claimed beyond the last trial, and given up: nobody will ever finish it.
    other.release()
    ours.heartbeat()
    assert not ours.has_running()


def test_decision_that_another_process_has_made_is_kept(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_share = model_search._ModelSearch._run_share

    def run_share_beside_another(self: Any, label: str, rung: Any, executor: Any) -> None:
        run_share(self, label, rung, executor)
        stored = self._rungs()[-1]
        if label == rung.models[-1] and len(rung.models) == 4 and stored.survivors is None:
            self._store([replace(stored, survivors=["random", "knn"])])

    monkeypatch.setattr(model_search._ModelSearch, "_run_share", run_share_beside_another)
    rungs = search(models, "allocation=adaptive", "n_trials=8").metadata["tuning"]["rungs"]
    assert rungs[0]["survivors"] == ["random", "knn"]
    assert rungs[1]["models"] == ["random", "knn"]


def test_patience_ends_the_part_of_a_model_in_a_rung_and_not_its_search(models: Path) -> None:
    run = search(models, "allocation=adaptive", "n_trials=30", "patience=1")
    rungs = run.metadata["tuning"]["rungs"]
    ends = [rung["n_trials_before"] for rung in rungs[1:]]
    ends.append({label: model["trials"] for label, model in by_label(run).items()})
    for rung, end in zip(rungs[1:], ends[1:], strict=True):
        # The others have a single point.
        for label in {"ease", "knn"} & end.keys() & set(rung["models"]):
            assert end[label] > rung["n_trials_before"][label], (label, rung)
    assert sum(ends[-1].values()) < 30, "patience has ended the last part"


def test_search_in_windows_without_validation_says_what_a_rolling_split_needs(models: Path) -> None:
    models.write_text(MODELS.replace("{test_size: 0.2, val_size: 0.1}", "{strategy: rolling, n_windows: 2}"))
    with pytest.raises(ConfigError, match=r"set split.val_days: 7"):
        search(models)


class StuckExecutor:
    """Runs one trial at a time, which never ends."""

    def __init__(self) -> None:
        self.running: list[int] = []
        self.started = 0.0

    @property
    def free(self) -> int:
        return 1 - len(self.running)

    def start(self, task: Task) -> None:
        self.running.append(task.number)
        self.started = time.monotonic()

    def wait(self, seconds: float) -> list[Any]:
        time.sleep(seconds)
        return []

    def seconds_of(self, number: int) -> float:
        return time.monotonic() - self.started

    def stop(self, number: int) -> None:
        self.running.remove(number)


def test_trial_that_runs_at_the_end_of_the_time_is_stopped(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_share = model_search._ModelSearch._run_share

    def run_last_share_on_stuck_executor(self: Any, label: str, rung: Any, executor: Any) -> None:
        if len(rung.models) > 1:
            run_share(self, label, rung, executor)
            return
        assert rung.share.seconds > 60, "the share of the last model would let the trial go on"
        self._deadline = time.monotonic() + 0.3
        run_share(self, label, rung, StuckExecutor())
        assert time.monotonic() < self._deadline + 30

    def in_this_process(runner: Any, n_workers: int, on_report: Any, folder: Path) -> InProcessExecutor:
        return InProcessExecutor(runner, on_report)

    monkeypatch.setattr(model_search, "ProcessExecutor", in_this_process)
    monkeypatch.setattr(model_search._ModelSearch, "_run_share", run_last_share_on_stuck_executor)
    run = search(models, "allocation=adaptive", "n_trials=12", "timeout_minutes=10")
    failed = run.trials().query("state == 'failed'")
    (error,) = failed["error"]
    assert "the time of the whole search is used up" in error
    assert failed["model"].tolist() == run.metadata["tuning"]["rungs"][-1]["models"]
    assert run.status == "complete"


class IdleWorker:
    """A worker that never runs the trial it is given."""

    def __init__(self, setup: object) -> None:
        self.task: Task | None = None

    def assign(self, task: Task) -> None:
        self.task = task

    def close(self) -> None:
        pass


def test_lost_processes_are_counted_for_each_model(
    models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(executors, "_Worker", IdleWorker)
    loaded = experiment.load(models)
    executor = executors.ProcessExecutor(TrialRunner(loaded.config, [], ["ndcg@10"]), 1, lambda *_: False, tmp_path)
    for model in ("ease", "knn"):
        # The same number for both: trial 0 of a model is its own configuration.
        executor.start(Task(0, loaded, tmp_path / model, None))
        for _ in range(executors.MAX_ATTEMPTS - 1):
            assert executor._replace(executor._workers[0]) == [], model
        executor._workers[0].task = None
