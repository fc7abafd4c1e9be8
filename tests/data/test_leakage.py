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
def test_figures_are_what_pandas_counts(drawn):
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
        found = report[PART_NAMES[code]]
        first = part["timestamp"].min()
        known = pd.concat([seen, frame[frame["part"] == VALIDATION]]) if code == TEST else seen
        own_first = known["user_id"].map(part.groupby("user_id")["timestamp"].min())
        last = known.groupby("user_id")["timestamp"].max().reindex(part["user_id"].unique())
        assert found["first_moment"] == first
        assert found["train_later"]["interactions"] == (train["timestamp"] > first).sum()
        assert found["train_later"]["share"] == pytest.approx((train["timestamp"] > first).mean())
        assert found["border_ties"] == (train["timestamp"] == first).sum()
        assert found["own_later"]["interactions"] == (known["timestamp"] > own_first).sum()
        assert found["own_ties"] == (last == part.groupby("user_id")["timestamp"].min().reindex(last.index)).sum()
        for column in ("user", "item"):
            unseen = ~part[f"{column}_id"].isin(train[f"{column}_id"])
            assert found[f"unseen_{column}s"] == {
                f"{column}s": part.loc[unseen, f"{column}_id"].nunique(),
                "interactions": unseen.sum(),
                "share": pytest.approx(unseen.mean()),
            }
        pairs = [set(zip(p["user_id"], p["item_id"], strict=True)) for p in (part, seen)]
        assert found["duplicates"] == len(pairs[0] & pairs[1])


def test_without_timestamps():
    split, dataset, _ = split_of([(1, 1, 0, TRAIN), (1, 2, 0, TEST)], timed=False)
    report = leakage_report(split, dataset)
    assert report["test"]["train_later"] is None
    assert report["test"]["own_ties"] is None
    assert warnings(report) == [
        "test: without timestamps, nobody can tell whether train holds the future",
        "test: items that train never saw: 1, with 100.0% of the interactions",
    ]


@pytest.fixture
def dataset():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"user_id": np.repeat(range(100), 30), "item_id": rng.integers(0, 500, 3000)})
    return InteractionDataset(frame.assign(timestamp=rng.permutation(3000)).drop_duplicates(["user_id", "item_id"]))


def test_a_temporal_split_knows_nothing_of_the_future(dataset):
    report = leakage_report(make_split(dataset, "temporal", val_size=0.1), dataset)
    for part in (report["validation"], report["test"]):
        assert part["train_later"] == part["own_later"] == {"interactions": 0, "share": 0.0}
        assert part["border_ties"] == part["own_ties"] == 0
    assert not [told for told in warnings(report) if "later" in told or "moment" in told]


def test_leave_last_knows_only_other_peoples_future(dataset):
    report = leakage_report(make_split(dataset, "leave_last", val_size=0.1), dataset)
    assert report["test"]["own_later"]["interactions"] == 0
    assert report["test"]["train_later"]["interactions"] > 0
    assert any("but nothing that is known of a user is later" in told for told in warnings(report))


def test_a_random_split_knows_everybodys_future(dataset):
    report = leakage_report(make_split(dataset, "random"), dataset)
    assert report["test"]["own_later"]["share"] > 0.5
    assert any(told.endswith("later than its first interaction") for told in warnings(report))


def test_held_out_people_are_no_surprise_in_a_user_split(dataset):
    report = leakage_report(make_split(dataset, "user"), dataset)
    assert report["test"]["unseen_users"]["users"] == 20
    assert not any("users that train never saw" in told for told in warnings(report))


def test_ties_and_duplicates_are_told():
    split, dataset, _ = split_of([(1, 1, 5, TRAIN), (1, 1, 5, TEST), (2, 1, 6, VALIDATION)])
    assert warnings(leakage_report(split, dataset)) == [
        "validation: users that train never saw: 1, with 100.0% of the interactions",
        "test: users whose border falls within one moment, so that the order of the rows decides: 1",
        "test: pairs that train has too, so that they count as seen and can't be found: 1",
    ]
