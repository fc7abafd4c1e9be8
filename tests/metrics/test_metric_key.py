"""Metric keys: parsing, formatting, and the metric behind a key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recctl.errors import ConfigError
from recctl.metrics import METRICS, MetricKey, key_problem, metric_keys


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("ndcg@10", MetricKey("ndcg", 10)),
        ("auc", MetricKey("auc")),
        ("sampled_hit_rate@5", MetricKey("hit_rate", 5, sampled=True)),
        ("sampled_auc", MetricKey("auc", sampled=True)),
        ("ndcg@", MetricKey("ndcg@")),
        ("ndcg@0", MetricKey("ndcg@0")),
        ("ndcg@010", MetricKey("ndcg@010")),
        ("ndcg@x", MetricKey("ndcg@x")),
        ("", MetricKey("")),
    ],
)
def test_parse_splits_a_key_into_name_cutoff_and_sampling(text, key):
    assert MetricKey.parse(text) == key


@given(st.text() | st.from_regex(r"\A(sampled_)?[a-z_]{0,8}@?[0-9]{0,3}\Z"))
def test_parse_and_str_round_trip_any_text(text):
    assert str(MetricKey.parse(text)) == text


def test_is_known_tells_metrics_from_other_columns():
    columns = ["user_id", "ndcg@10", "sampled_map@5", "n_relevant", "rmse", "loss"]
    assert [name for name in columns if MetricKey.parse(name).is_known] == ["ndcg@10", "sampled_map@5", "rmse"]


def test_metric_of_an_unknown_name_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"'ndgc'.*ndcg"):
        _ = MetricKey.parse("ndgc@10").metric


@pytest.mark.parametrize(
    ("text", "mode", "sign"), [("sampled_ndcg@5", "max", 1), ("rmse", "min", -1), ("own", "max", 1)]
)
def test_direction_follows_the_metric(text, mode, sign):
    key = MetricKey.parse(text)
    assert (key.mode, key.sign, key.higher_is_better) == (mode, sign, sign == 1)


def test_at_and_unsampled_change_one_part_of_a_key():
    key = MetricKey.parse("sampled_recall@20")
    assert [str(key.at(5)), str(key.at(None)), str(key.unsampled())] == [
        "sampled_recall@5",
        "sampled_recall",
        "recall@20",
    ]


def test_metric_keys_have_cutoffs_and_the_prefix_where_they_apply():
    keys = metric_keys(["ndcg", "auc", "rmse"], [5, 10], sampled=True)
    assert [str(key) for key in keys] == ["sampled_ndcg@5", "sampled_ndcg@10", "sampled_auc", "rmse"]


@pytest.mark.parametrize("key", [f"{name}@10" if metric.per_k else name for name, metric in METRICS.items()])
def test_valid_key_has_no_problem(key):
    assert key_problem(key) is None


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [("ndgc@10", "ndcg"), ("ndcg", "ndcg@10"), ("ndcg@0", "ndcg@10"), ("ndcg@x", "ndcg@10"), ("auc@10", "write auc")],
)
def test_problem_of_an_invalid_key_suggests_a_valid_one(key, suggestion):
    problem = key_problem(key)
    assert problem is not None
    assert suggestion in problem
