"""Every metric on small random data sets against a plain implementation of its definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recctl.evaluation import METRICS, Evaluation, Evaluator
from recctl.models.base import Recommender
from tests.evaluation.oracle import Oracle, frame, hand_made
from tests.ranking.ties import key_of_history, key_of_id

N_USERS, N_ITEMS = 9, 8
RANKING = [name for name, metric in METRICS.items() if metric.task == "ranking"]

users = st.integers(0, N_USERS - 1)
items = st.integers(0, N_ITEMS - 1)


def few_scores(n_rows: int, n_columns: int) -> st.SearchStrategy[np.ndarray]:
    """Arrays of the scores -2 to 2. They are made of bytes, which hypothesis draws much faster than numbers."""
    size = n_rows * n_columns
    drawn = st.binary(min_size=size, max_size=size)
    return drawn.map(lambda data: (np.frombuffer(data, np.uint8) % 5 - 2.0).reshape(n_rows, n_columns))


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Any]:
    """Fitted, history, known and test interactions, which can repeat and overlap, and scores with many ties."""
    pairs = st.lists(st.tuples(users, items), min_size=1, max_size=30)
    rated = st.lists(st.tuples(users, items, st.integers(1, 5).map(float)), min_size=1, max_size=30)
    return {
        "fitted": draw(pairs),
        "history": draw(pairs),
        "known": draw(pairs),
        "exclude": draw(st.sampled_from(["known", "train", "none"])),
        "test": draw(rated),
        "scores": draw(few_scores(N_USERS, N_ITEMS)),
        "links": draw(few_scores(N_ITEMS, N_ITEMS)),
        "threshold": draw(st.sampled_from([None, 3.0])),
    }


def oracle_of(world: dict[str, Any], with_popular_items: bool = False) -> Oracle:
    """The oracle of a world; if requested, users that can't be scored get the items with the most fitted users."""
    fitted, history = set(world["fitted"]), set(world["history"])
    known_users, known_items = {u for u, _ in fitted}, {i for _, i in fitted}
    seen = {u: {i for v, i in fitted if v == u} for u in known_users}
    known = {u: {i for v, i in world["known"] if v == u} for u in range(N_USERS)}
    scores = {(u, i): world["scores"][u, i] for u in known_users for i in known_items}
    for user in {u for u, i in history if i in known_items} - known_users:
        seen[user] = {i for v, i in history if v == user and i in known_items}
        scores |= {(user, i): sum(world["links"][j, i] for j in seen[user]) for i in known_items}
    row_keys = {u: key_of_id(u) if u in known_users else key_of_history(items) for u, items in seen.items()}
    if world["exclude"] == "known":
        seen = {user: items | known[user] for user, items in seen.items()}
    elif world["exclude"] == "none":
        seen = {user: set() for user in seen}
    for user in set(range(N_USERS)) - seen.keys() if with_popular_items else ():
        scores |= {(user, i): float(len({u for u, j in fitted if j == i})) for i in known_items}
        seen[user] = known[user] if world["exclude"] == "known" else set()
        row_keys[user] = key_of_id(user)
    last_ratings = {(u, i): rating for u, i, rating in world["test"]}
    relevant: dict[int, set[int]] = {}
    for (user, item), rating in last_ratings.items():
        if world["threshold"] is None or rating >= world["threshold"]:
            relevant.setdefault(user, set()).add(item)
    if world["exclude"] == "known":
        # Of users that the model can't score, too: what is known is neither evaluated nor left out as theirs.
        relevant = {u: items if u in seen else items - known[u] for u, items in relevant.items()}
    return Oracle(scores, fitted, seen, relevant, row_keys)


def last_ratings(world: dict[str, Any]) -> list[tuple[int, int, float]]:
    return [(u, i, rating) for (u, i), rating in {(u, i): rating for u, i, rating in world["test"]}.items()]


def evaluate(evaluator: Evaluator, model: Recommender, world: dict[str, Any]) -> Evaluation:
    test, history, known = (frame(world[name]) for name in ("test", "history", "known"))
    return evaluator.evaluate_users(model, test, train_data=history, known=known)


