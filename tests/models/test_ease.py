import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recctl.data.dataset import InteractionDataset
from recctl.errors import TrainingError
from recctl.models.ease import EASERecommender
from tests.models.suite import ModelSuite, toy


class TestEASE(ModelSuite):
    name = "ease"


def oracle(X, l2_reg):
    """Algorithm 1 of the paper in float64, with a general matrix inverse."""
    gram = X.T @ X + l2_reg * np.eye(X.shape[1])
    inverse = np.linalg.inv(gram)
    B = inverse / -np.diag(inverse)
    np.fill_diagonal(B, 0)
    return B


def objective(X, B, l2_reg):
    return np.sum((X - X @ B) ** 2) + l2_reg * np.sum(B**2)


@pytest.mark.parametrize("l2_reg", [10.0, 100.0, 1000.0])
@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("n_items", [1, 2, 25, 31, 32, 33, 150])
def test_weights_equal_the_closed_form(l2_reg, implicit, n_items):
    dataset = InteractionDataset(toy(n_items, 120, n_items), implicit=implicit)
    model = EASERecommender(l2_reg=l2_reg).fit(dataset)
    X = dataset.csr.toarray().astype(np.float64)
    expected = oracle(X, l2_reg)
    np.testing.assert_allclose(model.weights, expected, rtol=1e-4, atol=1e-4 * abs(expected).max())
    scores = model.score_users(np.arange(dataset.n_users, dtype=np.int32))
    np.testing.assert_allclose(scores, X @ expected, rtol=1e-4, atol=1e-4 * abs(X @ expected).max())
    assert not model.weights.diagonal().any()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40), st.integers(1, 5)), min_size=1, max_size=150),
    st.floats(0.5, 100),
    st.booleans(),
)
def test_weights_of_any_data_equal_the_closed_form(rows, l2_reg, implicit):
    dataset = InteractionDataset(pd.DataFrame(rows, columns=["user_id", "item_id", "rating"]), implicit=implicit)
    expected = oracle(dataset.csr.toarray().astype(np.float64), l2_reg)
    weights = EASERecommender(l2_reg=l2_reg).fit(dataset).weights
    np.testing.assert_allclose(weights, expected, rtol=1e-3, atol=1e-3 * max(1e-3, abs(expected).max()))


def test_weights_minimize_the_objective():
    dataset = InteractionDataset(toy(9))
    X = dataset.csr.toarray().astype(np.float64)
    B = EASERecommender(l2_reg=30.0).fit(dataset).weights.astype(np.float64)
    best = objective(X, B, 30.0)
    rng = np.random.default_rng(0)
    for size in (1e-1, 1e-2, 1e-3):
        for _ in range(20):
            step = rng.normal(size=B.shape) * size
            np.fill_diagonal(step, 0)
            assert objective(X, B + step, 30.0) > best


def test_explicit_ratings_are_the_values_of_the_matrix():
    rows = toy()
    implicit = EASERecommender().fit(rows)
    assert (implicit.weights == EASERecommender().fit(InteractionDataset(rows)).weights).all()
    explicit = EASERecommender().fit(InteractionDataset(rows, implicit=False))
    assert not np.allclose(explicit.weights, implicit.weights)
    history = rows[rows.user_id == 107]
    stranger = explicit.recommend_for_history(history)
    assert stranger.equals(explicit.recommend([107]))


def test_too_many_items_for_memory_are_refused_with_both_numbers(monkeypatch):
    rows = pd.DataFrame({"user_id": np.arange(200_000) % 1000, "item_id": np.arange(200_000)})
    monkeypatch.setenv("RECCTL_MEMORY", str(20 * 10**9))
    with pytest.raises(TrainingError) as caught:
        EASERecommender().fit(rows)
    assert str(caught.value) == (
        "ease: 1,000 users x 200,000 items, 200,000 interactions need 160.0 GB of memory, 20.0 GB are available; "
        "memory grows with the square of the items: choose sansa, or raise data.min_item_interactions"
    )


