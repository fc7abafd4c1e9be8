import numpy as np
import pandas as pd
import pytest
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestNeighbors

from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import InteractionMatrix
from recctl.models.user_knn import UserKNNRecommender
from tests.models import dense_neighbors
from tests.models.suite import ModelSuite, toy
from tests.ranking.ties import key_of_history, key_of_id


class TestUserKNN(ModelSuite):
    name = "user-knn"
    # A known user is not its own neighbor; an unknown one with the same history has that user as neighbor.
    history_based = False


def dense(dataset):
    return dataset.csr.toarray().astype(np.float64)


def everyone(dataset):
    return np.arange(dataset.n_users, dtype=np.int32)


@pytest.mark.parametrize("similarity", ["cosine", "jaccard", "dot"])
@pytest.mark.parametrize("weighting", ["none", "tf_idf", "bm25"])
@pytest.mark.parametrize("n_neighbors", [1, 5, 100])
def test_scores_equal_dense_computation(similarity, weighting, n_neighbors):
    # Distinct ratings, so that neighbors do not depend on rounding.
    rows = toy(3)
    rows["rating"] = np.random.default_rng(3).uniform(1, 5, len(rows))
    dataset = InteractionDataset(rows, implicit=False)
    options = {"similarity": similarity, "weighting": weighting, "n_neighbors": n_neighbors, "shrinkage": 2.5}
    model = UserKNNRecommender(**options).fit(dataset)
    X = dense(dataset)
    if similarity == "jaccard":  # weighs nothing, and ignores ratings
        X = (X != 0).astype(float)
        weighting = "none"
    compared = dense_neighbors.weighted(X, weighting)
    S = dense_neighbors.similarities(compared, compared, similarity, 2.5)
    np.fill_diagonal(S, 0)
    users = dataset.user_vocabulary.ids.tolist()
    S = dense_neighbors.keep_best(S, [key_of_id(user) for user in users], users, n_neighbors)
    np.testing.assert_allclose(model.neighbors.to_scipy().toarray(), S, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(model.score_users(everyone(dataset)), S @ X, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("similarity", ["cosine", "jaccard"])
@pytest.mark.parametrize("n_neighbors", [3, 7])
def test_tied_neighbors_of_users_and_of_histories_have_the_order_of_tie_keys(similarity, n_neighbors):
    dataset = InteractionDataset(toy(1, n_users=60, n_items=8))
    model = UserKNNRecommender(similarity=similarity, n_neighbors=n_neighbors, shrinkage=0.0).fit(dataset)
    X = dense(dataset)
    users = dataset.user_vocabulary.ids.tolist()
    items = dataset.item_vocabulary.ids
    S = dense_neighbors.similarities(X, X, similarity, 0.0)
    own = S.copy()
    np.fill_diagonal(own, 0)
    own = dense_neighbors.keep_best(own, [key_of_id(user) for user in users], users, n_neighbors)
    np.testing.assert_allclose(model.score_users(everyone(dataset)), own @ X, rtol=1e-5, atol=1e-6)
    keys = [key_of_history(items[row != 0].tolist()) for row in X]
    of_histories = dense_neighbors.keep_best(S, keys, users, n_neighbors)
    np.testing.assert_allclose(model.score_histories(dataset.matrix), of_histories @ X, rtol=1e-5, atol=1e-6)


def test_neighbors_equal_scikit_learn():
    rows = toy(5)
    rows["rating"] = np.random.default_rng(5).uniform(1, 5, len(rows))
    dataset = InteractionDataset(rows, implicit=False)
    distances, users = NearestNeighbors(n_neighbors=7, metric="cosine").fit(dense(dataset)).kneighbors()
    model = UserKNNRecommender(n_neighbors=7, shrinkage=0.0).fit(dataset)
    expected = np.zeros((dataset.n_users, dataset.n_users))
    np.put_along_axis(expected, users, 1 - distances, axis=1)
    np.testing.assert_allclose(model.neighbors.to_scipy().toarray(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weighting", ["none", "tf_idf", "bm25"])
def test_neighbors_of_a_history_are_those_of_the_training_data(weighting):
    rows = toy(6)
    rows["rating"] = np.random.default_rng(6).uniform(1, 5, len(rows))
    dataset = InteractionDataset(rows, implicit=False)
    model = UserKNNRecommender(weighting=weighting, n_neighbors=6).fit(dataset)
    X = dense(dataset)
    history = np.zeros(X.shape[1])
    history[[2, 5, 11]] = [3.5, 1.25, 4.75]
    # Weighted by the frequencies of the training data, not those of the histories.
    n_with = (X != 0).sum(axis=0)
    idf = np.log(1 + (len(X) - n_with + 0.5) / (n_with + 0.5))
    compared = history
    if weighting == "tf_idf":
        compared = history * idf
    elif weighting == "bm25":
        penalty = 1.2 * (0.25 + 0.75 * history.sum() / X.sum(axis=1).mean())
        compared = history * 2.2 / (history + penalty) * idf
    S = dense_neighbors.similarities(compared[None], dense_neighbors.weighted(X, weighting), "cosine", 10.0)
    best = np.argsort(-S[0])[:6]
    expected = S[0, best] @ X[best]
    columns = np.flatnonzero(history).astype(np.int32)
    given = InteractionMatrix(np.array([0, 3]), columns, history[columns].astype(np.float32), X.shape[1])
    np.testing.assert_allclose(model.score_histories(given)[0], expected, rtol=1e-4, atol=1e-5)


def test_similarities_equal_scikit_learn():
    dataset = InteractionDataset(toy(4), implicit=False)
    expected = cosine_similarity(dense(dataset))
    np.fill_diagonal(expected, 0)
    model = UserKNNRecommender(n_neighbors=1000, shrinkage=0.0).fit(dataset)
    np.testing.assert_allclose(model.neighbors.to_scipy().toarray(), expected, rtol=1e-5, atol=1e-6)


def test_shrinkage_equals_hand_computed_values():
    # User 1 shares both items with user 2, and one with user 3.
    rows = pd.DataFrame({"user_id": [1, 1, 2, 2, 2, 3, 3], "item_id": [1, 2, 1, 2, 3, 1, 4]})
    model = UserKNNRecommender(shrinkage=2.0).fit(rows)
    best = model.recommend([1], k=2)
    assert best.item_id.tolist() == [3, 4]
    np.testing.assert_allclose(best.score, [2 / (6**0.5 + 2), 1 / (2 + 2)], rtol=1e-6)


def test_users_without_common_items_add_nothing():
    rows = pd.DataFrame({"user_id": [1, 1, 2, 3], "item_id": [1, 2, 3, 3]})
    model = UserKNNRecommender().fit(rows)
    assert model.predict([1, 2], [3, 1]).tolist() == [0, 0]
    assert model.neighbors.nnz == 2


def test_model_does_not_depend_on_the_number_of_threads(monkeypatch, tmp_path):
    hashes = set()
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("RECCTL_THREADS", threads)
        hashes.add(UserKNNRecommender(n_neighbors=5).fit(toy(1, 400, 60)).save(tmp_path / threads))
    assert len(hashes) == 1


def test_many_users_with_few_products_and_few_users_with_many_are_found_alike():
    # 1,000 users: those of item 1 have many products, the others few, which are added up in two different ways.
    rng = np.random.default_rng(0)
    pairs = pd.DataFrame({"user_id": rng.integers(0, 1000, 3000), "item_id": rng.integers(10, 400, 3000)})
    popular = pd.DataFrame({"user_id": np.arange(0, 1000, 2), "item_id": 1})
    dataset = InteractionDataset(pd.concat([pairs, popular]).drop_duplicates())
    model = UserKNNRecommender(n_neighbors=1000, shrinkage=1.0).fit(dataset)
    X = dense(dataset)
    norms = np.sqrt(X.sum(axis=1))
    expected = (X @ X.T) / (np.outer(norms, norms) + 1)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(model.neighbors.to_scipy().toarray(), expected, rtol=1e-5)


@pytest.mark.parametrize("n_users", [40, 1100])
def test_neighbors_are_in_ascending_order(n_users):
    # Up to 1,024 neighbors are ranked by counting, more are sorted.
    pairs = pd.DataFrame({"user_id": np.arange(n_users), "item_id": 1})
    more = pd.DataFrame({"user_id": np.arange(n_users), "item_id": 2 + np.arange(n_users) % 3})
    model = UserKNNRecommender(n_neighbors=n_users, shrinkage=0.0).fit(pd.concat([pairs, more]))
    found = model.neighbors
    for user in (0, 1, n_users - 1):
        of_user = slice(*found.starts[user : user + 2])
        others = np.delete(np.arange(n_users), user)
        assert found.columns[of_user].tolist() == others.tolist()
        expected = np.where(others % 3 == user % 3, 1.0, 0.5)
        np.testing.assert_allclose(found.values[of_user], expected, rtol=1e-6)
