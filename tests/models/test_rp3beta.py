import numpy as np
import pandas as pd
import pytest

from recctl.data.dataset import InteractionDataset
from recctl.models.rp3beta import RP3betaRecommender
from tests.models import dense_neighbors
from tests.models.suite import ModelSuite, toy
from tests.ranking.ties import key_of_id


class TestRP3beta(ModelSuite):
    name = "rp3beta"


def dense(dataset):
    return dataset.csr.toarray().astype(np.float64)


def walks(X, alpha, beta):
    """Weights from items of the history (rows) to scored items, by matrices of transition probabilities."""
    to_user = (X / X.sum(axis=0)).T ** alpha
    to_item = (X / X.sum(axis=1, keepdims=True)) ** alpha
    to_user[X.T == 0] = 0  # 0 to the power of 0 is 1
    to_item[X == 0] = 0
    W = to_user @ to_item / (X != 0).sum(axis=0) ** beta
    np.fill_diagonal(W, 0)
    return W


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("beta", [0.0, 0.6])
@pytest.mark.parametrize(
    ("alpha", "n_neighbors", "normalize"),
    # With alpha 0 many weights are equal but for rounding, so that all must be kept.
    [(0.7, 4, False), (0.7, 4, True), (1.0, 4, True), (1.0, 1000, False), (0.0, 1000, True)],
)
def test_weights_equal_products_of_dense_transition_matrices(implicit, alpha, beta, n_neighbors, normalize):
    dataset = InteractionDataset(toy(3), implicit=implicit)
    model = RP3betaRecommender(alpha=alpha, beta=beta, n_neighbors=n_neighbors, normalize=normalize).fit(dataset)
    X = dense(dataset)
    W = walks(X, alpha, beta)
    found = model.weights.to_scipy().toarray()
    items = dataset.item_vocabulary.ids.tolist()
    expected = dense_neighbors.keep_best(W.T, [key_of_id(item) for item in items], items, n_neighbors).T
    if normalize:
        expected /= np.maximum(expected.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-8)
    scores = model.score_users(np.arange(dataset.n_users, dtype=np.int32))
    np.testing.assert_allclose(scores, X @ found, rtol=1e-4, atol=1e-6)


def test_walks_of_three_steps_are_probabilities():
    # With alpha 1 and beta 0, those of P3: where a walk from an item ends, by powers of the adjacency matrix.
    dataset = InteractionDataset(toy(5))
    X = dense(dataset)
    n_users, n_items = X.shape
    adjacency = np.block([[np.zeros((n_users, n_users)), X], [X.T, np.zeros((n_items, n_items))]])
    transitions = adjacency / adjacency.sum(axis=1, keepdims=True)
    two_steps = (transitions @ transitions)[n_users:, n_users:]
    model = RP3betaRecommender(alpha=1.0, beta=0.0, n_neighbors=1000).fit(dataset)
    found = model.weights.to_scipy().toarray()
    np.fill_diagonal(found, np.diag(two_steps))
    np.testing.assert_allclose(found, two_steps, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_penalty_of_popularity_equals_hand_computed_values():
    # From item 1: by user 1 to items 1, 2, 3, by user 2 to items 1 and 3. Item 2 has 1 user, item 3 has 3.
    rows = pd.DataFrame({"user_id": [1, 1, 1, 2, 2, 3], "item_id": [1, 2, 3, 1, 3, 3]})
    for beta, expected in ((0.0, [1 / 6 + 1 / 4, 1 / 6]), (1.0, [(1 / 6 + 1 / 4) / 3, 1 / 6])):
        best = RP3betaRecommender(beta=beta).fit(rows).recommend_for_history([[1]], k=2)
        by_item = dict(zip(best.item_id, best.score, strict=True))
        np.testing.assert_allclose([by_item[3], by_item[2]], expected, rtol=1e-6)


def test_interactions_that_are_not_positive_are_not_walked_along():
    rows = pd.DataFrame({"user_id": [1, 1, 1, 2, 2], "item_id": [1, 2, 3, 1, 3], "rating": [2, -1, 1, 1, 0]})
    model = RP3betaRecommender(beta=0.0, n_neighbors=10).fit(InteractionDataset(rows, implicit=False))
    found = model.weights.to_scipy().toarray()
    # Only from item 1 by user 1 to item 3, and back.
    np.testing.assert_allclose(found, [[0, 0, 2 / 3 * 1 / 3], [0, 0, 0], [2 / 3, 0, 0]], rtol=1e-6)


def test_similar_items_are_those_that_walks_reach():
    dataset = InteractionDataset(toy(7))
    model = RP3betaRecommender(beta=0.3, n_neighbors=1000).fit(dataset)
    items = dataset.item_vocabulary.ids
    W = walks(dense(dataset), 1.0, 0.3)
    near = model.similar_items(items[[4]], k=3)
    assert near.similar_item_id.tolist() == items[np.argsort(-W[4])[:3]].tolist()
    np.testing.assert_allclose(near.score, np.sort(W[4])[::-1][:3], rtol=1e-5)


def test_model_does_not_depend_on_the_number_of_threads(monkeypatch, tmp_path):
    hashes = set()
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("RECCTL_THREADS", threads)
        hashes.add(RP3betaRecommender(n_neighbors=5).fit(toy(1, 300, 400)).save(tmp_path / threads))
    assert len(hashes) == 1
