from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recctl import progress
from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import InteractionMatrix
from recctl.errors import ConfigError, DataError, NotFittedError
from recctl.evaluation import METRICS, Evaluator
from recctl.models.base import Recommender
from recctl.models.ease import EASERecommender
from tests.evaluation.oracle import frame, hand_made

# The model is fitted on users 0 and 1, whose scores fall with the item id; those of folded-in users rise with it.
FITTED = frame([(0, 0), (0, 1), (1, 2), (1, 3), (1, 4)])
SCORES = -np.tile(np.arange(10.0), (10, 1))
LINKS = np.tile(np.arange(10.0), (10, 1))


@pytest.fixture
def model() -> Recommender:
    return hand_made(SCORES, LINKS).fit(FITTED)


def recall(model: Recommender, test: Any, k: int = 1, train_data: Any = None, **options: Any) -> float:
    return Evaluator(["recall"], [k], **options).evaluate(model, test, train_data=train_data)[f"recall@{k}"]


# ---- evaluated users, seen items, relevant items


def test_seen_items_depend_on_fitted_data_not_on_train_data(model: Recommender) -> None:
    test = frame([(0, 2)])
    assert recall(model, test) == 1
    assert recall(model, test, train_data=frame([(0, 5)])) == 1  # 0 and 1 stay seen
    assert recall(model, test, train_data=frame([(0, 2)])) == 1  # 2 does not become seen


def test_unknown_users_are_folded_in_by_their_history(model: Recommender) -> None:
    history = frame([(7, 4), (7, 4), (7, 99), (8, 99)])
    # User 7 has seen item 4, so 3 is best. The only item of user 8 is unknown, and user 9 has no history.
    test = frame([(7, 3), (8, 3), (9, 3)])
    result = Evaluator(["recall"], [1]).evaluate_users(model, test, train_data=history)
    assert result.metrics == {"recall@1": 1.0}
    assert result.per_user.to_dict("list") == {"user_id": [7], "recall@1": [1.0], "n_relevant": [1]}
    assert (result.n_users, result.n_folded_in, result.n_skipped) == (1, 1, 2)
    assert result.left_out["of_unknown_users"] == 2


def test_unknown_users_get_what_a_server_would_recommend_on_request(model: Recommender) -> None:
    test = frame([(0, 2), (8, 2), (8, 4), (9, 0)])
    result = Evaluator(["recall"], [2], on_unknown="popular").evaluate_users(model, test)
    served = model.recommend([8, 9], k=2, on_unknown="popular").groupby("user_id")["item_id"].agg(set)
    expected = [1.0, len(served[8] & {2, 4}) / 2, len(served[9] & {0}) / 1]
    assert result.per_user["recall@2"].tolist() == expected
    assert (result.n_users, result.n_popular, result.n_skipped) == (3, 2, 0)
    assert result.record()["n_popular"] == 2


def test_users_with_a_history_are_scored_by_it_and_get_no_popular_items(model: Recommender) -> None:
    result = Evaluator(["recall"], [1], on_unknown="popular").evaluate_users(
        model, frame([(7, 3), (9, 3)]), train_data=frame([(7, 4)])
    )
    assert (result.n_folded_in, result.n_popular) == (1, 1)
    assert result.per_user["recall@1"].tolist()[0] == 1


def test_figures_with_popular_items_are_of_another_protocol() -> None:
    assert Evaluator(on_unknown="popular").settings["on_unknown"] == "popular"
    assert (
        "n_popular"
        not in Evaluator(["recall"]).evaluate_users(hand_made(SCORES, LINKS).fit(FITTED), frame([(0, 2)])).record()
    )


def test_history_of_split_by_user_is_used(model: Recommender) -> None:
    test = InteractionDataset(frame([(7, 3)]))
    test.history = InteractionDataset(frame([(7, 4)]))
    assert recall(model, test) == 1


