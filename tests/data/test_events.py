from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from recctl import progress
from recctl.data.preprocessing import (
    apply_steps,
    reads_ratings,
    select_rows,
    sets_weights,
    source_columns,
    weight_events,
)
from recctl.errors import ConfigError, DataError


class Notices(progress._Silence):
    def __init__(self):
        self.messages = []

    def notice(self, message):
        self.messages.append(message)


@pytest.fixture
def notices():
    listener = Notices()
    with progress.listening(listener):
        yield listener.messages


def frame_of(values, name="event"):
    n = len(values)
    return pd.DataFrame({"user_id": range(n), "item_id": range(n), name: values})


EVENTS = frame_of(["view", " cart ", "view", "purchase", "Cart"])


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        (["view", " cart ", "Cart"], ["cart"], [1]),
        (["1", "1.0", "01", "2", "1.5"], [1], [0, 1]),
        (["1", "1.0", "01"], ["1"], [0]),
        (["1", "1.0", "01"], ["01"], [2]),
        (["1.50", "1.5", "2"], [1.5], [0, 1]),
        (["2.0", "3.0"], ["2"], [0]),
        (["True", "true", "FALSE", "yes", "1"], [True], [0, 1]),
        (["True", "False", "yes"], ["true"], [0]),
        (["yes", "no", "on"], ["no", "on"], [1, 2]),
        (["", "a", None, "  "], [None], [0, 2, 3]),
        ([1, 2, 3], [3, "1"], [0, 2]),
        ([1.0, 2.5, np.nan], ["1", 2.5], [0, 1]),
        ([1.0, 2.5, np.nan], [None], [2]),
        ([Decimal("1.50"), Decimal("2"), None], [1.5, "2", None], [0, 1, 2]),
        ([True, False, True], ["true"], [0, 2]),
        ([True, False, None], [False], [1]),
        ([2**60, 2**60 + 1], [2**60 + 1], [1]),
        (pd.Categorical(["a", "b", "a"]), ["a"], [0, 2]),
        (pd.Series(["a", "b", None], dtype=pd.ArrowDtype(pa.large_string())), ["b", None], [1, 2]),
    ],
)
def test_values_are_compared_as_they_are_written(column, values, expected):
    selected = select_rows(frame_of(column), "event", values)
    assert selected["user_id"].tolist() == expected


def test_value_without_rows_is_noticed_with_a_similar_one(notices):
    assert len(select_rows(EVENTS, "event", ["view", "purchse", 7])) == 2
    assert notices == [
        "select_rows: no row has purchse in column 'event'; did you mean purchase?",
        "select_rows: no row has 7 in column 'event'; one of view, cart, purchase, Cart",
    ]


def test_rows_are_selected_by_columns_with_a_role():
    frame = pd.DataFrame({"user_id": [1, 2, 3], "item_id": ["a", "b", "c"], "rating": [4.0, 5.0, 4.5]})
    assert select_rows(frame, "rating", [4, 4.5])["user_id"].tolist() == [1, 3]
    assert select_rows(frame, "item_id", ["b"])["user_id"].tolist() == [2]


def test_arrow_tables_are_accepted():
    table = pa.table({"user_id": [1, 2], "item_id": [1, 2], "event": ["view", "buy"]})
    assert select_rows(table, "event", ["buy"])["user_id"].tolist() == [2]
    assert weight_events(table, "event", {"view": 1, "buy": 2})["rating"].tolist() == [1, 2]


def test_position_names_the_column_of_a_file_without_header():
    frame = frame_of(["pv", "buy"], name="3")
    assert select_rows(frame, 3, ["buy"])["user_id"].tolist() == [1]


@pytest.mark.parametrize(
    "step", [lambda df, name: select_rows(df, name, ["a"]), lambda df, name: weight_events(df, name, {"a": 1})]
)
def test_missing_or_repeated_column_is_named(step):
    with pytest.raises(DataError, match=r"no column 'evnt'; did you mean event\?"):
        step(EVENTS, "evnt")
    with pytest.raises(DataError, match="no column 'x'; one of user_id, item_id, event"):
        step(EVENTS, "x")
    doubled = pd.concat([EVENTS, EVENTS[["event"]]], axis=1)
    with pytest.raises(DataError, match="more than one column is called 'event'"):
        step(doubled, "event")


