import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestNeighbors

from recctl.data.dataset import InteractionDataset
from recctl.models.item_knn import ItemKNNRecommender
from tests.models import dense_neighbors
from tests.models.suite import ModelSuite, checkerboard, toy
from tests.ranking.ties import key_of_id, ranking


class TestItemKNN(ModelSuite):
    name = "item-knn"


def dense(dataset):
    return dataset.csr.toarray().astype(np.float64)


def brute_force(X, ids, similarity, n_neighbors, shrinkage):
    """Weights from history items (rows) to scored items (columns), by the formulas of the model's docstring."""
    n = X.shape[1]
    S = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            both = (X[:, i] != 0) & (X[:, j] != 0)
            either = (X[:, i] != 0) | (X[:, j] != 0)
            if similarity == "cosine":
                dot, size = X[:, i] @ X[:, j], np.linalg.norm(X[:, i]) * np.linalg.norm(X[:, j])
            else:
                dot, size = both.sum(), either.sum()
            if i != j and dot > 0:
                S[i, j] = dot / (size + shrinkage)
    for item, row in zip(ids, S, strict=True):
        similarities = dict(zip(ids, row.astype(np.float32).tolist(), strict=True))
        neighbors = ranking(similarities, key_of_id(item))[:n_neighbors]
        row[[other not in neighbors for other in ids]] = 0
    return S.T


def weights(model):
    return model.weights.to_scipy().toarray()


@pytest.mark.parametrize("similarity", ["cosine", "jaccard"])
@pytest.mark.parametrize("shrinkage", [0.0, 7.5])
@pytest.mark.parametrize("n_neighbors", [1, 4, 24, 100])
@pytest.mark.parametrize("implicit", [True, False])
def test_scores_equal_brute_force(similarity, shrinkage, n_neighbors, implicit):
    dataset = InteractionDataset(toy(3), implicit=implicit)
    model = ItemKNNRecommender(similarity=similarity, n_neighbors=n_neighbors, shrinkage=shrinkage).fit(dataset)
    X = dense(dataset)
    expected = brute_force(X, dataset.item_vocabulary.ids.tolist(), similarity, n_neighbors, shrinkage)
    np.testing.assert_allclose(weights(model), expected, rtol=1e-5, atol=1e-7)
    scored = X if similarity == "cosine" else X != 0
    scores = model.score_users(np.arange(dataset.n_users, dtype=np.int32))
    np.testing.assert_allclose(scores, scored @ expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "jaccard"])
