"""`fit(..., warm_start=model)`: rows are matched by ids; the expected values are looked up by id in dictionaries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recctl import InteractionDataset, make_model
from recctl.errors import ConfigError, DataError
from recctl.models.als import ALSRecommender
from recctl.models.registry import model_class, model_names

SMALL: dict[str, dict[str, Any]] = {
    "als": {"n_factors": 4, "n_iterations": 3},
    "lightgcn": {"embedding_dim": 4, "epochs": 2, "batch_size": 64, "n_layers": 2},
    "ncf": {"embedding_dim": 4, "hidden_layers": [8, 4], "epochs": 2, "batch_size": 64},
    "sasrec": {"embedding_dim": 4, "epochs": 2, "batch_size": 8, "max_length": 6},
}
NETWORKS = ["lightgcn", "ncf", "sasrec"]


def small(name: str, **changes: Any) -> Any:
    return make_model(name, **(SMALL[name] | changes))


def table(users: list[Any], items: list[Any], seed: int = 0) -> pd.DataFrame:
    """About three interactions a user; each user and each item occurs."""
    draw = np.random.default_rng(seed)
    pairs = [(user, items[draw.integers(len(items))]) for user in users for _ in range(3)]
    pairs += [(users[draw.integers(len(users))], item) for item in items]
    rows = pd.DataFrame(pairs, columns=["user_id", "item_id"]).drop_duplicates()
    return rows.assign(
        rating=draw.integers(1, 6, len(rows)).astype(float), timestamp=1_700_000_000 + np.arange(len(rows))
    )


def implicit(users: list[Any], items: list[Any], seed: int = 0) -> InteractionDataset:
    return InteractionDataset(table(users, items, seed))


def rows_by_id(model: Any) -> dict[str, dict[Any, tuple[float, ...]]]:
    """Every row of a table with a row for each user or item, by the id that it belongs to; and all other weights."""
    users = model.user_vocabulary.ids.tolist()
    items = model.item_vocabulary.ids.tolist()
    if model.name == "lightgcn":
        vectors = model.weights.reshape(len(users) + len(items), -1).tolist()
        ids = [("user", user) for user in users] + [("item", item) for item in items]
        return {"vectors": dict(zip(ids, map(tuple, vectors), strict=True))}
    result = {}
    for name, weights in model._arrays.items():
        ids = {"user_": users, "item_": items, "item": items}.get(name.removesuffix("gmf").removesuffix("mlp"))
        rows = weights.reshape(len(weights), -1).tolist() if ids is not None else [weights.ravel().tolist()]
        result[name] = dict(zip(ids or ["all"], map(tuple, rows), strict=True))
    return result


@pytest.mark.parametrize("name", NETWORKS)
@given(data=st.data())
@settings(max_examples=8)
def test_known_rows_are_those_of_the_parent_and_others_those_of_a_cold_start(name: str, data: st.DataObject) -> None:
    """With ids in any order, of which any are new, gone or kept."""
    make_id = data.draw(st.sampled_from([int, lambda number: f"id {number}"]))
    ids = st.lists(st.integers(0, 60), min_size=3, max_size=12, unique=True)
    old_users, old_items, new_users, new_items = ([make_id(number) for number in data.draw(ids)] for _ in range(4))
    new_items[0] = old_items[0]  # without any shared item a warm start is refused
    new_items = list(dict.fromkeys(new_items))
    parent = small(name, seed=1)
    parent._initialize(implicit(old_users, old_items))
    # Distinct values, so that no other row can be taken for the right one.
    parent._set_weights(np.arange(len(parent.weights), dtype=np.float32) / 1000)
    dataset = implicit(new_users, new_items, seed=1)
    cold = small(name, seed=2)
    cold._initialize(dataset)
    model = small(name, seed=2)
    model._initialize(dataset, parent)
    rows = rows_by_id(model)
    parent_rows = rows_by_id(parent)
    cold_rows = rows_by_id(cold)
    for table_name, by_id in rows.items():
        for row_id, row in by_id.items():
            expected = parent_rows[table_name].get(row_id) or cold_rows[table_name][row_id]
            assert row == expected, f"{table_name}: {row_id}"


@pytest.mark.parametrize("name", NETWORKS)
def test_no_further_epoch_gives_the_recommendations_of_the_parent(name: str) -> None:
    dataset = implicit(list(range(20)), list(range(15)))
    parent = small(name, seed=1).fit(dataset)
    model = small(name, seed=2)
    model._initialize(dataset, parent)
    pd.testing.assert_frame_equal(model.recommend(range(20), k=5), parent.recommend(range(20), k=5))


@pytest.mark.parametrize("name", sorted(SMALL))
def test_warm_start_trains_on_and_leaves_the_parent_as_it_was(name: str) -> None:
    old = implicit(list(range(15)), list(range(12)))
    new = implicit(list(range(20)), list(range(15)), seed=1)
    parent = small(name, seed=1).fit(old)
    before = parent.recommend(range(15), k=5)
    model = small(name, seed=1).fit(new, warm_start=parent)
    assert not np.array_equal(
        model.score_users(np.arange(5, dtype=np.int32)),
        small(name, seed=1).fit(new).score_users(np.arange(5, dtype=np.int32)),
    )
    pd.testing.assert_frame_equal(parent.recommend(range(15), k=5), before)
    # A model can begin from itself.
    again = parent.fit(new, warm_start=parent)
    assert again is parent
    pd.testing.assert_frame_equal(again.recommend(range(20), k=5), model.recommend(range(20), k=5))


# ---- als


def without_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    def iterate(model: ALSRecommender, *_: Any) -> list[float]:
        model.spectrum = np.zeros(model.n_factors, np.float32)
        return [0.0]

    monkeypatch.setattr(ALSRecommender, "_iterate", iterate)


def normal_equations(
    model: ALSRecommender, rows: pd.DataFrame, side: str, row_id: int, fixed: dict[int, np.ndarray]
) -> np.ndarray:
    """The minimum over the factors of a user or an item, in float64, as in the model's docstring."""
    other = {"user_id": "item_id", "item_id": "user_id"}[side]
    ratings = rows[rows[side] == row_id].set_index(other)["rating"].to_dict()
    confidences = {one: 1.0 + model.alpha * (one in ratings) for one in fixed}
    targets = {one: float(one in ratings) for one in fixed}
    if not model.implicit:
        confidences = {one: float(one in ratings) for one in fixed}
        targets = {one: ratings.get(one, 0.0) - rows["rating"].mean() for one in fixed}
    regularization = model.reg * sum(confidences[one] for one in ratings)
    matrix = regularization * np.eye(model.n_factors)
    right_side = np.zeros(model.n_factors)
    for one, vector in fixed.items():
        matrix += confidences[one] * np.outer(vector, vector)
        right_side += confidences[one] * targets[one] * vector
    return np.linalg.solve(matrix, right_side)


