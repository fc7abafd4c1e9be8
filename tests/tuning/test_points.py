"""The points of a search: inside the space, each measured once, whatever the strategy, the jobs and the interruptions.

Trials are scored by a function, without models or processes; `test_search` has searches of models.
"""

import itertools
from collections.abc import Callable
from typing import Any

import optuna
import pytest

from recctl.config.schema import TuningConfig
from recctl.models.base.hyperparameters import Between, Choices
from recctl.models.base.search_space import Dimension, Point, Space, point_key
from recctl.tuning.outcomes import Outcome
from recctl.tuning.samplers import StrategySampler
from recctl.tuning.strategies import STRATEGIES, FinishedTrial
from recctl.tuning.study import Study

MIXED = Space(
    (
        Dimension("kind", Choices(("a", "b", "c"))),
        Dimension("rate", Between(0.001, 0.1, log=True), when={"kind": ("a", "b")}),
        Dimension("count", Between(2, 9), whole=True),
        Dimension("size", Between(4, 64, log=True), whole=True),
        Dimension("share", Between(0.0, 0.6, step=0.2)),
        Dimension("layers", Choices(([8], [16, 8])), when={"kind": ("c",)}),
        Dimension("flag", Choices((True, False))),
    )
)
OUTSIDE = {"kind": "d", "count": 50, "size": 1000, "share": 0.9, "flag": True}
FINITE = Space(
    (
        Dimension("kind", Choices(("a", "b"))),
        Dimension("share", Between(0.1, 0.3, step=0.1)),
        Dimension("layers", Choices(([8], [16, 8])), when={"kind": ("b",)}),
    )
)
FINITE_POINTS = [
    *({"kind": "a", "share": share} for share in (0.1, 0.2, 0.3)),
    *(
        {"kind": "b", "share": share, "layers": layers}
        for share, layers in itertools.product((0.1, 0.2, 0.3), ([8], [16, 8]))
    ),
]
STRATEGIES_AND_SAMPLERS = [
    ("random", "tpe"),
    ("coarse_to_fine", "tpe"),
    ("bayesian", "tpe"),
    ("bayesian", "gp"),
    ("bayesian", "cmaes"),
]


def study_of(
    space: Space, first: Point, strategy: str = "bayesian", sampler: str = "tpe", storage: Any = None, n_trials: int = 9
) -> Study:
    """A study in memory, with the sampler that a search uses."""
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    storage = storage or optuna.storages.InMemoryStorage()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = optuna.create_study(storage=storage, study_name="x", direction="maximize", load_if_exists=True)
    baseline = first if space.outside(first) else None
    study = Study(made, storage, space, "me", shared=False, baseline=baseline)
    section = TuningConfig(strategy=strategy, n_trials=n_trials)
    proposes = STRATEGIES[strategy](section, space, first, 5)
    made.sampler = StrategySampler(proposes, space, first, sampler, 5, False, study.finished, study.taken)
    return study


def score(point: Point) -> float:
    """Best at the upper end of the numbers, so that a strategy that follows the scores would leave the space there."""
    return sum(float(value) for value in point.values() if isinstance(value, int | float))


def run(study: Study, n_trials: int, jobs: int = 1, score: Callable[[Point], float] = score) -> list[Point]:
    """Run trials, `jobs` of them at a time; returns their points by number."""
    points: dict[int, Point] = {}
    while len(points) < n_trials:
        begun = [study.begin(study.claim()) for _ in range(min(jobs, n_trials - len(points)))]
        for trial in begun:
            points[trial.number] = trial.point
            study.tell(trial.number, Outcome("complete", values=[score(trial.point)]))
    return [points[number] for number in sorted(points)]


def is_in_mixed_space(point: Point) -> bool:
    """Whether a point lies in MIXED, by the declaration above."""
    has_rate = point["kind"] in ("a", "b")
    names = {"kind", "count", "size", "share", "flag", "rate" if has_rate else "layers"}
    return (
        set(point) == names
        and point["kind"] in ("a", "b", "c")
        and (not has_rate or 0.001 <= point["rate"] <= 0.1)
        and (has_rate or point["layers"] in ([8], [16, 8]))
        and type(point["count"]) is int
        and 2 <= point["count"] <= 9
        and type(point["size"]) is int
        and 4 <= point["size"] <= 64
        and point["share"] in (0.0, 0.2, 0.4, 0.6)
        and isinstance(point["flag"], bool)
    )


@pytest.mark.parametrize(("strategy", "sampler"), STRATEGIES_AND_SAMPLERS)
@pytest.mark.parametrize("jobs", [1, 4])
def test_every_trial_but_the_first_lies_in_the_space(strategy: str, sampler: str, jobs: int) -> None:
    points = run(study_of(MIXED, OUTSIDE, strategy, sampler, n_trials=16), 16, jobs)
    assert points[0] == OUTSIDE
    assert [point for point in points[1:] if not is_in_mixed_space(point)] == []
    assert len({point_key(point) for point in points}) == 16


