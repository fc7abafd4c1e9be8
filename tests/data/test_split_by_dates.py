"""Splits by dates and rolling windows, against masks of dates that pandas makes."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from recctl.data.dataset import InteractionDataset
from recctl.data.splitting import UNUSED, VALIDATION, make_split, split_windows
from recctl.errors import ConfigError, DataError

FIRST = "2026-08-01"
N_DAYS = 60  # the last day is 2026-09-29


@pytest.fixture(scope="module")
def frame():
    """2,000 interactions at any second of 60 days, in no order."""
    rng = np.random.default_rng(1)
    seconds = rng.integers(0, N_DAYS * 86_400, 2_000)
    seconds[:2] = [100, N_DAYS * 86_400 - 100]
    times = pd.Timestamp(FIRST, tz="UTC") + pd.to_timedelta(seconds, unit="s")
    return pd.DataFrame(
        {"user_id": rng.integers(0, 80, 2_000), "item_id": rng.integers(0, 50, 2_000), "timestamp": times}
    )


@pytest.fixture(scope="module")
def dataset(frame):
    return InteractionDataset(frame)


def expected_parts(frame, *, test, validation=None, train_until, train_from=None):
    """Part codes by comparing datetimes: `test` and `validation` are (first moment, moment after the end or None)."""
    times = frame["timestamp"]

    def moment(text):
        return pd.Timestamp(text).tz_localize("UTC")

    parts = np.full(len(frame), UNUSED)
    in_train = times < moment(train_until)
    if train_from is not None:
        in_train &= times >= moment(train_from)
    parts[in_train] = 0
    for code, interval in ((1, validation), (2, test)):
        if interval is None:
            continue
        start, end = interval
        inside = times >= moment(start)
        if end is not None:
            inside &= times < moment(end)
        parts[inside] = code
    return parts


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"test_start": "2026-09-20"}, {"test": ("2026-09-20", None), "train_until": "2026-09-20"}),
        ({"test_days": 7}, {"test": ("2026-09-23", None), "train_until": "2026-09-23"}),
        (
            {"test_start": "2026-09-20", "test_days": 3},
            {"test": ("2026-09-20", "2026-09-23"), "train_until": "2026-09-20"},
        ),
        (
            {"test_start": "2026-09-20", "val_start": "2026-09-10", "gap_days": 2},
            {
                "test": ("2026-09-20", None),
                "validation": ("2026-09-10", "2026-09-18"),
                "train_until": "2026-09-08",
            },
        ),
        (
            {"test_days": 7, "val_days": 5, "gap_days": 1, "train_days": 10},
            {
                "test": ("2026-09-23", None),
                "validation": ("2026-09-17", "2026-09-22"),
                "train_until": "2026-09-16",
                "train_from": "2026-09-06",
            },
        ),
    ],
)
def test_dates_divide_the_interactions_like_masks_of_pandas(frame, dataset, options, expected):
    split = make_split(dataset, "temporal", **options)
    np.testing.assert_array_equal(split.parts, expected_parts(frame, **expected))
    assert split.options == {"seed": 42, **options}


def test_a_moment_with_a_time_zone_is_converted_and_one_without_is_utc(frame, dataset):
    at_four = frame["timestamp"] >= pd.Timestamp("2026-09-20T04:00Z")
    for moment in ("2026-09-20T06:00+02:00", "2026-09-20 04:00", "2026-09-20T04:00Z"):
        np.testing.assert_array_equal(make_split(dataset, "temporal", test_start=moment).parts == 2, at_four)
    plain_moment = dt.datetime(2026, 9, 20, 4)  # noqa: DTZ001 - without a zone, as in a notebook
    np.testing.assert_array_equal(make_split(dataset, "temporal", test_start=plain_moment).parts == 2, at_four)
    by_date = make_split(dataset, "temporal", test_start=dt.date(2026, 9, 20))
    np.testing.assert_array_equal(by_date.parts == 2, frame["timestamp"] >= pd.Timestamp("2026-09-20", tz="UTC"))


def test_fractions_of_a_second_are_divided_exactly():
    frame = pd.DataFrame({"user_id": [1, 1, 1], "item_id": [1, 2, 3], "timestamp": [0.25, 86_399.75, 86_400.0]})
    split = make_split(InteractionDataset(frame), "temporal", test_start="1970-01-02")
    assert split.parts.tolist() == [0, 0, 2]


def test_dataset_split_takes_dates(dataset):
    train, validation, test = dataset.split(strategy="temporal", test_days=7, val_days=7)
    split = make_split(dataset, "temporal", test_days=7, val_days=7)
    assert [len(train), len(validation), len(test)] == np.bincount(split.parts)[:3].tolist()
    assert test.known is not None


def test_unused_interactions_are_counted_by_reason(frame, dataset):
    options = {"test_start": "2026-09-10", "test_days": 7, "val_days": 7, "gap_days": 2, "train_days": 14}
    split = make_split(dataset, "temporal", **options)
    unused = split.window.count_unused(dataset.timestamps)
    days = frame["timestamp"].dt.strftime("%Y-%m-%d")
    gap_days = ["2026-08-30", "2026-08-31", "2026-09-08", "2026-09-09"]
    assert split.window.record() == {
        "train_start": "2026-08-16",
        "train_end": "2026-08-30",
        "validation_start": "2026-09-01",
        "validation_end": "2026-09-08",
        "test_start": "2026-09-10",
        "test_end": "2026-09-17",
    }
    assert unused == {
        "gap": int(days.isin(gap_days).sum()),
        "before_train": int((days < "2026-08-16").sum()),
        "after_test": int((days >= "2026-09-17").sum()),
    }
    assert sum(unused.values()) == (split.parts == UNUSED).sum()


@pytest.mark.parametrize("train_days", [None, 15])
@pytest.mark.parametrize("step_days", [None, 3])
def test_each_window_equals_a_temporal_split_with_its_dates(dataset, train_days, step_days):
    options = {"n_windows": 4, "test_days": 5, "val_days": 4, "gap_days": 1}
    options |= {"train_days": train_days, "step_days": step_days}
    windows = split_windows(dataset, **options)
    step = step_days or 5
    starts = [dt.date(2026, 9, 25) - dt.timedelta(days=step * back) for back in (3, 2, 1, 0)]
    assert [window.options["test_start"] for window in windows] == [start.isoformat() for start in starts]
    for window, start in zip(windows, starts, strict=True):
        alone = make_split(
            dataset, "temporal", test_start=start, test_days=5, val_days=4, gap_days=1, train_days=train_days
        )
        np.testing.assert_array_equal(window.parts, alone.parts)
        np.testing.assert_array_equal(window.parts, make_split(dataset, "temporal", **window.options).parts)


def test_strategy_rolling_is_the_newest_window(dataset):
    options = {"n_windows": 3, "test_days": 7, "val_days": 7}
    newest = make_split(dataset, "rolling", **options)
    np.testing.assert_array_equal(newest.parts, split_windows(dataset, **options)[-1].parts)
    np.testing.assert_array_equal(newest.parts, make_split(dataset, "temporal", test_days=7, val_days=7).parts)


def test_dataset_rolling_yields_the_parts_of_each_window(dataset):
    splits = split_windows(dataset, n_windows=3, test_days=7)
    for split, parts in zip(splits, dataset.rolling(3, 7), strict=True):
        assert [len(part) for part in parts] == [(split.parts == 0).sum(), (split.parts == 2).sum()]
    assert [len(parts) for parts in dataset.rolling(2, 7, val_days=3)] == [3, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"test_start": "2027-01-01"},
            "but the data are from 2026-08-01 to 2026-09-29; write a date within the data, e.g. test_start: 2026-09-18",
        ),
        ({"test_start": "2026-07-31"}, "the data are from 2026-08-01 to 2026-09-29"),
        ({"test_days": 60}, "test_days=60: test would begin at 2026-08-01, but the data are from 2026-08-01 to"),
        (
            {"test_days": 7, "val_start": "2026-07-01"},
            "val_start=2026-07-01: validation would begin at 2026-07-01, but the data are from 2026-08-01",
        ),
        ({"test_days": 7, "val_start": "2026-09-25"}, "val_start=2026-09-25: validation would end at 2026-09-23"),
        ({"test_days": 7, "gap_days": 60}, "gap_days=60: train would end at 2026-07-25, but the data are from"),
    ],
)
def test_boundary_outside_the_data_names_the_first_and_the_last_day(dataset, options, message):
    with pytest.raises(DataError) as error:
        make_split(dataset, "temporal", **options)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"test_days": 100}, "test_days"),
        ({"test_days": 100, "gap_days": 3}, "test_days"),
        ({"test_days": 100, "gap_days": 3, "val_days": 5}, "test_days"),
        ({"test_days": 100, "gap_days": 3, "val_start": "2026-09-01"}, "test_days"),
        ({"test_days": 7, "val_days": 100, "gap_days": 2}, "val_days"),
    ],
)
def test_too_many_days_are_refused_with_the_largest_number_that_fits(dataset, options, key):
    with pytest.raises(DataError, match=f"{key}=100: .*; use at most split.{key}: ") as error:
        make_split(dataset, "temporal", **options)
    largest = int(str(error.value).rpartition(": ")[2])
    assert (make_split(dataset, "temporal", **options | {key: largest}).parts == 2).any()
    with pytest.raises(DataError):
        make_split(dataset, "temporal", **options | {key: largest + 1})


def test_windows_that_do_not_fit_are_refused_with_the_number_that_does(dataset):
    with pytest.raises(DataError, match=r"n_windows=10: .* from 2026-08-01 to 2026-09-29; use split.n_windows: 8"):
        split_windows(dataset, n_windows=10, test_days=7)
    assert len(split_windows(dataset, n_windows=8, test_days=7)) == 8
    with pytest.raises(DataError, match="use fewer days"):
        split_windows(dataset, n_windows=1, test_days=100)


def test_window_without_interactions_is_refused_with_its_dates(frame):
    days = frame["timestamp"].dt.strftime("%Y-%m-%d")
    dataset = InteractionDataset(frame[(days < "2026-09-16") | (days >= "2026-09-23")])
    with pytest.raises(DataError, match="test would be from 2026-09-16 until 2026-09-23, where there are no"):
        split_windows(dataset, n_windows=3, test_days=7)


@pytest.mark.parametrize("strategy", ["temporal", "rolling"])
def test_data_without_timestamps_are_refused_with_what_to_do(frame, strategy):
    dataset = InteractionDataset(frame.drop(columns="timestamp"))
    with pytest.raises(DataError, match=r"no column timestamp; name it, e.g. `data.columns: {timestamp: time}`"):
        make_split(dataset, strategy, test_days=7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_days": 7, "test_size": 0.2}, "test_size: 0.2: test_days says where test begins; remove one of the two"),
        ({"test_days": 7, "val_size": 0.1}, "val_size: 0.1: can't be combined with test_days; write val_days: 7"),
        ({"val_days": 7}, "val_days: 7: can't be combined with a test part by size"),
        ({"gap_days": 7}, "gap_days: 7: can't be combined with a test part by size"),
        ({"test_days": 7, "val_days": 7, "val_start": "2026-09-01"}, "val_days: 7: val_start says where"),
        ({"test_start": "soon"}, "test_start: 'soon' should be a date such as 2026-10-01"),
        ({"test_start": 20260920}, "test_start: 20260920 would be seconds since 1970; write 2026-09-20"),
        ({"test_start": True}, "test_start: True should be a date"),
        ({"test_days": 0}, "test_days: 0 should be a whole number of at least 1"),
        ({"test_days": 2.5}, "test_days: 2.5 should be a whole number of at least 1"),
        (
            {"test_start": "2026-09-20", "val_start": "2026-09-19", "gap_days": 2},
            "val_start: '2026-09-19': validation ends at 2026-09-18; write val_start: 2026-09-11",
        ),
        ({"test_days": 7, "test_dais": 7}, "test_dais: unknown option; did you mean test_days?"),
    ],
)
def test_options_that_contradict_each_other_are_refused(dataset, options, message):
    with pytest.raises(ConfigError) as error:
        make_split(dataset, "temporal", **options)
    assert message in str(error.value)


def test_rolling_refuses_fractions(dataset):
    with pytest.raises(ConfigError, match=r"val_size: 0.1: .* write val_days: 7 instead"):
        make_split(dataset, "rolling", val_size=0.1)
    with pytest.raises(ConfigError, match="n_windows: 0 should be a whole number of at least 1"):
        split_windows(dataset, n_windows=0)


def test_validation_by_days_ends_at_the_gap(dataset):
    split = make_split(dataset, "temporal", test_days=7, val_days=7, gap_days=3)
    times = dataset.timestamps[split.parts == VALIDATION]
    assert times.max() < pd.Timestamp("2026-09-20", tz="UTC").timestamp()
    assert times.min() >= pd.Timestamp("2026-09-13", tz="UTC").timestamp()
