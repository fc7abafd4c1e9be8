"""Recommendation lists that were made elsewhere, against plain loops and against the models that made them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recctl.data.dataset import InteractionDataset
from recctl.errors import ConfigError, DataError
from recctl.evaluation import Evaluator, GivenLists
from recctl.models.registry import make_model
from recctl.ranking import TieBreaker, rank_block

LIST_METRICS = ["precision", "recall", "ndcg", "hit_rate", "map", "mrr", "coverage", "novelty", "diversity", "gini"]


def interactions(n_users: int, n_items: int, n_rows: int, seed: int) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    rows = {"user_id": generator.integers(n_users, size=n_rows), "item_id": generator.integers(n_items, size=n_rows)}
    return pd.DataFrame(rows).drop_duplicates(ignore_index=True)


@pytest.fixture
def parts() -> tuple[pd.DataFrame, pd.DataFrame]:
    table = interactions(40, 30, 500, seed=1)
    is_test = np.random.default_rng(2).random(len(table)) < 0.3
    return table[~is_test].reset_index(drop=True), table[is_test].reset_index(drop=True)


def given(train: pd.DataFrame, lists: pd.DataFrame) -> GivenLists:
    order = {f"{name}s": lists[name].to_numpy() for name in ("rank", "score") if name in lists}
    return GivenLists(InteractionDataset(train), lists["user_id"].to_numpy(), lists["item_id"].to_numpy(), **order)


def ndcg_by_loop(train: pd.DataFrame, test: pd.DataFrame, lists: pd.DataFrame, k: int) -> dict[Any, float]:
    """NDCG@k of each user who is in train and test: seen items are dropped, and positions close up."""
    seen = train.groupby("user_id")["item_id"].agg(set)
    values = {}
    for user, relevant in test.groupby("user_id")["item_id"].agg(set).items():
        if user not in seen:
            continue
        listed = lists[lists["user_id"] == user].sort_values("rank")["item_id"]
        shown = [item for item in listed if item not in seen[user]][:k]
        gain = sum(1 / math.log2(place + 2) for place, item in enumerate(shown) if item in relevant)
        ideal = sum(1 / math.log2(place + 2) for place in range(min(k, len(relevant))))
        values[user] = gain / ideal
    return values


def test_lists_of_ranks_have_the_ndcg_of_a_plain_loop(parts: Any) -> None:
    train, test = parts
    generator = np.random.default_rng(3)
    # Users 35 to 39 have no list, users 40 and 41 are unknown; items 30 to 33 are in no data.
    rows = [
        {"user_id": user, "item_id": item, "rank": place}
        for user in [*range(35), 40, 41]
        for place, item in enumerate(generator.permutation(34)[:12])
    ]
    lists = pd.DataFrame(rows)
    measured = Evaluator(["ndcg"], [3, 10]).evaluate_users(given(train, lists), test)
    for k in (3, 10):
        expected = ndcg_by_loop(train, test, lists, k)
        assert dict(zip(measured.per_user["user_id"], measured.per_user[f"ndcg@{k}"], strict=True)) == pytest.approx(
            expected
        )
    seen = set(zip(train["user_id"], train["item_id"], strict=True))
    users = set(measured.per_user["user_id"])
    n_known = sum((row["user_id"], row["item_id"]) in seen for row in rows if row["user_id"] in users)
    assert measured.lists == {"known": n_known, "users_without_list": len(users & set(range(35, 40)))}


@pytest.mark.parametrize("exclude", ["known", "train", "none"])
def test_lists_of_a_model_have_the_figures_of_the_model(parts: Any, exclude: Any) -> None:
    train, test = parts
    model = make_model("item-knn", n_neighbors=5).fit(train)
    lists = model.recommend(sorted(set(train["user_id"])), k=30, exclude_seen=False)
    evaluator = Evaluator(LIST_METRICS, [1, 5, 10], exclude=exclude)
    expected = evaluator.evaluate_users(model, test)
    by_rank = evaluator.evaluate_users(given(train, lists.drop(columns="score")), test)
    shuffled = lists.drop(columns="rank").sample(frac=1, random_state=4)
    by_score = evaluator.evaluate_users(given(train, shuffled), test)
    for measured in (by_rank, by_score):  # by score too: equal ones are ordered by the same rule
        assert measured.metrics == expected.metrics
        pd.testing.assert_frame_equal(measured.per_user, expected.per_user)


def test_users_who_are_folded_in_are_measured_by_their_lists() -> None:
    table = interactions(30, 20, 300, seed=5)
    train = table[table["user_id"] < 20]
    held_out = table[table["user_id"] >= 20].reset_index(drop=True)
    is_history = held_out.groupby("user_id").cumcount() < 4
    history = held_out[is_history]
    test = held_out[~is_history]
    model = make_model("ease").fit(train)
    lists = model.recommend_for_history(history, k=10)
    evaluator = Evaluator(LIST_METRICS, [5])
    expected = evaluator.evaluate_users(model, test, train_data=history)
    measured = evaluator.evaluate_users(given(train, lists.drop(columns="score")), test, train_data=history)
    assert measured.metrics == expected.metrics
    assert measured.n_folded_in == expected.n_folded_in == test["user_id"].nunique()


def test_new_users_are_measured_by_their_lists_where_models_have_0(parts: Any) -> None:
    train, test = parts
    new = pd.DataFrame({"user_id": [90, 90, 91, 92], "item_id": [3, 4, 5, 6]})
    test = pd.concat([test, new], ignore_index=True)
    lists = pd.DataFrame({"user_id": [90, 90, 90, 91], "item_id": [9, 3, 4, 5], "rank": [1, 2, 3, 1]})
    evaluator = Evaluator(["ndcg"], [3], on_unknown="zero")
    evaluation = evaluator.evaluate_users(given(train, lists), InteractionDataset(test))
    values = evaluation.per_user.set_index("user_id")["ndcg@3"]
    of_90 = (1 / math.log2(3) + 1 / math.log2(4)) / (1 + 1 / math.log2(3))
    assert values[90] == pytest.approx(of_90)
    assert values[91] == 1
    assert values[92] == 0, "92 has no list"
    of_model = evaluator.evaluate_users(make_model("ease").fit(train), InteractionDataset(test))
    assert set(of_model.per_user["user_id"]) == set(values.index)
    skipped = Evaluator(["ndcg"], [3]).evaluate_users(given(train, lists), InteractionDataset(test))
    assert not {90, 91, 92} & set(skipped.per_user["user_id"])


def test_item_that_only_test_has_is_a_hit_and_no_part_of_coverage() -> None:
    train = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [10, 11, 11]})
    test = pd.DataFrame({"user_id": [1, 2], "item_id": [99, 10]})
    lists = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [98, 99, 11], "rank": [1, 2, 1]})
    measured = Evaluator(["mrr", "coverage", "novelty"], [2]).evaluate_users(given(train, lists), test)
    assert measured.per_user["mrr@2"].tolist() == [0.5, 0.0]
    assert measured.metrics["coverage@2"] == 0.0, "98 and 99 are not in the catalog, and 11 is known to user 2"
    assert measured.metrics["novelty@2"] == 0.0


def test_equal_scores_are_ordered_by_the_tie_rule() -> None:
    train = pd.DataFrame({"user_id": [1, 1], "item_id": [1, 2]})
    items = np.arange(100, 120)
    lists = GivenLists(InteractionDataset(train), np.ones(20, int), items, scores=np.zeros(20))
    ties = TieBreaker.of_ids(lists.list_users.hashes, lists.item_vocabulary.hashes)
    scores = np.full((1, len(lists.item_vocabulary)), -np.inf, np.float32)
    scores[0, lists.item_vocabulary.codes(items)] = 0
    expected, _ = rank_block(scores, 20, None, ties)
    assert lists.lists.columns.tolist() == expected[0].tolist()
    assert lists.item_vocabulary.ids[lists.lists.columns].tolist() != items.tolist()


@pytest.mark.parametrize(
    ("items", "order", "message"),
    [
        ([10, 10], {"ranks": np.array([1, 2])}, "user 1 has item 10 twice"),
        ([10, 11], {"ranks": np.array([1, 1])}, "rank 1 is given twice"),
        ([10, 11], {"scores": np.array([1.0, np.nan])}, "score is not a number"),
    ],
)
def test_ambiguous_list_is_refused(items: Any, order: Any, message: str) -> None:
    train = InteractionDataset(pd.DataFrame({"user_id": [1], "item_id": [10]}))
    with pytest.raises(DataError, match=message):
        GivenLists(train, np.array([1, 1]), np.array(items), **order)


def test_what_lists_can_not_be_measured_by_is_refused_by_name(parts: Any) -> None:
    train, test = parts
    lists = given(train, pd.DataFrame({"user_id": [1, 1], "item_id": [1, 2], "rank": [0, 1]}))
    with pytest.raises(ConfigError, match=r"rmse, auc need a score") as refused:
        Evaluator(["ndcg", "rmse", "auc"], [1, 2, 5, 10], n_candidates=20).evaluate(lists, test)
    assert any("n_candidates" in problem for problem in refused.value.problems)
    assert any("set evaluation.k_values: [1, 2]" in problem for problem in refused.value.problems)


@pytest.mark.parametrize("column", [list, tuple, pd.Series, lambda values: pd.Series(values, dtype="category")])
def test_columns_and_lists_are_measured_as_arrays_are(column: Any) -> None:
    table = pd.DataFrame({"user_id": ["007", "007", "01", "01"], "item_id": ["a", "b", "b", "c"]})
    train = InteractionDataset(table)
    test = InteractionDataset(pd.DataFrame({"user_id": ["007", "01"], "item_id": ["c", "a"]}))
    users = ["007", "007", "01"]
    items = ["c", "a", "c"]
    lists = GivenLists(train, column(users), column(items), ranks=pd.Series([1, 2, 1]))
    result = Evaluator(["hit_rate"], [1]).evaluate(lists, test, train_data=train)
    # The first item of 007 is a hit; the only item of 01 is in train.
    assert result["hit_rate@1"] == 0.5


def test_integer_columns_are_accepted() -> None:
    train = InteractionDataset(pd.DataFrame({"user_id": [1, 2], "item_id": [5, 6]}))
    lists = GivenLists(train, pd.Series([1, 2]), [6, 5], scores=[0.5, 0.25])
    assert lists.lists.columns.tolist() == [1, 0]


def test_arguments_of_different_lengths_are_rejected() -> None:
    train = InteractionDataset(pd.DataFrame({"user_id": [1, 2], "item_id": [5, 6]}))
    with pytest.raises(ConfigError, match="2 users, 2 items and 1 ranks or scores"):
        GivenLists(train, [1, 2], [5, 6], ranks=[1])
