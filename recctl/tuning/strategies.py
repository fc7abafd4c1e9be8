"""Search strategies: each proposes the point that a trial evaluates.

A strategy sees the number of a trial and the finished trials, and draws from a random stream of that number alone. An
interrupted search therefore continues with the trials that it would have had without the interruption.

To add a strategy: a class and a factory here, its entry in `STRATEGIES`, and its name in `search_strategies` of
`recctl.config.schema`, which cannot import this module.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from recctl import rng
from recctl.config.schema import TuningConfig
from recctl.models.base.search_space import Dimension, Point, Space, point_key
from recctl.plugins import Registry

DEFAULT_TRIALS = 50
# Each round of coarse-to-fine searches a third of the range of the round before it.
_ZOOM_FACTOR = 1 / 3


@dataclass(frozen=True)
class FinishedTrial:
    """A trial that is complete, failed or pruned.

    Attributes:
        number: From 0.
        point: The values it evaluated.
        score: Its first monitored metric, with higher always better; None if it failed or was pruned.
    """

    number: int
    point: Point
    score: float | None


class Strategy(Protocol):
    """Proposes points for trials 1, 2, ...; trial 0 always evaluates the values of the config."""

    @property
    def n_trials(self) -> int:
        """Default number of trials, trial 0 included."""
        ...

    @property
    def max_trials(self) -> int | None:
        """Largest possible number of trials, trial 0 included; None if there is no limit."""
        ...

    def waits_for(self, number: int) -> int:
        """Number of trials, counted from trial 0, that must be finished before this trial can be proposed."""
        ...

    def propose(self, number: int, finished: Sequence[FinishedTrial]) -> Point | None:
        """Point of a trial; None leaves the choice to Optuna's sampler."""
        ...


@dataclass(frozen=True)
class FixedPoints:
    """A fixed list of points: manual search and grid search."""

    points: Sequence[Point]

    @property
    def n_trials(self) -> int:
        """One trial a point, and trial 0."""
        return len(self.points) + 1

    @property
    def max_trials(self) -> int | None:
        """One trial a point, and trial 0."""
        return self.n_trials

    def waits_for(self, number: int) -> int:
        """No trial depends on another."""
        return 0

    def propose(self, number: int, finished: Sequence[FinishedTrial]) -> Point | None:
        """Next point of the list."""
        return self.points[number - 1]


@dataclass(frozen=True)
class Random:
    """Random search (Bergstra & Bengio, 2012): independent uniform points, on a log scale where the range has one."""

    space: Space
    seed: int
    n_trials: int = DEFAULT_TRIALS
    max_trials: int | None = None

    def waits_for(self, number: int) -> int:
        """No trial depends on another."""
        return 0

    def propose(self, number: int, finished: Sequence[FinishedTrial]) -> Point | None:
        """Random point from the stream of this trial."""
        uniform = rng.stream(self.seed, "tuning", number).random(len(self.space.dimensions))
        return self.space.at(uniform.tolist())


@dataclass(frozen=True)
class SampledPoints:
    """Bayesian search: every point comes from Optuna's sampler."""

    n_trials: int = DEFAULT_TRIALS
    max_trials: int | None = None

    def waits_for(self, number: int) -> int:
        """The sampler uses the trials that happen to be finished."""
        return 0

    def propose(self, number: int, finished: Sequence[FinishedTrial]) -> Point | None:
        """None: Optuna's sampler chooses."""
        return None


@dataclass(frozen=True)
class CoarseToFine:
    """Rounds of space-filling points, each in a third of the previous range, centered on the best point so far.

    A single dimension is searched in equal steps, several dimensions by a Latin hypercube (McKay et al., 1979).
    Unordered choices are narrowed to those of the best third of the trials. A round starts when the previous round is
    finished, so its points are the same for any number of jobs.
    """

    space: Space
    seed: int
    n_rounds: int
    n_trials: int = DEFAULT_TRIALS
    max_trials: int | None = None
    given_round_size: int | None = None

    @property
    def round_size(self) -> int:
        """Number of trials of a round."""
        if self.given_round_size is not None:
            return self.given_round_size
        # At least two: with one point a round has no best value to zoom to.
        return max(2, math.ceil((self.n_trials - 1) / self.n_rounds))

    def waits_for(self, number: int) -> int:
        """All trials of the previous rounds."""
        if number == 0:
            return 0
        round_index = (number - 1) // self.round_size
        return 1 + round_index * self.round_size

    def propose(self, number: int, finished: Sequence[FinishedTrial]) -> Point | None:
        """Point of the round's box."""
        # Trial 0, the config, is in no round.
        round_index, index_in_round = divmod(number - 1, self.round_size)
        first_of_round = self.waits_for(number)
        previous = [trial for trial in finished if trial.number < first_of_round and trial.score is not None]
        # Best first; ties in score go to the earlier trial.
        previous.sort(key=lambda trial: (-(trial.score or 0.0), trial.number))
        positions = self._unit_design(round_index)[index_in_round]
        point = {
            dimension.name: _zoomed_value(dimension, position, round_index, previous)
            for dimension, position in zip(self.space.dimensions, positions, strict=True)
        }
        return self.space.point(point)

    def _unit_design(self, round_index: int) -> list[list[float]]:
        """Points in the unit cube, `(round_size, n_dimensions)`."""
        round_size = self.round_size
        n_dimensions = len(self.space.dimensions)
        if n_dimensions == 1:
            return [[index / (round_size - 1)] for index in range(round_size)]
        generator = rng.stream(self.seed, "tuning", "round", round_index)
        columns = []
        for _ in range(n_dimensions):
            # A Latin hypercube: each of the equal parts of every dimension has exactly one point.
            strata = generator.permutation(round_size)
            columns.append(((strata + generator.random(round_size)) / round_size).tolist())
        return [list(row) for row in zip(*columns, strict=True)]