@pytest.mark.parametrize("is_implicit", [True, False])
@given(numbers=st.permutations(range(12)))
@settings(max_examples=8)
def test_als_copies_known_rows_and_solves_new_users_from_items_and_new_items_from_users(
    is_implicit: bool, numbers: list[int]
) -> None:
    # A permutation decides which of twelve users and items are old, new, or both.
    old = table(sorted(numbers[:8]), sorted(numbers[2:10]))
    new = table(sorted(numbers[3:]), sorted(numbers[:9]), seed=1)
    parent = small("als", implicit=is_implicit).fit(InteractionDataset(old, implicit=is_implicit))
    model = small("als", implicit=is_implicit)
    with pytest.MonkeyPatch.context() as patch:
        without_iterations(patch)
        model.fit(InteractionDataset(new, implicit=is_implicit), warm_start=parent)
    users = dict(zip(model.user_vocabulary.ids.tolist(), model.user_factors, strict=True))
    items = dict(zip(model.item_vocabulary.ids.tolist(), model.item_factors, strict=True))
    old_users = dict(zip(parent.user_vocabulary.ids.tolist(), parent.user_factors, strict=True))
    old_items = dict(zip(parent.item_vocabulary.ids.tolist(), parent.item_factors, strict=True))
    for user, row in users.items():
        if user in old_users:
            np.testing.assert_array_equal(row, old_users[user])
            continue
        # New items are still 0 when new users are solved.
        solved = normal_equations(model, new, "user_id", user, {item: old_items.get(item, 0 * row) for item in items})
        if solved.any():
            np.testing.assert_allclose(row, solved, rtol=0.01, atol=0.001)
        else:
            assert row.any()
    for item, row in items.items():
        if item in old_items:
            np.testing.assert_array_equal(row, old_items[item])
        else:
            solved = normal_equations(model, new, "item_id", item, users)
            np.testing.assert_allclose(row, solved, rtol=0.01, atol=0.001)


def test_als_without_iterations_scores_as_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = implicit(list(range(20)), list(range(15)))
    parent = small("als").fit(dataset)
    without_iterations(monkeypatch)
    model = small("als", seed=9).fit(dataset, warm_start=parent)
    everyone = np.arange(20, dtype=np.int32)
    np.testing.assert_array_equal(model.score_users(everyone), parent.score_users(everyone))


@pytest.mark.parametrize("solver", ["cg", "cholesky", "ials++"])
@pytest.mark.parametrize("is_implicit", [True, False])
def test_als_goes_on_where_the_parent_stopped(solver: str, is_implicit: bool) -> None:
    dataset = InteractionDataset(table(list(range(40)), list(range(30))), implicit=is_implicit)
    settings = {"implicit": is_implicit, "solver": solver, "tol": 0.0}
    parent = small("als", **settings).fit(dataset)
    model = small("als", n_iterations=1, **settings).fit(dataset, warm_start=parent)
    assert model.losses[0] <= parent.losses[-1] * (1 + 1e-5), "each half-step lowers the objective"
    assert model.losses[0] < small("als", n_iterations=1, **settings).fit(dataset).losses[0]