def test_grid_has_exactly_its_points_beside_a_baseline_outside() -> None:
    study = study_of(FINITE, {"kind": "a", "share": 0.5}, "grid")
    points = run(study, 1 + len(FINITE_POINTS))
    assert points[0] == {"kind": "a", "share": 0.5}
    assert sorted(map(point_key, points[1:])) == sorted(map(point_key, FINITE_POINTS))


@pytest.mark.parametrize(("strategy", "sampler"), STRATEGIES_AND_SAMPLERS)
@pytest.mark.parametrize("jobs", [1, 3])
def test_finite_space_is_measured_once_in_whole(strategy: str, sampler: str, jobs: int) -> None:
    inside = {"kind": "b", "share": 0.2, "layers": [8]}
    points = run(study_of(FINITE, inside, strategy, sampler), 9, jobs)
    assert points[0] == inside
    assert sorted(map(point_key, points)) == sorted(map(point_key, FINITE_POINTS))


def test_strategies_of_numbers_give_the_same_points_for_any_number_of_jobs() -> None:
    inside = {"kind": "b", "share": 0.2, "layers": [8]}
    assert run(study_of(FINITE, inside, "random"), 9, 1) == run(study_of(FINITE, inside, "random"), 9, 4)


def test_resumed_search_measures_only_what_is_left() -> None:
    storage = optuna.storages.InMemoryStorage()
    inside = {"kind": "a", "share": 0.3}
    first = run(study_of(FINITE, inside, "bayesian", storage=storage), 4)
    abandoned = study_of(FINITE, inside, "bayesian", storage=storage)
    begun = abandoned.begin(abandoned.claim())
    rest = run(study_of(FINITE, inside, "bayesian", storage=storage), 5)
    assert begun.point in rest, "the trial that was begun is run again with its point"
    assert sorted(map(point_key, first + rest)) == sorted(map(point_key, FINITE_POINTS))


def test_baseline_outside_the_space_is_never_best_and_teaches_no_sampler() -> None:
    study = study_of(MIXED, OUTSIDE, "random")
    points = run(study, 6)
    assert score(points[0]) > max(map(score, points[1:])), "the baseline has the highest score"
    best = study.best()
    assert best is not None
    assert best.number == study.study.best_trial.number == 1 + max(range(5), key=lambda at: score(points[1 + at]))
    assert [trial.number for trial in study.finished() if trial.score is None] == [0]
    baseline = study.finished_baseline()
    assert baseline is not None
    assert study.point_of(baseline) == OUTSIDE
    assert baseline.params == {}


def test_config_point_in_the_space_takes_part() -> None:
    inside = {"kind": "b", "share": 0.3, "layers": [8]}
    study = study_of(FINITE, inside, "random")
    run(study, 5, score=lambda point: 9.0 if point == inside else 0.0)
    best = study.best()
    assert best is not None
    assert best.number == 0
    assert study.finished_baseline() is None


def test_coarse_to_fine_zooms_in_on_a_trial_of_the_space_not_on_the_baseline() -> None:
    line = Space((Dimension("x", Between(10.0, 20.0)),))
    first = {"x": 500.0}
    points = run(study_of(line, first, "coarse_to_fine", n_trials=16), 16, score=lambda point: -abs(point["x"] - 12.0))
    assert all(10 <= point["x"] <= 20 for point in points[1:])
    assert abs(points[-1]["x"] - 12.0) < 10 / 9


class _Anything:
    """A strategy of a plug-in."""

    n_trials = 5
    max_trials = None

    def __init__(self, point: Point) -> None:
        self.point = point

    def waits_for(self, number: int) -> int:
        return 0

    def propose(self, number: int, finished: list[FinishedTrial]) -> Point | None:
        return self.point


def with_strategy(point: Point) -> Study:
    first = {"kind": "a", "share": 0.1}
    study = study_of(FINITE, first)
    sampler = study.study.sampler
    assert isinstance(sampler, StrategySampler)
    sampler.strategy = _Anything(point)
    return study


def test_point_of_a_plugin_outside_the_space_is_an_error_that_names_it() -> None:
    from recctl.errors import TrainingError

    study = with_strategy({"kind": "a", "share": 0.7})
    run(study, 1)
    with pytest.raises(TrainingError, match=r"_Anything proposes share=0.7, .*0.1 to 0.3 in steps of 0.1"):
        run(study, 1)


def test_plugin_that_repeats_itself_or_leaves_out_values_still_measures_each_point_once() -> None:
    points = run(with_strategy({"kind": "b"}), 9)
    assert points[1]["kind"] == "b"
    assert sorted(map(point_key, points)) == sorted(map(point_key, FINITE_POINTS))
