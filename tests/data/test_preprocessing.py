import inspect

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recctl.data.preprocessing import (
    STEPS,
    apply_steps,
    binarize_implicit_feedback,
    drop_duplicates,
    filter_by_interaction_count,
    normalize_ratings,
    sample_interactions,
    select_time_window,
)
from recctl.errors import ConfigError, DataError

rows = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from("xyz"), st.integers(1, 5), st.integers(0, 4)), min_size=1, max_size=40
)


def table(drawn):
    return pd.DataFrame(drawn, columns=["user_id", "item_id", "rating", "timestamp"]).assign(position=range(len(drawn)))


@pytest.fixture
def frame():
    return table([(1, "x", 5, 30), (1, "y", 3, 10), (2, "x", 4, 20), (1, "x", 1, 30), (3, "z", 2, 40)])


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("filter_by_interaction_count", {"min_user_interactions": 2}),
        ("filter_by_interaction_count", {"min_user_interactions": 0}),
        ("binarize_implicit_feedback", {"threshold": 3}),
        ("normalize_ratings", {}),
        ("drop_duplicates", {"keep": "mean"}),
        ("sample_interactions", {"fraction": 1.0}),
        ("select_time_window", {}),
        ("select_rows", {"column": "item_id", "values": ["x", "y", "z"]}),
        ("weight_events", {"column": "item_id", "weights": {"x": 1, "y": 2, "z": 3}}),
    ],
)
def test_step_does_not_change_its_input(frame, name, params):
    before = frame.copy(deep=True)
    result = STEPS[name](frame, **params)
    result["rating"] = -1.0
    result.loc[:, "timestamp"] = -1
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("name", STEPS)
def test_empty_table_stays_empty(frame, name):
    params = {
        "binarize_implicit_feedback": {"threshold": 3},
        "sample_interactions": {"fraction": 0.5},
        "select_rows": {"column": "item_id", "values": ["x"]},
        "weight_events": {"column": "item_id", "weights": {"x": 1}},
    }
    assert len(STEPS[name](frame[:0], **params.get(name, {}))) == 0


class TestFilter:
    @given(rows, st.integers(0, 4), st.integers(0, 4))
    def test_filter_is_repeated_until_nothing_changes(self, drawn, min_user, min_item):
        expected = table(drawn)
        while True:
            users, items = (expected.groupby(c)[c].transform("size") for c in ("user_id", "item_id"))
            kept = expected[(users >= min_user) & (items >= min_item)]
            if len(kept) == len(expected):
                break
            expected = kept
        pd.testing.assert_frame_equal(filter_by_interaction_count(table(drawn), min_user, min_item), expected)

    def test_default_keeps_users_with_five_interactions(self):
        frame = pd.DataFrame({"user_id": [1] * 5 + [2] * 4, "item_id": range(9)})
        assert filter_by_interaction_count(frame)["user_id"].unique().tolist() == [1]

    def test_missing_column_is_named(self):
        with pytest.raises(DataError, match="no column item_id"):
            filter_by_interaction_count(pd.DataFrame({"user_id": [1]}))


class TestBinarize:
    def test_ratings_below_the_threshold_are_dropped(self, frame):
        result = binarize_implicit_feedback(frame, threshold=4.0)
        assert result["position"].tolist() == [0, 2]
        assert result["rating"].tolist() == [1, 1]

    def test_missing_column_is_named(self):
        with pytest.raises(DataError, match="no column rating"):
            binarize_implicit_feedback(pd.DataFrame({"user_id": [1]}), 3)


class TestNormalize:
    def test_minmax_scales_to_zero_and_one(self, frame):
        assert normalize_ratings(frame, method="minmax")["rating"].tolist() == [1, 0.5, 0.75, 0, 0.25]

    def test_zscore_standardizes(self, frame):
        expected = (frame["rating"] - 3) / np.sqrt(2)
        np.testing.assert_allclose(normalize_ratings(frame, "zscore")["rating"], expected, rtol=1e-6)

    def test_user_mean_is_subtracted(self, frame):
        assert normalize_ratings(frame, "user_mean")["rating"].tolist() == [2, 0, 0, -2, 0]

    @pytest.mark.parametrize("method", ["minmax", "zscore", "user_mean"])
    def test_equal_ratings_become_zero(self, method):
        frame = pd.DataFrame({"user_id": [1, 2, 3], "item_id": [1, 2, 3], "rating": [0.1] * 3})
        assert normalize_ratings(frame, method)["rating"].tolist() == [0, 0, 0]

    def test_unknown_method_is_rejected(self, frame):
        with pytest.raises(ConfigError, match="method='rank': input should be 'minmax', 'zscore' or 'user_mean'"):
            normalize_ratings(frame, "rank")


