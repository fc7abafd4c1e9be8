from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import ElasticNet

from recctl.data.dataset import InteractionDataset
from recctl.engines import set_threads, threads
from recctl.errors import TrainingError
from recctl.models import slim
from recctl.models.ease import EASERecommender
from recctl.models.linear import gram_rows
from recctl.models.slim import SLIMRecommender
from tests.conftest import n_examples
from tests.models.suite import ModelSuite, toy


class TestSLIM(ModelSuite):
    name = "slim"
    hyperparameters: ClassVar = {"l2_reg": 5.0}


EXACT = {"tol": 1e-9, "max_iter": 5000}


def dense(dataset):
    return dataset.csr.toarray().astype(np.float64)


def weights_of(model):
    return model.weights.to_scipy().toarray().astype(np.float64)


def objective(X, W, l1_reg, l2_reg):
    return np.sum((X - X @ W) ** 2) / 2 + l1_reg * np.abs(W).sum() + l2_reg / 2 * np.sum(W**2)


def oracle(X, l1_reg, l2_reg, non_negative):
    """The regression of each item on all others by scikit-learn, on X itself."""
    n_users, n_items = X.shape
    W = np.zeros((n_items, n_items))
    alpha = (l1_reg + l2_reg) / n_users
    for item in range(n_items):
        others = np.delete(np.arange(n_items), item)
        net = ElasticNet(
            alpha, l1_ratio=l1_reg / (l1_reg + l2_reg), fit_intercept=False, positive=non_negative,
            tol=1e-10, max_iter=100_000,
        )  # fmt: skip
        if X[:, item].any() and len(others):
            W[others, item] = net.fit(X[:, others], X[:, item]).coef_
    return W


@pytest.mark.parametrize("non_negative", [True, False])
@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize(("l1_reg", "l2_reg"), [(0.1, 0.1), (1.0, 10.0), (0.01, 100.0), (5.0, 1.0)])
def test_weights_equal_scikit_learn(l1_reg, l2_reg, implicit, non_negative):
    dataset = InteractionDataset(toy(3, 100, 30), implicit=implicit)
    model = SLIMRecommender(l1_reg=l1_reg, l2_reg=l2_reg, non_negative=non_negative, **EXACT).fit(dataset)
    expected = oracle(dense(dataset), l1_reg, l2_reg, non_negative)
    np.testing.assert_allclose(weights_of(model), expected, atol=1e-4)
    assert non_negative or (expected < 0).any() or (l1_reg, implicit) == (5.0, True)
    assert not weights_of(model).diagonal().any()


@pytest.mark.parametrize("non_negative", [True, False])
def test_negative_ratings_disable_screening(non_negative):
    rows = toy(5, 60, 20)
    rows["rating"] -= rows.rating.mean()
    dataset = InteractionDataset(rows, implicit=False)
    model = SLIMRecommender(l1_reg=0.5, l2_reg=2.0, non_negative=non_negative, **EXACT).fit(dataset)
    np.testing.assert_allclose(weights_of(model), oracle(dense(dataset), 0.5, 2.0, non_negative), atol=1e-4)


def test_sparse_data_of_many_items_equals_scikit_learn():
    # Each item shares users with few others, so that rows of the Gram matrix are read in part only.
    rng = np.random.default_rng(0)
    group = rng.integers(0, 12, 300)
    rows = pd.DataFrame({"user_id": np.repeat(np.arange(300), 10)})
    rows["item_id"] = np.repeat(group, 10) * 12 + rng.integers(0, 12, 3000)
    dataset = InteractionDataset(rows.drop_duplicates())
    model = SLIMRecommender(l1_reg=1.0, l2_reg=2.0, **EXACT).fit(dataset)
    np.testing.assert_allclose(weights_of(model), oracle(dense(dataset), 1.0, 2.0, True), atol=1e-4)


