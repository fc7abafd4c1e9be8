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


def test_two_jobs_have_the_same_trials_as_one(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    settings = ("tuning={strategy: coarse_to_fine, n_trials: 9}",)
    one = tuning.tune(load(tmp_path, EASE, *settings), store)
    two = tuning.tune(load(tmp_path, EASE, *settings, "tuning.jobs=2"), store)
    pd.testing.assert_frame_equal(trials(one), trials(two))
    assert one.metrics() == two.metrics()
    assert not (two.path / "shared").exists()


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


def test_trial_of_a_dead_worker_continues_in_a_new_one(tmp_path: Path) -> None:
    runner, task = trial_runner(tmp_path, EPOCHS.replace("n_epochs: 12", "n_epochs: 60"))
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
    command = ["-m", "recctl", "tune", "tune.yaml", "--strategy", "coarse_to_fine", "--trials", "10", "--json", "-q"]
    command += ["--storage", storage, "--study", "ours"]
    both = [preloaded.Program(*command, "--runs-dir", f"runs-{at}") for at in range(2)]
    answers = [json.loads(process.communicate(timeout=120)[0]) for process in both]
    assert sum(Path(answer["path"], "log.txt").read_text().count(" trial ") for answer in answers) == 10
    loaded = load(workdir, EASE, "tuning={strategy: coarse_to_fine, n_trials: 10}")
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


FORTY_EPOCHS = EPOCHS.replace("n_epochs: 12", "n_epochs: 40")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A search that nothing interrupts, without worker processes."""
    folder = tmp_path_factory.mktemp("whole")
    settings = ("tuning.strategy=random", "tuning.n_trials=12")
    return tuning.tune(load(folder, FORTY_EPOCHS, *settings), RunStore(folder / "runs"))


@pytest.mark.parametrize(("jobs", "victim"), [("1", "search"), ("2", "search"), ("2", "worker")])
def test_search_killed_with_sigkill_resumes_to_the_same_trials(
    workdir: Path, whole: Run, jobs: str, victim: str
) -> None:
    (workdir / "tune.yaml").write_text(FORTY_EPOCHS)
    settings = ["--strategy", "random", "--trials", "12", "--jobs", jobs, "--json", "-q"]
    process = preloaded.Program("-m", "recctl", "tune", "tune.yaml", *settings)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        logs = list((workdir / "runs").glob("*/log.txt"))
        if logs and logs[0].read_text().count(" trial ") >= 4:
            break
        time.sleep(0.02)
    workers = [pid for pid in children(process.pid) if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
    assert len(workers) == (2 if jobs == "2" else 0)
    os.kill(process.pid if victim == "search" else workers[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    if victim == "search":
        for pid in workers:
            while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
                assert time.monotonic() < deadline, "a worker outlives its search"
                time.sleep(0.05)
        output = preloaded.run(
            "-m", "recctl", "tune", "--resume", logs[0].parent.name, "--json", "-q", check=True
        ).stdout
    done = json.loads(output)
    assert done["metrics"] == whole.metrics()
    assert done["models"][0]["sha256"] == whole.metadata["models"][0]["sha256"]
    tables = [trials(RunStore(workdir / "runs").resolve(done["run_id"])), trials(whole)]
    if jobs == "1":
        pd.testing.assert_frame_equal(*tables)
    else:  # which trials are pruned depends on which ones are over
        columns = ["number", "lr", "n_factors"]
        pd.testing.assert_frame_equal(tables[0][columns], tables[1][columns])
