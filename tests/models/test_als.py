import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recctl.data.dataset import InteractionDataset
from recctl.errors import DataError, TrainingError, UnsupportedError
from recctl.models.als import ALSRecommender
from tests.conftest import n_examples
from tests.models.suite import ModelSuite, toy

SOLVERS = ["cg", "cholesky", "ials++"]


class TestALS(ModelSuite):
    name = "als"


def dense(dataset):
    return dataset.csr.toarray().astype(np.float64), dataset.csr.toarray() != 0


def parts(dataset, model):
    """Confidences, preferences, and the regularization of users and of items, as in the docstring of the model."""
    R, here = dense(dataset)
    if model.implicit:
        C, P = 1 + model.alpha * R, here.astype(float)
    else:
        C, P = here.astype(float), np.where(here, R - R[here].mean(), 0)
    summed = C if model.reg_by == "pairs" else C * here
    if not model.implicit:
        scale = (R[here].max() - R[here].min()) / 4
    else:
        scale = 1.0
    return C, P, *(scale * model.reg * summed.sum(axis) ** model.reg_exponent for axis in (1, 0))


def objective(dataset, model):
    C, P, users, items = parts(dataset, model)
    X, Y = model.user_factors.astype(np.float64), model.item_factors.astype(np.float64)
    return np.sum(C * (P - X @ Y.T) ** 2) + users @ np.sum(X**2, 1) + items @ np.sum(Y**2, 1)


def solved(C, P, weights, Y):
    """The solution of the normal equations of each row, in float64."""
    return np.array(
        [
            np.linalg.solve(Y.T @ (c[:, None] * Y) + w * np.eye(Y.shape[1]), Y.T @ (c * p))
            for c, p, w in zip(C, P, weights, strict=True)
        ]
    )


def scores_of(model, dataset):
    return model.score_users(np.arange(dataset.n_users, dtype=np.int32))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("reg_by", ["interactions", "pairs"])
@pytest.mark.parametrize("kind", ["binary", "weighted", "ratings"])
def test_loss_equals_objective_and_user_factors_are_optimal(solver, exponent, reg_by, kind):
    dataset = InteractionDataset(toy(3), implicit=kind == "binary")
    settings = {
        "implicit": kind != "ratings",
        "reg_exponent": exponent,
        "reg_by": reg_by,
        "reg": 0.1,
        "alpha": 3.0,
        "block_size": 3,
    }
    model = ALSRecommender(n_factors=8, n_iterations=6, tol=0.0, solver=solver, **settings).fit(dataset)
    assert len(model.losses) == 6
    assert model.losses[-1] == pytest.approx(objective(dataset, model), rel=1e-5)
    C, P, weights, _ = parts(dataset, model)
    expected = solved(C, P, weights, model.item_factors.astype(np.float64))
    np.testing.assert_allclose(model.user_factors, expected, rtol=1e-3, atol=1e-3 * abs(expected).max())


