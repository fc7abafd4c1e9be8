"""Searches of several processes: shared data, lost workers, a killed search."""

import json
import os
import signal
import subprocess
import time
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
import sqlalchemy
from sqlalchemy import event

from recctl import InteractionDataset, RunStore, tuning
from recctl.data import shared_arrays
from recctl.runs import Run
from recctl.tuning import executors, study, tuner
from recctl.tuning.executors import ProcessExecutor
from recctl.tuning.outcomes import Outcome
from recctl.tuning.storage import open_storage
from recctl.tuning.study import Study
from recctl.tuning.trial_runner import Task, TrialRunner, WindowData
from tests import preloaded
from tests.tuning.searches import EASE, EPOCHS, load, trials


@pytest.mark.parametrize("text", [False, True])
def test_shared_dataset_equals_the_original(tmp_path: Path, text: bool) -> None:
    rows = pd.DataFrame({"user_id": [3, 1, 3, 2], "item_id": [10, 10, 20, 30], "rating": [1.0, 2.0, 3.0, 4.0]})
    rows["timestamp"] = [5, 6, 7, 8]
    if text:
        rows = rows.astype({"user_id": str}).assign(item_id=["é", "b", "0", "c" * 300])
    dataset = InteractionDataset(rows, implicit=False)
    dataset.history = InteractionDataset(rows.iloc[:2], implicit=False)
    shared_arrays.save(dataset, tmp_path)
    shared = shared_arrays.load(tmp_path)
    pd.testing.assert_frame_equal(shared.data, dataset.data)
    pd.testing.assert_frame_equal(shared.history.data, dataset.history.data)
    np.testing.assert_array_equal(shared.csr.toarray(), dataset.csr.toarray())
    assert shared.content_hash() == dataset.content_hash()
    assert isinstance(shared.matrix.columns.base, np.memmap) or isinstance(shared.matrix.columns, np.memmap)


