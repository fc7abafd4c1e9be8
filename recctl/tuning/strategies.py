"""Strategies: which point a trial tries.

Each looks at a trial's number and at the trials that are over, and draws from a stream of that number alone. So a
search that was broken off goes on as one that was not.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from recctl import rng
from recctl.config.schema import TuningConfig
from recctl.models.base.search_space import Dimension, Point, Space
from recctl.plugins import Registry

_TRIALS = 50
# The share of a range that the next round of coarse-to-fine looks at.
_ZOOM = 1 / 3


@dataclass(frozen=True)
class Tried:
    """A trial that is over.

    Attributes:
        number: From 0.
        point: What it tried.
        score: What it came to, higher being better; None if it failed or was pruned.
    """

    number: int
    point: Point
    score: float | None


class Strategy(Protocol):
    """Proposes points; trial 0 is not its matter, it tries what the config says."""

    @property
    def n_trials(self) -> int:
        """How many trials it takes, trial 0 included, unless told otherwise."""
        ...

    @property
    def most(self) -> int | None:
        """How many there can be; None for any number."""
        ...

    def waits_for(self, number: int) -> int:
        """The trials of numbers below this must be over before it can propose."""
        ...

    def propose(self, number: int, tried: Sequence[Tried]) -> Point | None:
        """The point of a trial; None leaves it to the sampler."""
        ...


@dataclass(frozen=True)
class FixedPoints:
    """Points that are known beforehand: manual search, and grids."""

    points: Sequence[Point]

    @property
    def n_trials(self) -> int:
        """One each."""
        return len(self.points) + 1

    @property
    def most(self) -> int | None:
        """One each."""
        return self.n_trials

    def waits_for(self, number: int) -> int:
        """Nothing."""
        return 0

    def propose(self, number: int, tried: Sequence[Tried]) -> Point | None:
        """The next of the list."""
        return self.points[number - 1]


@dataclass(frozen=True)
class Random:
    """Points drawn one by one, uniformly, on a log scale where a range has one."""

    space: Space
    seed: int
    n_trials: int = _TRIALS
    most: int | None = None

    def waits_for(self, number: int) -> int:
        """Nothing."""
        return 0

    def propose(self, number: int, tried: Sequence[Tried]) -> Point | None:
        """A drawn one."""
        return self.space.at(rng.stream(self.seed, "tuning", number).random(len(self.space.dimensions)).tolist())


@dataclass(frozen=True)
class SampledPoints:
    """Points that a model of the trials so far proposes: left to Optuna's sampler."""

    n_trials: int = _TRIALS
    most: int | None = None

    def waits_for(self, number: int) -> int:
        """Nothing."""
        return 0

    def propose(self, number: int, tried: Sequence[Tried]) -> Point | None:
        """None."""
        return None


@dataclass(frozen=True)
class CoarseToFine:
    """Rounds of spread points; each looks at a third of the range of the one before, around the best so far.

    One range is looked at in equal steps, several by a Latin hypercube. Choices without an order are narrowed to those
    that the best third of the trials had. A round begins when the one before is over, so that its points are the same
    for any number of jobs.
    """

    space: Space
    seed: int
    n_rounds: int
    n_trials: int = _TRIALS
    most: int | None = None

    @property
    def _size(self) -> int:
        return max(2, math.ceil((self.n_trials - 1) / self.n_rounds))

    def waits_for(self, number: int) -> int:
        """The rounds before."""
        return 0 if number == 0 else 1 + (number - 1) // self._size * self._size

    def propose(self, number: int, tried: Sequence[Tried]) -> Point | None:
        """A point of the round's box."""
        nth_round, at = divmod(number - 1, self._size)
        before = [t for t in tried if t.number < self.waits_for(number) and t.score is not None]
        before.sort(key=lambda t: (-(t.score or 0.0), t.number))
        places = self._spread(nth_round)[at]
        dimensions = zip(self.space.dimensions, places, strict=True)
        return self.space.point({d.name: _zoomed(d, place, nth_round, before) for d, place in dimensions})

    def _spread(self, nth_round: int) -> list[list[float]]:
        """Places in a box of unit size, `(size, n_dimensions)`."""
        size = self._size
        if len(self.space.dimensions) == 1:
            return [[at / (size - 1)] for at in range(size)]
        draws = rng.stream(self.seed, "tuning", "round", nth_round)
        columns = [((draws.permutation(size) + draws.random(size)) / size).tolist() for _ in self.space.dimensions]
        return [list(places) for places in zip(*columns, strict=True)]


def _zoomed(dimension: Dimension, place: float, nth_round: int, before: Sequence[Tried]) -> object:
    """The value at a place of the part of a dimension that a round looks at."""
    known = [t.point[dimension.name] for t in before if dimension.name in t.point]
    if nth_round == 0 or not known:
        return dimension.at(place)
    if not dimension.ordered:
        kept = list({repr(value): value for value in known[: max(1, len(known) // 3)]}.values())
        return kept[min(int(place * len(kept)), len(kept) - 1)]
    width = _ZOOM**nth_round
    low = min(max(dimension.place(known[0]) - width / 2, 0.0), 1.0 - width)
    return dimension.at(low + width * place)


Maker = Callable[[TuningConfig, Space, Point, int], Strategy]


def _manual(section: TuningConfig, space: Space, first: Point, seed: int) -> Strategy:
    return _listed(first, [{**first, **point} for point in section.points])


def _grid(section: TuningConfig, space: Space, first: Point, seed: int) -> Strategy:
    points = space.grid(section.grid_size)
    # A grid that is not gone through to its end should not have seen one corner only.
    order = rng.stream(seed, "tuning", "grid").permutation(len(points))
    return _listed(first, [points[at] for at in order])


def _listed(first: Point, points: Sequence[Point]) -> FixedPoints:
    distinct = {repr(point): point for point in itertools.chain([first], points)}
    return FixedPoints(list(distinct.values())[1:])


# Each makes the strategy of a config, a space, what trial 0 tries (lists don't repeat it) and the seed. Packages offer
# more of these as entry points of the group `recctl.strategies`.
STRATEGIES: Registry[Maker] = Registry(
    "strategies",
    {
        "manual": _manual,
        "grid": _grid,
        "random": lambda section, space, first, seed: Random(space, seed, section.n_trials or _TRIALS),
        "bayesian": lambda section, space, first, seed: SampledPoints(section.n_trials or _TRIALS),
        "coarse_to_fine": lambda section, space, first, seed: CoarseToFine(
            space, seed, section.n_rounds, section.n_trials or _TRIALS
        ),
    },
)


def __getattr__(name: str) -> Any:
    """Old names that plug-ins import, until 0.4."""
    renamed = {"Listed": FixedPoints, "Sampled": SampledPoints}
    if name not in renamed:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    new = renamed[name]
    warnings.warn(f"{name} is now {new.__name__}; the old name is removed in 0.4", FutureWarning, stacklevel=2)
    return new