class TestDropDuplicates:
    @pytest.mark.parametrize("timed", [True, False])
    @pytest.mark.parametrize("keep", ["first", "last"])
    @given(drawn=rows)
    def test_ties_are_broken_by_row_order(self, keep, timed, drawn):
        frame = table(drawn) if timed else table(drawn).drop(columns="timestamp")
        ordered = frame.sort_values("timestamp", kind="stable") if timed else frame
        expected = ordered.drop_duplicates(["user_id", "item_id"], keep=keep).sort_index()
        pd.testing.assert_frame_equal(drop_duplicates(frame, keep), expected)

    @pytest.mark.parametrize("keep", ["sum", "mean"])
    @given(drawn=rows)
    def test_sum_and_mean_are_stored_in_the_last_row(self, keep, drawn):
        frame = table(drawn)
        result = drop_duplicates(frame, keep)
        assert result["position"].tolist() == drop_duplicates(frame, "last")["position"].tolist()
        expected = frame.groupby(["user_id", "item_id"])["rating"].agg(keep)
        actual = result.set_index(["user_id", "item_id"])["rating"].sort_index()
        np.testing.assert_allclose(actual, expected, rtol=1e-6)

    def test_invalid_keep_or_missing_ratings_are_rejected(self, frame):
        with pytest.raises(ConfigError, match="keep='none': input should be 'last', 'first', 'sum' or 'mean'"):
            drop_duplicates(frame, "none")
        with pytest.raises(DataError, match="no column rating"):
            drop_duplicates(frame.drop(columns="rating"), "sum")


class TestSample:
    @pytest.mark.parametrize(("size", "expected"), [({"fraction": 0.3}, 30), ({"n": 7}, 7), ({"fraction": 1.0}, 100)])
    def test_sample_has_the_requested_size_and_order(self, size, expected):
        frame = pd.DataFrame({"user_id": range(100), "item_id": 1, "rating": 1})
        result = sample_interactions(frame, **size, seed=3)
        assert len(result) == expected
        assert result["user_id"].is_monotonic_increasing
        assert result.equals(sample_interactions(frame, **size, seed=3))
        assert expected == 100 or not result.equals(sample_interactions(frame, **size, seed=4))

    def test_sampled_users_keep_all_their_interactions(self):
        frame = pd.DataFrame({"user_id": np.repeat(np.arange(20), np.arange(20) + 1), "item_id": 1})
        result = sample_interactions(frame, fraction=0.25, by="users")
        assert result["user_id"].nunique() == 5
        assert (result.groupby("user_id").size() == result["user_id"].unique() + 1).all()

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({}, ConfigError, "set either fraction or n"),
            ({"fraction": 0.5, "n": 1}, ConfigError, "set either fraction or n"),
            ({"fraction": 0.0}, ConfigError, "fraction=0.0: input should be greater than 0"),
            ({"fraction": 1.5}, ConfigError, "fraction=1.5: input should be less than or equal to 1"),
            ({"n": 9}, DataError, "n=9: there are only 5 interactions"),
            ({"n": 0}, ConfigError, "n=0: input should be greater than or equal to 1"),
            ({"n": 1.5}, ConfigError, "n=1.5: input should be a valid integer"),
            ({"n": 4, "by": "users"}, DataError, "n=4: there are only 3 users"),
            ({"n": 1, "by": "items"}, ConfigError, "by='items': input should be 'interactions' or 'users'"),
            ({"n": 1, "seed": -1}, ConfigError, "seed=-1: must be a whole number of at least 0"),
        ],
    )
    def test_invalid_arguments_are_rejected(self, frame, arguments, error, message):
        with pytest.raises(error, match=message):
            sample_interactions(frame, **arguments)


