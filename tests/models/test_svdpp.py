import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recctl import InteractionDataset, SVDPlusPlusRecommender, rng
from tests.conftest import n_examples
from tests.models import rating_models
from tests.models.suite import ModelSuite


class TestSVDPlusPlus(ModelSuite):
    name = "svdpp"
    history_based = False

    test_personal_model_recommends_withheld_checkerboard_item = (
        rating_models.recommends_the_withheld_item_of_the_checkerboard
    )
    test_predict_equals_recommendation_scores = rating_models.predicts_the_scores_it_ranks_by
    test_similar_items_are_ranked_or_unsupported = rating_models.finds_similar_items


class TestRatings(rating_models.RatingTests):
    model = SVDPlusPlusRecommender


@settings(max_examples=n_examples(40), deadline=None)
@given(rating_models.ANY_RATINGS, st.sampled_from([0.005, 0.5]))
def test_any_ratings_are_fitted_or_refused(rows, lr):
    rating_models.serves_or_refuses(SVDPlusPlusRecommender(n_factors=3, n_epochs=3, lr=lr), rows)


def test_scores_equal_equation_15():
    train, _ = rating_models.parts()
    dataset = InteractionDataset(train, implicit=False)
    model = SVDPlusPlusRecommender(n_factors=5, n_epochs=3).fit(dataset)
    rated = dataset.csr.toarray() != 0
    z = (rated / np.sqrt(rated.sum(axis=1, keepdims=True))) @ model.implicit_factors
    expected = (
        model.mean + model.user_biases[:, None] + model.item_biases + (model.user_factors + z) @ model.item_factors.T
    )
    scores = model.score_users(np.arange(dataset.n_users, dtype=np.int32))
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    # A history without ratings is scored by the implicit factors of its items.
    stranger = model.score_histories(InteractionDataset(train).matrix)
    np.testing.assert_allclose(stranger, model.mean + model.item_biases + z @ model.item_factors.T, rtol=1e-5)


def test_fit_equals_the_sequential_steps_of_the_paper():
    train, _ = rating_models.parts()
    dataset = InteractionDataset(train, implicit=False)
    model = SVDPlusPlusRecommender(n_factors=5, n_epochs=2, lr=0.01, lr_decay=0.8).fit(dataset)
    begin = SVDPlusPlusRecommender(n_factors=5)
    begin._initialize(dataset)
    b_u, b_i, p, q, y = (getattr(begin, name).astype(np.float64) for name in begin._trained_arrays())
    starts, columns, ratings = begin.seen.starts, begin.seen.columns, begin.seen.values
    for epoch in range(2):
        order = np.arange(dataset.n_users, dtype=np.int32)
        rng.stream(42, "shuffle", epoch).shuffle(order)
        lr = 0.01 * 0.8**epoch
        for u in order:
            N = columns[starts[u] : starts[u + 1]]
            for i, r in zip(N, ratings[starts[u] : starts[u + 1]], strict=True):
                s = p[u] + y[N].sum(axis=0) / np.sqrt(len(N))
                e, q_i = r - begin.mean - b_u[u] - b_i[i] - q[i] @ s, q[i].copy()
                b_u[u] += lr * (e - 0.02 * b_u[u])
                b_i[i] += lr * (e - 0.02 * b_i[i])
                q[i] += lr * (e * s - 0.02 * q[i])
                p[u] += lr * (e * q_i - 0.02 * p[u])
                y[N] += lr * (e * q_i / np.sqrt(len(N)) - 0.02 * y[N])
    for name, expected in zip(begin._trained_arrays(), (b_u, b_i, p, q, y), strict=True):
        np.testing.assert_allclose(getattr(model, name), expected, rtol=1e-4, atol=1e-5)
