"""Splits at a given moment, recounted in plain Python."""

import random

import numpy as np
import pandas as pd
import pytest

from recctl.data.dataset import InteractionDataset
from recctl.data.splitting import HISTORY, TEST, TRAIN, VALIDATION, all_train, split_after
from recctl.errors import ConfigError, DataError

MOMENT = 60


def rows_of(n=400, n_users=20):
    draw = random.Random(4)
    return [(draw.randrange(n_users), draw.randrange(30), draw.randrange(100)) for _ in range(n)]


@pytest.fixture
def rows():
    return rows_of()


@pytest.fixture
def dataset(rows):
    return InteractionDataset(pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]))


OPTIONS = [
    ("random", {}),
    ("random", {"within_user": True}),
    ("temporal", {}),
    ("leave_last", {"n": 2}),
    ("user", {"fold_in": 0.5}),
    ("k_fold", {"n_folds": 4, "fold": 3}),
]


@pytest.mark.parametrize(("strategy", "options"), OPTIONS)
@pytest.mark.parametrize("val_size", [0, 0.2])
def test_test_part_is_exactly_what_is_later(rows, dataset, strategy, options, val_size):
    split = split_after(dataset, MOMENT, strategy, val_size=val_size, seed=7, **options)
    assert any(time == MOMENT for _, _, time in rows), "the test needs interactions of the moment itself"
    for part, (_, _, time) in zip(split.parts.tolist(), rows, strict=True):
        assert (part == TEST) == (time > MOMENT)
    assert split.has_validation == bool(val_size)
    again = split_after(dataset, MOMENT, strategy, val_size=val_size, seed=7, **options)
    assert split.hash() == again.hash()
    assert (split.strategy, split.options["test_after"]) == ("temporal", MOMENT)


def test_temporal_validation_is_newest_of_rest(rows, dataset):
    parts = split_after(dataset, MOMENT, "temporal", val_size=0.2).parts.tolist()
    validation = [time for part, (_, _, time) in zip(parts, rows, strict=True) if part == VALIDATION]
    train = [time for part, (_, _, time) in zip(parts, rows, strict=True) if part == TRAIN]
    assert max(train) < min(validation) <= max(validation) <= MOMENT
    # Ties move the split point by less than the rows of one timestamp.
    assert abs(len(validation) - 0.2 * (len(train) + len(validation))) < 10


def test_leave_last_validation_is_last_of_each_user_before_moment(rows, dataset):
    parts = split_after(dataset, MOMENT, "leave_last", val_size=1).parts.tolist()
    for user in range(20):
        own = [(time, row) for row, (of, _, time) in enumerate(rows) if of == user and time <= MOMENT]
        last = max(own)[1]
        held_out = [row for _, row in own if parts[row] == VALIDATION]
        assert held_out == ([last] if len(own) > 1 else [])


def test_random_validation_is_fraction_of_rest(rows, dataset):
    n_older = sum(time <= MOMENT for _, _, time in rows)
    for strategy, options in (("random", {}), ("k_fold", {"n_folds": 5})):
        parts = split_after(dataset, MOMENT, strategy, val_size=0.25, **options).parts
        assert (parts == VALIDATION).sum() == int(0.25 * n_older + 0.5)


def test_user_validation_holds_out_whole_users(rows, dataset):
    parts = split_after(dataset, MOMENT, "user", val_size=0.2, fold_in=0.5).parts.tolist()
    by_user = {}
    for part, (user, _, time) in zip(parts, rows, strict=True):
        if time <= MOMENT:
            by_user.setdefault(user, set()).add(part)
    held_out = [user for user, found in by_user.items() if found == {HISTORY, VALIDATION}]
    assert len(held_out) == 4
    assert all(found == {TRAIN} for user, found in by_user.items() if user not in held_out)


def test_nothing_later_names_moment_and_newest_interaction(dataset):
    with pytest.raises(DataError, match=r"test after 1970-01-01 00:01:39 UTC \(99\).* the newest is of .*00:01:39 UTC"):
        split_after(dataset, 99, "random")


def test_everything_later_is_refused(dataset):
    with pytest.raises(DataError, match="all 400 interactions are later, so nothing is left for train"):
        split_after(dataset, -1, "random")


def test_without_timestamps_is_refused(rows):
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]).drop(columns="timestamp")
    with pytest.raises(DataError, match="no column timestamp"):
        split_after(InteractionDataset(table), MOMENT, "random")


def test_predefined_parts_are_refused(dataset):
    with pytest.raises(ConfigError, match="predefined"):
        split_after(dataset, MOMENT, "predefined")


@pytest.mark.parametrize(
    ("strategy", "options"), [("random", {"val_size": 0.01}), ("leave_last", {"val_size": 1, "n": 50})]
)
def test_empty_validation_is_refused(strategy, options):
    table = pd.DataFrame(rows_of(12, 3), columns=["user_id", "item_id", "timestamp"])
    with pytest.raises(DataError, match=f"split {strategy} holds out no validation part of .* older interactions"):
        split_after(InteractionDataset(table), MOMENT, strategy, **options)


def test_all_train_holds_out_nothing(dataset):
    split = all_train(dataset)
    assert not split.has_validation
    assert split.train(dataset).content_hash() == dataset.content_hash()


def test_last_timestamp_of_part_keeps_no_copy(rows, dataset):
    train = split_after(dataset, MOMENT, "random").train(dataset)
    assert train.last_timestamp() == MOMENT
    assert "timestamps" not in vars(train)
    assert dataset.last_timestamp() == max(time for _, _, time in rows)
    fractions = np.array([0.5, 2.25, 1.0])
    table = pd.DataFrame({"user_id": [1, 2, 3], "item_id": [1, 2, 3]})
    assert InteractionDataset(table.assign(timestamp=fractions)).last_timestamp() == 2.25
    assert InteractionDataset(table).last_timestamp() is None
