"""The common test suite of all models. A model's test inherits it:

class TestEASE(ModelSuite):
    name = "ease"
"""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from recctl.data.dataset import InteractionDataset
from recctl.errors import ArtifactError, ConfigError, DataError, NotFittedError, TrainingError, UnsupportedError
from recctl.models.base import Recommender, fitted_values, model_file
from recctl.models.base.epoch_recommender import EpochRecommender
from recctl.models.base.hyperparameters import Between, Choices
from recctl.models.registry import load_model, model_class, model_names
from recctl.ranking import blocks
from recctl.training import EarlyStopping
from tests.ranking.ties import key_of_id, ranking

PAIR = ["user_id", "item_id"]


def toy(seed: int = 0, n_users: int = 40, n_items: int = 25) -> pd.DataFrame:
    """Two groups of users with noise: users prefer items of their own parity. Pairs are distinct; rows are shuffled."""
    rng = np.random.default_rng(seed)
    users, items = np.divmod(np.arange(n_users * n_items), n_items)
    liked = rng.random(len(users)) < np.where(users % 2 == items % 2, 0.5, 0.08)
    rows = pd.DataFrame({"user_id": users[liked] + 100, "item_id": items[liked] * 7 + 3})
    rows["rating"] = rng.integers(1, 6, len(rows)).astype(np.float32)
    rows["timestamp"] = rng.integers(0, 10**9, len(rows))
    return rows.sample(frac=1, random_state=seed).reset_index(drop=True)


def as_text(rows: pd.DataFrame) -> pd.DataFrame:
    """The same interactions with text ids, in the same order."""
    return rows.assign(
        user_id=rows.user_id.map("u{:06d}".format).astype(str), item_id=rows.item_id.map("й-{:06d}".format).astype(str)
    )


def all_items_in_order_of_id(recommend: Callable[..., pd.DataFrame], users: Any) -> pd.DataFrame:
    """Recommendations of every item, in an order that does not depend on how ties are broken."""
    table = recommend(users, k=1000)
    return table.drop(columns="rank").sort_values(PAIR, ignore_index=True)


def checkerboard(size: int = 50) -> pd.DataFrame:
    """Even users have all even items, odd users all odd items; each user lacks the item of the user's own number.

    Timestamps are random, so that the order of a history carries no information.
    """
    users, items = np.divmod(np.arange(size * size), size)
    kept = (users % 2 == items % 2) & (users != items)
    times = np.random.default_rng(0).permutation(kept.sum())
    return pd.DataFrame({"user_id": users[kept], "item_id": items[kept], "rating": 1.0, "timestamp": times})


def pickled(model: Recommender) -> Recommender:
    """The model as another process receives it."""
    received: Recommender = pickle.loads(pickle.dumps(model))
    return received


COPIES = (copy.copy, copy.deepcopy, pickled)


@cache
def fitted_model(suite: type[ModelSuite]) -> Recommender:
    """A model of a suite, fitted on `toy()`."""
    return model_class(suite.name)(**suite.hyperparameters).fit(toy())


def short_model(suite: type[ModelSuite]) -> Recommender:
    """A model of a suite, which is trained for three epochs if it is trained in epochs."""
    model = model_class(suite.name)(**suite.hyperparameters)
    if not isinstance(model, EpochRecommender):
        return model
    n_epochs = "n_epochs" if "n_epochs" in model.parameters else "epochs"
    return type(model)(**model.hyperparameters() | {n_epochs: 3})


@cache
def fitted_short_model(suite: type[ModelSuite]) -> Recommender:
    """A short model of a suite, fitted on `toy()`."""
    return short_model(suite).fit(toy())


