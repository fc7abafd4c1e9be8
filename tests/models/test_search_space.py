"""Search spaces: their values, conditions and points, against enumerations and NumPy."""

import itertools
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
import yaml

from recctl import InteractionDataset, rng
from recctl.models.base.hyperparameters import Between, Choices, hyperparameter
from recctl.models.base.recommender import Recommender
from recctl.models.base.search_space import Dimension, Point, Space, declared_space, parse_space
from recctl.models.registry import model_class, model_names

CONFIGS = Path(__file__).parents[2] / "configs"


def parse(model: str, **space: Any) -> Space:
    parsed, problems = parse_space(space, model_class(model))
    assert problems == []
    return parsed


def problem(model: str, **space: Any) -> str:
    _, problems = parse_space(space, model_class(model))
    assert len(problems) == 1
    return problems[0][1]


# ---- values


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (Between(1.0, 101.0), np.linspace(1, 101, 5)),
        (Between(0.001, 10.0, log=True), np.geomspace(0.001, 10, 5)),
        (Between(-3.0, 4.0), np.linspace(-3, 4, 5)),
    ],
)
def test_grid_of_a_range_has_its_ends_and_equal_steps(interval: Between, expected: np.ndarray) -> None:
    values = Dimension("x", interval).grid(5)
    assert values == pytest.approx(expected, rel=1e-12)
    assert (values[0], values[-1]) == (interval.low, interval.high), "the ends are exact"


def test_grid_of_whole_numbers_has_each_once() -> None:
    assert Dimension("x", Between(1, 4), whole=True).grid(9) == [1, 2, 3, 4]
    assert Dimension("x", Between(10, 50), whole=True).grid(5) == [10, 20, 30, 40, 50]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"low": 10, "high": 50, "step": 10}, [10, 20, 30, 40, 50]),
        ({"low": 10, "high": 55, "step": 10}, [10, 20, 30, 40, 50]),
        ({"low": 1, "high": 4, "step": 1}, [1, 2, 3, 4]),
    ],
)
def test_whole_numbers_with_a_step_are_its_multiples_from_the_lower_bound(settings: dict, expected: list[int]) -> None:
    (dimension,) = parse("item-knn", n_neighbors=settings).dimensions
    drawn = {dimension.at(place) for place in np.linspace(0, 1, 101)}
    assert dimension.grid(2) == list(dimension.values()) == sorted(drawn) == expected
    assert all(type(value) is int for value in drawn)
    assert [number for number in range(60) if dimension.contains(number)] == expected


def test_real_numbers_with_a_step_are_as_they_are_written() -> None:
    (dimension,) = parse("sasrec", dropout={"low": 0.1, "high": 0.75, "step": 0.1}).dimensions
    written = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert list(dimension.values()) == written
    assert {dimension.at(place) for place in np.linspace(0, 1, 99)} == set(written)
    assert dimension.canonical(0.1 + 2 * 0.1) == 0.3
    assert dimension.contains(0.30000000000000004)
    assert not dimension.contains(0.35)
    assert not dimension.contains(0.8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"low": 1, "high": 9, "step": 0}, "step=0: write a number above 0 and at most high - low = 8"),
        ({"low": 1, "high": 9, "step": -2}, "step=-2: write a number above 0"),
        ({"low": 1, "high": 9, "step": 10}, "at most high - low = 8"),
        ({"low": 1, "high": 9, "step": True}, "step=True: write a number"),
        ({"low": 1, "high": 9, "step": 2.5}, "steps of whole numbers are whole; write step: 2"),
        ({"low": 1, "high": 9, "step": 2, "log": True}, "step and log exclude each other"),
        ({"choices": [1, 2], "step": 1}, "without low, high, log and step"),
    ],
)
def test_step_that_makes_no_sense_is_refused(settings: dict, message: str) -> None:
    assert message in problem("item-knn", n_neighbors=settings)


