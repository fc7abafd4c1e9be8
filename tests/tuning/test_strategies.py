"""Strategies against what they promise: which points, in which order, for any order of asking."""

import numpy as np
import pytest

from recctl.config.schema import TuningConfig, search_strategies
from recctl.models.base.hyperparameters import Between, Choices
from recctl.models.base.search_space import Dimension, Space
from recctl.tuning.strategies import STRATEGIES, CoarseToFine, Strategy, Tried

LINE = Space((Dimension("x", Between(100.0, 2000.0)),))
PLANE = Space((Dimension("x", Between(1.0, 1000.0, log=True)), Dimension("kind", Choices(("a", "b", "c")))))
FIRST = {"x": 500.0, "kind": "a"}


def search(strategy: Strategy, score, n_trials: int, first: dict) -> list[Tried]:
    tried = [Tried(0, first, score(first))]
    for number in range(1, n_trials):
        point = strategy.propose(number, tried)
        assert point is not None
        tried.append(Tried(number, point, score(point)))
    return tried


def make(space: Space, **section) -> Strategy:
    config = TuningConfig(**section)
    return STRATEGIES[config.strategy](config, space, {d.name: FIRST[d.name] for d in space.dimensions}, 7)


def test_a_grid_has_every_combination_once_and_what_the_config_says_first() -> None:
    space = Space((Dimension("x", Choices((1, 2))), Dimension("kind", Choices(("a", "b", "c")))))
    strategy = STRATEGIES["grid"](TuningConfig(strategy="grid"), space, {"x": 1, "kind": "b"}, 7)
    points = [strategy.propose(number, []) for number in range(1, strategy.n_trials)]
    found = sorted((point["x"], point["kind"]) for point in [{"x": 1, "kind": "b"}, *points])
    assert found == [(x, kind) for x in (1, 2) for kind in "abc"]


def test_manual_points_come_as_written_and_fill_up_from_the_config() -> None:
    strategy = make(PLANE, strategy="manual", points=[{"x": 3.0}, {"kind": "c"}, {"x": 500.0}])
    assert [strategy.propose(n, []) for n in range(1, strategy.n_trials)] == [
        {"x": 3.0, "kind": "a"},
        {"x": 500.0, "kind": "c"},
    ]


def test_random_points_depend_on_their_number_alone_and_are_even_on_the_log_scale() -> None:
    strategy = make(PLANE, strategy="random")
    points = {number: strategy.propose(number, []) for number in range(2000, 0, -1)}
    assert points[17] == make(PLANE, strategy="random").propose(17, [Tried(3, FIRST, 1.0)])
    logs = np.log10([point["x"] for point in points.values()])
    counts, _ = np.histogram(logs, 6, (0, 3))
    assert counts.sum() == 2000
    assert counts.min() > 270
    kinds, frequencies = np.unique([point["kind"] for point in points.values()], return_counts=True)
    assert kinds.tolist() == ["a", "b", "c"]
    assert frequencies.min() > 550


def test_coarse_to_fine_finds_the_chapters_optimum_by_looking_ever_closer() -> None:
    strategy = make(LINE, strategy="coarse_to_fine", n_trials=16)
    tried = search(strategy, lambda point: -abs(point["x"] - 613.0), 16, {"x": 500.0})
    widths = []
    for nth_round in range(3):
        values = sorted(t.point["x"] for t in tried[1 + 5 * nth_round : 6 + 5 * nth_round])
        widths.append(values[-1] - values[0])
        assert np.allclose(np.diff(values), np.diff(values)[0]), "a round has equal steps"
    assert widths == pytest.approx([1900.0, 1900.0 / 3, 1900.0 / 9])
    assert min(abs(t.point["x"] - 613.0) for t in tried) < 1900 / 9 / 4


def test_coarse_to_fine_asks_nothing_of_the_round_it_is_in() -> None:
    strategy = make(PLANE, strategy="coarse_to_fine", n_trials=19)
    assert isinstance(strategy, CoarseToFine)
    score = lambda point: -abs(np.log10(point["x"]) - 1.3) - (point["kind"] != "c")  # noqa: E731
    tried = search(strategy, score, 19, FIRST)
    for number in range(1, 19):
        over = [t for t in tried if t.number < strategy.waits_for(number)]
        assert strategy.propose(number, over) == tried[number].point
        assert strategy.waits_for(number) <= number
    last = tried[13:]
    assert {t.point["kind"] for t in last} == {"c"}
    assert all(abs(np.log10(t.point["x"]) - 1.3) < 1.0 for t in last)


def test_the_box_stays_inside_the_range_when_the_best_is_at_its_end() -> None:
    tried = search(make(LINE, strategy="coarse_to_fine", n_trials=16), lambda point: point["x"], 16, {"x": 500.0})
    assert max(t.point["x"] for t in tried) == 2000.0
    assert all(100.0 <= t.point["x"] <= 2000.0 for t in tried)


def test_what_a_config_may_name_is_what_there_is() -> None:
    assert list(STRATEGIES) == search_strategies()
