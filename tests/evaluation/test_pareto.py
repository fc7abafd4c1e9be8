from __future__ import annotations

from recctl.evaluation.pareto import pareto_front


def test_dominated_model_is_not_on_front() -> None:
    accuracy = {"best": 0.5, "balanced": 0.4, "dominated": 0.3, "broad": 0.1}
    coverage = {"best": 0.1, "balanced": 0.5, "dominated": 0.4, "broad": 0.9}
    assert pareto_front(accuracy, coverage) == ["best", "balanced", "broad"]


def test_models_with_equal_values_are_all_on_front() -> None:
    assert pareto_front({"a": 0.5, "b": 0.5}, {"a": 1.0, "b": 1.0}) == ["a", "b"]
    assert pareto_front({"a": 0.5, "b": 0.5}, {"a": 1.0, "b": 0.9}) == ["a"]


def test_model_without_value_is_ignored() -> None:
    assert pareto_front({"a": 0.5, "b": 0.9}, {"a": 1.0, "b": None}) == ["a"]
    assert pareto_front({"a": None}, {"a": 1.0}) == []
