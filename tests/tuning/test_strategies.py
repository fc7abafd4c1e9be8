"""Strategies: which points they propose, and what these depend on."""

import numpy as np
import pytest

from recctl.config.schema import TuningConfig, search_strategies
from recctl.models.als import ALSRecommender
from recctl.models.base.hyperparameters import Between, Choices
from recctl.models.base.search_space import Dimension, Space, parse_space
from recctl.tuning.strategies import STRATEGIES, CoarseToFine, FinishedTrial, Strategy

LINE = Space((Dimension("x", Between(100.0, 2000.0)),))
PLANE = Space((Dimension("x", Between(1.0, 1000.0, log=True)), Dimension("kind", Choices(("a", "b", "c")))))
FIRST = {"x": 500.0, "kind": "a"}


def search(strategy: Strategy, score, n_trials: int, first: dict) -> list[FinishedTrial]:
    finished = [FinishedTrial(0, first, score(first))]
    for number in range(1, n_trials):
        point = strategy.propose(number, finished)
        assert point is not None
        finished.append(FinishedTrial(number, point, score(point)))
    return finished


def make(space: Space, **section) -> Strategy:
    config = TuningConfig(**section)
    return STRATEGIES[config.strategy](config, space, {d.name: FIRST[d.name] for d in space.dimensions}, 7)


def test_grid_has_every_combination_once_with_the_config_first() -> None:
    space = Space((Dimension("x", Choices((1, 2))), Dimension("kind", Choices(("a", "b", "c")))))
    strategy = STRATEGIES["grid"](TuningConfig(strategy="grid"), space, {"x": 1, "kind": "b"}, 7)
    points = [strategy.propose(number, []) for number in range(1, strategy.n_trials)]
    found = sorted((point["x"], point["kind"]) for point in [{"x": 1, "kind": "b"}, *points])
    assert found == [(x, kind) for x in (1, 2) for kind in "abc"]


def test_manual_points_keep_their_order_and_take_other_values_from_the_config() -> None:
    strategy = make(PLANE, strategy="manual", points=[{"x": 3.0}, {"kind": "c"}, {"x": 500.0}])
    assert [strategy.propose(n, []) for n in range(1, strategy.n_trials)] == [
        {"x": 3.0, "kind": "a"},
        {"x": 500.0, "kind": "c"},
    ]


def test_random_points_depend_only_on_their_number_and_are_log_uniform() -> None:
    strategy = make(PLANE, strategy="random")
    points = {number: strategy.propose(number, []) for number in range(2000, 0, -1)}
    assert points[17] == make(PLANE, strategy="random").propose(17, [FinishedTrial(3, FIRST, 1.0)])
    logs = np.log10([point["x"] for point in points.values()])
    counts, _ = np.histogram(logs, 6, (0, 3))
    assert counts.sum() == 2000
    assert counts.min() > 270
    kinds, frequencies = np.unique([point["kind"] for point in points.values()], return_counts=True)
    assert kinds.tolist() == ["a", "b", "c"]
    assert frequencies.min() > 550


def test_coarse_to_fine_zooms_in_on_the_optimum() -> None:
    strategy = make(LINE, strategy="coarse_to_fine", n_trials=16)
    finished = search(strategy, lambda point: -abs(point["x"] - 613.0), 16, {"x": 500.0})
    widths = []
    for round_index in range(3):
        values = sorted(t.point["x"] for t in finished[1 + 5 * round_index : 6 + 5 * round_index])
        widths.append(values[-1] - values[0])
        assert np.allclose(np.diff(values), np.diff(values)[0]), "steps within a round are equal"
    assert widths == pytest.approx([1900.0, 1900.0 / 3, 1900.0 / 9])
    assert min(abs(t.point["x"] - 613.0) for t in finished) < 1900 / 9 / 4


def test_coarse_to_fine_points_do_not_depend_on_their_own_round() -> None:
    strategy = make(PLANE, strategy="coarse_to_fine", n_trials=19)
    assert isinstance(strategy, CoarseToFine)
    score = lambda point: -abs(np.log10(point["x"]) - 1.3) - (point["kind"] != "c")  # noqa: E731
    finished = search(strategy, score, 19, FIRST)
    for number in range(1, 19):
        over = [t for t in finished if t.number < strategy.waits_for(number)]
        assert strategy.propose(number, over) == finished[number].point
        assert strategy.waits_for(number) <= number
    last = finished[13:]
    assert {t.point["kind"] for t in last} == {"c"}
    assert all(abs(np.log10(t.point["x"]) - 1.3) < 1.0 for t in last)


def test_zoomed_range_stays_inside_when_the_best_point_is_at_its_end() -> None:
    finished = search(make(LINE, strategy="coarse_to_fine", n_trials=16), lambda point: point["x"], 16, {"x": 500.0})
    assert max(t.point["x"] for t in finished) == 2000.0
    assert all(100.0 <= t.point["x"] <= 2000.0 for t in finished)


def test_config_schema_lists_all_strategies() -> None:
    assert list(STRATEGIES) == search_strategies()


def test_config_schema_lists_all_keys_of_a_dimension() -> None:
    schema = TuningConfig.model_json_schema()["properties"]["space"]["additionalProperties"]
    by_type = {alternative["type"]: alternative for alternative in schema["anyOf"]}
    assert set(by_type) == {"array", "object"}
    everything = {"low": 1, "high": 9, "log": False, "step": 2, "when": {"implicit": True}}
    space, problems = parse_space({"n_factors": everything}, ALSRecommender)
    assert problems == []
    assert space.dimensions[0].grid(2) == [1, 3, 5, 7, 9]
    assert by_type["object"]["properties"].keys() == everything.keys() | {"choices"}
    assert by_type["object"]["additionalProperties"] is False