def test_weights_become_ratings_and_weight_zero_leaves_rows_out():
    weighted = weight_events(EVENTS, "event", {"view": 0, "cart": 3, "Cart": 0.5, "purchase": 5})
    assert weighted["user_id"].tolist() == [1, 3, 4]
    assert weighted["rating"].tolist() == [3, 5, 0.5]
    assert weighted["rating"].dtype == np.float32


def test_keys_of_weights_match_numbers_and_truth_values():
    assert weight_events(frame_of([1, 2, 1]), "event", {"1": 2, "2": 3})["rating"].tolist() == [2, 3, 2]
    assert weight_events(frame_of(["True", "False"]), "event", {"true": 2, "false": 1})["rating"].tolist() == [2, 1]
    assert weight_events(frame_of([True, False]), "event", {True: 2, False: 1})["rating"].tolist() == [2, 1]


def test_event_without_weight_is_rejected_with_its_count():
    with pytest.raises(DataError) as caught:
        weight_events(EVENTS, "event", {"cart": 1, "Cart": 1})
    assert "no weight for the events view (2x), purchase (1x) of column 'event'" in str(caught.value)
    assert "select_rows" in str(caught.value)
    with pytest.raises(DataError, match=r"\(empty\) \(1x\)"):
        weight_events(frame_of(["a", None]), "event", {"a": 1})
    with pytest.raises(DataError, match="and 5 more"):
        weight_events(frame_of([f"e{i}" for i in range(15)]), "event", {"a": 1})


def test_weight_of_an_absent_event_and_replaced_ratings_are_noticed(notices):
    weight_events(EVENTS.assign(rating=1.0), "event", {"view": 1, "cart": 1, "Cart": 1, "purchase": 1, "veiw": 2})
    assert notices == [
        "weight_events: no row has veiw in column 'event'; did you mean view?",
        "weight_events: the weights of 'event' replace the ratings",
    ]


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf"), "much"])
def test_weight_that_is_no_finite_number_is_rejected(weight):
    with pytest.raises(ConfigError, match="weight_events: weights="):
        weight_events(EVENTS, "event", {"view": weight})


@pytest.mark.parametrize("values", [[], "view", [["view"]]])
def test_values_that_are_no_list_are_rejected(values):
    with pytest.raises(ConfigError, match="select_rows: values="):
        select_rows(EVENTS, "event", values)


def test_steps_run_in_order_and_weights_of_a_pair_are_summed():
    frame = pd.DataFrame({"user_id": [1, 1, 1, 2], "item_id": [1, 1, 2, 2], "event": ["view", "buy", "view", "hide"]})
    steps = [
        ("select_rows", {"column": "event", "values": ["view", "buy"]}),
        ("weight_events", {"column": "event", "weights": {"view": 1, "buy": 5}}),
        ("drop_duplicates", {"keep": "sum"}),
    ]
    result, reports = apply_steps(frame, steps)
    assert result["rating"].tolist() == [6, 1]
    assert [report.after.rows for report in reports] == [3, 3, 2]
    with pytest.raises(DataError, match="no weight for the events hide"):
        apply_steps(frame, steps[1:])


def test_columns_of_the_source_that_steps_name():
    steps = [
        ("select_rows", {"column": "event", "values": ["a"]}),
        ("select_rows", {"column": "rating", "values": [5]}),
        ("weight_events", {"column": 3, "weights": {"a": 1}}),
        ("weight_events", {"column": "event", "weights": {"a": 1}}),
        ("drop_duplicates", {"keep": "sum"}),
        ("unknown", {"column": "x"}),
    ]
    assert source_columns(steps) == ["event", "3"]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], (False, False)),
        ([("normalize_ratings", {})], (True, False)),
        ([("drop_duplicates", {"keep": "sum"})], (True, False)),
        ([("drop_duplicates", {"keep": "last"})], (False, False)),
        ([("select_rows", {"column": "rating", "values": [5]})], (True, False)),
        ([("select_rows", {"column": "event", "values": [5]})], (False, False)),
        ([("weight_events", {"column": "event"}), ("drop_duplicates", {"keep": "sum"})], (False, True)),
        ([("binarize_implicit_feedback", {"threshold": 1}), ("weight_events", {"column": "event"})], (True, True)),
    ],
)
def test_use_of_ratings_by_steps(steps, expected):
    assert (reads_ratings(steps), sets_weights(steps)) == expected