@pytest.mark.parametrize(
    "hyperparameters",
    [
        {"l1_reg": 1.0, "l2_reg": 2.0},
        {"l1_reg": 0.0, "l2_reg": 20.0, "non_negative": False},
        {"l1_reg": 0.01, "l2_reg": 5.0, "n_neighbors": 8},
        {"l1_reg": 0.1, "l2_reg": 1.0, "non_negative": False, "n_neighbors": 60},
    ],
)
@pytest.mark.parametrize("implicit", [True, False])
def test_weights_do_not_depend_on_the_gram_memory_limit(monkeypatch, hyperparameters, implicit):
    rng = np.random.default_rng(7)
    # In one case, solutions have more weights than fit in a working set.
    n_items = 530 if implicit and hyperparameters["l1_reg"] == 0 else 240
    rows = pd.DataFrame(np.argwhere(rng.random((n_items, n_items)) < 0.02 + 0.6 * rng.random(n_items) ** 8))
    rows.columns = ["user_id", "item_id"]
    rows["rating"] = rng.normal(3, 1, len(rows)).round(2)
    dataset = InteractionDataset(rows, implicit=implicit)
    whole = SLIMRecommender(**hyperparameters).fit(dataset)
    monkeypatch.setattr(slim, "_GRAM_BYTES_PER_INTERACTION", 0)
    monkeypatch.setattr(gram_rows, "_CACHED", 0)
    for n_top in (0, 3, n_items // 10, n_items) if n_items == 240 else (0, n_items // 10):
        monkeypatch.setattr(slim, "_MIN_GRAM_BYTES", (1 if implicit else 4) * n_top * (2 * dataset.n_items - n_top))
        partly = SLIMRecommender(**hyperparameters).fit(dataset)
        for name in ("starts", "columns", "values"):
            np.testing.assert_array_equal(getattr(partly.weights, name), getattr(whole.weights, name))
        np.testing.assert_array_equal(partly.gaps, whole.gaps)
        np.testing.assert_array_equal(partly.sweeps, whole.sweeps)


def test_without_l1_and_constraint_weights_equal_ease():
    # More weights than fit in a working set, and a closed-form solution.
    rng = np.random.default_rng(1)
    rows = pd.DataFrame(np.argwhere(rng.random((150, 560)) < 0.2), columns=["user_id", "item_id"])
    found = SLIMRecommender(l1_reg=0.0, l2_reg=100.0, non_negative=False, tol=1e-8, max_iter=5000).fit(rows)
    expected = EASERecommender(l2_reg=100.0).fit(rows).weights
    np.testing.assert_allclose(weights_of(found), expected, atol=2e-4)


@settings(max_examples=n_examples(60), deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30), st.integers(1, 5)), min_size=1, max_size=150),
    st.floats(0, 5),
    st.floats(0.1, 50),
    st.booleans(),
    st.booleans(),
)
def test_no_change_of_a_weight_lowers_the_objective(rows, l1_reg, l2_reg, non_negative, implicit):
    # Karush-Kuhn-Tucker conditions: the gradient equals l1 for nonzero weights, and is at most l1 elsewhere.
    dataset = InteractionDataset(pd.DataFrame(rows, columns=["user_id", "item_id", "rating"]), implicit=implicit)
    model = SLIMRecommender(l1_reg=l1_reg, l2_reg=l2_reg, non_negative=non_negative, **EXACT).fit(dataset)
    X, W = dense(dataset), weights_of(model)
    slope = X.T @ (X - X @ W) - l2_reg * W
    np.fill_diagonal(slope, 0)
    largest = (X**2).sum(axis=0).max()
    # A gap of tol allows a slope of sqrt(2 l2 tol); the rest is rounding.
    near = 1e-5 * max(1.0, largest) + 1.5 * np.sqrt(2 * l2_reg * EXACT["tol"] * largest)
    assert (np.abs(slope - np.sign(W) * l1_reg)[W != 0] <= near).all()
    steepest = slope if non_negative else np.abs(slope)
    assert (steepest <= l1_reg + near).all()
    assert not W.diagonal().any()
    assert (W >= 0).all() or not non_negative