@pytest.mark.parametrize("weighting", ["tf_idf", "bm25"])
@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.0, 1.0), (50.0, 0.0)])
@pytest.mark.parametrize("implicit", [True, False])
def test_weights_with_weighted_users_equal_dense_computation(similarity, weighting, k1, b, implicit):
    rows = toy(2)
    rows["rating"] = np.random.default_rng(2).uniform(1, 5, len(rows))
    dataset = InteractionDataset(rows, implicit=implicit)
    options = {"weighting": weighting, "bm25_k1": k1, "bm25_b": b}
    model = ItemKNNRecommender(similarity=similarity, n_neighbors=1000, shrinkage=2.5, **options).fit(dataset)
    X = dense(dataset)
    by_item = X.T
    if similarity != "jaccard":  # which weighs nothing
        by_item = dense_neighbors.weighted(X.T, weighting, k1, b)
    expected = dense_neighbors.similarities(by_item, by_item, similarity, 2.5)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(weights(model), expected, rtol=1e-5, atol=1e-7)
    # Scores add up the history as it is.
    used = X != 0 if similarity == "jaccard" else X
    scores = model.score_users(np.arange(dataset.n_users, dtype=np.int32))
    np.testing.assert_allclose(scores, used @ expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weighting", ["tf_idf", "bm25"])
def test_ratings_of_zero_have_no_weight(weighting):
    rows = pd.DataFrame({"user_id": [1, 1, 2, 2], "item_id": [1, 2, 1, 2], "rating": [0, 0, 0, 1]})
    model = ItemKNNRecommender(weighting=weighting, bm25_b=1.0).fit(InteractionDataset(rows, implicit=False))
    assert model.weights.nnz == 0


def test_similarities_equal_scikit_learn():
    dataset = InteractionDataset(toy(4), implicit=False)
    X = dense(dataset)
    everyone = {"n_neighbors": 1000, "shrinkage": 0.0}
    cosine = cosine_similarity(X.T)
    jaccard = 1 - pairwise_distances((X != 0).T, metric="jaccard")
    for name, expected in (("cosine", cosine), ("jaccard", jaccard)):
        np.fill_diagonal(expected, 0)
        model = ItemKNNRecommender(similarity=name, **everyone).fit(dataset)
        np.testing.assert_allclose(weights(model), expected.T, rtol=1e-5, atol=1e-6)


def test_neighbors_equal_scikit_learn():
    # Distinct similarities, so that the neighbors do not depend on the tie rule.
    rows = toy(5)
    rows["rating"] = np.random.default_rng(5).uniform(1, 5, len(rows))
    dataset = InteractionDataset(rows, implicit=False)
    distances, items = NearestNeighbors(n_neighbors=7, metric="cosine").fit(dense(dataset).T).kneighbors()
    model = ItemKNNRecommender(n_neighbors=7, shrinkage=0.0).fit(dataset)
    near = model.similar_items(dataset.item_vocabulary.ids, k=7)
    assert near.similar_item_id.tolist() == dataset.item_vocabulary.ids[items.ravel()].tolist()
    np.testing.assert_allclose(near.score, 1 - distances.ravel(), rtol=1e-5)


def test_shrinkage_equals_hand_computed_values():
    # Items 1 and 2 share one user; items 1 and 3 share all three.
    rows = pd.DataFrame({"user_id": [1, 1, 1, 2, 2, 3, 3], "item_id": [1, 2, 3, 1, 3, 1, 3]})
    near = ItemKNNRecommender(shrinkage=2.0).fit(rows).similar_items([1])
    assert near.similar_item_id.tolist() == [3, 2]
    np.testing.assert_allclose(near.score, [3 / (3 + 2), 1 / (3**0.5 + 2)], rtol=1e-6)
    near = ItemKNNRecommender(similarity="jaccard", shrinkage=2.0).fit(rows).similar_items([1])
    np.testing.assert_allclose(near.score, [3 / (3 + 2), 1 / (3 + 2)], rtol=1e-6)


@pytest.mark.parametrize("n_neighbors", [1, 3, 10])
def test_neighbors_are_the_best_of_all_similar_items_ties_included(n_neighbors):
    # All items of one parity are equal, except for the withheld interaction.
    few = ItemKNNRecommender(n_neighbors=n_neighbors, shrinkage=0.0).fit(checkerboard(40))
    everything = ItemKNNRecommender(n_neighbors=39, shrinkage=0.0).fit(checkerboard(40))
    best = everything.similar_items(range(40), k=n_neighbors)
    pd.testing.assert_frame_equal(few.similar_items(range(40), k=39), best)
    # Which of many equal items are neighbors differs from item to item.
    assert best.similar_item_id.nunique() > 20


def test_items_without_common_users_are_not_similar():
    rows = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [1, 2, 3]})
    model = ItemKNNRecommender().fit(rows)
    assert model.similar_items([1, 3], k=5).similar_item_id.tolist() == [2]
    assert model.predict([1, 2], [3, 1]).tolist() == [0, 0]


def test_negative_similarities_are_dropped_and_zero_ratings_are_fitted():
    rows = pd.DataFrame(
        {
            "user_id": [1, 1, 1, 2, 2, 2, 3],
            "item_id": [1, 2, 3, 1, 2, 3, 4],
            "rating": [1, -1, 0, 1, -1, 2, 0],
        }
    )
    model = ItemKNNRecommender(shrinkage=0.0).fit(InteractionDataset(rows, implicit=False))
    assert weights(model)[0].tolist() == pytest.approx([0, 0, 2 / (8**0.5), 0])
    assert model.weights.nnz == 2


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 12), st.integers(-2, 3)), min_size=1, max_size=60),
    st.integers(1, 14),
    st.sampled_from(["cosine", "jaccard"]),
    st.booleans(),
)
def test_scores_of_any_data_equal_brute_force(rows, n_neighbors, similarity, implicit):
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rating"])
    dataset = InteractionDataset(frame, implicit=implicit)
    model = ItemKNNRecommender(similarity=similarity, n_neighbors=n_neighbors, shrinkage=1.0).fit(dataset)
    X = dense(dataset)
    if similarity == "jaccard":  # a rating of 0 is an interaction, too
        X = InteractionDataset(frame).csr.toarray().astype(np.float64)
    everything = brute_force(X, dataset.item_vocabulary.ids.tolist(), similarity, 99, 1.0)
    found = weights(model)
    kept = found != 0
    np.testing.assert_allclose(found[kept], everything[kept], rtol=1e-5)
    # Rounding may break ties differently: compare the similarities that are kept, not the items.
    best = -np.sort(-everything, axis=0)[:n_neighbors]
    np.testing.assert_allclose(-np.sort(-found, axis=0)[: len(best)], best, rtol=1e-5)


def test_model_does_not_depend_on_the_number_of_threads(monkeypatch, tmp_path):
    hashes = set()
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("RECCTL_THREADS", threads)
        hashes.add(ItemKNNRecommender(n_neighbors=5).fit(toy(1, 300, 400)).save(tmp_path / threads))
    assert len(hashes) == 1