@pytest.mark.parametrize("log", [False, True])
def test_each_whole_number_is_drawn_as_often_as_its_share_of_the_scale(log: bool) -> None:
    dimension = Dimension("x", Between(1, 4, log), whole=True)
    places = rng.stream(3, "places").random(20_000)
    _, counts = np.unique([dimension.at(place) for place in places], return_counts=True)
    # A number's share of the scale is the interval from half a step below to half a step above it.
    edges = np.log([0.5, 1.5, 2.5, 3.5, 4.5]) if log else np.array([0.5, 1.5, 2.5, 3.5, 4.5])
    expected = np.diff(edges) / (edges[-1] - edges[0])
    assert counts / len(places) == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize(
    "dimension",
    [
        Dimension("x", Between(0.5, 8.0)),
        Dimension("x", Between(1e-4, 1.0, log=True)),
        Dimension("x", Between(3, 300), whole=True),
        Dimension("x", Between(3, 300, log=True), whole=True),
        Dimension("x", Between(0.0, 1.0, step=0.05)),
        Dimension("x", Choices((None, [8], [16, 8], True, 1))),
    ],
)
def test_value_at_the_place_of_a_value_is_the_value(dimension: Dimension) -> None:
    for place in np.linspace(0, 1, 53):
        value = dimension.at(place)
        assert dimension.contains(value)
        again = dimension.at(dimension.place(value))
        assert again == pytest.approx(value, rel=1e-9) if isinstance(value, float) else repr(again) == repr(value)


def test_true_is_not_one() -> None:
    assert not Dimension("x", Choices((True, False))).contains(1)
    assert not Dimension("x", Between(0, 2), whole=True).contains(True)


# ---- conditions


CONDITIONAL = {
    "variant": ["neumf", "gmf", "mlp"],
    "hidden_layers": {"choices": [[8], [16, 8]], "when": {"variant": ["neumf", "mlp"]}},
    "pretrain_epochs": {"low": 0, "high": 2, "when": {"variant": "neumf", "hidden_layers": [[16, 8]]}},
    "n_negatives": {"low": 2, "high": 6, "step": 2},
}


def test_points_of_a_conditional_space_are_those_of_an_enumeration() -> None:
    expected = set()
    for variant, layers, pretrain, negatives in itertools.product(
        ("neumf", "gmf", "mlp"), ("[8]", "[16, 8]"), (0, 1, 2), (2, 4, 6)
    ):
        has_layers = variant != "gmf"
        has_pretraining = variant == "neumf" and layers == "[16, 8]"
        expected.add((variant, layers if has_layers else "", pretrain if has_pretraining else None, negatives))
    space = parse("ncf", **CONDITIONAL)

    def row(point: Point) -> tuple[Any, ...]:
        layers = str(point.get("hidden_layers", ""))
        return point["variant"], layers, point.get("pretrain_epochs"), point["n_negatives"]

    assert space.size == len(expected) == 21
    assert sorted(map(str, map(row, space.points()))) == sorted(map(str, expected))
    assert sorted(map(str, map(row, space.grid(3)))) == sorted(map(str, expected))


def test_space_with_an_active_range_of_real_numbers_has_no_size() -> None:
    conditional = {"low": 0.1, "high": 0.5, "when": {"variant": "mlp"}}
    assert parse("ncf", variant=["gmf", "mlp"], dropout=conditional).size is None
    assert parse("ncf", variant=["gmf", "mlp"], n_negatives={"low": 1, "high": 10}).size == 20


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"loss": "bpp"}, "when: loss: 'bpp' is none of its values in this space; did you mean bpr?"),
        ({"loss": ["bpr", "mean_bpr"]}, "when: loss: 'mean_bpr' is none of its values in this space"),
        ({"loss": []}, "when: loss: []: write at least one value"),
        ({"n_layers": 9}, "when: n_layers: 9 is none of its values in this space; its values are 1 to 4"),
        ({"n_layers": 2.5}, "when: n_layers: 2.5 is none"),
        ({"sampling": "user"}, "when: sampling: 'user' should be 'interactions' or 'users'; did you mean users?"),
        ({"batch_size": -1}, "when: batch_size: -1 should be greater than or equal to 1"),
        ({"hardest_of": 1}, "'hardest_of' is not searched before this one; move it above"),
        ({"los": "bpr"}, "when: 'los' is neither searched nor a parameter; did you mean loss?"),
    ],
)
def test_condition_that_can_never_hold_is_refused_with_what_is_meant(when: dict, message: str) -> None:
    space = {"loss": ["bpr", "sampled_softmax"], "n_layers": {"low": 1, "high": 4}}
    assert message in problem("lightgcn", **space, hardest_of={"choices": [1, 4], "when": when})