def _zoomed_value(dimension: Dimension, position: float, round_index: int, previous: Sequence[FinishedTrial]) -> object:
    """Value at a relative position of the part of a dimension that a round searches.

    Args:
        dimension: The dimension.
        position: From 0 to 1 within the round's part.
        round_index: From 0; round 0 searches the whole dimension.
        previous: Finished trials of the previous rounds, best first.
    """
    values = [trial.point[dimension.name] for trial in previous if dimension.name in trial.point]
    if round_index == 0 or not values:
        return dimension.at(position)
    if not dimension.ordered:
        best_third = values[: max(1, len(values) // 3)]
        # By repr, because a choice may be an unhashable list.
        distinct = list({repr(value): value for value in best_third}.values())
        index = min(int(position * len(distinct)), len(distinct) - 1)
        return distinct[index]
    zoom_width = _ZOOM_FACTOR**round_index
    center = dimension.place(values[0])
    # At an end of the range the part is moved inwards, not cut: its width stays the same.
    zoom_start = min(max(center - zoom_width / 2, 0.0), 1.0 - zoom_width)
    return dimension.at(zoom_start + zoom_width * position)


StrategyFactory = Callable[[TuningConfig, Space, Point, int], Strategy]
"""Makes a strategy from the `tuning` section, the space, the point of trial 0, and the seed."""


def _manual(section: TuningConfig, space: Space, first: Point, seed: int) -> Strategy:
    return _fixed_points(first, [space.point({**first, **point}) for point in section.points])


def _grid(section: TuningConfig, space: Space, first: Point, seed: int) -> Strategy:
    points = space.grid(section.grid_size)
    # Shuffled, so that a search that stops early has not covered only one corner of the grid.
    shuffled_order = rng.stream(seed, "tuning", "grid").permutation(len(points))
    return _fixed_points(first, [points[position] for position in shuffled_order])


def _random(section: TuningConfig, space: Space, first: Point, seed: int) -> Strategy:
    return Random(space, seed, section.n_trials or DEFAULT_TRIALS)


def _bayesian(section: TuningConfig, space: Space, first: Point, seed: int) -> Strategy:
    return SampledPoints(section.n_trials or DEFAULT_TRIALS)


def _coarse_to_fine(section: TuningConfig, space: Space, first: Point, seed: int) -> Strategy:
    n_trials = section.n_trials or DEFAULT_TRIALS
    return CoarseToFine(space, seed, section.n_rounds, n_trials, given_round_size=section.round_size)


def _fixed_points(first: Point, points: Sequence[Point]) -> FixedPoints:
    """Distinct points without the point of trial 0, which is evaluated anyway."""
    distinct = {point_key(point): point for point in points}
    distinct.pop(point_key(first), None)
    return FixedPoints(list(distinct.values()))


# Installed packages add strategies by entry points of the group `recctl.strategies`.
STRATEGIES: Registry[StrategyFactory] = Registry(
    "strategies",
    {
        "manual": _manual,
        "grid": _grid,
        "random": _random,
        "bayesian": _bayesian,
        "coarse_to_fine": _coarse_to_fine,
    },
)


def __getattr__(name: str) -> Any:
    """Old names that plug-ins import; removed in 0.4."""
    renamed = {"Listed": FixedPoints, "Sampled": SampledPoints, "Tried": FinishedTrial}
    if name not in renamed:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    current_name = renamed[name]
    warnings.warn(f"{name} is now {current_name.__name__}; the old name is removed in 0.4", FutureWarning, stacklevel=2)
    return current_name