@pytest.mark.parametrize(
    "rows",
    {
        "one user": [(1, item) for item in range(5)],
        "one item": [(user, 1) for user in range(5)],
        "one interaction": [(1, 1)],
        "everybody has everything": [(user, item) for user in range(4) for item in range(6)],
        "no two items meet": [(user, user) for user in range(8)],
    }.items(),
    ids=lambda case: case[0],
)
def test_degenerate_data_is_solved(rows):
    dataset = InteractionDataset(pd.DataFrame(rows[1], columns=["user_id", "item_id"]))
    model = SLIMRecommender(l1_reg=0.1, l2_reg=0.5, **EXACT).fit(dataset)
    np.testing.assert_allclose(weights_of(model), oracle(dense(dataset), 0.1, 0.5, True), atol=1e-4)
    assert np.isfinite(model.recommend(dataset.user_vocabulary.ids, exclude_seen=False).score).all()


def test_item_with_zero_ratings_gets_no_weights():
    rows = toy()
    rows.loc[rows.item_id == 4 * 7 + 3, "rating"] = 0
    model = SLIMRecommender(l2_reg=1.0).fit(InteractionDataset(rows, implicit=False))
    W = weights_of(model)
    assert not W[4].any()
    assert not W[:, 4].any()
    assert W.any()
    assert model.sweeps[4] == 0


@pytest.mark.parametrize("n_neighbors", [1, 5, 24, 1000])
def test_n_neighbors_limits_weights_and_they_are_optimal(n_neighbors):
    dataset = InteractionDataset(toy(2, 200, 25))
    X = dense(dataset)
    W = weights_of(SLIMRecommender(l1_reg=0.1, l2_reg=1.0, n_neighbors=n_neighbors, **EXACT).fit(dataset))
    full = oracle(X, 0.1, 1.0, True)
    assert ((W != 0).sum(axis=0) <= n_neighbors).all()
    slope = X.T @ (X - X @ W) - W
    assert np.abs(slope[W != 0] - 0.1).max() < 1e-3
    if n_neighbors >= 24:
        np.testing.assert_allclose(W, full, atol=1e-4)
        return
    # Not worse than the full solution truncated to its largest weights, as other libraries do it.
    cut = np.where(full >= np.sort(full, axis=0)[-n_neighbors], full, 0)
    assert objective(X, W, 0.1, 1.0) < objective(X, cut, 0.1, 1.0)


def test_unsolved_items_are_reported(listener):
    model = SLIMRecommender(l1_reg=0.01, l2_reg=0.01, max_iter=2).fit(toy())
    unsolved = (model.gaps > model.tol).sum()
    assert 0 < unsolved <= 25
    assert model.sweeps.max() == 2
    (message,) = listener.notices
    assert message.startswith(f"slim: {unsolved} of 25 items are not solved to tol=0.0001 after max_iter=2 sweeps")
    assert "raise max_iter, tol or l2_reg" in message
    solved = SLIMRecommender(l1_reg=0.01, l2_reg=1.0, max_iter=1000).fit(toy())
    assert len(listener.notices) == 1
    assert solved.gaps.max() <= solved.tol


def test_gaps_bound_the_distance_to_the_optimum():
    # The gap is an upper bound of the distance of the objective from its minimum.
    dataset = InteractionDataset(toy(4, 150, 25))
    X = dense(dataset)
    best = objective(X, oracle(X, 0.2, 0.5, True), 0.2, 0.5)
    for max_iter in (1, 3, 10, 100):
        model = SLIMRecommender(l1_reg=0.2, l2_reg=0.5, max_iter=max_iter).fit(dataset)
        gap = float(model.gaps @ (X**2).sum(axis=0))
        assert -1e-3 < objective(X, weights_of(model), 0.2, 0.5) - best <= gap + 1e-3


