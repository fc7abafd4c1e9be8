"""Common tests of SVD and SVD++: tests of rating models, and replacements for tests of `ModelSuite`."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

from recctl import EarlyStopping, Evaluator, InteractionDataset, Recommender, load_model
from recctl.errors import ConfigError, DataError, NotFittedError, TrainingError
from tests.models.suite import ModelSuite, checkerboard, toy


def rated_checkerboard(size: int = 50) -> pd.DataFrame:
    """Every user rates every item, 5 for equal and 1 for different parity, except the item of the user's own number."""
    users, items = np.divmod(np.arange(size * size), size)
    rows = pd.DataFrame({"user_id": users, "item_id": items, "rating": np.where(users % 2 == items % 2, 5.0, 1.0)})
    return rows[users != items].reset_index(drop=True)


def tastes(seed: int = 0, n_users: int = 150, n_items: int = 80) -> pd.DataFrame:
    """Ratings generated from biases and three factors with noise, for a third of all pairs."""
    random = np.random.default_rng(seed)
    P, Q = random.normal(size=(n_users, 3)), random.normal(size=(n_items, 3))
    everything = 3.5 + 0.5 * random.normal(size=(n_users, 1)) + 0.5 * random.normal(size=n_items) + 0.6 * P @ Q.T
    users, items = np.nonzero(random.random(everything.shape) < 0.33)
    ratings = (everything[users, items] + 0.3 * random.normal(size=len(users))).clip(1, 5)
    return pd.DataFrame({"user_id": users, "item_id": items, "rating": ratings.astype(np.float32)})


