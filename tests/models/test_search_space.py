"""Search spaces: declared by models, parsed from configs, and their points."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recctl import experiment
from recctl.errors import ConfigError
from recctl.models.base.hyperparameters import Between, Choices
from recctl.models.base.search_space import Dimension, Space, declared_space, parse_space
from recctl.models.registry import model_class, model_classes

TEXT = """
data: {source: synthetic, synthetic: {n_users: 60, n_items: 60, n_interactions: 1500}}
split: {test_size: 0.2, val_size: 0.2}
model: {name: lightgcn}
tuning:
  space:
    loss: [bpr, sampled_softmax]
    temperature: {low: 0.05, high: 0.5, log: true, when: {loss: sampled_softmax}}
    n_layers: {low: 1, high: 4}
"""


def load(tmp_path: Path, *overrides: str):
    (tmp_path / "config.yaml").write_text(TEXT)
    return experiment.load(tmp_path / "config.yaml", overrides)


def of(text: dict, model: str = "lightgcn") -> Space:
    space, problems = parse_space(text, model_class(model))
    assert not problems
    return space


@pytest.mark.parametrize("model", [m.name for m in model_classes()])
def test_declared_ranges_are_valid_for_the_model(model: str) -> None:
    space = declared_space(model_class(model))
    for corner in (0.0, 0.5, 1.0):
        for dimension in space.dimensions:
            value = dimension.at(corner)
            assert model_class(model).parameters[dimension.name].check(value) == value


@given(place=st.floats(0, 1), low=st.floats(1e-6, 1e3), factor=st.floats(1.01, 1e6))
def test_at_and_place_are_inverse(place: float, low: float, factor: float) -> None:
    for log in (False, True):
        dimension = Dimension("x", Between(low, low * factor, log))
        assert low <= dimension.at(place) <= low * factor
        assert dimension.place(dimension.at(place)) == pytest.approx(place, abs=1e-6)


def test_log_scale_maps_equal_steps_to_equal_ratios() -> None:
    dimension = Dimension("x", Between(10.0, 1000.0, log=True))
    assert dimension.at(0.5) == pytest.approx(100.0)
    assert dimension.grid(3) == pytest.approx([10.0, 100.0, 1000.0])


def test_integer_grid_has_distinct_integers() -> None:
    dimension = Dimension("x", Between(1, 4), whole=True)
    assert dimension.grid(10) == [1, 2, 3, 4]
    assert all(type(value) is int for value in dimension.grid(10))


def test_inactive_dimensions_are_not_part_of_a_point() -> None:
    space = of({"loss": ["bpr", "sampled_softmax"], "temperature": {"choices": [0.1, 0.2], "when": {"loss": "bpr"}}})
    assert space.grid(5) == [
        {"loss": "bpr", "temperature": 0.1},
        {"loss": "bpr", "temperature": 0.2},
        {"loss": "sampled_softmax"},
    ]
    assert space.at([0.9, 0.9]) == {"loss": "sampled_softmax"}


def test_including_extends_the_space_to_the_values_of_the_config() -> None:
    space = of({"l2_reg": {"low": 100, "high": 1000, "log": True}}, "ease").including({"l2_reg": 50.0})
    assert space.dimensions[0].range == Between(50.0, 1000.0, log=True)
    space = of({"embedding_dim": [32, 64]}).including({"embedding_dim": 48})
    assert space.dimensions[0].range == Choices((32, 64, 48))


def test_only_ascending_numbers_are_ordered() -> None:
    assert Dimension("x", Choices((1, 2, 4))).ordered
    assert not Dimension("x", Choices((None, 50, 100))).ordered
    assert not Dimension("x", Choices(("a", "b"))).ordered


def test_bounds_get_the_type_of_the_parameter() -> None:
    (dimension,) = of({"l2_reg": [100, 200]}, "ease").dimensions
    assert all(isinstance(value, float) for value in dimension.range.values)
    (dimension,) = of({"n_factors": {"low": 8, "high": 64, "log": True}}, "als").dimensions
    assert dimension.whole
    assert dimension.at(math.log(3) / math.log(8)) == 24


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tuning.space={temprature: [0.1]}", "tuning.space.temprature: unknown parameter of lightgcn; did you mean"),
        ("tuning.space={n_layers: [0, 2]}", "tuning.space.n_layers: 0 should be greater than or equal to 1"),
        ("tuning.space={n_layers: 3}", "write a list of choices, or {low: ..., high: ..., log: true}"),
        ("tuning.space={n_layers: {low: 1, hihg: 3}}", "unknown key 'hihg'; did you mean high?"),
        ("tuning.space={n_layers: {low: 3, high: 1}}", "numbers with low < high"),
        ("tuning.space={reg: {low: 0, high: 1, log: true}}", "the lower bound of a log scale must be above 0"),
        ("tuning.space={reg: {choices: [0.1], low: 0}}", "without low, high and log"),
        ("tuning.space={reg: {choices: [0.1], when: {loss: bpr}}}", "'loss' is not searched before this one"),
        ("tuning.space={data.min_user_interactoins: [1, 2]}", "the config has no such key"),
        ("tuning.space={data.min_user_interactions: [-1]}", "the config has no such key that accepts -1"),
        ("tuning.strategy=bayes", "unknown strategy 'bayes'; did you mean bayesian?"),
        ("tuning.strategy=manual", "strategy: manual needs points"),
        ("tuning.points=[{n_layers: 2}]", "needs strategy: manual"),
        ("tuning={strategy: manual, points: [{n_layres: 2}]}", "tuning.points.0.n_layres: unknown parameter"),
        ("tuning.monitor=ndcg@11", "'ndcg@11' is not measured"),
        ("tuning.monitor=ndcg", "'ndcg' is not measured"),
    ],
)
def test_invalid_space_is_refused_before_data_is_read(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, override)
    assert any(message in problem for problem in caught.value.problems), caught.value.problems


def test_config_settings_are_searched_by_path(tmp_path: Path) -> None:
    loaded = load(tmp_path, "tuning.space={data.min_user_interactions: [0, 5], n_layers: [1, 2]}")
    assert list(loaded.config.tuning.space) == ["data.min_user_interactions", "n_layers"]
