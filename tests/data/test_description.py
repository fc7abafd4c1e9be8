import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recctl.data.dataset import InteractionDataset
from recctl.data.description import gini


@given(st.lists(st.integers(0, 100), min_size=1, max_size=40))
def test_gini_is_half_the_relative_mean_difference(counts):
    values = np.array(counts, float)
    expected = abs(values[:, None] - values).mean() / (2 * values.mean()) if values.any() else 0
    assert gini(np.array(counts)) == pytest.approx(expected, abs=1e-12)


def test_describe_counts_and_summarizes():
    frame = pd.DataFrame(
        {
            "user_id": [1, 1, 1, 2, 2, 3],
            "item_id": ["a", "b", "a", "a", "c", "a"],
            "rating": [1, 2, 3.5, 3.5, 5, 3],
            "timestamp": [0, 43_200, 86_400, 1, 2, 3],
        }
    )
    described = InteractionDataset(frame).describe()
    assert json.loads(json.dumps(described)) == described
    assert described == {
        "interactions": 6,
        "users": 3,
        "items": 3,
        "density": pytest.approx(5 / 9),
        "duplicates": 1,
        "per_user": {"min": 1, "median": 2.0, "mean": 2.0, "max": 3},
        "per_item": {"min": 1, "median": 1.0, "mean": 2.0, "max": 4},
        "popularity": {
            "gini": pytest.approx(1 / 3),
            "top_1_percent": pytest.approx(4 / 6),
            "top_20_percent": pytest.approx(4 / 6),
        },
        "ratings": {
            "min": 1.0,
            "median": 3.25,
            "mean": 3.0,
            "max": 5.0,
            "std": pytest.approx(np.std(frame["rating"])),
            "counts": {"1": 1, "2": 1, "3": 1, "3.5": 2, "5": 1},
        },
        "time": {"first": 0, "last": 86_400, "days": 1.0},
    }


def test_describe_without_ratings_and_timestamps_gives_none():
    described = InteractionDataset(pd.DataFrame({"user_id": [1], "item_id": [1]})).describe()
    assert (described["ratings"], described["time"], described["density"]) == (None, None, 1.0)


def test_many_distinct_ratings_have_no_counts():
    frame = pd.DataFrame({"user_id": 1, "item_id": range(30), "rating": np.linspace(0, 1, 30)})
    assert InteractionDataset(frame).describe()["ratings"]["counts"] is None


def test_empty_part_can_be_described():
    described = InteractionDataset(pd.DataFrame({"user_id": [1], "item_id": [1], "rating": 1, "timestamp": 1}))
    described = described.take(np.array([], int)).describe()
    assert json.loads(json.dumps(described)) == described
    assert (described["interactions"], described["per_user"], described["density"]) == (0, None, 0.0)
