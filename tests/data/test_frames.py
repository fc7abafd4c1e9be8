from __future__ import annotations

import datetime as dt
import decimal
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import recctl
from recctl.data import frames, preprocessing
from recctl.errors import DataError

polars = pytest.importorskip("polars")

COLUMNS = {
    "user_id": ["a", "b", "a", "b"],
    "item_id": [1, 2, 2, 2],
    "rating": [1.0, 2.0, 4.0, 3.0],
    "timestamp": [5, 6, 7, 8],
    "event": ["v", "v", "b", "v"],
}
MAKERS = {"pandas": pd.DataFrame, "polars": polars.DataFrame, "pyarrow": pa.table}


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


def test_data_sets_of_all_libraries_are_equal(make):
    data = recctl.InteractionDataset(make(COLUMNS), implicit=False)
    expected = recctl.InteractionDataset(pd.DataFrame(COLUMNS), implicit=False)
    assert data.content_hash() == expected.content_hash()
    assert data.csr.sum() == expected.csr.sum()


@pytest.mark.parametrize(
    "times",
    [
        [np.datetime64("2020-01-01T12:00:00").item(), np.datetime64("2020-01-02T00:00:00").item()],
        [dt.datetime(2020, 1, 1, 12, tzinfo=dt.UTC), dt.datetime(2020, 1, 2, tzinfo=dt.UTC)],
        [1577880000, 1577923200],
        [1577880000.0, 1577923200.0],
        ["1577880000", "1577923200"],
    ],
)
def test_times_of_any_type_become_seconds(make, times):
    data = recctl.InteractionDataset(make({"user_id": [1, 2], "item_id": [1, 2], "timestamp": times}))
    assert data.timestamps.tolist() == [1577880000, 1577923200]


def test_dates_become_seconds():
    days = [dt.date(2020, 1, 1), dt.date(2020, 1, 2)]
    for make in (polars.DataFrame, pa.table):
        data = recctl.InteractionDataset(make({"user_id": [1, 2], "item_id": [1, 2], "timestamp": days}))
        assert data.timestamps.tolist() == [1577836800, 1577923200]


def test_categories_are_text():
    for kind in (polars.Categorical, polars.Enum(["y", "x"])):
        frame = polars.DataFrame({"user_id": polars.Series(["x", "y"], dtype=kind), "item_id": [1, 2]})
        assert recctl.InteractionDataset(frame).user_vocabulary.ids.tolist() == ["x", "y"]


UUIDS = [uuid.UUID(int=1), uuid.UUID(int=2)]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pa.array(["x", "y"], pa.string_view()), ["x", "y"]),
        (pa.array(["x", "y"]).dictionary_encode(), ["x", "y"]),
        (pa.array([1, 2]).dictionary_encode(), [1, 2]),
        (pc.run_end_encode(pa.array([1, 2])), [1, 2]),
        (pa.array([1.0, 2.0]), [1, 2]),
        (pa.array(np.array([1, 2], np.float16)), [1, 2]),
        (pa.array([decimal.Decimal(1), decimal.Decimal(2)]), [1, 2]),
        (
            pa.ExtensionArray.from_storage(pa.uuid(), pa.array([value.bytes for value in UUIDS], pa.binary(16))),
            [str(value) for value in UUIDS],
        ),
    ],
)
def test_ids_of_any_arrow_type_become_int_or_text(ids, expected):
    data = recctl.InteractionDataset(pa.table({"user_id": ids, "item_id": [1, 2]}))
    assert data.user_vocabulary.ids.tolist() == expected


@pytest.mark.parametrize(
    "ratings",
    [
        pa.array([True, False]),
        pa.array([1, 0]).dictionary_encode(),
        pc.run_end_encode(pa.array([1.0, 0.0])),
        pa.array(np.array([1, 0], np.float16)),
        pa.array([decimal.Decimal("1.0"), decimal.Decimal("0.0")]),
        pa.array(["1", "0"], pa.string_view()),
    ],
)
def test_ratings_of_any_arrow_type_are_numbers(ratings):
    data = recctl.InteractionDataset(pa.table({"user_id": [1, 2], "item_id": [1, 2], "rating": ratings}))
    assert data.ratings.tolist() == [1, 0]


