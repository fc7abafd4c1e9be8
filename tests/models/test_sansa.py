import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recctl.data.dataset import InteractionDataset
from recctl.engines import set_threads, threads
from recctl.errors import TrainingError
from recctl.models import sansa
from recctl.models.ease import EASERecommender
from recctl.models.sansa import SANSARecommender
from tests.models.suite import ModelSuite, toy


class TestSANSA(ModelSuite):
    name = "sansa"


def inverse(model):
    """The product `W.T D W`."""
    W = model.weights.to_scipy().toarray().astype(np.float64) + np.eye(len(model.pivots))
    return W.T @ (model.pivots[:, None] * W)


def brute_force(X, l2_reg, n_neighbors):
    """W and D by the formulas of the model's docstring, in dense float64."""
    G = X.T @ X
    n = len(G)
    order = np.argsort(-np.count_nonzero(X, axis=0), kind="stable")
    place = np.argsort(order)
    size = np.sqrt(np.maximum(G.diagonal(), 1e-300))
    liked = np.where((place[None, :] < place[:, None]) & (G != 0), np.abs(G) / size[None, :], -1).astype(np.float32)
    # Ties between entries are broken in favor of the more popular item.
    best = [
        sorted((j for j in range(n) if liked[i, j] > 0), key=lambda j, i=i: (-liked[i, j], place[j])) for i in range(n)
    ]
    kept = np.eye(n, dtype=bool)
    for i in range(n):
        kept[i, best[i][: sansa._KEPT * n_neighbors]] = True
    P = np.where(kept | kept.T, G, 0) + l2_reg * np.eye(n)
    W, D = np.eye(n), np.zeros(n)
    for i in range(n):
        J = best[i][:n_neighbors]
        W[i, J] = -np.linalg.solve(P[np.ix_(J, J)], P[J, i])
        D[i] = 1 / (W[i] @ P @ W[i])
    return W, D


@pytest.mark.parametrize("l2_reg", [10.0, 1000.0])
@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("n_items", [1, 2, 25, 90])
def test_all_neighbors_yield_the_weights_of_ease(l2_reg, implicit, n_items):
    dataset = InteractionDataset(
        toy(n_items, 600, n_items), implicit=implicit
    )  # enough users for every two items to share some
    model = SANSARecommender(l2_reg=l2_reg, n_neighbors=n_items).fit(dataset)
    ease = EASERecommender(l2_reg=l2_reg).fit(dataset)
    X = dataset.csr.toarray().astype(np.float64)
    expected = np.linalg.inv(X.T @ X + l2_reg * np.eye(n_items))
    np.testing.assert_allclose(inverse(model), expected, rtol=1e-3, atol=1e-4 * abs(expected).max())
    users = np.arange(dataset.n_users, dtype=np.int32)
    scores = ease.score_users(users)
    np.testing.assert_allclose(model.score_users(users), scores, rtol=1e-3, atol=1e-4 * abs(scores).max() + 1e-6)
    items = np.arange(n_items, dtype=np.int32)
    np.testing.assert_allclose(
        model._similarity(items), ease.weights, rtol=1e-3, atol=1e-4 * abs(ease.weights).max() + 1e-6
    )


@pytest.mark.parametrize("n_neighbors", [1, 3, 10])
@pytest.mark.parametrize("implicit", [True, False])
def test_few_neighbors_equal_brute_force(n_neighbors, implicit):
    rows = toy(4, 60, 40)
    rows["rating"] += np.random.default_rng(0).random(len(rows)).astype(np.float32)  # no two entries are equal
    dataset = InteractionDataset(rows, implicit=implicit)
    model = SANSARecommender(l2_reg=20.0, n_neighbors=n_neighbors).fit(dataset)
    W, D = brute_force(dataset.csr.toarray().astype(np.float64), 20.0, n_neighbors)
    np.testing.assert_allclose(model.weights.to_scipy().toarray() + np.eye(len(W)), W, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(model.pivots, D, rtol=1e-4)
    assert np.diff(model.weights.starts).max() <= n_neighbors


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40), st.integers(-3, 5)), min_size=1, max_size=150),
    st.floats(0.5, 100),
    st.booleans(),
    st.integers(1, 6),
)
def test_an_item_does_not_contribute_to_its_own_score(rows, l2_reg, implicit, n_neighbors):
    dataset = InteractionDataset(pd.DataFrame(rows, columns=["user_id", "item_id", "rating"]), implicit=implicit)
    model = SANSARecommender(l2_reg=l2_reg, n_neighbors=n_neighbors).fit(dataset)
    X = dataset.csr.toarray().astype(np.float64)
    P = inverse(model)
    B = -P / P.diagonal()
    np.fill_diagonal(B, 0)
    found = model.score_users(np.arange(dataset.n_users, dtype=np.int32))
    np.testing.assert_allclose(found, X @ B, rtol=1e-3, atol=1e-4 * max(1.0, abs(X).max()))


@pytest.mark.parametrize("l2_reg", [500.0, 1.0, 1e-3])
@pytest.mark.parametrize("kind", ["counts", "equal items"])
@pytest.mark.filterwarnings("ignore:ease")
def test_all_neighbors_yield_the_weights_of_float64_for_any_regularization(kind, l2_reg):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"user_id": rng.integers(0, 90, 2500), "item_id": rng.integers(0, 12, 2500)}).drop_duplicates()
    if kind == "counts":
        rows["rating"] = rng.pareto(0.7, len(rows)).clip(0, 1e5).round() + 1
    else:
        rows = pd.concat([rows, rows.assign(item_id=rows.item_id + 100)])
        rows["rating"] = 300.0
    dataset = InteractionDataset(rows, implicit=False)
    X = dataset.csr.toarray().astype(np.float64)
    n_items = X.shape[1]
    model = SANSARecommender(l2_reg=l2_reg, n_neighbors=n_items).fit(dataset)
    _, values, vectors = np.linalg.svd(X, full_matrices=True)
    P = (vectors.T / (values**2 + l2_reg)) @ vectors
    B = -P / np.diag(P)
    np.fill_diagonal(B, 0)
    found = model._similarity(np.arange(n_items, dtype=np.int32))
    assert np.linalg.norm(found - B) < 0.01 * np.linalg.norm(B)


def test_model_does_not_depend_on_the_number_of_threads():
    dataset = InteractionDataset(toy(5, 200, 150))
    before = threads()
    models = []
    for count in (1, 2, 3):
        set_threads(count)
        models.append(SANSARecommender(n_neighbors=8).fit(dataset))
    set_threads(before)
    for name in ("pivots", "scale"):
        assert len({getattr(model, name).tobytes() for model in models}) == 1
    assert len({model.weights.values.tobytes() for model in models}) == 1


def test_nearly_equal_items_yield_finite_weights():
    # Almost no regularization and three equal items: the Gram matrix is nearly singular.
    rows = pd.DataFrame(
        [(user, item) for user in range(50) for item in range(3 + user % 4)], columns=["user_id", "item_id"]
    )
    model = SANSARecommender(l2_reg=1e-9).fit(rows)
    assert abs(model.weights.values).max() < 10
    assert (model.pivots > 0).all()


def test_catalog_too_large_for_ease_is_fitted(monkeypatch):
    monkeypatch.setenv("RECCTL_MEMORY", str(50 * 10**6))
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"user_id": rng.integers(0, 500, 5000), "item_id": np.r_[:4000, :1000]})
    with pytest.raises(TrainingError, match="choose sansa"):
        EASERecommender().fit(rows)
    assert len(SANSARecommender(n_neighbors=20).fit(rows).recommend([3], k=5)) == 5
