"""Backtests, against plain loops: temporal splits one after another, and a bootstrap of users drawn one by one."""

import json

import numpy as np
import pandas as pd
import pytest

from recctl import experiment
from recctl.errors import ConfigError, DataError, TrainingError
from recctl.evaluation.paired_comparison import compare_paired, compare_windows
from recctl.experiment.comparison import backtest
from recctl.experiment.comparison.result import ComparisonOptions, gate_failure
from recctl.experiment.comparison.run import Repeats, compare, comparison_result, resume
from recctl.runs import RunStore

CONFIG = """\
data: {source: events.csv}
split: {strategy: rolling, n_windows: 3, test_days: 7, val_days: 5, gap_days: 1}
models:
  - {name: ease}
  - {name: als, params: {n_factors: 4, n_iterations: 3}}
evaluation: {metrics: [ndcg, coverage], k_values: [5]}
"""
TEMPORAL = """\
data: {{source: events.csv}}
split: {{strategy: temporal, test_start: {start}, test_days: 7, val_days: 5, gap_days: 1}}
model: {model}
evaluation: {{metrics: [ndcg, coverage], k_values: [5]}}
"""
# Of 50 days from 2026-08-01: the last is 2026-09-19.
STARTS = ["2026-08-30", "2026-09-06", "2026-09-13"]
MODELS = {"ease": "{name: ease}", "als": "{name: als, params: {n_factors: 4, n_iterations: 3}}"}
OPTIONS = ComparisonOptions(n_resamples=200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    rng = np.random.default_rng(3)
    folder = tmp_path_factory.mktemp("backtest")
    users = rng.integers(0, 40, 1500)
    times = pd.Timestamp("2026-08-01", tz="UTC").timestamp() + rng.integers(0, 50 * 86_400, 1500)
    items = (rng.zipf(1.5, 1500) + users % 4) % 30
    frame = pd.DataFrame({"user_id": users, "item_id": items, "timestamp": times.astype(int)})
    frame.drop_duplicates(["user_id", "item_id"]).to_csv(folder / "events.csv", index=False)
    (folder / "backtest.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def compared(folder):
    run = compare([folder / "backtest.yaml"], RunStore(folder / "runs"), OPTIONS)
    return run, comparison_result(run)


def records(document, metric="ndcg@5"):
    return {model["label"]: model["metrics"][metric] for model in document["compared"]}


def test_windows_equal_a_loop_of_temporal_splits(folder, compared):
    _, document = compared
    store = RunStore(folder / "loop")
    assert [window["test_start"] for window in document["windows"]] == STARTS
    for label, model in MODELS.items():
        figures = {"ndcg@5": [], "coverage@5": []}
        validation = []
        for start in STARTS:
            path = folder / "temporal.yaml"
            path.write_text(TEMPORAL.format(start=start, model=model))
            run = experiment.train(experiment.load(path), store)
            for metric, values in figures.items():
                values.append(run.metrics()["test"][metric])
            validation.append(run.metrics()["validation"]["ndcg@5"])
        for metric, values in figures.items():
            record = records(document, metric)[label]
            assert [window["value"] for window in record["windows"]] == pytest.approx(values, abs=1e-12)
            assert record["value"] == pytest.approx(np.mean(values))
            assert record["spread"] == pytest.approx(np.std(values, ddof=1))
        (of_label,) = (entry for entry in document["compared"] if entry["label"] == label)
        assert of_label["validation"] == pytest.approx(np.mean(validation))


def test_windows_won_and_best_follow_from_the_figures(compared):
    run, document = compared
    of_label = records(document)
    ease = np.array([window["value"] for window in of_label["ease"]["windows"]])
    als = np.array([window["value"] for window in of_label["als"]["windows"]])
    assert (of_label["ease"]["windows_won"], of_label["als"]["windows_won"]) == ((ease > als).sum(), (als > ease).sum())
    best = max(document["compared"], key=lambda model: model["validation"])["label"]
    assert document["best"] == best
    newest = [record["run_id"] for record in run.metadata["compared"] if record["label"] == best][-1]
    assert run.winner_id == newest


def test_each_run_has_a_config_that_repeats_its_window(folder, compared):
    run, _ = compared
    record = run.metadata["compared"][0]
    of_window = RunStore(folder / "runs").resolve(record["run_id"])
    again = experiment.train(experiment.load(of_window.path / "config.yaml"), RunStore(folder / "again"))
    assert again.metadata["split"]["hash"] == of_window.metadata["split"]["hash"]
    assert again.metrics() == of_window.metrics()


def test_no_interval_over_fewer_than_ten_windows(compared):
    _, document = compared
    assert all(record["over_windows"] is None for record in records(document).values())
    assert "no interval over windows is given of fewer than 10 windows" in document["words"][-1]
    values = [0.1, 0.3, 0.2, 0.4, 0.25, 0.35, 0.15, 0.2, 0.3, 0.25]
    assert backtest.interval_over_windows(values[:9], 0.95) is None
    interval = backtest.interval_over_windows(values, 0.95)
    # t of 9 degrees of freedom at 0.975, from a table.
    margin = 2.2622 * np.std(values, ddof=1) / np.sqrt(10)
    assert interval == pytest.approx({"low": np.mean(values) - margin, "high": np.mean(values) + margin}, abs=1e-4)


def test_gate_decides_by_the_mean_over_windows(folder):
    options = ComparisonOptions(n_resamples=200, reference="ease")
    document = comparison_result(compare([folder / "backtest.yaml"], RunStore(folder / "gate"), options))
    too_much = -records(document)["als"]["difference_low"]
    assert too_much > 0
    assert gate_failure(document, "als", too_much + 1e-6) is None
    assert "may lose" in gate_failure(document, "als", too_much - 1e-6)


def test_killed_backtest_fits_only_what_is_missing(folder, compared, monkeypatch):
    _, expected = compared
    from recctl.experiment import stages

    fit_and_evaluate = stages.fit_and_evaluate
    fitted = []

    def interrupt_third(run, *arguments):
        if len(fitted) == 2:
            raise KeyboardInterrupt
        fitted.append(run.id)
        return fit_and_evaluate(run, *arguments)

    store = RunStore(folder / "killed")
    monkeypatch.setattr(stages, "fit_and_evaluate", interrupt_third)
    with pytest.raises(KeyboardInterrupt):
        compare([folder / "backtest.yaml"], store, OPTIONS)
    (run,) = (each for each in store.runs() if each.metadata["kind"] == "compare")
    assert run.status == "interrupted"

    fitted_later = []

    def record_fit(run, *arguments):
        fitted_later.append(run.id)
        return fit_and_evaluate(run, *arguments)

    monkeypatch.setattr(stages, "fit_and_evaluate", record_fit)
    assert resume(run)
    assert len(fitted_later) == 4
    assert not set(fitted) & set(fitted_later)
    assert records(comparison_result(run)) == records(expected)


def test_seeds_are_averaged_in_each_window(folder, compared):
    _, expected = compared
    run = compare([folder / "backtest.yaml"], RunStore(folder / "seeds"), OPTIONS, Repeats(seeds=(1, 2)))
    document = comparison_result(run)
    assert [len(model["runs"]) for model in document["compared"] if model["label"] == "als"] == [6]
    assert [window["value"] for window in records(document)["ease"]["windows"]] == pytest.approx(
        [window["value"] for window in records(expected)["ease"]["windows"]]
    )
    store = RunStore(folder / "seeds")
    figures = {}
    for record in run.metadata["compared"]:
        if record["label"] == "als":
            value = store.resolve(record["run_id"]).metrics()["test"]["ndcg@5"]
            figures.setdefault(record["window"], []).append(value)
    assert [window["value"] for window in records(document)["als"]["windows"]] == pytest.approx(
        [np.mean(figures[position]) for position in range(3)]
    )


def test_what_does_not_fit_a_backtest_is_refused(folder, compared):
    run, _ = compared
    store = RunStore(folder / "runs")
    with pytest.raises(ConfigError, match=r"training\.refit: true"):
        compare([folder / "backtest.yaml"], store, OPTIONS, Repeats(refit=True))
    with pytest.raises(ConfigError, match="--folds draws interactions at random"):
        compare([folder / "backtest.yaml"], store, OPTIONS, Repeats(n_folds=3))
    with pytest.raises(ConfigError, match="a backtest fits every model in every window"):
        compare([folder / "backtest.yaml", store.resolve(run.winner_id)], store, OPTIONS)


# ---- lists that were made elsewhere


def write_lists(folder, start, items):
    rows = [(user, item, rank) for user in range(40) for rank, item in enumerate(items, 1)]
    pd.DataFrame(rows, columns=["user_id", "item_id", "rank"]).to_csv(folder / f"lists-{start}.csv", index=False)


def test_lists_of_each_window_are_measured_in_it(folder):
    for position, start in enumerate(STARTS):
        write_lists(folder, start, [position, position + 3, 7, 11, 20])
    text = CONFIG.replace("{name: als, params: {n_factors: 4, n_iterations: 3}}", "{FILE, name: live}")
    path = folder / "lists.yaml"
    path.write_text(text.replace("FILE", 'recommendations: "lists-{test_start}.csv"'))
    document = comparison_result(compare([path], RunStore(folder / "lists"), OPTIONS))
    estimates = records(document)["live"]["windows"]
    for start, estimate in zip(STARTS, estimates, strict=True):
        single = folder / "temporal_lists.yaml"
        models = f"models: [{{name: popularity}}, {{recommendations: lists-{start}.csv, name: live}}]"
        single.write_text(TEMPORAL.format(start=start, model="MODEL").replace("model: MODEL", models))
        alone = comparison_result(compare([single], RunStore(folder / "lists_alone"), OPTIONS))
        assert estimate["value"] == pytest.approx(records(alone)["live"]["value"], abs=1e-12)
    (folder / f"lists-{STARTS[1]}.csv").unlink()
    with pytest.raises(DataError, match=f"lists-{STARTS[1]}.csv"):
        compare([path], RunStore(folder / "lists_missing"), OPTIONS)


# ---- warm starts


def test_warm_start_begins_from_the_window_before(folder):
    store = RunStore(folder / "warm")
    (folder / "warm.yaml").write_text(CONFIG + "backtest: {warm_start: true}\n")
    run = compare([folder / "warm.yaml"], store, OPTIONS)
    of_als = [record["run_id"] for record in run.metadata["compared"] if record["label"] == "als"]
    starts = [store.resolve(run_id).metadata.get("warm_start") for run_id in of_als]
    assert starts[0] is None
    assert [start["run"] for start in starts[1:]] == of_als[:-1]
    of_ease = [record["run_id"] for record in run.metadata["compared"] if record["label"] == "ease"]
    assert not any(store.resolve(run_id).metadata.get("warm_start") for run_id in of_ease)
    # A loop of trainings, each begun from the one before, gives the same figures.
    loop = RunStore(folder / "warm_loop")
    previous = None
    for position, start in enumerate(STARTS):
        path = folder / "temporal.yaml"
        path.write_text(TEMPORAL.format(start=start, model=MODELS["als"]))
        overrides = [] if previous is None else [f"training.warm_start='{previous}'"]
        trained = experiment.train(experiment.load(path, overrides), loop)
        previous = trained.id
        value = records(comparison_result(run))["als"]["windows"][position]["value"]
        assert trained.metrics()["test"]["ndcg@5"] == pytest.approx(value, abs=1e-12)


def test_warm_start_from_a_window_that_failed_is_an_error(folder, monkeypatch):
    from recctl.experiment import stages

    fit_and_evaluate = stages.fit_and_evaluate
    seen = []

    def fail_first_als(run, config, *arguments):
        if config.model.name == "als" and not seen:
            seen.append(run.id)
            raise TrainingError("no luck")
        return fit_and_evaluate(run, config, *arguments)

    monkeypatch.setattr(stages, "fit_and_evaluate", fail_first_als)
    (folder / "warm.yaml").write_text(CONFIG + "backtest: {warm_start: true}\n")
    store = RunStore(folder / "warm_failed")
    with pytest.raises(TrainingError, match="the model of the window before, from which it begins, is missing"):
        compare([folder / "warm.yaml"], store, OPTIONS)
    (run,) = (each for each in store.runs() if each.metadata["kind"] == "compare")
    assert resume(run)
    assert len(records(comparison_result(run))["als"]["windows"]) == 3


# ---- statistics


def table(users, values):
    return pd.DataFrame({"user_id": users, "ndcg@10": values, "n_relevant": 1})


@pytest.fixture(scope="module")
def tables():
    """Two models in three windows, each with some of 60 users, whose values depend on the user."""
    rng = np.random.default_rng(8)
    ability = rng.random(60)
    result = {"a": [], "b": []}
    for _ in range(3):
        users = np.sort(rng.choice(60, 30, replace=False))
        first = ability[users] * rng.random(30)
        result["a"].append(table(users, first))
        result["b"].append(table(users, first + 0.05 * rng.standard_normal(30)))
    return result


def test_interval_equals_a_bootstrap_of_whole_users(tables):
    comparison = compare_windows(tables, "b", ["ndcg@10"], n_resamples=20_000)
    estimate = comparison.estimates["ndcg@10"]["a"]
    means = [some_table["ndcg@10"].mean() for some_table in tables["a"]]
    assert estimate.value == pytest.approx(np.mean(means))
    differences = [
        first.set_index("user_id")["ndcg@10"] - second.set_index("user_id")["ndcg@10"]
        for first, second in zip(tables["a"], tables["b"], strict=True)
    ]
    all_users = sorted(set().union(*(difference.index for difference in differences)))
    assert comparison.n_users == estimate.n_users == len(all_users)
    rng = np.random.default_rng(0)
    drawn_means = []
    for _ in range(4000):
        drawn = rng.choice(all_users, len(all_users))
        drawn_means.append(np.mean([difference.reindex(drawn).mean() for difference in differences]))
    low, high = np.quantile(drawn_means, [0.025, 0.975])
    width = high - low
    assert estimate.difference == pytest.approx(np.mean([difference.mean() for difference in differences]))
    # Percentiles, not BCa, and other draws: within a tenth of the width.
    assert abs(estimate.difference_low - low) < width / 10
    assert abs(estimate.difference_high - high) < width / 10


def test_p_value_exchanges_the_models_of_a_user_in_all_windows():
    rng = np.random.default_rng(4)
    users = [np.arange(8), np.arange(3, 10), np.arange(2, 9)]
    tables = {"a": [], "b": []}
    for some_users in users:
        tables["a"].append(table(some_users, rng.random(len(some_users)) + 0.2))
        tables["b"].append(table(some_users, rng.random(len(some_users))))
    contributions = np.zeros(10)
    for position, some_users in enumerate(users):
        difference = tables["a"][position]["ndcg@10"] - tables["b"][position]["ndcg@10"]
        contributions[some_users] += difference.to_numpy() / len(some_users) / 3
    signs = np.array([[1 if number >> user & 1 else -1 for user in range(10)] for number in range(2**10)])
    sums = np.abs(signs @ contributions)
    expected = np.mean(sums >= abs(contributions.sum()) - 1e-9)
    # 10 users have 1,024 sign assignments, fewer than the resamples: the test is exact.
    estimate = compare_windows(tables, "b", ["ndcg@10"]).estimates["ndcg@10"]["a"]
    assert estimate.p == pytest.approx(expected)


def test_one_window_equals_the_comparison_without_windows(tables):
    first = {label: some_tables[:1] for label, some_tables in tables.items()}
    one_window = compare_windows(first, "b", ["ndcg@10"], n_resamples=500)
    plain = compare_paired({label: some[0] for label, some in first.items()}, "b", ["ndcg@10"], n_resamples=500)
    assert one_window.estimates == plain.estimates
    assert one_window.windows == {}


def test_rmse_of_windows_is_the_mean_of_their_roots():
    tables = {
        label: [
            pd.DataFrame({"user_id": [1, 2, 3], "rmse": [scale, 2.0, 3.0], "n_relevant": [4, 1, 1]}),
            pd.DataFrame({"user_id": [2, 4], "rmse": [1.0, scale], "n_relevant": [1, 3]}),
        ]
        for label, scale in (("a", 1.0), ("b", 2.0))
    }
    comparison = compare_windows(tables, "b", ["rmse"], n_resamples=200)
    expected = np.mean([np.sqrt((4 * 1 + 4 + 9) / 6), np.sqrt((1 + 3 * 1) / 4)])
    assert comparison.estimates["rmse"]["a"].value == pytest.approx(expected)
    assert [estimate.n_users for estimate in comparison.windows["rmse"]["a"]] == [3, 2]


def test_document_is_json(compared):
    _, document = compared
    assert json.loads(json.dumps(document, allow_nan=False)) == document
