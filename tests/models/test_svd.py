import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recctl import InteractionDataset, SVDRecommender
from tests.conftest import n_examples
from tests.models import rating_models
from tests.models.suite import ModelSuite


class TestSVD(ModelSuite):
    name = "svd"
    history_based = False

    test_personal_model_recommends_withheld_checkerboard_item = (
        rating_models.recommends_the_withheld_item_of_the_checkerboard
    )
    test_predict_equals_recommendation_scores = rating_models.predicts_the_scores_it_ranks_by
    test_similar_items_are_ranked_or_unsupported = rating_models.finds_similar_items


class TestRatings(rating_models.RatingTests):
    model = SVDRecommender


@settings(max_examples=n_examples(40), deadline=None)
@given(rating_models.ANY_RATINGS, st.sampled_from([0.005, 0.5]))
def test_any_ratings_are_fitted_or_refused(rows, lr):
    rating_models.serves_or_refuses(SVDRecommender(n_factors=3, n_epochs=3, lr=lr), rows)


def test_scores_equal_mean_biases_and_product():
    train, _ = rating_models.parts()
    model = SVDRecommender(n_factors=5, n_epochs=3).fit(train)
    expected = model.mean + model.user_biases[:, None] + model.item_biases + model.user_factors @ model.item_factors.T
    np.testing.assert_allclose(model.score_users(np.arange(150, dtype=np.int32)), expected, rtol=1e-5)


def test_history_without_ratings_gets_item_biases():
    train, _ = rating_models.parts()
    model = SVDRecommender().fit(train)
    a, b = model.score_histories(InteractionDataset(train).matrix)[:2]
    assert a.tolist() == b.tolist()
    np.testing.assert_allclose(a, model.mean + model.item_biases, rtol=1e-6)
