import numpy as np
import pandas as pd
import pytest

from recctl.data.vocabulary import Vocabulary
from recctl.errors import DataError
from recctl.models.base import id_tables

ITEMS = Vocabulary(np.array([3, 10, 20, 31]))


def rows_of(matrix):
    return [matrix.columns[a:b].tolist() for a, b in zip(matrix.starts, matrix.starts[1:], strict=False)]


def test_history_table_is_sorted_by_time():
    table = pd.DataFrame(
        {
            "user_id": ["b", "a", "b", "b", "a", "c"],
            "item_id": [31, 3, 10, 99, 20, 99],
            "timestamp": [5, 9, 2, 3, 1, 0],
            "rating": [1.0, 2, 3, 4, 5, 6],
        }
    )
    ids, matrix = id_tables.histories_to_matrix(table, ITEMS)
    assert (ids, rows_of(matrix)) == (["a", "b", "c"], [[2, 0], [1, 3], []])
    assert matrix.values.tolist() == [5, 2, 3, 1]


def test_lists_keep_order_and_repeats_until_distinct_items():
    ids, matrix = id_tables.histories_to_matrix({"x": [31, 3, 31], "y": ()}, ITEMS)
    assert (ids, rows_of(matrix)) == (["x", "y"], [[3, 0, 3], []])
    assert rows_of(id_tables.distinct_items(matrix)) == [[0, 3], []]


def test_last_rating_of_a_repeated_item_counts():
    table = pd.DataFrame({"user_id": 1, "item_id": [31, 3, 31], "rating": [1.0, 2.0, 5.0]})
    matrix = id_tables.distinct_items(id_tables.histories_to_matrix(table, ITEMS)[1])
    assert (rows_of(matrix), matrix.values.tolist()) == ([[0, 3]], [2, 5])


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (pd.DataFrame({"user": [1]}), "histories: no column user_id, item_id; the columns are user"),
        (pd.DataFrame({"user_id": [1], "item_id": [1.5]}), "item_id: row 0: 1.5"),
        (pd.DataFrame({"user_id": [1], "item_id": [3], "rating": [np.nan]}), "rating: row 0: nan is missing"),
    ],
)
def test_invalid_history_table_is_refused_with_column_and_row(table, problem):
    with pytest.raises(DataError, match=problem):
        id_tables.histories_to_matrix(table, ITEMS)


@pytest.mark.parametrize("ids", [5, np.int64(5), [5], (5,), np.array([5]), pd.Series([5]), {5: 1}, iter([5])])
def test_id_list_accepts_one_id_or_several(ids):
    assert id_tables.id_list(ids) == [5]


@pytest.mark.parametrize("ids", [None, 2.5])
def test_id_list_refuses_a_value_that_is_not_an_id(ids):
    with pytest.raises(DataError, match=f"ids={ids}: must be a list of ids, int or str"):
        id_tables.id_list(ids)


def test_ranked_table_leaves_out_empty_positions():
    items = np.array([[2, 0], [1, -1], [-1, -1]], np.int32)
    scores = np.array([[3, 2], [1, -np.inf], [-np.inf, -np.inf]], np.float32)
    lists = id_tables.RankedLists(["é", 5, "z"], items, scores, ITEMS, "user_id", "item_id")
    table = lists.table()
    assert lists.records() == table.to_dict("records")
    assert table.to_dict("list") == {
        "user_id": ["é", "é", 5],
        "item_id": [20, 3, 10],
        "score": [3, 2, 1],
        "rank": [1, 2, 1],
    }