def test_train_data_replaces_history_of_split(model: Recommender) -> None:
    test = InteractionDataset(frame([(7, 3)]))
    test.history = InteractionDataset(frame([(7, 0)]))
    assert recall(model, test) == 0  # 4 comes before 3
    assert recall(model, test, train_data=frame([(7, 4)])) == 1


def test_test_interactions_with_seen_items_are_excluded_and_counted(model: Recommender) -> None:
    result = Evaluator(["recall"], [1]).evaluate_users(model, frame([(0, 2), (0, 0), (1, 3), (0, 2)]))
    assert result.metrics == {"recall@1": 1.0}
    assert result.left_out == {"repeated": 1, "rated_below_threshold": 0, "of_unknown_users": 0, "known": 2}
    assert (result.n_users, result.n_interactions, result.n_skipped) == (1, 1, 0)


def test_unknown_relevant_items_count_as_misses(model: Recommender) -> None:
    result = Evaluator(["recall"], [1]).evaluate_users(model, frame([(0, 2), (0, 50), (1, 51)]))
    assert result.metrics == {"recall@1": 0.25}
    assert (result.n_users, result.n_interactions, result.n_unknown_items) == (2, 3, 2)


def test_relevance_threshold_excludes_lower_ratings(model: Recommender) -> None:
    test = frame([(0, 2, 4.0), (0, 3, 3.5), (0, 4, 5.0), (0, 4, 1.0), (1, 0, 1.0)])
    result = Evaluator(["recall"], [1], relevance_threshold=4).evaluate_users(model, test)
    assert result.metrics == {"recall@1": 1.0}  # 4 counts by its last rating
    assert result.left_out["rated_below_threshold"] == 3


def test_of_repeated_pairs_the_latest_rating_decides_relevance_and_is_predicted() -> None:
    model = rated_model()
    repeated = frame([(1, 0, 13.0), (1, 0, 10.0), (1, 1, 12.0)]).assign(timestamp=[9, 5, 7])
    for test in (repeated, repeated.iloc[::-1]):
        result = Evaluator(["rmse"]).evaluate_users(model, test, task="rating_prediction")
        assert result.metrics == pytest.approx({"rmse": (10 / 2) ** 0.5})
        result = Evaluator(["recall"], [1], relevance_threshold=12.5).evaluate_users(model, test)
        assert (result.n_interactions, result.left_out["repeated"]) == (1, 1)


def test_text_ids_are_evaluated(model: Recommender) -> None:
    rows = [("ann", "x"), ("ann", "y"), ("bo", "y"), ("bo", "ж")]
    ease = EASERecommender(l2_reg=1.0).fit(frame(rows))
    result = Evaluator(["hit_rate"], [1]).evaluate_users(ease, frame([("bo", "x"), ("ann", "ж")]))
    assert result.per_user["user_id"].tolist() == ["ann", "bo"]
    assert result.metrics == {"hit_rate@1": 1.0}


def test_histories_have_ratings_and_order_only_if_model_uses_them() -> None:
    received: list[InteractionMatrix] = []

    class Recording(Recommender):
        name = "recording"

        def _fit(self, interactions: InteractionDataset) -> None:
            pass

        def _score(self, histories: InteractionMatrix, users: np.ndarray | None) -> np.ndarray:
            received.append(histories)
            return np.zeros((histories.n_rows, histories.n_columns), np.float32)

    class InOrder(Recording):
        reads_order = True

    fitted = frame([(0, 0, 5.0), (0, 1, 1.0), (1, 2, 2.0)])
    history = frame([(7, 2, 3.0), (7, 0, 4.0), (7, 2, 1.0)]).assign(timestamp=[30, 20, 10])
    test = frame([(7, 1)])
    evaluator = Evaluator(["recall"], [1])

    evaluator.evaluate(Recording().fit(fitted), test, train_data=history)
    assert (received[-1].columns.tolist(), received[-1].values.tolist()) == ([0, 2], [])
    evaluator.evaluate(InOrder().fit(fitted), test, train_data=history)
    assert received[-1].columns.tolist() == [2, 0, 2]
    rated = Recording().fit(InteractionDataset(fitted, implicit=False))
    evaluator.evaluate(rated, test, train_data=history)
    assert (received[-1].columns.tolist(), received[-1].values.tolist()) == ([0, 2], [4.0, 3.0])
    with pytest.raises(DataError, match="train_data: has no ratings, which the model needs"):
        evaluator.evaluate(rated, test, train_data=history.drop(columns="rating"))