def test_booleans_of_pandas_are_ratings():
    for dtype in ("bool", "boolean", "bool[pyarrow]"):
        ratings = pd.array([True, False], dtype=dtype)
        data = recctl.InteractionDataset(pd.DataFrame({"user_id": [1, 2], "item_id": [1, 2], "rating": ratings}))
        assert data.ratings.tolist() == [1, 0]


def test_columns_are_not_copied():
    table = pa.table({"user_id": np.arange(1000), "item_id": np.arange(1000)})
    found = pa.array(frames.to_pandas(table)["user_id"])
    if isinstance(found, pa.ChunkedArray):
        found = found.chunk(0)
    assert found.buffers()[1].address == table["user_id"].chunk(0).buffers()[1].address
    frame = pd.DataFrame(COLUMNS)
    assert frames.to_pandas(frame) is frame


@pytest.mark.parametrize(
    ("step", "parameters"),
    [
        (preprocessing.drop_duplicates, {}),
        (preprocessing.filter_by_interaction_count, {"min_user_interactions": 2}),
        (preprocessing.select_time_window, {"start": 6}),
        (preprocessing.binarize_implicit_feedback, {"threshold": 2}),
        (preprocessing.normalize_ratings, {"method": "user_mean"}),
        (preprocessing.sample_interactions, {"fraction": 0.5}),
    ],
)
def test_preprocessing_returns_pandas_for_all_libraries(make, step, parameters):
    found = step(make(COLUMNS), **parameters)
    expected = step(pd.DataFrame(COLUMNS), **parameters)
    assert isinstance(found, pd.DataFrame)
    assert found.to_dict("list") == expected.to_dict("list")


def test_steps_are_applied_to_all_libraries(make):
    found, reports = preprocessing.apply_steps(make(COLUMNS), [("drop_duplicates", {})])
    assert len(found) == 3
    assert reports[0].before.rows == 4


def test_models_take_tables_of_all_libraries(make):
    rows = {"user_id": [1, 1, 2, 2, 3, 3], "item_id": [1, 2, 2, 3, 1, 3], "rating": [1.0, 2, 3, 4, 5, 3]}
    model = recctl.ItemKNNRecommender()
    model.fit(make(rows))
    history = model.recommend_for_history(make({"user_id": [9], "item_id": [1]}), k=1)
    assert history["item_id"].tolist() == model.recommend_for_history({9: [1]}, k=1)["item_id"].tolist()
    metrics = recctl.Evaluator().evaluate(model, make({"user_id": [1], "item_id": [3]}))
    assert metrics == recctl.Evaluator().evaluate(model, pd.DataFrame({"user_id": [1], "item_id": [3]}))


def test_lazy_frames_are_refused_with_collect():
    lazy = polars.DataFrame(COLUMNS).lazy()
    with pytest.raises(DataError, match=r"df: polars\.LazyFrame is not computed yet; give df\.collect\(\)"):
        recctl.InteractionDataset(lazy)
    model = recctl.ItemKNNRecommender().fit(pd.DataFrame(COLUMNS))
    with pytest.raises(DataError, match=r"give histories\.collect\(\)"):
        model.recommend_for_history(lazy)


@pytest.mark.parametrize("value", [[1], {"user_id": [1]}, None, "frame", 3])
def test_other_types_are_named(value):
    expected = f"is of type {type(value).__name__}; give .*a pandas or polars DataFrame, or a pyarrow Table"
    with pytest.raises(DataError, match=expected):
        recctl.InteractionDataset(value)
    with pytest.raises(DataError, match=expected):
        recctl.ItemKNNRecommender().fit(value)
    with pytest.raises(DataError, match=expected):
        preprocessing.drop_duplicates(value)


@pytest.mark.parametrize("column", ["user_id", "rating", "timestamp"])
@pytest.mark.parametrize("implicit", [True, False])
def test_repeated_columns_are_named(column, implicit):
    names = ["user_id", "item_id", "rating", "timestamp", column]
    for frame in (pd.DataFrame([[1] * 5], columns=names), pa.table([[1]] * 5, names=names)):
        with pytest.raises(DataError, match=rf"(2 columns are|more than one column is) called {column}"):
            recctl.InteractionDataset(frame, implicit=implicit)
