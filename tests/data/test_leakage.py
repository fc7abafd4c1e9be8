import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recctl.data.dataset import InteractionDataset
from recctl.data.leakage import leakage_report, warnings
from recctl.data.splitting import HISTORY, PART_NAMES, TEST, TRAIN, VALIDATION, make_split

rows = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 9), st.sampled_from([0, 0, 0, 1, 2, 3, 4])),
    max_size=40,
).map(lambda drawn: [*drawn, (0, 0, 5, TRAIN), (1, 0, 5, TEST)])


def split_of(drawn, timed=True):
    frame = pd.DataFrame(drawn, columns=["user_id", "item_id", "timestamp", "part"])
    dataset = InteractionDataset(frame if timed else frame.drop(columns="timestamp"))
    return make_split(dataset, "predefined", labels=frame["part"].to_numpy()), dataset, frame


@given(rows)
def test_figures_match_pandas(drawn):
    split, dataset, frame = split_of(drawn)
    report = leakage_report(split, dataset)
    assert json.loads(json.dumps(report)) == report
    for code, part in frame.groupby("part"):
        assert report["parts"][PART_NAMES[code]] == {
            "interactions": len(part),
            "users": part["user_id"].nunique(),
            "items": part["item_id"].nunique(),
        }
    train = frame[frame["part"] == TRAIN]
    seen = frame[frame["part"].isin([TRAIN, HISTORY])]
    for code in (VALIDATION, TEST):
        part = frame[frame["part"] == code]
        if not len(part):
            assert PART_NAMES[code] not in report
            continue
        figures = report[PART_NAMES[code]]
        first = part["timestamp"].min()
        known = pd.concat([seen, frame[frame["part"] == VALIDATION]]) if code == TEST else seen
        own_first = known["user_id"].map(part.groupby("user_id")["timestamp"].min())
        last = known.groupby("user_id")["timestamp"].max().reindex(part["user_id"].unique())
        assert figures["first_moment"] == first
        assert figures["train_later"]["interactions"] == (train["timestamp"] > first).sum()
        assert figures["train_later"]["share"] == pytest.approx((train["timestamp"] > first).mean())
        assert figures["border_ties"] == (train["timestamp"] == first).sum()
        assert figures["own_later"]["interactions"] == (known["timestamp"] > own_first).sum()
        assert figures["own_ties"] == (last == part.groupby("user_id")["timestamp"].min().reindex(last.index)).sum()
        for column in ("user", "item"):
            unseen = ~part[f"{column}_id"].isin(train[f"{column}_id"])
            assert figures[f"unseen_{column}s"] == {
                f"{column}s": part.loc[unseen, f"{column}_id"].nunique(),
                "interactions": unseen.sum(),
                "share": pytest.approx(unseen.mean()),
            }
        pairs = [set(zip(p["user_id"], p["item_id"], strict=True)) for p in (part, seen)]
        assert figures["duplicates"] == len(pairs[0] & pairs[1])


def test_missing_timestamps_give_a_warning():
    split, dataset, _ = split_of([(1, 1, 0, TRAIN), (1, 2, 0, TEST)], timed=False)
    report = leakage_report(split, dataset)
    assert report["test"]["train_later"] is None
    assert report["test"]["own_ties"] is None
    assert warnings(report) == [
        "test: without timestamps it is unknown whether the training data is older than the test data",
        "test: 1 item is not in the training data (100.0% of the test interactions)",
    ]


@pytest.fixture
def dataset():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"user_id": np.repeat(range(100), 30), "item_id": rng.integers(0, 500, 3000)})
    return InteractionDataset(frame.assign(timestamp=rng.permutation(3000)).drop_duplicates(["user_id", "item_id"]))


def test_temporal_split_has_no_newer_training_data(dataset):
    report = leakage_report(make_split(dataset, "temporal", val_size=0.1), dataset)
    for part in (report["validation"], report["test"]):
        assert part["train_later"] == part["own_later"] == {"interactions": 0, "share": 0.0}
        assert part["border_ties"] == part["own_ties"] == 0
    assert not [sentence for sentence in warnings(report) if "newer" in sentence or "tied" in sentence]


def test_leave_last_split_has_newer_training_data_of_other_users_only(dataset):
    report = leakage_report(make_split(dataset, "leave_last", val_size=0.1), dataset)
    assert report["test"]["own_later"]["interactions"] == 0
    assert report["test"]["train_later"]["interactions"] > 0
    expected = "but no user has known interactions newer than their own test interactions"
    assert any(sentence.endswith(expected) for sentence in warnings(report))


def test_random_split_has_newer_training_data_of_the_same_users(dataset):
    report = leakage_report(make_split(dataset, "random"), dataset)
    assert report["test"]["own_later"]["share"] > 0.5
    expected = "of the training interactions are newer than the oldest test interaction"
    assert any(sentence.endswith(expected) for sentence in warnings(report))


def test_user_split_has_no_warning_about_unseen_users(dataset):
    report = leakage_report(make_split(dataset, "user"), dataset)
    assert report["test"]["unseen_users"]["users"] == 20
    assert not any("users are not in" in sentence for sentence in warnings(report))


def test_ties_and_duplicates_give_warnings():
    split, dataset, _ = split_of([(1, 1, 5, TRAIN), (1, 1, 5, TEST), (2, 1, 6, VALIDATION)])
    assert warnings(leakage_report(split, dataset)) == [
        "validation: 1 user is not in the training data (100.0% of the validation interactions)",
        "test: 1 user has tied timestamps at the split point; row order breaks the ties",
        "test: 1 test pair is also in the training data and left out of the evaluation",
    ]
