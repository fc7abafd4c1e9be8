"""Accuracy metrics against ir_measures and scikit-learn, on data with all kinds of users."""

from __future__ import annotations

from typing import Any

import ir_measures
import numpy as np
import pandas as pd
import pytest
from ir_measures import AP, RR, P, R, Success, nDCG
from sklearn.metrics import ndcg_score, roc_auc_score

from recctl.evaluation import Evaluator
from recctl.models.base import Recommender
from tests.evaluation.oracle import hand_made

N_USERS, N_ITEMS = 60, 40
K_VALUES = (1, 5, 10, 50)  # 50: more than there are items
METRICS = ("precision", "recall", "ndcg", "hit_rate", "map", "mrr", "auc")


@pytest.fixture(scope="module")
def world() -> dict[str, Any]:
    """A fitted model and its test part. Some test items are unknown to the model, some users have few items left."""
    rng = np.random.default_rng(3)
    scores = rng.permutation(N_USERS * (N_ITEMS + 5)).reshape(N_USERS, -1).astype(np.float64)  # no ties
    share_seen = rng.uniform(0.05, 0.8, (N_USERS, 1))
    drawn = rng.random((N_USERS, N_ITEMS + 5))
    fitted = (drawn < share_seen) & (np.arange(N_ITEMS + 5) < N_ITEMS)
    held_out = (drawn >= share_seen) & (drawn < share_seen + 0.15)
    held_out[:, N_ITEMS:] = rng.random((N_USERS, 5)) < 0.1
    held_out[::7] = False
    table = lambda mask: pd.DataFrame(np.argwhere(mask), columns=["user_id", "item_id"])  # noqa: E731
    model = hand_made(scores, np.zeros((N_ITEMS + 5, N_ITEMS + 5))).fit(table(fitted))
    assert model.seen.column_counts().min() > 0
    return {"model": model, "test": table(held_out), "scores": scores, "fitted": fitted, "held_out": held_out}


def values(world: dict[str, Any], names: tuple[str, ...] = METRICS) -> pd.DataFrame:
    model: Recommender = world["model"]
    result = Evaluator(names, K_VALUES).evaluate_users(model, world["test"])
    assert (result.per_user["user_id"] % 7 != 0).all()  # the users who have nothing relevant
    return result.per_user.set_index("user_id")


def run_of(world: dict[str, Any]) -> list[ir_measures.ScoredDoc]:
    """Every item that can be recommended, with its score."""
    open_items = ~world["fitted"] & (np.arange(N_ITEMS + 5) < N_ITEMS)
    return [
        ir_measures.ScoredDoc(str(u), str(i), float(world["scores"][u, i])) for u, i in np.argwhere(open_items).tolist()
    ]


@pytest.mark.parametrize(
    ("name", "measure"), [("precision", P), ("recall", R), ("ndcg", nDCG), ("hit_rate", Success), ("mrr", RR)]
)
def test_metrics_agree_with_ir_measures(world: dict[str, Any], name: str, measure: Any) -> None:
    table = values(world)
    relevant = [ir_measures.Qrel(str(u), str(i), 1) for u, i in np.argwhere(world["held_out"]).tolist()]
    for k in K_VALUES:
        expected = {int(m.query_id): m.value for m in ir_measures.iter_calc([measure @ k], relevant, run_of(world))}
        assert table[f"{name}@{k}"].to_dict() == pytest.approx(expected, abs=1e-6)


def test_map_agrees_with_ir_measures_except_denominator(world: dict[str, Any]) -> None:
    table = values(world)
    relevant = [ir_measures.Qrel(str(u), str(i), 1) for u, i in np.argwhere(world["held_out"]).tolist()]
    for k in K_VALUES:
        expected = {int(m.query_id): m.value for m in ir_measures.iter_calc([AP @ k], relevant, run_of(world))}
        actual = table[f"map@{k}"] * np.minimum(table["n_relevant"], k) / table["n_relevant"]
        assert actual.to_dict() == pytest.approx(expected, abs=1e-6)


def test_ndcg_and_auc_agree_with_scikit_learn(world: dict[str, Any]) -> None:
    table = values(world)
    for user, row in table.iterrows():
        # Items the model does not know come after all others, what it was fitted on is no candidate.
        candidates = ~world["fitted"][user]
        known = np.arange(N_ITEMS + 5) < N_ITEMS
        scores = np.where(known, world["scores"][user], -1.0)[candidates]
        relevant = world["held_out"][user][candidates]
        for k in (1, 5, 10):
            hits_reachable = min(k, known[candidates].sum())
            if hits_reachable == k:  # else the unknown ones would fill the list there
                assert row[f"ndcg@{k}"] == pytest.approx(ndcg_score([relevant], [scores], k=k))
        compared = known[candidates] | relevant  # an unknown item that is not relevant is in no pair
        if not relevant[compared].all():
            assert row["auc"] == pytest.approx(roc_auc_score(relevant[compared], scores[compared]))


def test_auc_with_ties_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, (30, 20)).astype(np.float64)
    everyone = pd.DataFrame({"user_id": np.arange(30).repeat(2), "item_id": np.arange(60) % 20})
    held_out = rng.random((30, 20)) < 0.3
    model = hand_made(scores, np.zeros((20, 20))).fit(everyone)
    test = pd.DataFrame(np.argwhere(held_out), columns=["user_id", "item_id"])
    table = Evaluator(["auc"], [1]).evaluate_users(model, test).per_user.set_index("user_id")
    for user, value in table["auc"].items():
        open_items = np.setdiff1d(np.arange(20), everyone["item_id"][everyone["user_id"] == user])
        assert value == pytest.approx(roc_auc_score(held_out[user, open_items], scores[user, open_items]))