class ModelSuite:
    """Tests that every model must pass.

    Attributes:
        name: The name of the model in the registry.
        hyperparameters: Hyperparameters that make fits on the test data fast.
        personal: Whether the model is personalized, and must therefore recommend the withheld item of the checkerboard.
        history_based: Whether a known user gets exactly the recommendations of an unknown user with the same history.
    """

    name: ClassVar[str]
    hyperparameters: ClassVar[dict[str, Any]] = {}
    personal: ClassVar[bool] = True
    history_based: ClassVar[bool] = True

    @pytest.fixture
    def model(self) -> Recommender:
        return model_class(self.name)(**self.hyperparameters)

    @pytest.fixture
    def short(self) -> Recommender:
        """A model for tests that compare fits with each other, however little was learned."""
        return short_model(type(self))

    @pytest.fixture
    def fitted(self) -> Recommender:
        """A fitted model, which the test may change: a copy, because most fits take longer than their test."""
        return copy.deepcopy(fitted_model(type(self)))

    # ---- declarations

    def test_docstring_cites_a_paper(self, model: Recommender) -> None:
        assert re.search(r"\b(19|20)\d\d\b", type(model).__doc__ or ""), "the docstring cites no paper"
        assert all(declared.help.endswith(".") for declared in model.parameters.values())

    def test_defaults_and_search_ranges_are_within_bounds(self, model: Recommender) -> None:
        for declared in model.parameters.values():
            values: list[Any] = [declared.default]
            if isinstance(declared.search, Between):
                assert declared.search.low < declared.search.high
                assert declared.search.low > 0 or not declared.search.log
                number = int if declared.annotation is int else float
                values += [number(declared.search.low), number(declared.search.high)]
            elif isinstance(declared.search, Choices):
                values += declared.search.values
            for value in values:
                assert declared.check(value) == value

    def test_unknown_hyperparameter_is_refused_with_a_suggestion(self, model: Recommender) -> None:
        for name in model.parameters:
            with pytest.raises(ConfigError, match=f"{name}x: unknown parameter; did you mean {name}"):
                type(model)(**{f"{name}x": 1})
        with pytest.raises(ConfigError, match="no_such_thing: unknown parameter"):
            type(model)(no_such_thing=1)

    def test_invalid_hyperparameter_is_refused(self, model: Recommender) -> None:
        for name, declared in model.parameters.items():
            steps_outside = {"gt": 0, "ge": -1, "lt": 0, "le": 1}
            invalid: list[Any] = [object(), float("nan")]
            for bound, step in steps_outside.items():
                if bound in declared.bounds:
                    invalid.append(declared.bounds[bound] + step)
            for value in invalid:
                with pytest.raises(ConfigError, match=f"{type(model).__name__}: {name}: "):
                    type(model)(**{name: value})

    def test_all_invalid_hyperparameters_are_reported_together(self, model: Recommender) -> None:
        invalid = dict.fromkeys(model.parameters, object())
        with pytest.raises(ConfigError) as caught:
            type(model)(**invalid, another=1)
        assert len(caught.value.problems) == len(invalid) + 1

    def test_clone_is_unfitted_with_the_same_hyperparameters(self, fitted: Recommender) -> None:
        clone = fitted.clone()
        assert (clone.hyperparameters(), clone.is_fitted) == (fitted.hyperparameters(), False)
        assert repr(clone) == repr(fitted)

    # ---- copies

    @pytest.mark.parametrize("copied", COPIES)
    def test_copy_of_unfitted_model_fits_as_the_original(
        self, short: Recommender, copied: Callable[[Recommender], Recommender]
    ) -> None:
        assert not copied(short).is_fitted
        assert model_file.digest(copied(short).fit(toy())) == model_file.digest(fitted_short_model(type(self)))

    @pytest.mark.parametrize("copied", COPIES)
    def test_copy_of_fitted_model_scores_as_the_original(
        self, fitted: Recommender, copied: Callable[[Recommender], Recommender]
    ) -> None:
        fitted.recommend([100])
        twin = copied(fitted)
        pd.testing.assert_frame_equal(twin.recommend(range(100, 140), k=25), fitted.recommend(range(100, 140), k=25))
        assert model_file.digest(twin) == model_file.digest(fitted)

    @pytest.mark.parametrize("copied", COPIES)
    def test_copy_of_half_trained_model_trains_on_as_the_original(
        self, model: Recommender, copied: Callable[[Recommender], Recommender]
    ) -> None:
        if not isinstance(model, EpochRecommender):
            return
        data = InteractionDataset(toy(), implicit=not model.needs_ratings)
        whole = model.clone()
        for _ in range(3):
            whole.train_epoch(data)
        model.train_epoch(data)
        model.recommend([100])
        twin = copied(model)
        half_trained = model_file.digest(model)
        for _ in range(2):
            twin.train_epoch(data)
        # Had they shared memory, the copy's epochs would have changed the original.
        assert model_file.digest(model) == half_trained
        copy_of_copy = copied(copied(twin))
        for _ in range(2):
            model.train_epoch(data)
        assert model_file.digest(model) == model_file.digest(twin) == model_file.digest(whole)
        assert copy_of_copy.train_epoch(data) == whole.train_epoch(data)

    # ---- epochs after a fit

    def test_epochs_after_a_fit_equal_a_longer_fit(self, model: Recommender, tmp_path: Path) -> None:
        if not isinstance(model, EpochRecommender):
            return
        n_epochs = "n_epochs" if "n_epochs" in model.parameters else "epochs"
        data = InteractionDataset(toy(), implicit=not model.needs_ratings)

        def with_epochs(count: int) -> Any:
            return type(model)(**model.hyperparameters() | {n_epochs: count})

        longer = with_epochs(4).fit(data)
        shorter = with_epochs(2).fit(data)
        shorter.save(tmp_path / "model.pkl", training_state=True)
        loaded = load_model(tmp_path / "model.pkl")
        plain = tmp_path / "plain.pkl"
        plain_hash = shorter.save(plain)
        for continued in (shorter, copy.deepcopy(shorter), loaded):
            continued.train_epoch(data)
            continued.train_epoch(data)
            for name, value in longer.snapshot().items():
                np.testing.assert_array_equal(continued.snapshot()[name], value)
        # Without the training state, the file is the same as that of a model that was never asked for one.
        assert plain_hash == model_file.digest(load_model(plain)) == model_file.digest(with_epochs(2).fit(data))

    def test_interrupted_fit_keeps_the_last_finished_epoch(
        self, model: Recommender, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not isinstance(model, EpochRecommender):
            return
        data = InteractionDataset(toy(), implicit=not model.needs_ratings)
        after = [model.clone() for _ in range(2)]
        after[0].train_epoch(data)
        after[1].train_epoch(data)
        after[1].train_epoch(data)
        epoch = type(model)._epoch

        def interrupted_in_the_third(trained: Any, interactions: InteractionDataset) -> float:
            number = trained.best_epoch
            loss = epoch(trained, interactions)
            if number == 2:
                raise KeyboardInterrupt
            return loss

        monkeypatch.setattr(type(model), "_epoch", interrupted_in_the_third)
        with pytest.raises(KeyboardInterrupt):
            model.fit(data)
        assert model_file.digest(model) == model_file.digest(after[1])
        assert len(model.recommend([100], k=3)) == 3
        scores = iter([0.5, 0.4])
        with pytest.raises(KeyboardInterrupt):
            model.fit(
                data,
                validation=lambda _: {"score": next(scores)},
                callbacks=[EarlyStopping(monitor="score", mode="max", patience=9)],
            )
        assert model_file.digest(model) == model_file.digest(after[0])
        monkeypatch.setattr(type(model), "_epoch", epoch)
        model.train_epoch(data)
        assert model.best_epoch == 2

    def test_fit_that_is_interrupted_before_its_first_epoch_ends_leaves_an_unfitted_model(
        self, model: Recommender, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: Any) -> None:
            raise KeyboardInterrupt

        method = "_epoch" if isinstance(model, EpochRecommender) else "_fit"
        monkeypatch.setattr(type(model), method, interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.fit(toy())
        assert not model.is_fitted
        if isinstance(model, EpochRecommender):
            with pytest.raises(KeyboardInterrupt):
                model.train_epoch(toy())
            assert not model.is_fitted

    # ---- fitting

    def test_fit_on_table_equals_fit_on_dataset(self, short: Recommender, tmp_path: Path) -> None:
        dataset = InteractionDataset(toy(), implicit=not short.needs_ratings)
        assert short.fit(toy()) is short
        assert short.save(tmp_path / "a") == short.clone().fit(dataset).save(tmp_path / "b")

    def test_fit_sets_exactly_the_declared_values(self, fitted: Recommender) -> None:
        attributes = {name for name in vars(fitted) if not name.startswith("_")}
        assert attributes - set(fitted.parameters) == set(fitted.fitted_values)
        fitted_values.check(fitted.fitted_values, fitted.state(), fitted.hyperparameters())

    def test_equal_fits_yield_equal_files(self, short: Recommender, tmp_path: Path) -> None:
        first = short.fit(toy()).save(tmp_path / "a.pkl")
        second = short.clone().fit(toy()).save(tmp_path / "b.pkl")
        assert first == second
        assert (tmp_path / "a.pkl").read_bytes() == (tmp_path / "b.pkl").read_bytes()

    def test_second_fit_starts_from_scratch(self, short: Recommender, tmp_path: Path) -> None:
        expected = short.clone().fit(toy(1)).save(tmp_path / "expected")
        short.fit(toy(0)).recommend([100])
        assert short.fit(toy(1)).save(tmp_path / "second") == expected

    def test_refused_data_leaves_the_model_unchanged(self, fitted: Recommender, tmp_path: Path) -> None:
        before = fitted.save(tmp_path / "before")
        for bad in (toy().drop(columns="item_id"), toy().iloc[:0], None, 3):
            with pytest.raises(DataError):
                fitted.fit(bad)  # type: ignore[arg-type]
        assert fitted.save(tmp_path / "after") == before

    def test_failed_fit_leaves_an_unfitted_model(self, fitted: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(type(fitted), "_fit", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fitted.fit(toy())
        assert not fitted.is_fitted

    def test_results_do_not_depend_on_the_number_of_threads(
        self, short: Recommender, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tables = []
        for threads in ("1", "3"):
            monkeypatch.setenv("RECCTL_THREADS", threads)
            tables.append(short.fit(toy()).recommend(range(100, 140), k=25, exclude_seen=False))
        scores = [table.sort_values(PAIR).score.to_numpy() for table in tables]
        np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-5)

    def test_ranking_in_blocks_equals_single_answers_on_any_number_of_threads(
        self, fitted: Recommender, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Blocks are cut by the data alone: metrics and exports are the same on any machine."""
        users = np.arange(40, dtype=np.int32)
        single = np.concatenate([fitted.score_users(users[row : row + 1]) for row in range(40)])
        tolerance = 1e-5 * np.abs(single).max()
        monkeypatch.setattr(blocks, "_MIN_ROWS", 3)
        ranked = []
        for threads in ("1", "2", "3"):
            monkeypatch.setenv("RECCTL_THREADS", threads)
            ranked.append(fitted.rank_users(users, 25, exclude_seen=False))
        items, scores = ranked[0]
        for other_items, other_scores in ranked[1:]:
            np.testing.assert_array_equal(other_items, items)
            np.testing.assert_array_equal(other_scores, scores)
        # The order of the lists is that of the single answers, but for ties up to rounding.
        single_in_order = np.take_along_axis(single, items.astype(np.int64), axis=1)
        np.testing.assert_allclose(scores, single_in_order, rtol=0, atol=tolerance)
        assert (np.diff(single_in_order) <= 2 * tolerance).all()

    def test_fit_beyond_available_memory_is_refused(self, model: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RECCTL_MEMORY", "0")
        if model.estimate_memory(10**6, 10**6, 10**9) > 0:
            with pytest.raises(TrainingError, match=r"40 users x 25 items.*0 B are available; \w+"):
                model.fit(toy())

    def test_unfitted_model_raises_not_fitted_error(self, model: Recommender, tmp_path: Path) -> None:
        calls = (
            lambda: model.recommend([100]),
            lambda: model.recommend_for_history([[3]]),
            lambda: model.predict([100], [3]),
            lambda: model.similar_items([3]),
            lambda: model.seen,
            lambda: model.save(tmp_path / "model.pkl"),
        )
        for call in calls:
            with pytest.raises(NotFittedError, match="is not fitted yet"):
                call()
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("rows", ["one", "one user", "one item", "everything", "equal ratings", "repeats"])
    def test_degenerate_data_is_fitted(self, model: Recommender, rows: str) -> None:
        full = pd.DataFrame({"user_id": np.repeat([1, 2, 3], 4), "item_id": np.tile([1, 2, 3, 4], 3)})
        full = full.assign(rating=[5.0, 1, 2, 3] * 3, timestamp=range(12))
        data = {
            "one": full.iloc[:1],
            "one user": full[full.user_id == 1],
            "one item": full[full.item_id == 1],
            "everything": full,
            "equal ratings": full.assign(rating=2.0).iloc[:-2],
            "repeats": pd.concat([full.iloc[:5]] * 3),
        }[rows]
        model.fit(data)
        users = data.user_id.unique()
        best = model.recommend(users, k=3, exclude_seen=False)
        assert len(best) == len(users) * min(3, data.item_id.nunique())
        assert np.isfinite(best.score).all()
        assert len(model.recommend(users, k=9)) == len(users) * data.item_id.nunique() - len(data.drop_duplicates(PAIR))

    def test_personal_model_recommends_withheld_checkerboard_item(self, model: Recommender) -> None:
        model.fit(checkerboard())
        best = model.recommend(range(50), k=1)
        if self.personal:
            assert best.item_id.tolist() == list(range(50))
        else:
            assert len(best) == 50

    # ---- answering

    def test_recommend_keeps_user_order_and_ranks_by_score(self, fitted: Recommender) -> None:
        user_ids = [139, 100, 117, 100]
        best = fitted.recommend(np.array(user_ids), k=4)
        assert list(best.columns) == ["user_id", "item_id", "score", "rank"]
        assert best.user_id.tolist() == list(np.repeat(user_ids, 4))
        assert best["rank"].tolist() == [1, 2, 3, 4] * 4
        assert best.score.dtype == np.float32
        scores = best.score.to_numpy().reshape(4, 4)
        assert (scores[:, :-1] >= scores[:, 1:]).all()
        one_by_one = pd.concat([fitted.recommend(user_id, k=4) for user_id in user_ids], ignore_index=True)
        pd.testing.assert_frame_equal(best, one_by_one)

    def test_exclude_seen_excludes_exactly_the_seen_items(self, fitted: Recommender) -> None:
        rows, users = toy(), range(100, 140)
        pairs = set(rows[PAIR].itertuples(index=False, name=None))
        unseen = set(fitted.recommend(users, k=1000)[PAIR].itertuples(index=False, name=None))
        everything = set(fitted.recommend(users, k=1000, exclude_seen=False)[PAIR].itertuples(index=False, name=None))
        assert (unseen & pairs, unseen | pairs) == (set(), everything)
        assert len(everything) == 40 * 25

    def test_no_users_yield_an_empty_result(self, fitted: Recommender) -> None:
        assert fitted.recommend([]).columns.tolist() == ["user_id", "item_id", "score", "rank"]
        assert len(fitted.recommend([])) == len(fitted.recommend_for_history([])) == len(fitted.predict([], [])) == 0

    def test_text_ids_yield_the_same_recommendations(self, short: Recommender) -> None:
        by_number = all_items_in_order_of_id(short.fit(toy()).recommend, [100, 101])
        by_text = all_items_in_order_of_id(short.fit(as_text(toy())).recommend, ["u000100", "u000101"])
        assert by_text.item_id.tolist() == [f"й-{item:06d}" for item in by_number.item_id]
        assert (by_text.score.to_numpy() == by_number.score.to_numpy()).all()

    @pytest.mark.parametrize("k", [0, -1, 2.5, True, None])
    def test_invalid_k_is_refused(self, fitted: Recommender, k: Any) -> None:
        for method in (fitted.recommend, fitted.recommend_for_history, fitted.similar_items):
            with pytest.raises(ConfigError, match=f"k={k}: must be a whole number of at least 1"):
                method([3], k=k)

    def test_unknown_users_raise_are_skipped_or_get_popular_items(self, fitted: Recommender) -> None:
        with pytest.raises(
            DataError, match=rf"{self.name}: user 1, 2, 3, 4, 5 and 2 more: not in the data .* on_unknown"
        ):
            fitted.recommend([1, 2, 3, 100, 4, 5, 6, 7])
        with pytest.raises(DataError, match="user 'é'"):
            fitted.recommend(["é"])
        known = fitted.recommend([100], k=3)
        pd.testing.assert_frame_equal(fitted.recommend([1, 100], k=3, on_unknown="skip"), known)
        popular = fitted.recommend([1, 100], k=3, on_unknown="popular")
        pd.testing.assert_frame_equal(popular.iloc[3:].reset_index(drop=True), known)
        counts = toy().groupby("item_id").size().to_dict()
        expected = ranking(counts, key_of_id(1))[:3]
        assert popular.item_id[:3].tolist() == expected
        assert popular.score[:3].tolist() == [counts[item] for item in expected]
        with pytest.raises(ConfigError, match="on_unknown='popluar': unknown choice; did you mean popular"):
            fitted.recommend([1], on_unknown="popluar")  # type: ignore[arg-type]

    def test_histories_of_every_type_yield_the_same_recommendations(self, fitted: Recommender) -> None:
        rows = pd.DataFrame({"user_id": ["x", "y", "x"], "item_id": [3, 10, 31]})
        listed = fitted.recommend_for_history([[3, 31], [10]], k=5)
        assert listed.user_id.tolist() == [0] * 5 + [1] * 5
        assert not {3, 31} & set(listed.item_id[:5])
        for histories in (rows, {"x": (3, 31), "y": np.array([10])}):
            named = fitted.recommend_for_history(histories, k=5)
            assert named.user_id.tolist() == ["x"] * 5 + ["y"] * 5
            pd.testing.assert_frame_equal(named.drop(columns="user_id"), listed.drop(columns="user_id"))
        if not fitted.reads_order:
            reordered = fitted.recommend_for_history([[31, 3, 3, 12345], [10]], k=5)
            pd.testing.assert_frame_equal(reordered, listed)
        assert len(fitted.recommend_for_history([[3]], k=99, exclude_seen=False)) == 25

    def test_histories_without_known_items_raise_are_skipped_or_get_popular_items(self, fitted: Recommender) -> None:
        histories = {"nothing": [], "unknown": [1], "known": [3]}
        known = fitted.recommend_for_history({"known": [3]}, k=2)
        if fitted.serves_empty_history:
            assert len(fitted.recommend_for_history(histories, k=2)) == 6
            return
        with pytest.raises(DataError, match="no known item in the history of 'nothing', 'unknown'"):
            fitted.recommend_for_history(histories)
        pd.testing.assert_frame_equal(fitted.recommend_for_history(histories, k=2, on_unknown="skip"), known)
        popular = fitted.recommend_for_history(histories, k=2, on_unknown="popular")
        assert popular.user_id.tolist() == ["nothing"] * 2 + ["unknown"] * 2 + ["known"] * 2

    @pytest.mark.parametrize("histories", [[3, 31], ["abc"], 3, None, {"x": 3}, [{"a": 1}]])
    def test_invalid_histories_are_refused(self, fitted: Recommender, histories: Any) -> None:
        with pytest.raises(DataError, match="list"):
            fitted.recommend_for_history(histories)

    def test_history_of_a_known_user_yields_the_recommendations_of_that_user(self, fitted: Recommender) -> None:
        if self.history_based:
            history = toy().query("user_id == 107").sort_values("timestamp").item_id
            from_history = all_items_in_order_of_id(fitted.recommend_for_history, [history])
            of_user = all_items_in_order_of_id(fitted.recommend, [107])
            pd.testing.assert_frame_equal(from_history.drop(columns="user_id"), of_user.drop(columns="user_id"))

    def test_predict_equals_recommendation_scores(self, fitted: Recommender) -> None:
        best = fitted.recommend([139, 100, 111], k=1000, exclude_seen=False).sample(frac=1, random_state=1)
        predicted = fitted.predict(best.user_id, best.item_id)
        assert predicted.dtype == np.float32
        np.testing.assert_allclose(predicted, best.score, rtol=1e-5, atol=1e-6)
        assert np.isnan(fitted.predict([100, 1], [4, 3], on_unknown="skip")).all()
        with pytest.raises(DataError, match=f"{self.name}: item 4"):
            fitted.predict([100], [4])
        with pytest.raises(DataError, match="2 users and 1 items"):
            fitted.predict([100, 101], [3])
        with pytest.raises(ConfigError, match="on_unknown='popular': unknown choice; one of error, skip"):
            fitted.predict([1], [3], on_unknown="popular")  # type: ignore[arg-type]

    def test_similar_items_are_ranked_or_unsupported(self, fitted: Recommender) -> None:
        if type(fitted)._similarity is Recommender._similarity:
            with pytest.raises(UnsupportedError, match=f"{self.name} does not define similar items"):
                fitted.similar_items([10, 3], k=4)
            return
        similar = fitted.similar_items([10, 3], k=4)
        assert list(similar.columns) == ["item_id", "similar_item_id", "score", "rank"]
        assert similar.item_id.tolist() == [10] * 4 + [3] * 4
        assert (similar.item_id != similar.similar_item_id).all()
        assert (similar.groupby("item_id").score.diff().dropna() <= 0).all()
        with pytest.raises(DataError, match=f"{self.name}: item 4: not in the data"):
            fitted.similar_items([3, 4])
        fitted.fit(checkerboard())
        similar = fitted.similar_items(range(50), k=5)
        assert (similar.item_id % 2 == similar.similar_item_id % 2).all()

    # ---- files

    def test_loaded_model_equals_the_saved_model(self, fitted: Recommender, tmp_path: Path) -> None:
        path = tmp_path / "new folder" / "model.pkl"
        sha256 = fitted.save(str(path))
        cls = model_class(self.name)
        for loaded in (load_model(path, sha256), cls().load(path), cls.load(path)):
            assert type(loaded) is cls
            assert loaded.hyperparameters() == fitted.hyperparameters()
            pd.testing.assert_frame_equal(loaded.recommend([100, 120]), fitted.recommend([100, 120]))
            pd.testing.assert_frame_equal(
                loaded.recommend_for_history([[3, 10]]), fitted.recommend_for_history([[3, 10]])
            )
            assert loaded.save(tmp_path / "again.pkl") == sha256
            assert (tmp_path / "again.pkl").read_bytes() == path.read_bytes()

    def test_file_of_another_model_is_refused(self, fitted: Recommender, tmp_path: Path) -> None:
        fitted.save(tmp_path / "model.pkl")
        other = model_class(next(name for name in model_names() if name != self.name))()
        with pytest.raises(ArtifactError, match=rf"model.pkl: holds a model '{self.name}', not '{other.name}'"):
            other.load(tmp_path / "model.pkl")
        assert not other.is_fitted