def test_als_learns_new_users_who_have_new_items_only() -> None:
    """They are apart from all that the parent knows, so that nothing known says anything about them."""
    old = table(list(range(20)), list(range(15)))
    apart = table(list(range(100, 120)), list(range(100, 115)), seed=1)
    parent = small("als").fit(InteractionDataset(old))
    model = small("als", n_iterations=10).fit(InteractionDataset(pd.concat([old, apart])), warm_start=parent)
    scores = model.predict(apart["user_id"], apart["item_id"])
    cold = small("als", n_iterations=10).fit(InteractionDataset(pd.concat([old, apart])))
    assert scores.mean() > 0.9 * cold.predict(apart["user_id"], apart["item_id"]).mean() > 0.1


# ---- refusals


@pytest.mark.parametrize("name", [name for name in model_names() if name not in SMALL])
def test_models_that_are_fitted_from_scratch_refuse_a_warm_start(name: str) -> None:
    assert model_class(name).warm_start_parameters is None
    model = make_model(name)
    with pytest.raises(ConfigError, match=f"{name}: is always fitted from scratch"):
        model.fit(table([1, 2], [1, 2]), warm_start=model)


def test_another_model_and_one_that_is_not_fitted_are_refused() -> None:
    dataset = implicit([1, 2, 3], [1, 2, 3])
    als = small("als").fit(dataset)
    with pytest.raises(ConfigError, match=r"ncf: warm_start is a model of als.*begin from a model of ncf"):
        small("ncf").fit(dataset, warm_start=als)
    with pytest.raises(ConfigError, match="ncf: warm_start is not fitted"):
        small("ncf").fit(dataset, warm_start=small("ncf"))
    assert als.is_fitted


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("als", {"n_factors": 5}),
        ("als", {"implicit": False}),
        ("lightgcn", {"embedding_dim": 8}),
        ("lightgcn", {"n_layers": 1}),
        ("ncf", {"hidden_layers": [8]}),
        ("ncf", {"variant": "gmf"}),
        ("sasrec", {"max_length": 7}),
        ("sasrec", {"n_heads": 2, "n_blocks": 1}),
    ],
)
def test_other_sizes_are_refused_with_both_values(name: str, changes: dict[str, Any]) -> None:
    rows = table([1, 2, 3], [1, 2, 3])
    parent = small(name).fit(rows)
    with pytest.raises(ConfigError) as caught:
        small(name, **changes).fit(rows, warm_start=parent)
    assert len(caught.value.problems) == len(changes)
    for problem, (parameter, value) in zip(sorted(caught.value.problems), sorted(changes.items()), strict=True):
        fitted = parent.hyperparameters()[parameter]
        assert f"{parameter}={value!r}" in problem
        assert f"set {parameter} to {fitted!r}" in problem


def test_hyperparameters_of_training_may_change() -> None:
    rows = table([1, 2, 3], [1, 2, 3])
    parent = small("ncf").fit(rows)
    assert small("ncf", learning_rate=0.1, dropout=0.0, epochs=1).fit(rows, warm_start=parent).best_epoch == 1
    with pytest.raises(ConfigError, match="set pretrain_epochs to 0"):
        small("ncf", pretrain_epochs=1).fit(rows, warm_start=parent)


def test_data_without_shared_items_are_refused() -> None:
    parent = small("als").fit(table([1, 2, 3], [1, 2, 3]))
    with pytest.raises(DataError, match="knows none of the 2 items, such as 7"):
        small("als").fit(table([1, 2, 3], [7, 8]), warm_start=parent)
    with pytest.raises(DataError, match="the user ids are text, those of warm_start are integers"):
        small("als").fit(table(["1", "2"], [1, 2]), warm_start=parent)


def test_parent_that_was_fitted_on_validation_is_refused() -> None:
    rows = table(list(range(20)), list(range(15)))
    train = rows.iloc[:-10]
    validation = InteractionDataset(rows.iloc[-10:])
    leaky = small("sasrec").fit(rows.iloc[:-7])
    with pytest.raises(DataError, match="fitted on 3 of the 10 pairs of validation") as caught:
        small("sasrec").fit(train, validation=validation, warm_start=leaky)
    examples = [f"user {row.user_id!r} and item {row.item_id!r}" for row in rows.iloc[-10:-7].itertuples()]
    assert any(example in str(caught.value) for example in examples)
    # A pair that the new model is fitted on itself is no leak.
    both = pd.concat([train, rows.iloc[-10:-7]])
    small("sasrec", epochs=1).fit(both, validation=validation, warm_start=leaky)
