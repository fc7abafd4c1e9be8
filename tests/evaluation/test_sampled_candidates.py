from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from recctl.errors import ConfigError
from recctl.evaluation import Evaluator
from recctl.kernels.candidate_sampling import keep_candidates
from recctl.models.base import Recommender
from recctl.ranking import blocks
from tests.evaluation.oracle import hand_made

N_USERS, N_ITEMS = 50, 40
NAMES = ["precision", "recall", "ndcg", "hit_rate", "map", "mrr", "auc"]


@pytest.fixture(scope="module")
def model() -> Recommender:
    rng = np.random.default_rng(1)
    fitted = pd.DataFrame(np.argwhere(rng.random((N_USERS, N_ITEMS)) < 0.2), columns=["user_id", "item_id"])
    return hand_made(rng.random((N_USERS, N_ITEMS)), np.zeros((N_ITEMS, N_ITEMS))).fit(fitted)


@pytest.fixture(scope="module")
def held_out() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    return pd.DataFrame(np.argwhere(rng.random((N_USERS, N_ITEMS)) < 0.1), columns=["user_id", "item_id"])


def draw(n_negatives: int, seed: int, n_items: int = 30) -> np.ndarray:
    """Which items are candidates: item 3 and 4 are seen, 7 is relevant."""
    scores = np.zeros((1, n_items), np.float32)
    starts = np.array([0, 2]), np.array([0, 1])
    seen, relevant = np.array([3, 4], np.int32), np.array([7], np.int32)
    keep_candidates(scores, starts[0], seen, starts[1], relevant, n_negatives, np.array([seed]))
    return np.flatnonzero(scores[0] == 0)


@pytest.mark.parametrize("n_negatives", [1, 10, 26, 27, 28, 1000])
def test_candidates_are_relevant_items_and_requested_number_of_others(n_negatives: int) -> None:
    for seed in range(50):
        kept = draw(n_negatives, seed)
        assert len(kept) == min(n_negatives, 27) + 1
        assert 7 in kept
        assert not {3, 4} & set(kept.tolist())


def test_items_are_sampled_uniformly() -> None:
    seeds = np.random.default_rng(0).integers(2**63, size=20_000)
    counts = np.bincount(np.concatenate([draw(5, seed) for seed in seeds]), minlength=30)
    assert counts[7] == 20_000
    counts = np.delete(counts, [3, 4, 7])
    expected = 20_000 * 5 / 27
    deviation = ((counts - expected) ** 2 / expected).sum()  # about chi-squared with 26 degrees of freedom
    assert 8 < deviation < 55


def test_pairs_of_items_are_sampled_uniformly() -> None:
    seeds = np.random.default_rng(5).integers(2**63, size=20_000)
    together = np.zeros((30, 30), np.int64)
    for seed in seeds:
        kept = draw(5, seed)
        together[np.ix_(kept, kept)] += 1
    others = np.setdiff1d(np.arange(30), [3, 4, 7])
    pairs = together[np.ix_(others, others)][np.triu_indices(27, 1)]
    expected = 20_000 * 5 * 4 / (27 * 26)
    assert abs(pairs.mean() - expected) < 1e-9
    assert 0.7 < pairs.var() / expected < 1.3  # as of a Poisson variable


def test_sampling_all_items_equals_full_ranking(model: Recommender, held_out: pd.DataFrame) -> None:
    full = Evaluator(NAMES, [3, 10]).evaluate(model, held_out)
    sampled = Evaluator(NAMES, [3, 10], n_candidates=N_ITEMS).evaluate(model, held_out)
    assert sampled == {f"sampled_{key}": value for key, value in full.items()}


def test_result_records_sampled_protocol(model: Recommender, held_out: pd.DataFrame) -> None:
    result = Evaluator(["ndcg", "auc"], [5], n_candidates=7).evaluate_users(model, held_out)
    assert result.protocol == "sampled-7"
    assert list(result.metrics) == ["sampled_ndcg@5", "sampled_auc"]
    assert list(result.per_user) == ["user_id", "sampled_ndcg@5", "sampled_auc", "n_relevant"]


def test_fewer_candidates_give_higher_values(model: Recommender, held_out: pd.DataFrame) -> None:
    recalls = [Evaluator(["recall"], [5], n_candidates=n).evaluate(model, held_out)["sampled_recall@5"] for n in (1, 5)]
    assert recalls[0] > recalls[1] > Evaluator(["recall"], [5]).evaluate(model, held_out)["recall@5"]


def test_samples_depend_on_seed_only(
    model: Recommender, held_out: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = lambda seed: Evaluator(NAMES, [5], n_candidates=5, seed=seed).evaluate(model, held_out)  # noqa: E731
    first = measure(1)
    assert measure(2) != first
    monkeypatch.setenv("RECCTL_THREADS", "3")
    assert measure(1) == first
    monkeypatch.setattr(blocks, "_MAX_ROWS", 7)
    assert measure(1) == first


def test_samples_do_not_depend_on_known_users() -> None:
    rng = np.random.default_rng(4)
    scores = rng.random((N_USERS, N_ITEMS))
    fitted = pd.DataFrame(np.argwhere(rng.random((N_USERS, N_ITEMS)) < 0.2), columns=["user_id", "item_id"])
    held_out = pd.DataFrame(np.argwhere(rng.random((N_USERS, N_ITEMS)) < 0.1), columns=["user_id", "item_id"])
    tables = []
    for rows in (fitted, fitted[fitted["user_id"] >= 10]):
        model = hand_made(scores, np.zeros((N_ITEMS, N_ITEMS))).fit(rows)
        table = Evaluator(["ndcg"], [5], n_candidates=5).evaluate_users(model, held_out).per_user
        tables.append(table[table["user_id"] >= 10].reset_index(drop=True))
    pd.testing.assert_frame_equal(*tables)


def test_catalog_metrics_with_sampled_candidates_are_rejected() -> None:
    with pytest.raises(ConfigError, match="metrics: coverage, novelty: not defined for sampled candidates; remove"):
        Evaluator(["ndcg", "coverage", "novelty"], n_candidates=100)