def parts(seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = tastes(seed)
    held_out = np.random.default_rng(seed).random(len(rows)) < 0.2
    return rows[~held_out], rows[held_out]


def rmse(model, rows: pd.DataFrame) -> float:
    predicted = model.predict(rows.user_id, rows.item_id, on_unknown="skip")
    return float(np.sqrt(np.nanmean((predicted - rows.rating) ** 2)))


# ---- replacements for tests of the suite


def recommends_the_withheld_item_of_the_checkerboard(self: ModelSuite, model: Recommender) -> None:
    # If all ratings are 1, the mean predicts them perfectly: preferences must be visible in the ratings.
    model.fit(checkerboard())
    assert len(model.recommend(range(50), k=1)) == 50
    model = type(model)(n_factors=4, n_epochs=60, lr=0.02).fit(rated_checkerboard())
    pairs = pd.DataFrame({"user_id": range(50), "item_id": range(50)})
    withheld = model.predict(pairs.user_id, pairs.item_id)
    others = model.predict(pairs.user_id, (pairs.item_id + 1) % 50)
    assert withheld.min() > 4
    assert others.max() < 2


def predicts_the_scores_it_ranks_by(self: ModelSuite, fitted: Recommender) -> None:
    best = fitted.recommend([139, 100, 111], k=1000, exclude_seen=False).sample(frac=1, random_state=1)
    predicted = fitted.predict(best.user_id, best.item_id)
    assert predicted.dtype == np.float32
    np.testing.assert_allclose(predicted, best.score.clip(1, 5), rtol=1e-5, atol=1e-6)
    assert np.isnan(fitted.predict([100, 1], [4, 3], on_unknown="skip")).all()
    with pytest.raises(DataError, match=f"{self.name}: item 4"):
        fitted.predict([100], [4])
    with pytest.raises(DataError, match="2 users and 1 items"):
        fitted.predict([100, 101], [3])
    with pytest.raises(ConfigError, match="on_unknown='popular': unknown choice; one of error, skip"):
        fitted.predict([1], [3], on_unknown="popular")


def finds_similar_items(self: ModelSuite, model: Recommender) -> None:
    model = type(model)(n_factors=4, n_epochs=60, lr=0.02).fit(rated_checkerboard())
    near = model.similar_items(range(50), k=5)
    assert (near.item_id % 2 == near.similar_item_id % 2).all()
    assert near.score.max() <= 1.0001
    with pytest.raises(DataError, match=f"{self.name}: item 99: not in the data"):
        model.similar_items([3, 99])


class RatingTests:
    """Additional tests of rating models.

    Attributes:
        model: The class of the model.
    """

    model: type

    # ---- training

    def test_rmse_is_lower_than_that_of_biases_alone(self) -> None:
        train, test = parts()
        mean = float(train.rating.mean())
        by_item = test.item_id.map(train.groupby("item_id").rating.mean()).fillna(mean)
        assert rmse(self.model(n_epochs=80, lr=0.01).fit(train), test) < 0.8 * float(
            np.sqrt(((by_item - test.rating) ** 2).mean())
        )

    def test_train_epoch_calls_equal_fit(self, tmp_path) -> None:
        train, _ = parts()
        model = self.model(n_epochs=4)
        losses = [model.train_epoch(train) for _ in range(4)]
        assert losses == sorted(losses, reverse=True)
        assert model.best_epoch == 4
        assert model.save(tmp_path / "by hand") == self.model(n_epochs=4).fit(train).save(tmp_path / "fit")

    def test_loaded_model_continues_training(self, tmp_path) -> None:
        train, _ = parts()
        first = self.model(n_epochs=2).fit(train)
        first.save(tmp_path / "m")
        loaded = load_model(tmp_path / "m")
        for model in (first, loaded):
            model.train_epoch(InteractionDataset(train, implicit=False))
        assert first.save(tmp_path / "a") == loaded.save(tmp_path / "b")
        assert self.model(n_epochs=3).fit(train).user_factors.tolist() == loaded.user_factors.tolist()

    def test_train_epoch_on_other_interactions_is_refused(self) -> None:
        train, test = parts()
        model = self.model().fit(train)
        with pytest.raises(DataError, match=r"train_epoch continues with.*partial_fit adds new ones"):
            model.train_epoch(test)

    def test_lr_decay_reduces_the_learning_rate_each_epoch(self) -> None:
        train, _ = parts()
        constant, decayed = (self.model(lr_decay=decay, n_epochs=2).fit(train) for decay in (1.0, 1e-9))
        one = self.model(n_epochs=1).fit(train)
        np.testing.assert_allclose(decayed.item_factors, one.item_factors, atol=1e-6)
        assert not np.allclose(constant.item_factors, one.item_factors, atol=1e-6)

    @pytest.mark.parametrize("lr", [0.5, 2.0, 100.0])
    def test_divergence_is_reported_with_a_lower_lr(self, lr: float) -> None:
        train, _ = parts()
        model = self.model(lr=lr)
        with pytest.raises(TrainingError, match=rf"diverged in epoch \d+: loss .*; lower lr, .* try lr={lr / 4:g}$"):
            model.fit(train)
        assert not model.is_fitted

    def test_implicit_interactions_are_refused(self) -> None:
        with pytest.raises(DataError, match=f"{self.model.name} learns from ratings.*implicit=False"):
            self.model().fit(InteractionDataset(toy(), implicit=True))

    # ---- scales

    @pytest.mark.parametrize(("factor", "shift"), [(0.25, -0.25), (2.5, -2.5), (25.0, -25.0), (249.75, -248.75)])
    def test_ratings_on_another_scale_yield_the_same_predictions_on_that_scale(self, factor, shift) -> None:
        train, test = parts()
        train = train.assign(rating=train.rating.round())  # from 1 to 5
        strangers = train[train.user_id < 5]
        settings = {"n_epochs": 12, "lr": 0.01}
        model = self.model(**settings).fit(train)
        assert model.rating_scale == 1
        moved = self.model(**settings).fit(train.assign(rating=factor * train.rating + shift))
        assert moved.rating_scale == pytest.approx(factor)
        expected = factor * model.predict(test.user_id, test.item_id) + shift
        predicted = moved.predict(test.user_id, test.item_id)
        np.testing.assert_allclose(predicted, expected, rtol=0, atol=2e-4 * factor)
        # Embeddings and folded histories are on the scale of the ratings, too.
        users = np.arange(20, dtype=np.int32)
        vectors = moved.embeddings()
        scores = moved.score_users(users)
        np.testing.assert_allclose(vectors.users[:20] @ vectors.items.T, scores, rtol=0, atol=2e-4 * factor)
        np.testing.assert_allclose(scores, factor * model.score_users(users) + shift, rtol=0, atol=5e-4 * factor)
        stranger = model.recommend_for_history(strangers, k=80, exclude_seen=False)
        moved_strangers = strangers.assign(rating=factor * strangers.rating + shift)
        moved_stranger = moved.recommend_for_history(moved_strangers, k=80, exclude_seen=False)
        pair = ["user_id", "item_id"]
        joined = stranger.merge(moved_stranger, on=pair)
        assert len(joined) == len(stranger)
        np.testing.assert_allclose(joined.score_y, factor * joined.score_x + shift, rtol=0, atol=5e-4 * factor)

    def test_added_ratings_are_trained_on_the_scale_of_the_fit(self) -> None:
        train, _ = parts()
        late = train.user_id >= 140
        model = self.model(n_epochs=10).fit(train[~late])
        moved = self.model(n_epochs=10).fit(train[~late].assign(rating=20 * train.rating))
        model.partial_fit(train[late])
        moved.partial_fit(train[late].assign(rating=20 * train.rating[late]))
        users = np.arange(model.seen.n_rows, dtype=np.int32)
        np.testing.assert_allclose(moved.score_users(users), 20 * model.score_users(users), rtol=0, atol=0.01)

    def test_checkpoint_without_a_scale_continues_on_the_ratings_as_they_are(self) -> None:
        train, _ = parts()
        dataset = InteractionDataset(train.assign(rating=20 * train.rating), implicit=False)
        model = self.model(n_epochs=3)
        model.train_epoch(dataset)
        state = model.training_state()
        resumed = self.model(n_epochs=3)
        resumed.train_epoch(dataset)
        resumed.set_training_state(state)
        assert resumed.rating_scale == model.rating_scale == pytest.approx(20, rel=0.01)
        del state["rating_scale"]
        resumed.set_training_state(state)
        assert resumed.rating_scale == 1

    @pytest.mark.parametrize("span", [4.0, 100.0])
    def test_defaults_are_no_worse_than_biases_alone_on_wide_scales(self, span) -> None:
        train, test = parts()
        mean = float(train.rating.mean())
        # Shrunken biases by alternating averages, in float64.
        by_user = pd.Series(0.0, index=train.user_id.unique())
        by_item = pd.Series(0.0, index=train.item_id.unique())
        for _ in range(20):
            rest = (train.rating - mean - train.user_id.map(by_user)).groupby(train.item_id)
            by_item = rest.sum() / (rest.count() + 3)
            rest = (train.rating - mean - train.item_id.map(by_item)).groupby(train.user_id)
            by_user = rest.sum() / (rest.count() + 3)
        known = test[test.user_id.isin(by_user.index) & test.item_id.isin(by_item.index)]
        biases = mean + known.user_id.map(by_user) + known.item_id.map(by_item)
        of_biases = float(np.sqrt(((biases - known.rating) ** 2).mean()))
        factor = span / 4
        model = self.model().fit(train.assign(rating=factor * (train.rating - 1)))
        of_model = rmse(model, known.assign(rating=factor * (known.rating - 1))) / factor
        assert of_model <= 1.02 * of_biases

    # ---- unknown users and items

    def test_unknown_pairs_get_the_mean_and_the_known_bias(self) -> None:
        train, _ = parts()
        model = self.model(n_epochs=8).fit(train)
        user = int(train.user_id.iloc[0])
        item = int(train.item_id.iloc[0])
        users = [user, user, 10**6, 10**6]
        items = [item, 10**6, item, 10**6]
        predicted = model.predict(users, items, on_unknown="mean")
        user_bias = model.user_biases[model.user_vocabulary.codes([user])[0]]
        item_bias = model.item_biases[model.item_vocabulary.codes([item])[0]]
        mean = float(train.rating.mean())
        expected = np.clip([mean + user_bias, mean + item_bias, mean], 1, 5)
        assert user_bias != 0
        assert item_bias != 0
        np.testing.assert_allclose(predicted[1:], expected, rtol=1e-5)
        assert predicted[0] == model.predict([user], [item])[0]
        skipped = model.predict(users, items, on_unknown="skip")
        assert np.isnan(skipped).tolist() == [False, True, True, True]

    # ---- validation

    def test_early_stopping_restores_the_best_epoch(self, tmp_path) -> None:
        train, test = parts()
        stopping = EarlyStopping(patience=3, min_delta=0.0)
        watched = []
        model = self.model(n_epochs=400, lr=0.02, reg=0.0)
        model.fit(
            train,
            validation=InteractionDataset(test, implicit=False),
            callbacks=[stopping, lambda _, measured: watched.append(measured)],
        )
        scores = [measured["rmse"] for measured in watched]
        assert model.best_epoch == stopping.best_epoch == int(np.argmin(scores)) + 1
        assert len(scores) == model.best_epoch + 3
        assert rmse(model, test) == pytest.approx(min(scores), abs=1e-6)
        again = self.model(n_epochs=model.best_epoch, lr=0.02, reg=0.0).fit(train)
        assert again.item_factors.tolist() == model.item_factors.tolist()

    def test_validation_function_can_return_a_ranking_metric(self) -> None:
        train, test = parts()
        evaluator, val = Evaluator(["ndcg"], [10]), InteractionDataset(test, implicit=False)
        stopping = EarlyStopping(patience=2, monitor="ndcg@10")
        model = self.model(n_epochs=30)
        model.fit(train, validation=lambda m: evaluator.evaluate(m, val), callbacks=[stopping])
        assert stopping.mode == "max"
        assert evaluator.evaluate(model, val)["ndcg@10"] == pytest.approx(stopping.best_score)

    def test_monitor_that_is_not_computed_is_refused(self) -> None:
        train, test = parts()
        with pytest.raises(ConfigError, match=r"'ndcg@10' is not measured; available metrics: rmse, loss.*evaluator"):
            self.model().fit(
                train,
                validation=InteractionDataset(test, implicit=False),
                callbacks=[EarlyStopping(monitor="ndcg@10")],
            )
        strangers = InteractionDataset(test.assign(user_id=test.user_id + 10_000), implicit=False)
        with pytest.raises(DataError, match="validation has no rating of a user and an item that are both in train"):
            self.model().fit(train, validation=strangers)
        with pytest.raises(DataError, match="validation has no ratings"):
            self.model().fit(train, validation=InteractionDataset(test.drop(columns="rating")))

    # ---- histories

    def test_rated_histories_are_predicted_as_well_as_known_users(self) -> None:
        train, test = parts()
        strangers = train.user_id < 40
        model = self.model(n_epochs=60, lr=0.01).fit(train[~strangers])
        ids = train[strangers].user_id.unique().tolist()
        ranked = model.recommend_for_history(train[strangers], k=80, exclude_seen=False)
        assert ranked.user_id.unique().tolist() == ids
        found = test[test.user_id < 40].merge(ranked, on=["user_id", "item_id"])
        folded = float(np.sqrt(((found.score.clip(1, 5) - found.rating) ** 2).mean()))
        user = rmse(self.model(n_epochs=60, lr=0.01).fit(train), test[test.user_id < 40])
        assert folded < 1.1 * user

    def test_empty_history_gets_the_items_with_the_highest_biases(self) -> None:
        train, _ = parts()
        model = self.model().fit(train)
        best = model.recommend_for_history([[]], k=80)
        expected = np.argsort(-model.item_biases, kind="stable")
        assert best.item_id.tolist() == model.item_vocabulary.ids[expected].tolist()
        np.testing.assert_allclose(best.score, model.mean + model.item_biases[expected], rtol=1e-5)

    # ---- partial_fit

    def test_partial_fit_adds_ratings_users_and_items(self) -> None:
        train, test = parts()
        late = (train.user_id % 5 == 0) | (train.item_id % 7 == 3) | (np.arange(len(train)) % 10 == 0)
        model = self.model(n_epochs=60, lr=0.01).fit(train[~late])
        known = test[(test.user_id % 5 != 0) & (test.item_id % 7 != 3)]
        before, loaded = rmse(model, known), model.mean
        assert model.partial_fit(train[late]) is model
        whole = self.model(n_epochs=60, lr=0.01).fit(train)
        assert model.mean == loaded
        assert model.user_vocabulary.ids.tolist() == whole.user_vocabulary.ids.tolist()
        assert model.item_vocabulary.ids.tolist() == whole.item_vocabulary.ids.tolist()
        for name in ("starts", "columns", "values"):
            assert getattr(model.seen, name).tolist() == getattr(whole.seen, name).tolist()
        assert rmse(model, known) < before
        assert rmse(model, test) < 1.1 * rmse(whole, test)

    def test_partial_fit_leaves_other_users_unchanged(self) -> None:
        rows = toy()
        model = self.model().fit(rows)
        others, items = list(range(101, 140)), sorted(rows.item_id.unique())
        pairs = [user for user in others for _ in items], items * len(others)
        before = model.predict(*pairs)
        model.partial_fit(pd.DataFrame({"user_id": [1, 1, 100], "item_id": [1, 3, 500], "rating": [7.0, 1.0, 4.0]}))
        assert model.user_vocabulary.ids.tolist() == [1, *range(100, 140)]
        assert model.item_vocabulary.ids.tolist() == [1, *items, 500]
        assert model.predict(*pairs).tolist() == before.tolist()
        assert (model.lowest, model.highest) == (1, 7)
        assert 1 not in model.recommend([1], k=100).item_id.tolist()

    def test_partial_fit_gives_a_new_user_the_scores_of_its_history(self) -> None:
        train, _ = parts()
        late = train.user_id == 7
        model = self.model(n_epochs=15).fit(train[~late])
        stranger = model.recommend_for_history(train[late], k=50)
        user = model.partial_fit(train[late]).recommend([7], k=50)
        pd.testing.assert_frame_equal(user, stranger)

    def test_partial_fit_in_parts_equals_one_call(self) -> None:
        train, _ = parts()
        late = train.user_id >= 140
        whole, pieces = (self.model().fit(train[~late]) for _ in range(2))
        whole.partial_fit(train[late])
        for at in range(0, late.sum(), 50):
            pieces.partial_fit(train[late].iloc[at : at + 50])
        assert pieces.user_factors.tolist() == whole.user_factors.tolist()
        assert pieces.seen.values.tolist() == whole.seen.values.tolist()

    def test_partial_fit_replaces_a_rating(self) -> None:
        rows = toy()
        model = self.model(n_epochs=100, lr=0.02).fit(rows)
        user, item = int(rows.user_id[0]), int(rows.item_id[0])
        changed = pd.DataFrame({"user_id": [user], "item_id": [item], "rating": [1.0 if rows.rating[0] > 3 else 5.0]})
        (before,) = model.predict([user], [item])
        size = model.seen.nnz
        (after,) = model.partial_fit(changed).predict([user], [item])
        assert model.seen.nnz == size
        assert abs(after - changed.rating[0]) < abs(before - changed.rating[0])

    def test_failed_partial_fit_leaves_the_model_unchanged(self, tmp_path) -> None:
        model = self.model(lr=0.02)
        with pytest.raises(NotFittedError):
            model.partial_fit(toy())
        model.fit(toy())
        sha = model.save(tmp_path / "before")
        new = pd.DataFrame({"user_id": [1, 2], "item_id": [1, 1], "rating": [4e30, -4e30]})
        with np.errstate(all="ignore"), pytest.raises(TrainingError, match=r"diverged|not finite"):
            model.partial_fit(new)
        with pytest.raises(DataError, match="user ids of the model are integers, the new ones are text; convert"):
            model.partial_fit(new.assign(user_id=["a", "b"]))
        with pytest.raises(ConfigError, match="n_epochs=0: must be a whole number of at least 1"):
            model.partial_fit(toy(), n_epochs=0)
        assert model.save(tmp_path / "after") == sha

    def test_partial_fit_supports_text_ids_and_loaded_models(self, tmp_path) -> None:
        rows = toy().assign(user_id=lambda r: "u" + r.user_id.astype(str))
        self.model().fit(rows).save(tmp_path / "m")
        model = load_model(tmp_path / "m").partial_fit(
            pd.DataFrame({"user_id": ["a", "u100"], "item_id": [3, 999], "rating": [5.0, 1.0]})
        )
        assert model.user_vocabulary.ids[0] == "a"
        assert len(model.recommend(["a"], k=3)) == 3


ANY_RATINGS = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 9), st.floats(-1e6, 1e6, width=32)), min_size=1, max_size=60
)


def serves_or_refuses(model: Recommender, rows: list[tuple[int, int, float]]) -> None:
    """Any ratings yield finite scores, or an error with a suggestion."""
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rating"])
    try:
        with np.errstate(all="ignore"):
            model.fit(frame)
    except TrainingError as error:
        assert "try lr=" in str(error) or "not finite" in str(error)  # noqa: PT017
        return
    assert np.isfinite(model.recommend(frame.user_id.unique(), k=20, exclude_seen=False).score).all()
    predicted = model.predict(frame.user_id, frame.item_id)
    assert frame.rating.min() <= predicted.min() <= predicted.max() <= frame.rating.max()