def wild(kind: str) -> InteractionDataset:
    """Interactions with nearly singular Gram matrices: counts from 1 to 1e5, equal items, fewer users than items."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"user_id": rng.integers(0, 60, 900), "item_id": rng.integers(0, 40, 900)}).drop_duplicates()
    if kind == "counts":
        rows["rating"] = rng.pareto(0.7, len(rows)).clip(0, 1e5).round() + 1
    elif kind == "equal items":
        rows = pd.concat([rows, rows.assign(item_id=rows.item_id + 100)])
        rows["rating"] = 1.0
    else:
        rows = rows[rows.user_id < 12]
        rows["rating"] = 100 * rng.random(len(rows))
    return InteractionDataset(rows, implicit=False)


def oracle_of_singular_values(X, l2_reg):
    """The closed form by the singular values of X, in float64, without products that lose digits."""
    _, values, vectors = np.linalg.svd(X, full_matrices=True)
    squares = np.zeros(X.shape[1])
    squares[: len(values)] = values**2
    inverse = (vectors.T / (squares + l2_reg)) @ vectors
    B = -inverse / np.diag(inverse)
    np.fill_diagonal(B, 0)
    return B


@pytest.mark.parametrize("l2_reg", [500.0, 1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("kind", ["counts", "equal items", "few users"])
@pytest.mark.filterwarnings("ignore:ease")
def test_weights_are_within_one_percent_of_float64_for_any_regularization(kind, l2_reg):
    dataset = wild(kind)
    model = EASERecommender(l2_reg=l2_reg).fit(dataset)
    expected = oracle_of_singular_values(dataset.csr.toarray().astype(np.float64), l2_reg)
    error = np.linalg.norm(model.weights - expected) / np.linalg.norm(expected)
    assert error < 0.01
    # The estimate is of the size of the error, which includes rounding to float32.
    assert error < 4 * model.convergence()["relative_error"] + 1e-6


@pytest.mark.parametrize(("kind", "l2_reg", "needs_double"), [("few users", 1e-3, True), ("few users", 500.0, False)])
def test_float64_is_used_with_a_notice_where_float32_is_too_imprecise(kind, l2_reg, needs_double, listener):
    EASERecommender(l2_reg=l2_reg).fit(wild(kind))
    notices = [text for text in listener.notices if text.startswith("ease: float32 is too imprecise for l2_reg=0.001")]
    assert len(notices) == needs_double


def test_float64_that_does_not_fit_in_memory_is_refused_with_the_l2_reg_to_try(monkeypatch):
    dataset = wild("few users")
    monkeypatch.setenv("RECCTL_MEMORY", "15000")
    with pytest.raises(
        TrainingError, match=r"float32 is too imprecise.*float64 needs 19.* are available.*try l2_reg="
    ) as caught:
        EASERecommender(l2_reg=1e-3).fit(dataset)
    suggested = float(str(caught.value).split("try l2_reg=")[1].split(",")[0])
    assert EASERecommender(l2_reg=suggested).fit(dataset).convergence()["relative_error"] < 0.01


def test_regularization_too_small_for_float64_is_refused_with_one_that_works():
    # Ratings of very different magnitude and almost no regularization: rounding makes the Gram matrix indefinite.
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"user_id": np.repeat(range(3), 30), "item_id": np.tile(range(30), 3)})
    rows["rating"] = 1e6 * rng.normal(size=len(rows))
    dataset = InteractionDataset(rows, implicit=False)
    model = EASERecommender(l2_reg=1e-3)
    with pytest.raises(TrainingError, match=r"ease: float64 is too imprecise for l2_reg=0.001 .*try l2_reg=") as caught:
        model.fit(dataset)
    assert not model.is_fitted
    suggested = float(str(caught.value).split("try l2_reg=")[1].split(",")[0])
    model = EASERecommender(l2_reg=suggested).fit(dataset)
    expected = oracle_of_singular_values(dataset.csr.toarray().astype(np.float64), suggested)
    assert np.linalg.norm(model.weights - expected) < 0.01 * np.linalg.norm(expected)


def test_values_that_overflow_are_refused():
    rows = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [1, 2, 1], "rating": [3e38, 3e38, 1.0]})
    with np.errstate(all="ignore"), pytest.raises(TrainingError, match="ease: "):
        EASERecommender().fit(InteractionDataset(rows, implicit=False))


MEMORY = """
import numpy as np, pandas as pd
from recctl.data.dataset import InteractionDataset
from recctl.models.ease import EASERecommender

def peak():  # not ru_maxrss, which starts with the peak of the parent process
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

n = 3000
rng = np.random.default_rng(0)
rows = pd.DataFrame({"user_id": rng.integers(0, 5000, 60_000), "item_id": np.r_[:n, rng.integers(0, n, 60_000 - n)]})
EASERecommender().fit(rows.iloc[:100])
data = InteractionDataset(rows)
data.matrix
before = peak()
EASERecommender().fit(data)
print((peak() - before) / (4 * n**2))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_fit_allocates_one_matrix_only():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    # One matrix, plus the workspace of LAPACK and the interactions; with a copy it would be 2.
    assert 0.9 < float(done.stdout) < 1.5