# ---- results


def test_keys_are_in_requested_order_with_ascending_cutoffs(model: Recommender) -> None:
    evaluator = Evaluator(["ndcg", "auc", "coverage", "ndcg"], [3, 1, 3])
    assert list(evaluator.evaluate(model, frame([(0, 2)]))) == ["ndcg@1", "ndcg@3", "auc", "coverage@1", "coverage@3"]


def test_metrics_are_means_over_users_and_record_is_json(model: Recommender) -> None:
    result = Evaluator(["ndcg", "gini"], [1, 2]).evaluate_users(model, frame([(0, 3), (1, 0), (1, 9)]))
    means = result.per_user[["ndcg@1", "ndcg@2"]].mean().to_dict()
    assert {key: result.metrics[key] for key in means} == pytest.approx(means)
    assert all(type(value) is float for value in result.metrics.values())
    assert json.loads(json.dumps(result.record())) == result.record()
    assert result.record()["protocol"] == "full"


def test_results_do_not_depend_on_threads_or_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    world = rng.random((300, 50))
    table = lambda mask: pd.DataFrame(np.argwhere(mask), columns=["user_id", "item_id"])  # noqa: E731
    model = EASERecommender(l2_reg=5.0).fit(table(world < 0.2))
    evaluator = Evaluator([name for name in METRICS if METRICS[name].task == "ranking"])
    monkeypatch.setattr("recctl.ranking.blocks._MAX_ROWS", 16)
    monkeypatch.setenv("RECCTL_THREADS", "1")
    alone = evaluator.evaluate(model, table(world > 0.9))
    monkeypatch.setenv("RECCTL_THREADS", "4")
    assert evaluator.evaluate(model, table(world > 0.9)) == alone
    monkeypatch.setattr("recctl.ranking.blocks._MAX_ROWS", 1000)
    assert evaluator.evaluate(model, table(world > 0.9)) == alone


def test_progress_counts_users_and_notices_excluded_ones(model: Recommender) -> None:
    messages: list[tuple[Any, ...]] = []

    class Listener:
        def start(self, title: str, total: float | None, unit: str) -> Any:
            messages.append((title, total, unit))
            return self

        def update(self, done: float, **values: Any) -> None:
            messages.append((done,))

        def finish(self, task: Any) -> None:
            pass

        def notice(self, message: str) -> None:
            messages.append((message.partition(":")[0],))

    with progress.listening(Listener()):
        recall(model, frame([(0, 2), (1, 0)]))
        recall(model, frame([(0, 2), (9, 0)]))
        recall(model, frame([(0, 2), (9, 0)]), on_unknown="zero")
    assert messages == [
        ("Evaluating", 2, "users"),
        (2,),
        ("1 of 2 test users are excluded",),
        ("Evaluating", 1, "users"),
        (1,),
        ("Evaluating", 1, "users"),
        (1,),
    ]


# ---- rating prediction


def rated_model() -> Recommender:
    scores = np.arange(100.0).reshape(10, 10)
    return hand_made(scores, LINKS).fit(
        InteractionDataset(frame([(0, 0, 1.0), (1, 1, 1.0), (2, 0, 1.0)]), implicit=False)
    )


RATED = frame([(1, 1, 12.0), (0, 0, 3.0), (1, 0, 10.0), (1, 0, 13.0), (0, 5, 9.0), (5, 0, 9.0)])