def primal_minus_dual(X, W, l1_reg, l2_reg, non_negative):
    """The gap of each item: its objective minus the Fenchel dual at its residual, each computed in full."""
    gaps = np.zeros(X.shape[1])
    for item in range(X.shape[1]):
        others = np.delete(np.arange(X.shape[1]), item)
        y = X[:, item]
        weights = W[others, item]
        residual = y - X[:, others] @ weights
        primal = residual @ residual / 2 + l1_reg * np.abs(weights).sum() + l2_reg / 2 * weights @ weights
        slope = X[:, others].T @ residual
        excess = np.maximum((slope if non_negative else np.abs(slope)) - l1_reg, 0)
        dual = residual @ y - residual @ residual / 2 - excess @ excess / (2 * l2_reg)
        gaps[item] = (primal - dual) / (y @ y)
    return gaps


@pytest.mark.parametrize("non_negative", [True, False])
def test_small_l2_with_large_counts_measures_gaps_in_float64(non_negative, listener):
    rng = np.random.default_rng(0)
    interactions = toy(3, 100, 30)
    interactions["rating"] = rng.geometric(0.01, len(interactions)).astype(float)
    dataset = InteractionDataset(interactions, implicit=False)
    model = SLIMRecommender(l1_reg=1.0, l2_reg=1e-5, max_iter=20_000, non_negative=non_negative).fit(dataset)
    # The weights are stored in float32: the sums that lead to the gap differ by as much.
    expected = primal_minus_dual(dense(dataset), weights_of(model), 1.0, 1e-5, non_negative)
    np.testing.assert_allclose(model.gaps, expected, rtol=1e-3, atol=1e-7)
    assert (model.gaps > model.tol).any()
    assert model.sweeps.max() < model.max_iter  # by its gap in float32, every item was solved
    (message,) = listener.notices
    assert f"slim: {(model.gaps > model.tol).sum()} of 30 items" in message
    assert "because l2_reg is too small for float32" in message
    assert model.convergence()["unsolved"] == (model.gaps > model.tol).mean()


def test_gap_of_an_item_at_its_limit_is_that_of_its_weights():
    dataset = InteractionDataset(toy(4, 150, 25), implicit=False)
    model = SLIMRecommender(l1_reg=0.01, l2_reg=0.01, n_neighbors=3, tol=1e-7, max_iter=10_000).fit(dataset)
    X = dense(dataset)
    W = weights_of(model)
    for item in range(X.shape[1]):
        chosen = np.append(np.flatnonzero(W[:, item]), item)
        if len(chosen) == 4:
            restricted = primal_minus_dual(X[:, chosen], W[np.ix_(chosen, chosen)], 0.01, 0.01, True)
            assert model.gaps[item] == pytest.approx(restricted[-1], rel=1e-3, abs=1e-9)


def test_model_does_not_depend_on_the_number_of_threads(tmp_path):
    before, hashes = threads(), set()
    try:
        for count in (1, 2, 3):
            set_threads(count)
            hashes.add(SLIMRecommender(l2_reg=1.0).fit(toy(0, 80, 120)).save(tmp_path / "model.pkl"))
    finally:
        set_threads(before)
    assert len(hashes) == 1


def test_weights_beyond_available_memory_are_refused_with_a_suggestion(monkeypatch):
    monkeypatch.setattr(slim, "available_memory", lambda: 1000)
    model = SLIMRecommender(l1_reg=0.0)
    with pytest.raises(
        TrainingError, match=r"slim: the weights of .* of 25 items already need .* raise l1_reg, or set"
    ):
        model.fit(toy())
    assert not model.is_fitted


def test_values_that_overflow_are_refused():
    rows = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [1, 2, 1], "rating": [3e38, 3e38, 1.0]})
    with np.errstate(all="ignore"), pytest.raises(TrainingError, match="slim: "):
        SLIMRecommender().fit(InteractionDataset(rows, implicit=False))