def test_condition_on_a_parameter_that_is_not_searched_is_decided_by_the_config() -> None:
    space = parse("sasrec", temperature={"low": 0.1, "high": 0.5, "when": {"similarity": "cosine"}}, n_blocks=[1, 2])
    assert [dimension.name for dimension in space.given({"similarity": "cosine"}).dimensions] == [
        "temperature",
        "n_blocks",
    ]
    assert [dimension.name for dimension in space.given({"similarity": "dot"}).dimensions] == ["n_blocks"]


def test_dimension_whose_condition_was_dropped_is_dropped_too() -> None:
    space = Space(
        (
            Dimension("a", Choices((1, 2)), when={"fixed": (True,)}),
            Dimension("b", Choices((1, 2)), when={"a": (1,)}),
            Dimension("c", Choices((1, 2))),
        )
    )
    assert [dimension.name for dimension in space.given({"fixed": False}).dimensions] == ["c"]


def test_outside_names_the_dimensions_that_do_not_contain_a_point() -> None:
    space = parse("lightgcn", loss=["bpr"], hardest_of={"choices": [1, 4], "when": {"loss": "bpr"}}, n_layers=[1, 2])

    def names(**point: Any) -> list[str]:
        return [dimension.name for dimension in space.outside(point)]

    assert names(loss="bpr", hardest_of=4, n_layers=1) == []
    assert names(loss="bpr", hardest_of=2, n_layers=3) == ["hardest_of", "n_layers"]
    assert names(loss="mean_bpr", hardest_of=2, n_layers=1) == ["loss"], "hardest_of is not active"
    assert names(loss="bpr", n_layers=1) == ["hardest_of"]


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"los": ("bpr",)}, "'los' is not a hyperparameter; did you mean loss"),
        ({"loss": ("bpp",)}, "'loss': 'bpp' should be"),
        ({"late": (1,)}, "'late' is searched after x; declare it before"),
    ],
)
def test_declared_condition_that_makes_no_sense_is_an_error_of_the_class(when: dict, message: str) -> None:
    with pytest.raises(TypeError, match=message):

        class Wrong(Recommender):
            name = "wrong"
            loss: Literal["bpr", "softmax"] = hyperparameter("bpr", help="A loss.")
            x: int = hyperparameter(1, help="A number.", search=Choices((1, 2)), when=when)
            late: int = hyperparameter(1, help="A number.", search=Choices((1, 2)))


# ---- the default spaces of the models

# Fixed hyperparameters with which other ones are read than by default, and the data for them.
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in model_names() if declared_space(model_class(name)).dimensions),
    ("als", {"implicit": False}),
    ("als", {"solver": "cholesky"}),
    ("als", {"solver": "ials++", "block_size": 1}),
    ("sasrec", {"similarity": "cosine"}),
    *(("sasrec", {"loss": loss}) for loss in ("sampled_softmax", "bce", "gbce")),
    ("lightgcn", {"loss": "mean_bpr"}),
    *((name, {"similarity": "dot", "weighting": "bm25"}) for name in ("item-knn", "user-knn")),
]
SMALL = {
    "embedding_dim": 4,
    "n_factors": 4,
    "epochs": 1,
    "n_epochs": 2,
    "n_iterations": 2,
    "batch_size": 16,
    "hidden_layers": [4],
    "n_neighbors": 3,
    "device": "cpu",
    "max_length": 4,
}
# Values that make a difference on small data, in place of those of the default ranges.
OTHER_VALUES: dict[str, list[Any]] = {
    "embedding_dim": [4, 8],
    "n_factors": [3, 5],
    "batch_size": [8, 16],
    "hidden_layers": [[4], [8, 4]],
    "n_neighbors": [2, 5],
    "max_length": [3, 6],
    "n_negatives": [2, 7],
    "hardest_of": [1, 8],
    "pretrain_epochs": [0, 1],
    "block_size": [1, 3],
    "cg_steps": [1, 3],
    "weighting": ["tf_idf", "bm25"],
    "l1_reg": [0.01, 1.0],
}


