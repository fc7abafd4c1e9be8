"""NDCG with gains by rating, against ranx, ir-measures and values by hand."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from typing import Any

import ir_measures
import numpy as np
import pandas as pd
import pytest
from ir_measures import nDCG

from recctl.errors import ConfigError, DataError
from recctl.evaluation import Evaluator, Segment
from tests.conftest import skip_without
from tests.evaluation.oracle import frame, hand_made

N_USERS, N_ITEMS, N_UNKNOWN = 40, 30, 4
K_VALUES = (1, 3, 10, 50)


@pytest.fixture(scope="module")
def world() -> dict[str, Any]:
    """A fitted model, and a test part with ratings from 1 to 5, some of them of items that the model does not know."""
    rng = np.random.default_rng(8)
    n_all = N_ITEMS + N_UNKNOWN
    scores = rng.permutation(N_USERS * n_all).reshape(N_USERS, -1).astype(np.float64)  # no ties
    drawn = rng.random((N_USERS, n_all))
    fitted = (drawn < 0.3) & (np.arange(n_all) < N_ITEMS)
    test = pd.DataFrame(np.argwhere(drawn > 0.7), columns=["user_id", "item_id"])
    test["rating"] = rng.integers(1, 6, len(test)).astype(float)
    model = hand_made(scores, np.zeros((n_all, n_all))).fit(
        pd.DataFrame(np.argwhere(fitted), columns=["user_id", "item_id"])
    )
    candidates = ~fitted & (np.arange(n_all) < N_ITEMS)
    return {"model": model, "test": test, "scores": scores, "candidates": candidates}


def measured(world: dict[str, Any], gain: str | None, **options: Any) -> pd.DataFrame:
    evaluator = Evaluator(["ndcg"], K_VALUES, gain=gain, **options)
    return evaluator.evaluate_users(world["model"], world["test"]).per_user.set_index("user_id")


# In a process in which numba compiles nothing: compiling the kernels of ranx takes up to a minute.
_RANX = """
import json, sys
import ranx

