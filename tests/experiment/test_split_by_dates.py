"""Splits by dates in configs: what is refused and where, overrides, and what a run records."""

import numpy as np
import pandas as pd
import pytest
import yaml

from recctl import experiment
from recctl.errors import ConfigError
from recctl.runs import RunStore

CONFIG = """\
data: {{source: {source}}}
split:
  strategy: temporal
{split}
model: {{name: popularity}}
evaluation: {{metrics: [ndcg], k_values: [5]}}
"""


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    """30 days of events of 40 users, their times in milliseconds."""
    rng = np.random.default_rng(5)
    start = pd.Timestamp("2026-09-01", tz="UTC").timestamp()
    seconds = start + rng.integers(0, 30 * 86_400, 900)
    path = tmp_path_factory.mktemp("data") / "events.csv"
    columns = {"user_id": rng.integers(0, 40, 900), "item_id": rng.integers(0, 30, 900), "timestamp": seconds * 1000}
    pd.DataFrame(columns).astype("int64").to_csv(path, index=False)
    return path


@pytest.fixture
def load(events, tmp_path):
    def load(split, *overrides):
        path = tmp_path / "config.yaml"
        lines = "\n".join(f"  {line}" for line in split.splitlines())
        path.write_text(CONFIG.format(source=events, split=lines))
        return experiment.load(path, ["data.timestamp_unit=ms", *overrides])

    return load


def problems_of(load, *arguments):
    with pytest.raises(ConfigError) as error:
        load(*arguments)
    return [problem.split("config.yaml:")[-1] for problem in error.value.problems]


def test_sizes_beside_dates_are_refused_with_their_lines(load):
    assert problems_of(load, "test_start: 2026-09-20\ntest_size: 0.2\nval_size: 0.1") == [
        "5: split.test_size: 0.2: test_start says where test begins; remove one of the two",
        "6: split.val_size: 0.1: can't be combined with test_start; write val_days: 7 instead",
    ]


def test_invalid_dates_are_refused_with_their_lines(load):
    not_a_date, no_days = problems_of(load, "test_start: 2026-13-01\nval_days: 0")
    assert not_a_date.startswith("4: split.test_start: '2026-13-01' should be a date such as 2026-10-01")
    assert no_days == "5: split.val_days: 0 should be a whole number of days, at least 1"


def test_missing_validation_part_of_dates_is_fixed_by_days(load):
    (problem,) = problems_of(load, "test_days: 7", "training.refit=true")
    assert problem.endswith("needs a validation part to add to the training data; set split.val_days: 7")
    assert load("test_days: 7", "training.refit=true", "split.val_days=7").config.has_validation


def test_override_by_dates_replaces_the_size_of_the_file(load):
    config = load("test_size: 0.2\nval_size: 0.1", "split.test_days=7", "split.val_days=3").config
    assert (config.split.test_size, config.split.val_size) == (None, 0)
    config = load("test_days: 7", "split.test_size=0.25").config
    assert (config.split.test_days, config.split.test_size) == (None, 0.25)
    assert "test_size" in problems_of(load, "", "split.test_size=0.2", "split.test_days=7")[0]


def test_backtest_without_windows_is_refused(load):
    (problem,) = problems_of(load, "test_days: 7", "backtest.warm_start=true")
    assert "applies to the windows of a rolling split; remove it, or set split.strategy: rolling" in problem


def test_run_repeats_its_dates_and_counts_what_the_gap_drops(load, tmp_path):
    loaded = load("test_start: 2026-09-24T00:00+00:00\nval_days: 5\ngap_days: 2")
    run = experiment.train(loaded, RunStore(tmp_path / "runs"))
    stored = yaml.safe_load(run.config_text())["split"]
    assert stored["test_start"] == "2026-09-24T00:00+00:00"
    assert (stored["val_days"], stored["gap_days"], stored["test_size"]) == (5, 2, None)
    record = run.metadata["split"]
    parts = record["leakage"]["parts"]
    assert record["window"]["unused"] == {"gap": parts["unused"]["interactions"], "before_train": 0, "after_test": 0}
    assert (record["window"]["validation_start"], record["window"]["train_end"]) == ("2026-09-17", "2026-09-15")
    assert f"{parts['unused']['interactions']:,} interactions lie in the gap" in (run.path / "log.txt").read_text()
    # The config of a run makes the same split again.
    again = experiment.train(experiment.load(run.path / "config.yaml"), RunStore(tmp_path / "runs"))
    assert again.metadata["split"]["hash"] == record["hash"]


@pytest.mark.parametrize("overrides", [["split.test_days=3"], ["split.strategy=rolling", "split.n_windows=2"]])
def test_test_since_holds_out_validation_by_days(load, tmp_path, overrides):
    store = RunStore(tmp_path / "runs")
    earlier = experiment.train(load("test_start: 2026-09-25"), store)
    loaded = load("", *overrides, "split.val_days=4", "split.gap_days=1")
    run = experiment.train(loaded, store, test_since=earlier)
    parts = run.split_parts()
    timestamps = experiment.prepare(loaded).dataset.timestamps
    moment = earlier.model_entry()["last_timestamp"]
    assert timestamps[parts == 0].max() <= moment - 5 * 86_400
    np.testing.assert_array_equal(parts == 1, (timestamps > moment - 4 * 86_400) & (timestamps <= moment))
    np.testing.assert_array_equal(parts == 2, timestamps > moment)
