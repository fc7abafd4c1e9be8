"""Segments of users and items, against evaluations of filtered test data and plain loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recctl.config.segments import SegmentSpec, parse_segment
from recctl.data.dataset import InteractionDataset
from recctl.data.labels import Labels
from recctl.data.vocabulary import Vocabulary
from recctl.errors import ConfigError, DataError
from recctl.evaluation import Evaluator, Segment
from recctl.evaluation.paired_comparison import compare_paired
from recctl.evaluation.segments import Bins, FittedCounts, SegmentMaker, segment_records
from recctl.models.base import Recommender
from tests.evaluation.oracle import frame, hand_made

N_USERS, N_ITEMS = 50, 30
NAMES = ["precision", "recall", "ndcg", "hit_rate", "map", "mrr", "auc", "novelty", "coverage"]
ACCURACY = ["precision@5", "recall@5", "ndcg@5", "hit_rate@5", "map@5", "mrr@5", "auc"]


@pytest.fixture(scope="module")
def model() -> Recommender:
    """Fitted on 40 of 50 users and on 26 of 30 items; scores have ties."""
    rng = np.random.default_rng(4)
    scores = rng.integers(0, 6, (N_USERS, N_ITEMS)).astype(np.float64)
    fitted = rng.random((40, 26)) < 0.25
    fitted[np.arange(40), np.arange(40) % 26] = True
    return hand_made(scores, rng.random((N_ITEMS, N_ITEMS))).fit(frame(np.argwhere(fitted).tolist()))


@pytest.fixture(scope="module")
def test_part() -> InteractionDataset:
    """Interactions of all users, some known and some with unknown items, each with a channel; some pairs repeat."""
    rng = np.random.default_rng(5)
    rows = frame(np.argwhere(rng.random((N_USERS, N_ITEMS)) < 0.2).tolist())
    rows = pd.concat([rows, rows.iloc[:40]], ignore_index=True)
    rows["rating"] = rng.integers(1, 6, len(rows)).astype(float)
    dataset = InteractionDataset(rows)
    dataset.labels = {"channel": Labels.encode(rng.choice(["app", "shop"], len(rows)))}
    history = frame(np.argwhere(rng.random((8, 26)) < 0.3).tolist())
    dataset.history = InteractionDataset(history.assign(user_id=history["user_id"] + 40))
    return dataset


def segments_of(unit: str, n: int, seed: int) -> list[Segment]:
    parts = np.random.default_rng(seed).integers(0, 3, n)
    return [Segment(f"part={part}", unit, parts == part) for part in range(3)]  # type: ignore[arg-type]


def rows_of(test: InteractionDataset, rows: np.ndarray) -> InteractionDataset:
    part = test.take(rows)
    part.history = test.history
    return part


OPTIONS: list[dict[str, Any]] = [
    {},
    {"on_unknown": "zero"},
    {"on_unknown": "popular"},
    {"exclude": "none"},
    {"relevance_threshold": 3},
]


@pytest.mark.parametrize("options", [*OPTIONS, {"gain": "exp2"}], ids=str)
def test_segment_of_items_equals_evaluation_of_its_relevant_items_alone(
    model: Recommender, test_part: InteractionDataset, options: dict[str, Any]
) -> None:
    segments = segments_of("items", test_part.n_items, 1)
    evaluator = Evaluator(NAMES, [5], **options)
    result = evaluator.evaluate_users(model, test_part, segments=segments)
    for segment in segments:
        restricted = rows_of(test_part, segment.members[test_part.items])
        expected = evaluator.evaluate_users(model, restricted).per_user
        found = result.segments[segment.key]
        assert sorted(found) == sorted(["user_id", *ACCURACY, "n_relevant"])
        pd.testing.assert_frame_equal(found, expected[found.columns.tolist()], check_exact=True)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_segment_of_users_equals_rows_of_its_users(
    model: Recommender, test_part: InteractionDataset, options: dict[str, Any]
) -> None:
    segments = segments_of("users", test_part.n_users, 2)
    result = Evaluator(NAMES, [5], **options).evaluate_users(model, test_part, segments=segments)
    for segment in segments:
        members = {u for u, is_member in zip(test_part.user_vocabulary.ids, segment.members, strict=True) if is_member}
        rows = result.per_user[[user in members for user in result.per_user["user_id"]]]
        pd.testing.assert_frame_equal(result.segments[segment.key], rows.reset_index(drop=True), check_exact=True)
    assert sum(len(table) for table in result.segments.values()) == result.n_users


def test_segment_of_interactions_counts_the_latest_of_repeated_pairs(model: Recommender) -> None:
    test = InteractionDataset(frame([(0, 1), (0, 2), (0, 1)]).assign(timestamp=[5, 6, 7]))
    segments = [Segment("first", "interactions", np.array([True, True, False]))]
    table = Evaluator(["recall"], [30], exclude="none").evaluate_users(model, test, segments=segments).segments["first"]
    assert table["n_relevant"].tolist() == [1]


def test_ndcg_of_a_segment_equals_a_plain_loop(model: Recommender, test_part: InteractionDataset) -> None:
    segment = segments_of("items", test_part.n_items, 3)[0]
    members = set(test_part.item_vocabulary.ids[segment.members].tolist())
    table = Evaluator(["ndcg"], [5]).evaluate_users(model, test_part, segments=[segment]).segments[segment.key]
    relevant = test_part.data.groupby("user_id")["item_id"].apply(set).to_dict()
    fitted_users = set(model.user_vocabulary.ids.tolist())
    checked = 0
    for user, value in zip(table["user_id"], table["ndcg@5"], strict=True):
        if user not in fitted_users:
            continue
        lists = model.recommend([user], 5)
        ranked = lists["item_id"].tolist()
        row = model.seen.take(model.user_vocabulary.codes([user]))
        seen = set(model.item_vocabulary.decode(row.columns).tolist())
        counted = (relevant[user] & members) - seen
        gains = [1 / math.log2(place + 2) for place, item in enumerate(ranked) if item in counted]
        ideal = sum(1 / math.log2(place + 2) for place in range(min(5, len(counted))))
        assert value == pytest.approx(sum(gains) / ideal)
        checked += 1
    assert checked > 20


def test_candidates_of_a_segment_are_those_of_all_relevant_items(
    model: Recommender, test_part: InteractionDataset
) -> None:
    everything = Segment("all", "items", np.ones(test_part.n_items, bool))
    some = Segment("some", "items", np.arange(test_part.n_items) % 2 == 0)
    evaluator = Evaluator(["recall", "auc"], [3], n_candidates=4)
    result = evaluator.evaluate_users(model, test_part, segments=[everything, some])
    pd.testing.assert_frame_equal(result.segments["all"], result.per_user)
    without = evaluator.evaluate_users(model, test_part)
    pd.testing.assert_frame_equal(without.per_user, result.per_user)
    assert without.metrics == result.metrics


def test_errors_of_a_segment_are_those_of_its_ratings(model: Recommender, test_part: InteractionDataset) -> None:
    evaluator = Evaluator(["rmse", "mae"])
    for unit, n in (("users", test_part.n_users), ("items", test_part.n_items)):
        segments = segments_of(unit, n, 6)
        result = evaluator.evaluate_users(model, test_part, "rating_prediction", segments=segments)
        for segment in segments:
            codes = test_part.users if unit == "users" else test_part.items
            restricted = rows_of(test_part, segment.members[codes])
            expected = evaluator.evaluate_users(model, restricted, "rating_prediction").per_user
            pd.testing.assert_frame_equal(result.segments[segment.key], expected, check_exact=True)


def test_records_have_the_intervals_of_comparisons(model: Recommender, test_part: InteractionDataset) -> None:
    segments = [
        *segments_of("users", test_part.n_users, 7),
        Segment("none", "users", np.zeros(test_part.n_users, bool)),
    ]
    result = Evaluator(["ndcg"], [5]).evaluate_users(model, test_part, segments=segments)
    records = segment_records(segments, result.segments, 9, 500)
    assert records["none"] == {"n_users": 0, "metrics": {}, "definition": {}}
    table = result.segments["part=1"]
    expected = compare_paired({"m": table}, "m", seed=9, n_resamples=500).estimates["ndcg@5"]["m"]
    figure = records["part=1"]["metrics"]["ndcg@5"]
    assert (figure["value"], figure["low"], figure["high"]) == (expected.value, expected.low, expected.high)
    assert records["part=1"]["n_users"] == len(table)
    assert figure["value"] == pytest.approx(table["ndcg@5"].mean())


def test_segments_of_other_data_are_refused(model: Recommender, test_part: InteractionDataset) -> None:
    one = Segment("one", "users", np.ones(3, bool))
    with pytest.raises(ConfigError, match=r"'one' is of 3 users, but test has"):
        Evaluator(["ndcg"]).evaluate_users(model, test_part, segments=[one])
    twice = segments_of("users", test_part.n_users, 8)[:1] * 2
    with pytest.raises(ConfigError, match="two are called 'part=0'"):
        Evaluator(["ndcg"]).evaluate_users(model, test_part, segments=twice)


# ---- making segments


@pytest.fixture
def maker(test_part: InteractionDataset) -> SegmentMaker:
    fitted = FittedCounts(Vocabulary(np.arange(40)), np.arange(40), Vocabulary(np.arange(26)), np.arange(26) * 10)
    countries = Labels.encode(["DE", "FR", "", "DE"] * 12 + ["FR"])
    missing = Labels(np.append(countries.codes, np.full(test_part.n_users - 49, -1)).astype(np.int32), countries.values)
    genres = Labels.encode(["Drama|War", "War", "Comedy"] * 10)
    return SegmentMaker(test_part, fitted, {"country": missing}, {"genre": genres.take(np.arange(test_part.n_items))})


def made(maker: SegmentMaker, entry: Any) -> dict[str, Segment]:
    return {segment.key: segment for segment in maker.make(parse_segment(entry))}


def test_activity_counts_what_was_fitted_on_and_the_history(maker: SegmentMaker, test_part: InteractionDataset) -> None:
    assert test_part.history is not None
    in_history = test_part.history.data.groupby("user_id").size()
    for key, segment in made(maker, {"activity": [5, 20]}).items():
        for user, is_member in zip(test_part.user_vocabulary.ids.tolist(), segment.members, strict=True):
            length = (user if user < 40 else 0) + in_history.get(user, 0)
            expected = "<5" if length < 5 else "5-19" if length < 20 else ">=20"
            assert is_member == (key == f"activity={expected}")


def test_new_users_and_items_are_those_that_nothing_was_fitted_on(
    maker: SegmentMaker, test_part: InteractionDataset
) -> None:
    users = made(maker, "new_users")
    assert set(test_part.user_vocabulary.ids[users["new_users"].members]) == {0, *range(40, 50)}
    assert (users["known_users"].members == ~users["new_users"].members).all()
    items = made(maker, "new_items")
    assert set(test_part.item_vocabulary.ids[items["new_items"].members]) == {0, *range(26, 30)}


def test_quantiles_of_popularity_hold_about_equally_many_interactions(
    maker: SegmentMaker, test_part: InteractionDataset
) -> None:
    segments = made(maker, {"popularity": {"quantiles": 4}})
    assert list(segments) == [f"popularity=q{number}" for number in (1, 2, 3, 4)]
    assert sum(segment.members for segment in segments.values()).tolist() == [1] * test_part.n_items
    shares = [segment.members[test_part.items].mean() for segment in segments.values()]
    assert max(shares) - min(shares) < 0.15
    assert segments["popularity=q4"].range.endswith("-250")


def test_values_of_a_column_make_segments_of_their_own(maker: SegmentMaker) -> None:
    segments = made(maker, {"users": "country"})
    assert list(segments) == ["country=DE", "country=FR", "country=(empty)", "country=(no row)"]
    assert [int(segment.members.sum()) for segment in segments.values()] == [24, 13, 12, 1]


def test_separator_puts_an_item_into_several_segments(maker: SegmentMaker) -> None:
    segments = made(maker, {"items": {"column": "genre", "separator": "|", "label": "kind"}})
    assert list(segments) == ["kind=Comedy", "kind=Drama", "kind=War"]
    assert segments["kind=War"].members.tolist() == [True, True, False] * 10


def test_interactions_are_divided_by_their_column(maker: SegmentMaker, test_part: InteractionDataset) -> None:
    segments = made(maker, {"interactions": "channel"})
    labels = test_part.labels["channel"]
    for name in ("app", "shop"):
        expected = labels.codes == labels.values.index(name)
        assert (segments[f"channel={name}"].members == expected).all()
    ratings = made(maker, {"interactions": {"column": "rating", "cuts": [4]}})
    assert (ratings["rating=>=4"].members == (test_part.ratings >= 4)).all()


@pytest.mark.parametrize(
    ("values", "options", "problem"),
    [
        (range(30), {}, r"30 distinct values.*numbers need cuts.*\{users: \{column: x, cuts: \[15\]\}\}"),
        (np.arange(12) / 8, {}, "12 distinct values.*numbers need cuts"),
        ([f"id{number}" for number in range(60)], {}, "60 distinct values.*at most 50"),
        ([f"a|b{number}" for number in range(60)], {}, r"separator: '\|'"),
        (["1", "two"], {"cuts": [1]}, "'two' is not a number"),
    ],
)
def test_column_that_makes_no_groups_is_refused(
    test_part: InteractionDataset, values: Any, options: dict[str, Any], problem: str
) -> None:
    labels = Labels.encode(list(values))
    by_user = Labels(np.resize(labels.codes, test_part.n_users), labels.values)
    fitted = FittedCounts(Vocabulary(np.arange(1)), np.ones(1, int), Vocabulary(np.arange(1)), np.ones(1, int))
    maker = SegmentMaker(test_part, fitted, {"x": by_user}, {})
    with pytest.raises(DataError, match=problem):
        maker.make(parse_segment({"users": {"column": "x", **options}}))


def test_bins_name_their_ranges() -> None:
    assert Bins(np.array([1, 2, 3, 50]), cuts=[2, 10]).ranges == ["<2", "2-9", ">=10"]
    assert Bins(np.array([0.5, 2, 3]), cuts=[1.5, 10]).ranges == ["<1.5", "1.5-10", ">=10"]
    assert Bins(np.array([1, 2, 2, 9]), quantiles=2).ranges == ["1", "2-9"]
    assert Bins(np.array([1, 2, 3, 50]), cuts=[2, 10]).assign(np.array([1, 2, 9, 10])).tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("new_user", "did you mean new_users"),
        ({"users": "a", "items": "b"}, "one name"),
        ({"new_users": {"cuts": [1]}}, "new_users has no options"),
        ({"activity": {"cut": [5]}}, "unknown option 'cut'; did you mean cuts"),
        ({"activity": {"cuts": [5, 5]}}, "increasing numbers"),
        ({"activity": {"cuts": [5], "quantiles": 3}}, "exclude each other"),
        ({"popularity": {"quantiles": 1}}, "at least 2"),
        ({"users": None}, "needs the name of a column"),
        ({"items": {"column": "g", "separator": "|", "cuts": [1]}}, "leave one out"),
        ({"users": {"column": "g", "label": "a=b"}}, "without ="),
    ],
)
def test_invalid_entry_is_refused(entry: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_segment(entry)


def test_short_and_long_entries_mean_the_same() -> None:
    assert parse_segment({"activity": [5, 20]}) == parse_segment({"activity": {"cuts": [5, 20]}})
    assert parse_segment({"users": "age"}) == SegmentSpec("users", "age", label="age")
    assert parse_segment({"users": "age"}) == parse_segment({"users": {"column": "age"}})