@pytest.mark.usefixtures("forked_workers")
def test_two_jobs_have_the_same_trials_as_one(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    settings = ("tuning={strategy: coarse_to_fine, n_trials: 7}",)
    one = tuning.tune(load(tmp_path, EASE, *settings), store)
    two = tuning.tune(load(tmp_path, EASE, *settings, "tuning.jobs=2"), store)
    pd.testing.assert_frame_equal(trials(one), trials(two))
    assert one.metrics() == two.metrics()
    assert not (two.path / "shared").exists()


@pytest.mark.usefixtures("forked_workers")
def test_two_jobs_with_adaptive_strategy_neither_lose_nor_repeat_trials(tmp_path: Path) -> None:
    run = tuning.tune(load(tmp_path, EPOCHS, "tuning.n_trials=13", "tuning.jobs=2"), RunStore(tmp_path / "runs"))
    assert list(trials(run)["number"]) == list(range(13))


def trial_runner(tmp_path: Path, text: str) -> tuple[TrialRunner, Task]:
    from recctl import experiment

    loaded = load(tmp_path, text)
    prepared = experiment.prepare(loaded)
    parts = prepared.split.train(prepared.dataset), prepared.split.validation(prepared.dataset)
    (tmp_path / "trial").mkdir()
    return TrialRunner(loaded.config, [WindowData(*parts)], ["rmse"]), Task(0, loaded, tmp_path / "trial", None)


def outcome_of(executor: ProcessExecutor, task: Task) -> Outcome:
    executor.start(task)
    over: list[tuple[int, Outcome]] = []
    while not over:
        over = executor.wait(60)
    return over[0][1]


@pytest.mark.usefixtures("forked_workers")
def test_trial_of_a_dead_worker_continues_in_a_new_one(tmp_path: Path) -> None:
    runner, task = trial_runner(tmp_path, EPOCHS.replace("n_epochs: 12", "n_epochs: 20"))
    epochs: list[int] = []

    def on_report(number: int, epoch: int, value: float) -> bool:
        epochs.append(epoch)
        if epoch == 5 and epochs.count(5) == 1:
            os.kill(executor._workers[0].process.pid, signal.SIGKILL)
        return False

    with closing(ProcessExecutor(runner, 1, on_report, tmp_path / "shared")) as executor:
        outcome = outcome_of(executor, task)
    assert epochs[4] == 5
    assert 2 < epochs[5] <= 6, "it continues from its checkpoint"
    (tmp_path / "whole").mkdir()
    whole = runner.run(replace(task, folder=tmp_path / "whole"), lambda epoch, value: False)
    assert (outcome.values, outcome.metrics, outcome.best_epoch) == (whole.values, whole.metrics, whole.best_epoch)
    assert (task.folder / "model.pkl").read_bytes() == (tmp_path / "whole" / "model.pkl").read_bytes()


@pytest.mark.usefixtures("forked_workers")
def test_trial_that_kills_every_worker_fails_and_search_continues(tmp_path: Path) -> None:
    runner, task = trial_runner(tmp_path, EPOCHS)

    def on_report(number: int, epoch: int, value: float) -> bool:
        os.kill(executor._workers[0].process.pid, signal.SIGKILL)
        return False

    with closing(ProcessExecutor(runner, 1, on_report, tmp_path / "shared")) as executor:
        outcome = outcome_of(executor, task)
        assert outcome.state == "failed"
        assert f"its process died {executors.MAX_ATTEMPTS} times" in outcome.error
        assert executor.free == 1


def test_database_created_concurrently_is_opened(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    others = []

    def another_is_first(connection, cursor, statement, *_) -> None:
        if statement.lstrip().startswith("CREATE TABLE") and not others:
            others.append(url)
            open_storage(url)

    event.listen(sqlalchemy.Engine, "before_cursor_execute", another_is_first)
    try:
        storage = open_storage(url)
    finally:
        event.remove(sqlalchemy.Engine, "before_cursor_execute", another_is_first)
    assert others
    assert storage.get_all_studies() == []


def test_searches_sharing_a_study_wait_for_each_others_rounds(workdir: Path) -> None:
    (workdir / "tune.yaml").write_text(EASE)
    storage = f"sqlite:///{workdir}/shared.db"
    command = ["-m", "recctl", "tune", "tune.yaml", "--strategy", "coarse_to_fine", "--trials", "7", "--json", "-q"]
    command += ["--storage", storage, "--study", "ours"]
    both = [preloaded.Program(*command, "--runs-dir", f"runs-{at}") for at in range(2)]
    answers = [json.loads(process.communicate(timeout=120)[0]) for process in both]
    assert sum(Path(answer["path"], "log.txt").read_text().count(" trial ") for answer in answers) == 7
    loaded = load(workdir, EASE, "tuning={strategy: coarse_to_fine, n_trials: 7}")
    alone = tuning.tune(loaded, RunStore(workdir / "runs"))
    again = tuning.tune(loaded, RunStore(workdir / "runs-2"), storage, "ours")
    pd.testing.assert_frame_equal(trials(alone), trials(again))


def test_round_waits_for_a_trial_claimed_by_another_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim, others, ours = Study.claim, [], []

    def claim_after_another(self: Study) -> int:
        if not others and self.next_number() == 3:  # the last of the first round
            others.append(Study(self.study, self.storage, self.space, "another", True))
            others[0].begin(claim(others[0]))
            ours.append(self)
        return claim(self)

    def tell_during_sleep(seconds: float) -> None:
        others[0].tell(3, Outcome("complete", [0.99], {"ndcg@10": 0.99}))

    monkeypatch.setattr(Study, "claim", claim_after_another)
    monkeypatch.setattr(tuner, "sleep", tell_during_sleep)
    loaded = load(tmp_path, EASE, "tuning={strategy: coarse_to_fine, n_trials: 10}")
    tuning.tune(loaded, RunStore(tmp_path / "runs"), f"sqlite:///{tmp_path}/shared.db", "ours")
    finished = ours[0].finished()
    assert [trial.number for trial in finished] == list(range(10))
    for trial in finished[1:]:
        proposed = ours[0].study.sampler.strategy.propose(trial.number, finished)
        # The ends of the range may be points of several rounds; a point that was measured is replaced.
        if proposed not in [earlier.point for earlier in finished[: trial.number]]:
            assert proposed == trial.point


def test_trial_without_heartbeat_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, store = f"sqlite:///{tmp_path}/shared.db", RunStore(tmp_path / "runs")
    loaded = load(tmp_path, EASE, "tuning.n_trials=4")
    tuning.tune(load(tmp_path, EASE, "tuning.n_trials=2"), store, storage, "ours")
    optuna.load_study(study_name="ours", storage=storage).ask().set_user_attr("owner", "somebody")
    with_another = tuning.tune(loaded, store, storage, "ours")
    assert list(trials(with_another)["number"]) == [0, 1, 3], "trial 2 may still be running"
    monkeypatch.setattr(study, "HEARTBEAT_TIMEOUT", timedelta(0))
    assert list(trials(tuning.tune(loaded, store, storage, "ours"))["number"]) == [0, 1, 2, 3]


def test_trial_without_owner_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, store = f"sqlite:///{tmp_path}/shared.db", RunStore(tmp_path / "runs")
    tuning.tune(load(tmp_path, EASE, "tuning.n_trials=2"), store, storage, "ours")
    optuna.load_study(study_name="ours", storage=storage).ask()
    monkeypatch.setattr(study, "UNCLAIMED_TIMEOUT", 1.0)
    run = tuning.tune(load(tmp_path, EASE, "tuning.n_trials=4"), store, storage, "ours")
    assert list(trials(run)["number"]) == [0, 1, 2, 3]


def children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
    return [int(line) for line in found.split()]


LONG_TRIALS = EPOCHS.replace("n_epochs: 12", "n_epochs: 30")
N_TRIALS = 10


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A search that nothing interrupts, without worker processes."""
    folder = tmp_path_factory.mktemp("whole")
    settings = ("tuning.strategy=random", f"tuning.n_trials={N_TRIALS}")
    return tuning.tune(load(folder, LONG_TRIALS, *settings), RunStore(folder / "runs"))


class RunningSearch:
    """A search in a process of its own."""

    def __init__(self, workdir: Path, jobs: int) -> None:
        (workdir / "tune.yaml").write_text(LONG_TRIALS)
        settings = ["--strategy", "random", "--trials", str(N_TRIALS), "--jobs", str(jobs), "--json", "-q"]
        self.process = preloaded.Program("-m", "recctl", "tune", "tune.yaml", *settings)
        self.runs = workdir / "runs"
        self.deadline = time.monotonic() + 120

    def wait_for_trials(self, number: int) -> None:
        while not any(log.read_text().count(" trial ") >= number for log in self.runs.glob("*/log.txt")):
            assert time.monotonic() < self.deadline, f"{number} trials are not finished"
            assert self.process.poll() is None, "it ended before it was killed"
            time.sleep(0.02)

    def workers(self) -> list[int]:
        pids = children(self.process.pid)
        return [pid for pid in pids if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate(timeout=120)

    def resume(self) -> Run:
        (run_id,) = (path.parent.name for path in self.runs.glob("*/log.txt"))
        done = preloaded.run("-m", "recctl", "tune", "--resume", run_id, "--json", "-q", check=True)
        assert json.loads(done.stdout)["run_id"] == run_id
        return RunStore(self.runs).resolve(run_id)


def assert_same_model(run: Run, whole: Run) -> None:
    assert run.metrics() == whole.metrics()
    assert run.metadata["models"][0]["sha256"] == whole.metadata["models"][0]["sha256"]


def test_search_killed_with_sigkill_resumes_to_the_same_trials(workdir: Path, whole: Run) -> None:
    search = RunningSearch(workdir, jobs=1)
    search.wait_for_trials(3)
    assert not search.workers()
    search.kill()
    run = search.resume()
    assert_same_model(run, whole)
    pd.testing.assert_frame_equal(trials(run), trials(whole))


def test_search_that_loses_a_worker_and_is_killed_resumes_to_the_same_trials(workdir: Path, whole: Run) -> None:
    search = RunningSearch(workdir, jobs=2)
    search.wait_for_trials(2)
    workers = search.workers()
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    # The other worker is busy with one trial, and the lost one with another: later trials show that the search goes on.
    search.wait_for_trials(5)
    lost = workers[0]
    workers = search.workers()
    assert len(workers) == 2
    assert lost not in workers
    search.kill()
    for pid in workers:
        while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
            assert time.monotonic() < search.deadline, "a worker outlives its search"
            time.sleep(0.05)
    run = search.resume()
    assert_same_model(run, whole)
    assert "failed" not in set(trials(run)["state"])
    # Which trials are pruned depends on which ones are over.
    columns = ["number", "lr", "n_factors"]
    pd.testing.assert_frame_equal(trials(run)[columns], trials(whole)[columns])
