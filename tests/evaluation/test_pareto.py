from __future__ import annotations

from itertools import product

import numpy as np

from recctl.evaluation.pareto import dominates, pareto_front


def test_dominated_model_is_not_on_front() -> None:
    points = {"best": (0.5, 0.1), "balanced": (0.4, 0.5), "dominated": (0.3, 0.4), "broad": (0.1, 0.9)}
    assert pareto_front(points) == ["best", "balanced", "broad"]


def test_models_with_equal_values_are_all_on_front() -> None:
    assert pareto_front({"a": (0.5, 1.0), "b": (0.5, 1.0)}) == ["a", "b"]


def test_equal_in_one_value_and_worse_in_the_other_is_dominated() -> None:
    assert pareto_front({"a": (0.5, 0.9), "b": (0.5, 1.0)}) == ["b"]
    assert pareto_front({"a": (0.5, 1.0), "b": (0.5, 0.9)}) == ["a"]
    assert dominates((0.5, 1.0), (0.5, 0.9))
    assert not dominates((0.5, 1.0), (0.5, 1.0))
    assert not dominates((0.5, 1.0), (0.4, 1.1))


def test_front_of_three_values_equals_the_definition_on_every_pair() -> None:
    # Few levels, so that many points are equal in some values.
    drawn = np.random.default_rng(0).integers(0, 4, (60, 3))
    points = {position: tuple(point) for position, point in enumerate(drawn.tolist())}
    is_dominated = np.zeros(len(drawn), bool)
    for first, second in product(range(len(drawn)), repeat=2):
        if (drawn[first] >= drawn[second]).all() and (drawn[first] > drawn[second]).any():
            is_dominated[second] = True
    expected = np.flatnonzero(~is_dominated).tolist()
    assert 1 < len(expected) < 60
    assert pareto_front(points) == expected


def test_no_points_have_no_front() -> None:
    assert pareto_front({}) == []