def test_rmse_and_mae_of_predicted_ratings() -> None:
    result = Evaluator(["mae", "ndcg", "rmse"]).evaluate_users(rated_model(), RATED, task="rating_prediction")
    # Predicted are 11, 0 and 10; of the repeated pair the last rating counts: the errors are -1, -3 and -3.
    assert result.metrics == pytest.approx({"mae": 7 / 3, "rmse": (19 / 3) ** 0.5})
    assert result.per_user.to_dict("list") == {
        "user_id": [0, 1],
        "mae": [3.0, 2.0],
        "rmse": [3.0, pytest.approx(5**0.5)],
        "n_relevant": [1, 2],
    }
    assert (result.n_users, result.n_skipped, result.n_interactions) == (2, 1, 3)
    assert (result.left_out, result.protocol) == ({"repeated": 1, "not_predictable": 2}, "rating_prediction")


def test_rating_prediction_defaults_to_rmse_and_mae() -> None:
    results = Evaluator().evaluate(rated_model(), RATED, task="rating_prediction")
    assert results == pytest.approx({"rmse": (19 / 3) ** 0.5, "mae": 7 / 3})


def test_rating_prediction_without_predictable_ratings_is_rejected(model: Recommender) -> None:
    evaluator = Evaluator(["rmse"])
    with pytest.raises(DataError, match="test: has no ratings to compare predictions with"):
        evaluator.evaluate(model, frame([(0, 1)]), task="rating_prediction")
    with pytest.raises(DataError, match="can predict none of its 2 ratings"):
        evaluator.evaluate(model, frame([(0, 77, 1.0), (77, 0, 2.0)]), task="rating_prediction")


# ---- invalid arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metrics": ["ndgc"]}, "metrics: unknown metric 'ndgc'; did you mean ndcg?"),
        ({"metrics": ["HR"]}, "metrics: unknown metric 'HR'"),
        ({"metrics": ["hr"]}, "metrics: unknown metric 'hr'; did you mean hit_rate?"),
        ({"metrics": ["ndcg@10"]}, "metrics: 'ndcg@10': give the cutoff separately: metrics=['ndcg'], k_values=[10]"),
        ({"metrics": ["NDCG@5"]}, "metrics: 'NDCG@5': give the cutoff separately: metrics=['ndcg'], k_values=[5]"),
        ({"metrics": [7]}, "metrics: unknown metric 7; one of precision,"),
        ({"metrics": "ndcg"}, "metrics='ndcg': give a list of names"),
        ({"metrics": None}, "metrics=None: give a list of names"),
        ({"metrics": [["ndcg"]]}, "metrics: unknown metric ['ndcg']"),
        ({"metrics": []}, "metrics: is empty"),
        ({"k_values": 10}, "k_values=10: give a list, such as [10]"),
        ({"k_values": []}, "k_values: is empty"),
        ({"k_values": [0]}, "k_values: 0: must be a whole number of at least 1"),
        ({"k_values": [10.0]}, "k_values: 10.0: must be a whole number"),
        ({"k_values": [True]}, "k_values: True: must be a whole number"),
        ({"n_candidates": 0}, "n_candidates=0: must be a whole number of at least 1"),
        ({"relevance_threshold": float("nan")}, "relevance_threshold=nan: must be a number"),
        ({"relevance_threshold": "4"}, "relevance_threshold='4': must be a number"),
        ({"on_unknown": "raise"}, "on_unknown='raise': unknown choice; one of skip, zero, popular"),
        ({"seed": -1}, "seed=-1: must be a whole number of at least 0"),
    ],
)
def test_invalid_arguments_are_rejected(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Evaluator(**arguments)
    assert message in str(caught.value)


def test_all_problems_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        Evaluator(["ndgc", "recal"], [0], n_candidates=-1)
    assert len(caught.value.problems) == 4


def test_any_iterable_of_metrics_and_cutoffs_is_accepted(model: Recommender) -> None:
    for metrics, k_values in (
        (["ndcg"], np.array([2, 1])),
        (np.array(["ndcg"]), {1, 2}),
        (iter(["ndcg"]), range(1, 3)),
    ):
        assert list(Evaluator(metrics, k_values).evaluate(model, frame([(0, 2)]))) == ["ndcg@1", "ndcg@2"]


def test_tasks_without_metrics_and_unknown_tasks_are_rejected(model: Recommender) -> None:
    with pytest.raises(ConfigError, match="task='rating': unknown task; did you mean rating_prediction"):
        Evaluator().evaluate(model, FITTED, task="rating")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="metrics: rmse, mae: none belongs to task='ranking'"):
        Evaluator(["rmse", "mae"]).evaluate(model, FITTED)
    assert list(Evaluator(["rmse", "ndcg"], [1]).evaluate(model, frame([(0, 2)]))) == ["ndcg@1"]