@pytest.mark.parametrize("k_values", [(1, 2, 3), (4, 30), (150,)])
@given(world=worlds())
def test_ranking_metrics_equal_oracle(k_values: tuple[int, ...], world: dict[str, Any]) -> None:
    oracle = oracle_of(world)
    assume(oracle.served())
    model = hand_made(world["scores"], world["links"]).fit(frame(world["fitted"]))
    evaluator = Evaluator(RANKING, k_values, relevance_threshold=world["threshold"], exclude=world["exclude"])
    result = evaluate(evaluator, model, world)

    assert result.metrics == pytest.approx(oracle.metrics(k_values), abs=1e-12)
    table = result.per_user.set_index("user_id")
    assert list(table.index) == list(oracle.served())
    assert table["n_relevant"].to_dict() == {u: len(items) for u, items in oracle.served().items()}
    assert table["auc"].to_dict() == pytest.approx(oracle.auc())
    for k in k_values:
        for user, values in oracle.per_user(k).items():
            row = table.loc[user, [f"{name}@{k}" for name in values]]
            assert row.tolist() == pytest.approx(list(values.values()), abs=1e-12)


@given(world=worlds())
def test_evaluated_and_excluded_interactions_add_up(world: dict[str, Any]) -> None:
    oracle = oracle_of(world)
    assume(oracle.served())
    model = hand_made(world["scores"], world["links"]).fit(frame(world["fitted"]))
    evaluator = Evaluator(["recall"], [1], relevance_threshold=world["threshold"], exclude=world["exclude"])
    result = evaluate(evaluator, model, world)

    known_users = {u for u, _ in world["fitted"]}
    cold_users = {u for u, items in oracle.relevant.items() if items} - set(oracle.seen)
    assert result.n_interactions + sum(result.left_out.values()) == len(world["test"])
    assert result.n_interactions == sum(map(len, oracle.served().values()))
    assert result.n_users == len(oracle.served())
    assert result.n_folded_in == len(oracle.served().keys() - known_users)
    assert result.n_skipped == len(cold_users)
    assert result.n_unknown_items == sum(len(items - set(oracle.items)) for items in oracle.served().values())
    assert result.left_out["of_unknown_users"] == sum(len(oracle.relevant[u]) for u in cold_users)
    n_known = sum(len(oracle.relevant[u] & oracle.seen[u]) for u in oracle.seen if u in oracle.relevant)
    if world["exclude"] == "known":
        passing = [(u, i) for u, i, rating in last_ratings(world) if rating >= (world["threshold"] or 0)]
        n_known += len({pair for pair in passing if pair[0] not in oracle.seen} & set(world["known"]))
    assert result.left_out["known"] == n_known


@pytest.mark.parametrize("k_values", [(1, 2, 3), (30,)])
@given(world=worlds())
def test_unknown_users_with_popular_items_equal_oracle(k_values: tuple[int, ...], world: dict[str, Any]) -> None:
    oracle = oracle_of(world, with_popular_items=True)
    assume(oracle.served())
    scored = oracle_of(world).served().keys()
    model = hand_made(world["scores"], world["links"]).fit(frame(world["fitted"]))
    options = {"relevance_threshold": world["threshold"], "exclude": world["exclude"]}
    result = evaluate(Evaluator(RANKING, k_values, on_unknown="popular", **options), model, world)

    assert result.metrics == pytest.approx(oracle.metrics(k_values), abs=1e-12)
    assert result.per_user["user_id"].tolist() == list(oracle.served())
    assert result.n_popular == len(oracle.served().keys() - scored)
    assert (result.n_skipped, result.left_out["of_unknown_users"]) == (0, 0)
    assert result.n_interactions + sum(result.left_out.values()) == len(world["test"])


@given(world=worlds())
def test_unknown_users_count_as_zero_on_request(world: dict[str, Any]) -> None:
    oracle = oracle_of(world)
    assume(oracle.served())
    model = hand_made(world["scores"], world["links"]).fit(frame(world["fitted"]))
    names = ["ndcg", "auc", "novelty", "coverage", "gini"]
    options = {
        "metrics": names,
        "k_values": [2],
        "relevance_threshold": world["threshold"],
        "exclude": world["exclude"],
    }
    skipped = evaluate(Evaluator(**options), model, world)
    zero = evaluate(Evaluator(**options, on_unknown="zero"), model, world)

    share = skipped.n_users / (skipped.n_users + skipped.n_skipped)
    for key in ("ndcg@2", "auc", "novelty@2"):
        assert zero.metrics[key] == pytest.approx(skipped.metrics[key] * share)
    for key in ("coverage@2", "gini@2"):
        assert zero.metrics[key] == skipped.metrics[key]
    assert (zero.n_users, zero.n_skipped) == (skipped.n_users + skipped.n_skipped, 0)
    assert zero.n_interactions == skipped.n_interactions + skipped.left_out["of_unknown_users"]
    assert zero.per_user["user_id"].is_monotonic_increasing
