import pickle

import numpy as np
import pandas as pd
import pytest

from recctl.data.dataset import InteractionDataset
from recctl.data.sources import read_source
from recctl.errors import DataError


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "user_id": ["b", "a", "b", "b", "c"],
            "item_id": [7, 7, 3, 7, 3],
            "rating": [1, 2, 3, 4, 5],
            "timestamp": pd.to_datetime([10, 20, 30, 40, 50], unit="s"),
            "title": list("vwxyz"),
        }
    )


def test_constructor_encodes_ids_in_ascending_order(frame):
    dataset = InteractionDataset(frame)
    assert dataset.user_vocabulary.ids.tolist() == ["a", "b", "c"]
    assert dataset.users.tolist() == [1, 0, 1, 1, 2]
    assert dataset.item_vocabulary.ids.tolist() == [3, 7]
    assert dataset.items.tolist() == [1, 1, 0, 1, 0]
    assert (dataset.ratings.dtype, dataset.timestamps.dtype) == (np.float32, np.int64)
    assert (len(dataset), dataset.n_users, dataset.n_items) == (5, 3, 2)
    assert repr(dataset) == "InteractionDataset(5 implicit interactions, 3 users, 2 items)"


def test_data_returns_the_original_rows(frame):
    expected = frame[["user_id", "item_id", "rating"]].assign(timestamp=[10, 20, 30, 40, 50])
    pd.testing.assert_frame_equal(InteractionDataset(frame).data, expected, check_dtype=False)
    assert InteractionDataset(frame[["user_id", "item_id"]]).data.columns.tolist() == ["user_id", "item_id"]


def test_data_round_trips(frame):
    dataset = InteractionDataset(frame)
    assert InteractionDataset(dataset.data).content_hash() == dataset.content_hash()


def test_implicit_csr_has_ones_for_distinct_pairs(frame):
    assert InteractionDataset(frame).csr.toarray().tolist() == [[0, 1], [1, 1], [1, 0]]


def test_explicit_csr_has_the_last_rating_of_a_pair(frame):
    assert InteractionDataset(frame, implicit=False).csr.toarray().tolist() == [[0, 2], [3, 4], [5, 0]]


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [3, 4, 2, 1, 0], [4, 3, 2, 1, 0]])
@pytest.mark.parametrize("is_part", [False, True])
def test_explicit_csr_has_the_latest_rating_of_a_pair_whatever_the_order(frame, order, is_part):
    dataset = InteractionDataset(frame.iloc[order].reset_index(drop=True), implicit=False)
    if is_part:
        dataset = dataset.take(np.arange(5))
    assert dataset.csr.toarray().tolist() == [[0, 2], [3, 4], [5, 0]]
    counted = dataset.data.iloc[dataset.latest_rows()]
    assert sorted(counted["rating"].tolist()) == [2, 3, 4, 5]


@pytest.mark.parametrize("timestamp", [None, 7, 7.5])
def test_explicit_csr_has_the_last_of_equally_late_ratings(timestamp):
    frame = pd.DataFrame({"user_id": [1, 1], "item_id": [2, 2], "rating": [5.0, 1.0]})
    if timestamp is not None:
        frame["timestamp"] = timestamp
    dataset = InteractionDataset(frame, implicit=False)
    assert dataset.csr[0, 0] == 1
    assert dataset.latest_rows().tolist() == [1]


def test_constructor_does_not_change_the_table(frame):
    before = frame.copy(deep=True)
    dataset = InteractionDataset(frame, min_user_interactions=2)
    dataset.ratings[:] = 0
    dataset.data.iloc[0, 0] = "changed"
    pd.testing.assert_frame_equal(frame, before)


def test_min_interactions_hold_for_all_remaining_users_and_items(frame):
    dataset = InteractionDataset(frame, min_user_interactions=2, min_item_interactions=2)
    assert dataset.data["user_id"].tolist() == ["b", "b"]
    assert dataset.data["rating"].tolist() == [1, 4]
    assert dataset.user_vocabulary.ids.tolist() == ["b"]


def test_bad_id_is_named_by_its_row_in_the_table(frame):
    frame["item_id"] = frame["item_id"].astype(object)
    frame.loc[4, "item_id"] = 2.5
    with pytest.raises(DataError, match=r"item_id: row 4: 2.5"):
        InteractionDataset(frame, min_user_interactions=2)