given = json.load(sys.stdin)
run = ranx.Run(given["ranked"])
ranx.evaluate(ranx.Qrels(given["ratings"]), run, given["metrics"])
json.dump(run.scores, sys.stdout)
"""


def test_graded_ndcg_agrees_with_ranx(world: dict[str, Any]) -> None:
    skip_without("ranx", "pip install ranx")
    ratings: dict[str, dict[str, int]] = {}
    for row in world["test"].itertuples():
        ratings.setdefault(str(row.user_id), {})[str(row.item_id)] = int(row.rating)
    ranked: dict[str, dict[str, float]] = {}
    for user, item in np.argwhere(world["candidates"]).tolist():
        if str(user) in ratings:
            ranked.setdefault(str(user), {})[str(item)] = float(world["scores"][user, item])
    ranx_names = {"rating": "ndcg", "exp2": "ndcg_burges"}
    metrics = [f"{name}@{k}" for name in ranx_names.values() for k in K_VALUES]
    done = subprocess.run(
        [sys.executable, "-c", _RANX],
        input=json.dumps({"ratings": ratings, "ranked": ranked, "metrics": metrics}),
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = json.loads(done.stdout)
    for gain, name in ranx_names.items():
        table = measured(world, gain)
        for k in K_VALUES:
            of_users = {int(user): value for user, value in expected[f"{name}@{k}"].items()}
            assert table[f"ndcg@{k}"].to_dict() == pytest.approx(of_users, abs=1e-6)


@pytest.mark.parametrize("gain", ["rating", "exp2"])
def test_graded_ndcg_agrees_with_ir_measures(world: dict[str, Any], gain: str) -> None:
    ratings = [ir_measures.Qrel(str(r.user_id), str(r.item_id), int(r.rating)) for r in world["test"].itertuples()]
    ranked = [
        ir_measures.ScoredDoc(str(u), str(i), float(world["scores"][u, i]))
        for u, i in np.argwhere(world["candidates"]).tolist()
    ]
    gains = {rating: 2**rating - 1 for rating in range(6)} if gain == "exp2" else {}
    table = measured(world, gain)
    for k in K_VALUES:
        measure = nDCG(gains=gains) @ k if gains else nDCG @ k
        expected = {int(m.query_id): m.value for m in ir_measures.iter_calc([measure], ratings, ranked)}
        assert table[f"ndcg@{k}"].to_dict() == pytest.approx(expected, abs=1e-6)


def test_ratings_below_the_threshold_have_no_gain(world: dict[str, Any]) -> None:
    is_relevant = world["test"]["rating"] >= 4
    without = Evaluator(["ndcg"], K_VALUES, gain="rating").evaluate(world["model"], world["test"][is_relevant])
    restricted = Evaluator(["ndcg"], K_VALUES, gain="rating", relevance_threshold=4)
    assert restricted.evaluate(world["model"], world["test"]) == without


def test_gain_changes_ndcg_alone(world: dict[str, Any]) -> None:
    names = ["ndcg", "map", "recall", "auc"]
    binary = Evaluator(names, [10]).evaluate(world["model"], world["test"])
    graded = Evaluator(names, [10], gain="exp2").evaluate(world["model"], world["test"])
    assert {key for key in binary if binary[key] != graded[key]} == {"ndcg@10"}


def test_equal_ratings_give_the_binary_values(world: dict[str, Any]) -> None:
    alike = world["test"].assign(rating=3.0)
    binary = Evaluator(["ndcg"], K_VALUES).evaluate(world["model"], alike)
    for gain in ("rating", "exp2"):
        assert Evaluator(["ndcg"], K_VALUES, gain=gain).evaluate(world["model"], alike) == pytest.approx(binary)


def test_ideal_list_of_a_segment_has_its_items_alone() -> None:
    # Item 0 comes first; of the relevant items 0 (rating 1), 2 (rating 5) and 9 (rating 2), the model does not know 9.
    model = hand_made(-np.tile(np.arange(10.0), (2, 1)), np.zeros((10, 10))).fit(
        frame([(0, 8), (1, 0), (1, 1), (1, 2), (1, 3)])
    )
    test = frame([(0, 0, 1.0), (0, 2, 5.0), (0, 9, 2.0)])
    segment = Segment("some", "items", np.array([False, True, True]))
    result = Evaluator(["ndcg"], [3], gain="rating").evaluate_users(model, test, segments=[segment])
    discounts = [1 / math.log2(place + 1) for place in (1, 2, 3)]
    whole = (1 * discounts[0] + 5 * discounts[2]) / (5 * discounts[0] + 2 * discounts[1] + 1 * discounts[2])
    restricted = (5 * discounts[2]) / (5 * discounts[0] + 2 * discounts[1])
    assert result.metrics["ndcg@3"] == pytest.approx(whole)
    assert result.segments["some"]["ndcg@3"].tolist() == pytest.approx([restricted])


def test_gain_is_part_of_the_protocol_only_if_it_is_set() -> None:
    assert "gain" not in Evaluator(["ndcg"]).settings
    assert Evaluator(["ndcg"], gain="exp2").settings["gain"] == "exp2"


def test_unsuitable_ratings_are_refused(world: dict[str, Any]) -> None:
    def evaluate(test: pd.DataFrame, gain: Any) -> None:
        Evaluator(["ndcg"], [5], gain=gain).evaluate(world["model"], test)

    with pytest.raises(DataError, match=r"no ratings, so gain='exp2'"):
        evaluate(world["test"].drop(columns="rating"), "exp2")
    with pytest.raises(DataError, match=r"rating 0, .* set relevance_threshold"):
        evaluate(world["test"].assign(rating=0.0), "rating")
    with pytest.raises(DataError, match=r"rating 100, .* use gain='rating'"):
        evaluate(world["test"].assign(rating=100.0), "exp2")
    with pytest.raises(ConfigError, match=r"gain='exp'.*exp2"):
        evaluate(world["test"], "exp")
