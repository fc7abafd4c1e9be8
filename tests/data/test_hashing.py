import numpy as np
import pandas as pd
import pytest

from recctl.data.dataset import InteractionDataset

FRAME = pd.DataFrame({"user_id": [3, 1, 3], "item_id": ["b", "a", "a"], "rating": [1, 0, 5], "timestamp": [10, 20, 30]})


def hash_of(frame, **kwargs):
    return InteractionDataset(frame, **kwargs).content_hash()


@pytest.mark.parametrize(
    "other",
    [
        FRAME.astype({"user_id": "int8", "rating": "float64", "timestamp": "float64"}),
        FRAME.astype({"user_id": "Int64", "item_id": "category", "rating": "str"}),
        FRAME.astype({"item_id": object}).set_index(pd.Index([9, 9, 9])),
        FRAME.assign(timestamp=pd.to_datetime(FRAME["timestamp"], unit="s")),
        FRAME.assign(rating=[1.0, -0.0, 5.0], extra=1),
        FRAME[["timestamp", "rating", "item_id", "user_id"]],
    ],
)
def test_equal_rows_of_different_types_have_equal_hashes(other):
    assert hash_of(other) == hash_of(FRAME)
    assert hash_of(other, implicit=False) == hash_of(FRAME)


def test_part_has_the_hash_of_a_data_set_with_its_rows():
    rows = np.array([2, 1])
    assert InteractionDataset(FRAME).take(rows).content_hash() == hash_of(FRAME.iloc[rows])


def test_any_difference_changes_the_hash():
    others = [
        FRAME.iloc[[1, 0, 2]],
        FRAME.iloc[:2],
        FRAME.drop(columns="rating"),
        FRAME.drop(columns="timestamp"),
        FRAME.assign(user_id=[3, 2, 3]),
        FRAME.assign(user_id=["3", "1", "3"]),
        FRAME.assign(item_id=["b", "c", "c"]),
        FRAME.assign(item_id=["b", "b", "b"]),
        FRAME.assign(rating=[1, 0, 5.5]),
        FRAME.assign(timestamp=[10, 20, 30.5]),
        FRAME.rename(columns={"user_id": "item_id", "item_id": "user_id"}),
    ]
    hashes = [hash_of(frame) for frame in [FRAME, *others]]
    assert len(set(hashes)) == len(hashes)


def test_moving_a_character_to_the_next_id_changes_the_hash():
    tables = [pd.DataFrame({"user_id": ids, "item_id": [1, 2]}) for ids in (["ab", "c"], ["a", "bc"])]
    assert hash_of(tables[0]) != hash_of(tables[1])


def test_hash_does_not_change_between_versions():
    """Runs store it and are compared by it."""
    assert hash_of(FRAME) == "661772e44473aa2b620552551dedb7e9617491f348dc0eea7e5334b6e5696f8d"