def test_invalid_models_and_data_are_rejected(model: Recommender) -> None:
    with pytest.raises(NotFittedError, match="not fitted yet"):
        Evaluator().evaluate(EASERecommender(), FITTED)
    with pytest.raises(ConfigError, match="give the model first, then test; DataFrame is not a recctl model"):
        Evaluator().evaluate(FITTED, model)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="test: is of type list; give an InteractionDataset, a pandas or polars"):
        Evaluator().evaluate(model, [1, 2])  # type: ignore[arg-type]
    with pytest.raises(DataError, match="train_data: is of type str; give an InteractionDataset, a pandas or polars"):
        Evaluator().evaluate(model, FITTED, train_data="train.csv")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="the table is empty"):
        Evaluator().evaluate(model, FITTED[:0])
    with pytest.raises(DataError, match="test: has no ratings, so relevance_threshold=4 can't be applied"):
        Evaluator(relevance_threshold=4).evaluate(model, FITTED)


def test_error_explains_why_no_user_can_be_evaluated(model: Recommender) -> None:
    with pytest.raises(DataError, match=r"fitted on none of its 2 users \(the first is 8\); give their history"):
        recall(model, frame([(8, 2), (9, 2)]))
    with pytest.raises(
        DataError, match=r"user ids are text \(such as '0'\), but those of the model are integers \(such as 0\)"
    ):
        recall(model, frame([("0", 2)]), on_unknown="zero")
    with pytest.raises(DataError, match="has no relevant interactions; of 3: 1 repeated, 2 known"):
        recall(model, frame([(0, 0), (0, 0), (1, 2)]))


def test_nan_scores_are_rejected() -> None:
    model = hand_made(np.where(SCORES == -4, np.nan, SCORES), LINKS).fit(FITTED)
    with pytest.raises(DataError, match=r"hand-made: some scores are not numbers \(NaN\)"):
        recall(model, frame([(0, 2)]))


def test_infinite_scores_rank_first_and_last() -> None:
    scores = SCORES.copy()
    scores[:, 2], scores[:, 3] = np.inf, -np.inf
    model = hand_made(scores, LINKS).fit(FITTED)
    assert recall(model, frame([(0, 2)])) == 1
    result = Evaluator(["auc", "recall"], [10]).evaluate(model, frame([(0, 3)]))
    assert result == {"auc": 0.0, "recall@10": 0.0}  # items with a score of minus infinity are not recommended


# ---- metric definitions


def test_every_metric_has_a_definition() -> None:
    for name, metric in METRICS.items():
        assert 20 < len(metric.definition) < 130, name
        assert metric.definition.endswith("."), name
    assert {name for name, metric in METRICS.items() if not metric.greater_is_better} == {
        "gini",
        "popularity",
        "rmse",
        "mae",
    }
    assert {name for name, metric in METRICS.items() if not metric.per_k} == {"auc", "rmse", "mae"}
    assert {name for name, metric in METRICS.items() if metric.kind == "rating"} == {"rmse", "mae"}