def test_min_interactions_that_leave_nothing_are_rejected(frame):
    with pytest.raises(
        DataError, match="min_user_interactions=9 and min_item_interactions=0 leave nothing of 5 interactions of 3"
    ):
        InteractionDataset(frame, min_user_interactions=9)


def test_empty_table_or_missing_column_is_rejected(frame):
    with pytest.raises(DataError, match="the table is empty"):
        InteractionDataset(frame[:0])
    with pytest.raises(DataError, match="no column rating"):
        InteractionDataset(frame[["user_id", "item_id"]], implicit=False)
    with pytest.raises(DataError, match="no column item_id"):
        InteractionDataset(frame[["user_id"]])


@pytest.mark.parametrize("rows", [np.array([3, 1]), np.array([False, True, False, True, False])])
def test_take_reduces_the_vocabularies(frame, rows):
    part = InteractionDataset(frame, implicit=False).take(rows)
    expected = frame.iloc[np.flatnonzero(rows) if rows.dtype == bool else rows]
    assert part.data["user_id"].tolist() == expected["user_id"].tolist()
    assert part.data["rating"].tolist() == expected["rating"].tolist()
    assert part.user_vocabulary.ids.tolist() == ["a", "b"]
    assert part.item_vocabulary.ids.tolist() == [7]
    assert not part.implicit
    assert part.csr.shape == (2, 1)


@pytest.mark.parametrize("rows", [np.array([4, 3, 1]), np.arange(5)])
def test_part_frees_its_codes_after_building_the_matrix_and_recomputes_them(frame, rows):
    whole = InteractionDataset(frame)
    parts = (whole.take(rows), whole.take(rows).take(np.arange(2)))
    expected = [(part.users, part.items, len(part), part.content_hash()) for part in parts]
    for part, (users, items, length, digest) in zip(parts, expected, strict=True):
        assert part.matrix.nnz <= length
        assert not {"users", "items"} & set(vars(part))
        assert len(part) == length
        stored = pickle.dumps(part)
        assert pickle.loads(stored).content_hash() == digest
        np.testing.assert_array_equal(part.users, users)
        np.testing.assert_array_equal(part.items, items)
    assert whole.matrix.nnz == 4
    assert "users" in vars(whole)


def test_part_without_ratings_and_timestamps_has_none():
    part = InteractionDataset(pd.DataFrame({"user_id": [1, 2], "item_id": [1, 2]})).take(np.array([1]))
    assert (part.ratings, part.timestamps, part.data.to_dict("list")) == (None, None, {"user_id": [2], "item_id": [2]})


@pytest.mark.parametrize("low", [0, 2])
@pytest.mark.parametrize("implicit", [True, False])
def test_from_columns_equals_the_constructor(tmp_path, low, implicit):
    rng = np.random.default_rng(0)
    items = rng.integers(0, 2**40, 20)  # beyond int32
    rows = pd.DataFrame({"user_id": rng.integers(-5, 9, 60), "item_id": items[rng.integers(0, 20, 60)]})
    rows["rating"] = rng.integers(1, 6, 60).astype(np.float32)
    rows["timestamp"] = rng.integers(0, 10**9, 60)
    for name, table in {"int": rows, "text": rows.assign(user_id=rows.user_id.map("u{}".format).astype("str"))}.items():
        expected = InteractionDataset(table, implicit, min_user_interactions=low, min_item_interactions=low)
        for file in (tmp_path / f"{name}.parquet", tmp_path / f"{name}.csv"):
            table.to_parquet(file, row_group_size=7) if file.suffix == ".parquet" else table.to_csv(file, index=False)
            source = read_source(str(file))
            assert len(source) == 60
            dataset = InteractionDataset.from_columns(source.columns, implicit, low, low)
            assert dataset.content_hash() == expected.content_hash()
            assert not source.columns


def test_from_columns_without_ratings_is_rejected_for_explicit_data():
    with pytest.raises(DataError, match="no column rating; the columns are user_id, item_id"):
        InteractionDataset.from_columns({"user_id": np.arange(3), "item_id": np.arange(3)}, implicit=False)


def test_part_is_pickled_without_its_source(frame):
    part = InteractionDataset(pd.concat([frame] * 500)).take(np.arange(5))
    stored = pickle.dumps(part)
    assert len(stored) < 5000
    assert pickle.loads(stored).content_hash() == part.content_hash() == InteractionDataset(frame).content_hash()