@pytest.mark.parametrize("kind", ["binary", "weighted", "ratings"])
def test_cholesky_solves_each_half_step_exactly(kind):
    # One more iteration in float64 from the current factors: items, then users.
    dataset = InteractionDataset(toy(4), implicit=kind == "binary")
    settings = {"n_factors": 5, "solver": "cholesky", "tol": 0.0, "reg": 0.05, "implicit": kind != "ratings"}
    before, after = (ALSRecommender(n_iterations=n, **settings).fit(dataset) for n in (3, 4))
    C, P, users, items = parts(dataset, before)
    # The model scales both sides to equal penalties before each half-step.
    X, Y = before.user_factors.astype(np.float64), before.item_factors.astype(np.float64)
    scale = ((items @ np.sum(Y**2, 1)) / (users @ np.sum(X**2, 1))) ** 0.25
    Y = solved(C.T, P.T, items, X * scale)
    X = before.user_factors.astype(np.float64)
    X = solved(C, P, users, Y * (users @ np.sum((X * scale) ** 2, 1) / (items @ np.sum(Y**2, 1))) ** 0.25)
    Y = Y * (users @ np.sum((before.user_factors * scale) ** 2, 1) / (items @ np.sum(Y**2, 1))) ** 0.25
    mean = before.mean
    np.testing.assert_allclose(scores_of(after, dataset), X @ Y.T + mean, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("implicit", [True, False])
def test_loss_decreases_in_every_iteration(solver, implicit):
    dataset = InteractionDataset(toy(5, 120, 60), implicit=implicit)
    model = ALSRecommender(n_factors=6, n_iterations=40, tol=0.0, solver=solver, implicit=implicit).fit(dataset)
    assert (np.diff(model.losses) <= 1e-6 * model.losses[:-1]).all()
    exact = ALSRecommender(n_factors=6, n_iterations=40, tol=0.0, solver="cholesky", implicit=implicit).fit(dataset)
    assert model.losses[-1] == pytest.approx(exact.losses[-1], rel=0.01)


@pytest.mark.parametrize("reg", [1e-4, 1e-7, 1e-11])
@pytest.mark.parametrize("kind", ["binary", "counts", "ratings"])
def test_fit_with_tiny_regularization_equals_float64(kind, reg):
    # More factors than most users have items, and than there are items.
    rows = toy(6, 60, 25)
    if kind == "counts":
        rows["rating"] = np.random.default_rng(0).pareto(0.7, len(rows)).clip(0, 1e4).round() + 1
    dataset = InteractionDataset(rows, implicit=kind == "binary")
    settings = {"n_factors": 30, "tol": 0.0, "reg": reg, "implicit": kind != "ratings"}
    before, after = (ALSRecommender(n_iterations=n, solver="cholesky", **settings).fit(dataset) for n in (2, 3))
    at_zero = after._constant_loss(after._centered(dataset.matrix))
    C, P, users, items = parts(dataset, before)
    X, Y = before.user_factors.astype(np.float64), before.item_factors.astype(np.float64)
    # The next iteration in float64, with both sides scaled to equal penalties before each half-step.
    X *= ((items @ np.sum(Y**2, 1)) / (users @ np.sum(X**2, 1))) ** 0.25
    user_penalty = users @ np.sum(X**2, 1)
    Y = solved(C.T, P.T, items, X)
    X = solved(C, P, users, Y * (user_penalty / (items @ np.sum(Y**2, 1))) ** 0.25)
    Y = Y * (user_penalty / (items @ np.sum(Y**2, 1))) ** 0.25
    expected = np.sum(C * (P - X @ Y.T) ** 2) + users @ np.sum(X**2, 1) + items @ np.sum(Y**2, 1)
    assert after.losses[-1] == pytest.approx(expected, abs=1e-5 * at_zero)
    assert after.losses[-1] == pytest.approx(objective(dataset, after), abs=1e-6 * at_zero)
    # Other solvers are no further than the accuracy of their steps, and never rise.
    for solver in ("cg", "ials++"):
        model = ALSRecommender(n_iterations=6, solver=solver, **settings).fit(dataset)
        assert (np.diff(model.losses) <= 1e-6 * at_zero).all()
        assert model.losses[-1] == pytest.approx(objective(dataset, model), abs=1e-6 * at_zero)
        assert model.losses[-1] < 0.05 * at_zero


@pytest.mark.parametrize("implicit", [True, False])
def test_rise_of_the_objective_is_refused_with_a_reg_to_try(implicit, monkeypatch):
    from recctl.models import als

    solve = als.solve_blocks

    def broken(problem, out, begin, end, *options):
        value = solve(problem, out, begin, end, *options)
        calls.append(1)
        return value + 1e9 if len(calls) > 20 else value

    calls: list[int] = []
    monkeypatch.setattr(als, "solve_blocks", broken)
    model = ALSRecommender(implicit=implicit, solver="cholesky", reg=1e-3, n_iterations=50, tol=0.0)
    with pytest.raises(TrainingError, match=r"als: the objective rose from .* outweighs reg=0.001; try reg=0.01"):
        model.fit(toy(5, 120, 60))
    assert not model.is_fitted


def test_fit_stops_at_tolerance():
    long = ALSRecommender(n_factors=4, n_iterations=500, tol=1e-3, reg=0.05).fit(toy())
    assert 2 < len(long.losses) < 100
    falls = -np.diff(long.losses) / long.losses[:-1]
    assert (falls[:-1] > 1e-3).all()
    dataset = InteractionDataset(toy())
    assert long.losses[-1] == pytest.approx(objective(dataset, long), rel=1e-5)


def test_progress_shows_the_loss(listener):
    model = ALSRecommender(n_factors=3, n_iterations=3, tol=0.0).fit(toy())
    assert listener.started[1:] == [("ALS: 3 factors", 3, "iterations")]  # the first is the fit as a whole
    assert listener.n_finished == 2
    updates = listener.updates
    assert [done for done, _ in updates] == [1, 2, 3]
    np.testing.assert_allclose([values["loss"] for _, values in updates], model.losses)


@pytest.mark.parametrize("solver", SOLVERS)
def test_model_does_not_depend_on_the_number_of_threads(solver, monkeypatch, tmp_path):
    rows = toy(1, 600, 800)  # several tasks
    hashes = set()
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("RECCTL_THREADS", threads)
        hashes.add(ALSRecommender(n_factors=128, n_iterations=2, solver=solver).fit(rows).save(tmp_path / threads))
    assert len(hashes) == 1


def test_seed_determines_the_model():
    scores = [
        ALSRecommender(n_factors=4, seed=seed, n_iterations=2).fit(toy()).predict([100], [3])[0] for seed in (1, 1, 2)
    ]
    assert scores[0] == scores[1] != scores[2]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("weighted", [False, True])
def test_history_yields_the_scores_of_a_user_with_that_history(solver, weighted):
    dataset = InteractionDataset(toy(2), implicit=not weighted)
    model = ALSRecommender(n_factors=12, solver=solver, n_iterations=3).fit(dataset)
    everyone = np.arange(dataset.n_users, dtype=np.int32)
    assert (model.score_histories(dataset.matrix) == model.score_users(everyone)).all()


# ---- ratings


def rated(seed=0, n_users=80, n_items=50, noise=0.3):
    rng = np.random.default_rng(seed)
    rows = toy(seed, n_users, n_items)
    X, Y = rng.normal(size=(n_users, 2)), rng.normal(size=(n_items, 2))
    ratings = 3 + np.einsum("ij,ij->i", X[rows.user_id - 100], Y[(rows.item_id - 3) // 7])
    return rows.assign(rating=(ratings + noise * rng.normal(size=len(rows))).astype(np.float32))


def test_ratings_are_predicted():
    rows = rated(n_users=200)
    test = np.random.default_rng(0).random(len(rows)) < 0.1
    model = ALSRecommender(implicit=False, n_factors=2, reg=0.02, n_iterations=30).fit(rows[~test])
    predicted = model.predict(rows.user_id[test], rows.item_id[test])
    errors = predicted - rows.rating[test]
    assert np.sqrt(np.mean(errors**2)) < 0.6 < 0.4 * rows.rating.std() * 2
    assert np.sqrt(np.mean((rows.rating[test] - rows.rating[~test].mean()) ** 2)) > 1.2


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("factor", "shift"), [(0.5, 0.0), (25.0, -25.0), (249.75, -248.75)])
def test_ratings_on_another_scale_yield_the_same_predictions_on_that_scale(solver, factor, shift):
    rows = rated().assign(rating=lambda frame: frame.rating.round().clip(1, 5))
    settings = {"implicit": False, "n_factors": 6, "solver": solver, "n_iterations": 6, "tol": 0.0}
    model = ALSRecommender(**settings).fit(rows)
    moved = ALSRecommender(**settings).fit(rows.assign(rating=factor * rows.rating + shift))
    expected = factor * model.predict(rows.user_id, rows.item_id) + shift
    predicted = moved.predict(rows.user_id, rows.item_id)
    np.testing.assert_allclose(predicted, expected, rtol=0, atol=2e-3 * factor)
    history = rows[rows.user_id == 107]
    stranger = moved.recommend_for_history(history.assign(rating=factor * history.rating + shift), k=5)
    pd.testing.assert_frame_equal(stranger, moved.recommend([107], k=5))


def test_unknown_pairs_get_the_mean_rating():
    rows = rated()
    model = ALSRecommender(implicit=False, n_factors=3).fit(rows)
    predicted = model.predict([107, -1, -1], [-1, 10, -1], on_unknown="mean")
    np.testing.assert_allclose(predicted, rows.rating.mean(), rtol=1e-6)
    with pytest.raises(UnsupportedError, match=r"als: on_unknown='mean': .* not ratings.*on_unknown='skip'"):
        ALSRecommender(n_factors=3).fit(rows).predict([107], [10], on_unknown="mean")


def test_rated_history_is_scored_and_unrated_history_is_refused():
    rows = rated()
    model = ALSRecommender(implicit=False, n_factors=3).fit(rows)
    stranger = model.recommend_for_history(rows[rows.user_id == 107], k=5)
    pd.testing.assert_frame_equal(stranger, model.recommend([107], k=5))
    with pytest.raises(DataError, match="the histories have none; pass a table with user_id, item_id and rating"):
        model.recommend_for_history([[3, 10]])


def test_table_ratings_are_used_with_explicit_feedback_only():
    assert ALSRecommender.needs_ratings is ALSRecommender().needs_ratings is False
    assert ALSRecommender(implicit=False).needs_ratings is True
    with pytest.raises(DataError, match="rating"):
        ALSRecommender(implicit=False).fit(toy().drop(columns="rating"))
    with pytest.raises(DataError, match=r"als learns from ratings.*data.implicit: false"):
        ALSRecommender(implicit=False).fit(InteractionDataset(toy()))


def test_interaction_weights_change_the_model():
    rows = toy()
    weighted = InteractionDataset(rows.assign(rating=2.0), implicit=False)
    twice = ALSRecommender(n_factors=4, alpha=5.0, solver="cholesky").fit(weighted)
    once = ALSRecommender(n_factors=4, alpha=10.0, solver="cholesky").fit(InteractionDataset(rows))
    everyone = np.arange(40, dtype=np.int32)
    np.testing.assert_allclose(twice.score_users(everyone), once.score_users(everyone), rtol=1e-3, atol=1e-3)


# ---- errors


def test_negative_weights_are_refused():
    rows = toy().assign(rating=-1.0)
    with pytest.raises(
        DataError, match=r"als: a rating of -1: .* confidences, which cannot be negative; .* implicit=False"
    ):
        ALSRecommender().fit(InteractionDataset(rows, implicit=False))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("implicit", [True, False])
def test_values_that_overflow_are_refused(solver, implicit):
    rows = toy().assign(rating=3e38)
    rows.loc[::2, "rating"] = 1.0
    model = ALSRecommender(solver=solver, implicit=implicit)
    with np.errstate(all="ignore"), pytest.raises(TrainingError, match=r"als: .*finite"):
        model.fit(InteractionDataset(rows, implicit=False))
    assert not model.is_fitted


def test_error_in_a_task_aborts_the_fit(monkeypatch):
    monkeypatch.setattr("recctl.models.als.conjugate_gradients", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ALSRecommender().fit(toy())


def test_too_many_factors_for_memory_are_refused_with_both_numbers(monkeypatch):
    monkeypatch.setenv("RECCTL_MEMORY", str(10**6))
    with pytest.raises(
        TrainingError, match=r"als: 40 users x 25 items.* need .* 1.0 MB are available; lower n_factors"
    ):
        ALSRecommender(n_factors=2000).fit(toy())


@settings(max_examples=n_examples(60), deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 12), st.integers(1, 5)), min_size=1, max_size=80),
    st.integers(1, 20),
    st.sampled_from(SOLVERS),
    st.booleans(),
    st.sampled_from([0.0, 1.0]),
)
def test_any_data_is_fitted_with_finite_loss(rows, n_factors, solver, implicit, exponent):
    dataset = InteractionDataset(pd.DataFrame(rows, columns=["user_id", "item_id", "rating"]), implicit=False)
    model = ALSRecommender(
        n_factors=n_factors, solver=solver, implicit=implicit, reg_exponent=exponent, block_size=4, tol=0.0
    ).fit(dataset)
    assert np.isfinite(scores_of(model, dataset)).all()
    assert model.losses[-1] == pytest.approx(objective(dataset, model), rel=1e-3, abs=1e-3)
    size = abs(model.losses[0]) + 1e-3
    assert (np.diff(model.losses) <= 1e-4 * size).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.booleans(), st.sampled_from(SOLVERS))
def test_complete_matrix_is_fitted(n_users, n_items, implicit, solver):
    users, items = np.divmod(np.arange(n_users * n_items), n_items)
    rows = pd.DataFrame({"user_id": users, "item_id": items, "rating": 4.0})
    model = ALSRecommender(implicit=implicit, solver=solver, n_iterations=30).fit(rows)
    predicted = model.predict(users, items)
    assert predicted == pytest.approx(predicted[0], rel=1e-2)
    assert predicted[0] == pytest.approx(1 if implicit else 4, rel=0.2)


def test_similar_items_equal_cosine_of_factors():
    model = ALSRecommender(n_factors=5).fit(toy())
    Y = model.item_factors / np.linalg.norm(model.item_factors, axis=1, keepdims=True)
    cosine = Y @ Y.T
    near = model.similar_items([3], k=24)
    codes = model.item_vocabulary.codes(near.similar_item_id.tolist())
    np.testing.assert_allclose(near.score, cosine[0, codes], rtol=1e-4, atol=1e-6)
