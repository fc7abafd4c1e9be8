from __future__ import annotations

from recctl.evaluation.pareto import pareto_front


def test_whom_another_beats_is_not_on_the_front() -> None:
    accuracy = {"best": 0.5, "balanced": 0.4, "beaten": 0.3, "broad": 0.1}
    coverage = {"best": 0.1, "balanced": 0.5, "beaten": 0.4, "broad": 0.9}
    assert pareto_front(accuracy, coverage) == ["best", "balanced", "broad"]


def test_of_models_with_equal_figures_all_or_none_are_on_it() -> None:
    assert pareto_front({"a": 0.5, "b": 0.5}, {"a": 1.0, "b": 1.0}) == ["a", "b"]
    assert pareto_front({"a": 0.5, "b": 0.5}, {"a": 1.0, "b": 0.9}) == ["a"]


def test_a_model_without_a_figure_is_on_no_front_and_beats_nobody() -> None:
    assert pareto_front({"a": 0.5, "b": 0.9}, {"a": 1.0, "b": None}) == ["a"]
    assert pareto_front({"a": None}, {"a": 1.0}) == []