def interactions() -> pd.DataFrame:
    generator = np.random.default_rng(4)
    table = pd.DataFrame(
        {
            "user_id": generator.integers(0, 30, 360),
            "item_id": (generator.beta(1, 2, 360) * 20).astype(int),
            "rating": generator.integers(1, 6, 360).astype(float),
            "timestamp": np.arange(360),
        }
    )
    return table.drop_duplicates(["user_id", "item_id"])


def scores_of(name: str, values: dict[str, Any]) -> np.ndarray:
    known = model_class(name).parameters
    params = {key: value for key, value in {**SMALL, **values}.items() if key in known}
    model = model_class(name)(**params)
    model.fit(InteractionDataset(interactions(), implicit=not model.needs_ratings))
    users, items = np.divmod(np.arange(200, dtype=np.int32), 20)
    n_items = len(model.item_vocabulary)
    return np.asarray(model.score_pairs(users.astype(np.int32), (items % n_items).astype(np.int32)))


def two_values(dimension: Dimension) -> list[Any]:
    if dimension.name in OTHER_VALUES:
        return OTHER_VALUES[dimension.name]
    if isinstance(dimension.range, Choices):
        return list(dimension.range.values[:2])
    return [dimension.range.low, dimension.range.high]


@pytest.mark.parametrize(("name", "fixed"), VARIANTS, ids=lambda value: str(value))
def test_default_space_searches_only_what_the_model_reads(name: str, fixed: dict[str, Any]) -> None:
    model = model_class(name)
    declared_dimensions = declared_space(model).dimensions
    space = Space(tuple(dimension for dimension in declared_dimensions if dimension.name not in fixed))
    space = space.given(model.check(fixed)[0])
    # Named alternatives, such as losses, are what parameters depend on.
    switches = Space(
        tuple(
            dimension
            for dimension in space.dimensions
            if isinstance(dimension.range, Choices) and all(isinstance(value, str) for value in dimension.range.values)
        )
    )
    for switched in switches.points():
        active = {dimension.name for dimension in space.active(switched)}
        for dimension in space.dimensions:
            if dimension.name in active:
                first, second = [
                    scores_of(name, {**fixed, **switched, dimension.name: value}) for value in two_values(dimension)
                ]
                assert not np.array_equal(first, second), f"{dimension.name} is dead with {fixed | switched}"
        for key, declared in model.parameters.items():
            values = model.check({**fixed, **switched})[0]
            if all(values[other] in allowed for other, allowed in declared.when.items()):
                continue
            tried = OTHER_VALUES.get(key) or [declared.default, declared.default * 2 / 3]
            first, second = [scores_of(name, {**fixed, **switched, key: value}) for value in tried]
            assert np.array_equal(first, second), f"{key} is read with {fixed | switched}, but not searched"


@pytest.mark.parametrize("name", [name for name in model_names() if declared_space(model_class(name)).dimensions])
def test_defaults_and_packaged_config_lie_in_the_default_space(name: str) -> None:
    model = model_class(name)
    space = declared_space(model)
    packaged = yaml.safe_load((CONFIGS / f"{name.replace('-', '_')}.yaml").read_text())["model"]["params"]
    for params in ({}, packaged):
        assert space.outside(space.point(model.check(params)[0])) == []