class TestTimeWindow:
    @pytest.mark.parametrize(
        ("start", "end", "expected"),
        [
            (20, 40, [0, 2, 3]),
            ("1970-01-01T00:00:20", "1970-01-01 00:00:40", [0, 2, 3]),
            ("1970-01-01T01:00:20+01:00", None, [0, 2, 3, 4]),
            (pd.Timestamp(20, unit="s").date(), 10.5, [1]),
            (None, 10, []),
            (None, None, [0, 1, 2, 3, 4]),
        ],
    )
    def test_start_is_inclusive_and_end_exclusive(self, frame, start, end, expected):
        assert select_time_window(frame, start, end)["position"].tolist() == expected

    @pytest.mark.parametrize(
        ("window", "message"),
        [
            (("yesterday",), "start='yesterday': must be a date such as 2020-01-31, or seconds"),
            ((None, ""), "end='': must be a date"),
            (("nat",), "start='nat': must be a date"),
            ((float("nan"),), "start=nan: must be a date"),
            (([1],), r"start=\[1\]: input should be a valid"),
            ((5, 5), "start=5.0 is not before end=5.0"),
        ],
    )
    def test_invalid_window_is_rejected(self, frame, window, message):
        with pytest.raises(ConfigError, match=message):
            select_time_window(frame, *window)

    def test_missing_column_is_named(self, frame):
        with pytest.raises(DataError, match="no column timestamp"):
            select_time_window(frame.drop(columns="timestamp"), 1)


class TestApplySteps:
    def test_steps_run_in_order_and_report_counts(self, frame):
        result, reports = apply_steps(
            frame,
            [("drop_duplicates", {"keep": "last"}), ("filter_by_interaction_count", {"min_user_interactions": 2})],
        )
        assert result["position"].tolist() == [1, 3]
        assert [(r.name, r.params) for r in reports] == [
            ("drop_duplicates", {"keep": "last"}),
            ("filter_by_interaction_count", {"min_user_interactions": 2}),
        ]
        assert [(r.before.rows, r.after.rows) for r in reports] == [(5, 4), (4, 2)]
        assert (reports[1].before.users, reports[1].after.users) == (3, 1)
        assert (reports[1].before.items, reports[1].after.items) == (3, 2)

    def test_no_steps_return_the_table_unchanged(self, frame):
        result, reports = apply_steps(frame, [])
        assert result.equals(frame)
        assert reports == []

    def test_each_random_step_gets_its_own_derived_seed(self):
        frame = pd.DataFrame({"user_id": range(1000), "item_id": 1})
        steps = [("sample_interactions", {"fraction": 0.5})] * 2
        result, reports = apply_steps(frame, steps, seed=1)
        assert result.equals(apply_steps(frame, steps, seed=1)[0])
        assert not result.equals(apply_steps(frame, steps, seed=2)[0])
        assert reports[0].params["seed"] != reports[1].params["seed"]
        seeded, reports = apply_steps(frame, [("sample_interactions", {"fraction": 0.5, "seed": 5})], seed=1)
        assert seeded.equals(sample_interactions(frame, fraction=0.5, seed=5))
        assert reports[0].params == {"fraction": 0.5, "seed": 5}

    def test_step_that_leaves_no_rows_is_rejected(self, frame):
        steps = [("drop_duplicates", {}), ("filter_by_interaction_count", {"min_user_interactions": 3})]
        with pytest.raises(DataError) as caught:
            apply_steps(frame, steps)
        assert str(caught.value) == (
            "filter_by_interaction_count(min_user_interactions=3) removes all of 4 interactions of 3 users with "
            "3 items; loosen its parameters"
        )

    def test_all_problems_are_reported_before_any_step_runs(self, frame):
        with pytest.raises(ConfigError) as caught:
            apply_steps(
                frame.drop(columns="item_id"),
                [("filter_by_count", {}), ("drop_duplicates", {"kepe": "last"}), ("binarize_implicit_feedback", {})],
            )
        assert caught.value.problems == [
            "preprocessing step 'filter_by_count': unknown; did you mean filter_by_interaction_count?",
            "drop_duplicates: kepe: unknown parameter; did you mean keep?",
            "binarize_implicit_feedback: threshold: must be given",
        ]

    def test_every_step_has_a_summary_and_typed_parameters(self):
        for step in STEPS.values():
            assert step.__doc__.splitlines()[0].endswith(".")
            parameters = inspect.signature(step).parameters.values()
            assert all(parameter.annotation is not parameter.empty for parameter in parameters)
