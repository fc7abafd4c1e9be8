"""Searches in the windows of a rolling split, against trainings of each window one after another."""

import numpy as np
import pandas as pd
import pytest
import yaml

from recctl import experiment, tuning
from recctl.config.loading import with_values
from recctl.data.splitting import split_windows
from recctl.errors import ConfigError
from recctl.experiment.comparison.run import comparison_result
from recctl.runs import RunStore
from recctl.tuning.trial_runner import Task, TrialRunner, cut_windows

CONFIG = """\
data: {source: events.csv}
split: {strategy: rolling, n_windows: 3, test_days: 6, val_days: 6}
model: {name: ease, params: {l2_reg: 10.0}}
tuning: {strategy: manual, points: [{l2_reg: 1.0}, {l2_reg: 500.0}]}
evaluation: {metrics: [ndcg], k_values: [5]}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    rng = np.random.default_rng(6)
    folder = tmp_path_factory.mktemp("search")
    users = rng.integers(0, 30, 1200)
    times = pd.Timestamp("2026-08-01", tz="UTC").timestamp() + rng.integers(0, 45 * 86_400, 1200)
    items = (rng.zipf(1.5, 1200) + users % 4) % 40
    frame = pd.DataFrame({"user_id": users, "item_id": items, "timestamp": times.astype(int)})
    frame.drop_duplicates(["user_id", "item_id"]).to_csv(folder / "events.csv", index=False)
    (folder / "search.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def loaded(folder):
    return experiment.load(folder / "search.yaml")


@pytest.fixture(scope="module")
def search(folder, loaded):
    return tuning.tune(loaded, RunStore(folder / "runs"))


def validation_of_windows(folder, loaded, l2_reg):
    """The metric on validation of each window, by a training of its own."""
    dataset = experiment.prepare(loaded).dataset
    values = []
    for split in split_windows(dataset, n_windows=3, test_days=6, val_days=6):
        settings = {
            ("split",): {"strategy": "temporal", **split.options},
            ("model", "params", "l2_reg"): l2_reg,
            ("tuning",): None,
        }
        run = experiment.train(with_values(loaded, settings, experiment.CHECKS), RunStore(folder / "loop"))
        values.append(run.metrics()["validation"]["ndcg@5"])
    return values


def test_value_of_a_trial_is_the_mean_over_windows(folder, loaded, search):
    trials = search.trials().set_index("number")
    for number, l2_reg in enumerate([10.0, 1.0, 500.0]):
        expected = validation_of_windows(folder, loaded, l2_reg)
        assert list(trials.loc[number, "windows"]) == pytest.approx(expected)
        assert trials.loc[number, "ndcg@5"] == pytest.approx(np.mean(expected))


def test_run_keeps_the_best_trial_in_the_newest_window(folder, loaded, search):
    record = search.metadata["tuning"]
    trials = search.trials().set_index("number")
    assert record["best_trial"] == trials.loc[[1, 2], "ndcg@5"].idxmax()
    windows = record["windows"]
    assert [window["test_start"] for window in windows] == ["2026-08-28", "2026-09-03", "2026-09-09"]
    best = list(trials.loc[record["best_trial"], "windows"])
    assert [window["best"]["ndcg@5"] for window in windows] == pytest.approx(best)
    assert [window["trial_0"]["ndcg@5"] for window in windows] == pytest.approx(list(trials.loc[0, "windows"]))
    assert search.metrics()["validation"]["ndcg@5"] == pytest.approx(best[-1])
    assert search.metadata["test_looks"] == 1
    # The best config is a backtest still, and its training gives the model that the search kept.
    again = experiment.train(experiment.load(search.path / "best.yaml"), RunStore(folder / "again"))
    assert again.metadata["split"]["hash"] == search.metadata["split"]["hash"]
    assert again.metrics() == search.metrics()


def test_interrupted_search_runs_only_the_missing_trials(folder, loaded, search, monkeypatch):
    run_trial = TrialRunner.run
    started = []

    def interrupt_second(runner, task, report):
        if task.number == 1 and 1 not in started:
            started.append(1)
            raise KeyboardInterrupt
        started.append(task.number)
        return run_trial(runner, task, report)

    monkeypatch.setattr(TrialRunner, "run", interrupt_second)
    store = RunStore(folder / "interrupted")
    with pytest.raises(KeyboardInterrupt):
        tuning.tune(loaded, store)
    (run,) = store.runs()
    assert tuning.resume(run)
    assert started == [0, 1, 1, 2]
    columns = ["number", "ndcg@5", "l2_reg"]
    pd.testing.assert_frame_equal(run.trials()[columns], search.trials()[columns])


def test_trial_is_pruned_between_windows_by_its_mean_so_far(loaded, search, tmp_path):
    prepared = experiment.prepare(loaded)
    windows = cut_windows(prepared.dataset, prepared.split, loaded.config)
    reported = []

    def report(step, value):
        reported.append((step, value))
        return step == 1

    outcome = TrialRunner(loaded.config, windows, ["ndcg@5"]).run(Task(1, loaded, tmp_path, None), report)
    assert outcome.state == "pruned"
    values = search.trials()["windows"][0]
    assert reported == [(0, pytest.approx(values[0])), (1, pytest.approx(np.mean(values[:2])))]


def test_search_without_validation_days_is_refused(folder):
    loaded = experiment.load(folder / "search.yaml", ["split.val_days=null"])
    with pytest.raises(ConfigError, match=r"set split\.val_days: 7"):
        tuning.tune(loaded, RunStore(folder / "refused"))


def test_models_that_are_tuned_alike_are_compared_in_all_windows(folder):
    models = "models:\n  - {name: ease, space: {l2_reg: [1.0, 500.0]}}\n  - {name: popularity}\n"
    text = "\n".join(line for line in CONFIG.splitlines() if not line.startswith(("model:", "tuning:")))
    (folder / "models.yaml").write_text(f"{text}\n{models}tuning: {{strategy: grid}}\n")
    store = RunStore(folder / "alike")
    run = tuning.tune(experiment.load(folder / "models.yaml"), store)
    best = {model["label"]: model for model in run.metadata["tuning"]["models"]}
    # The configuration of each model that is best on average over the windows.
    means = [float(np.mean(windows)) for windows in run.trials().query("model == 'ease'")["windows"]]
    assert best["ease"]["best_value"] == pytest.approx(max(means))
    document = comparison_result(store.resolve(run.metadata["tuning"]["comparison"]))
    assert [window["number"] for window in document["windows"]] == [1, 2, 3]
    for model in document["compared"]:
        figures = []
        for run_id in model["runs"]:
            compared = store.resolve(run_id)
            assert compared.metadata["test_looks"] == 1
            assert compared.model_entry()["fitted_on"] == "train+validation"
            params = yaml.safe_load(compared.config_text())["model"]["params"]
            point = best[model["label"]]["best_point"]
            assert {name: params[name] for name in point} == point
            figures.append(compared.metrics()["test"]["ndcg@5"])
        assert model["metrics"]["ndcg@5"]["value"] == pytest.approx(np.mean(figures))
    # The run has the model and the figures of the newest window, without another use of the test set.
    (newest,) = [
        model["runs"][-1] for model in document["compared"] if model["label"] == run.metadata["tuning"]["best_model"]
    ]
    assert run.metrics()["test"] == store.resolve(newest).metrics()["test"]
    assert run.metadata["test_looks"] == 0
    table = (run.path / "table.md").read_text()
    assert all(window["test_start"] in table for window in document["windows"])
