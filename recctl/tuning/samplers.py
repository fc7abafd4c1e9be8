"""The bridge between recctl's strategies and Optuna's samplers, and the encoding of values in Optuna's storage."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from recctl import rng
from recctl.errors import ConfigError, TrainingError
from recctl.models.base.hyperparameters import Between, Choices
from recctl.models.base.search_space import Dimension, Point, Space, point_key
from recctl.tuning.strategies import FinishedTrial, Strategy

# An Optuna sampler that proposes what was measured already is asked this often, each time with another seed.
_SAMPLING_ATTEMPTS = 8
# Random points that are drawn before all points of a finite space are listed to find one that was not measured.
_RANDOM_ATTEMPTS = 100


class StrategySampler(optuna.samplers.BaseSampler):
    """An Optuna sampler that uses the points of a strategy, and one of Optuna's samplers where the strategy has none.

    Every point lies in the space and is measured once: a point of another trial is replaced, at last by a random one.
    Optuna's sampler is created again for each trial and seeded by the trial's number, so that a resumed search draws
    what an uninterrupted one would draw.

    Args:
        strategy: Proposes points.
        space: The search space.
        first: Point of trial 0.
        sampler: "tpe", "gp" or "cmaes".
        seed: Seed of the search.
        parallel: Whether several trials run at the same time.
        finished: Returns the finished trials.
        taken: Returns the keys of the points of all trials but one, by `point_key`.
    """

    def __init__(
        self,
        strategy: Strategy,
        space: Space,
        first: Point,
        sampler: str,
        seed: int,
        parallel: bool,
        finished: Callable[[], Sequence[FinishedTrial]],
        taken: Callable[[int], set[str]],
    ) -> None:
        self.strategy = strategy
        self.space = space
        self.first = first
        self.sampler = sampler
        self.seed = seed
        self.parallel = parallel
        self.finished = finished
        self.taken = taken
        self._point: Point | None = None

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Forget the point of the trial before; that of this trial is chosen at its first value."""
        self._point = None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        """None: a point is chosen as a whole, and Optuna asks for its values one by one."""
        return {}

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        """None, as above."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """Value of the trial's point in one dimension."""
        if self._point is None:
            self._point = self.first if trial.number == 0 else self._choose_point(study, trial)
        if param_name in self._point:
            return _encode(self._point[param_name])
        # The trial was stopped while its values were stored, and those that are stored have other conditions.
        sampler = optuna.samplers.RandomSampler(self._seed(trial.number))
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        """Nothing to do: samplers read what they need from the storage."""

    # ---- the point of a trial

    def _choose_point(self, study: optuna.Study, trial: FrozenTrial) -> Point:
        """A point of the space that no other trial has."""
        taken = self.taken(trial.number)
        proposed = self.strategy.propose(trial.number, self.finished())
        if proposed is not None:
            point = self._completed(proposed, trial.number)
            return point if point_key(point) not in taken else self._random_point(trial.number, taken)
        for attempt in range(_SAMPLING_ATTEMPTS):
            sampled = self._sampled_point(study, trial, attempt)
            if point_key(sampled) not in taken:
                return sampled
        return self._random_point(trial.number, taken)

    def _completed(self, proposed: Point, number: int) -> Point:
        """A strategy's point, with random values in place of those that it leaves out.

        Raises:
            TrainingError: A value is not in the space; strategies of plug-ins may propose any.
        """
        places = rng.stream(self.seed, "tuning", number, "missing").random(len(self.space.dimensions))
        values = {
            dimension.name: dimension.at(place)
            for dimension, place in zip(self.space.dimensions, places.tolist(), strict=True)
        }
        point = self.space.point(values | proposed)
        for dimension in self.space.outside(point):
            raise TrainingError(
                f"{type(self.strategy).__name__} proposes {dimension.name}={point[dimension.name]!r}, which is outside "
                f"the search space ({dimension.describe()}); correct the strategy"
            )
        return point

    def _sampled_point(self, study: optuna.Study, trial: FrozenTrial, attempt: int) -> Point:
        """A point of Optuna's sampler."""
        sampler = self._new_sampler(trial.number, attempt)
        sampler.before_trial(study, trial)
        relative_space = sampler.infer_relative_search_space(study, trial)
        relative_values = sampler.sample_relative(study, trial, relative_space)
        point: Point = {}
        for dimension in self.space.active(point):
            name = dimension.name
            if dimension.size == 1:
                point[name] = next(iter(dimension.values()))
                continue
            value = decode(dimension, relative_values[name]) if name in relative_values else None
            if name not in relative_values or not dimension.contains(value):
                distribution = distribution_of(dimension)
                value = decode(dimension, sampler.sample_independent(study, trial, name, distribution))
            point[name] = dimension.canonical(value)
        return point

    def _new_sampler(self, number: int, attempt: int) -> optuna.samplers.BaseSampler:
        sampler_seed = self._seed(number, attempt)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if self.sampler == "gp":
                return optuna.samplers.GPSampler(seed=sampler_seed)
            if self.sampler == "cmaes":
                try:
                    from recctl.tuning.cmaes import CmaEsSampler

                    return CmaEsSampler(sampler_seed)
                except ImportError:
                    raise ConfigError("tuning.sampler: cmaes needs a package: pip install 'recctl[cmaes]'") from None
            # constant_liar keeps parallel trials from sampling the same region.
            return optuna.samplers.TPESampler(
                seed=sampler_seed, multivariate=True, group=True, constant_liar=self.parallel
            )

    def _seed(self, number: int, attempt: int = 0) -> int:
        # The first attempt has the stream of earlier versions.
        attempts = (attempt,) if attempt else ()
        return int(rng.stream(self.seed, "tuning", number, *attempts).integers(2**31))

    def _random_point(self, number: int, taken: set[str]) -> Point:
        """A random point that no other trial has, if there is one."""
        generator = rng.stream(self.seed, "tuning", number, "random")
        for _ in range(_RANDOM_ATTEMPTS):
            point = self.space.at(generator.random(len(self.space.dimensions)).tolist())
            if point_key(point) not in taken:
                return point
        if self.space.size is not None:
            remaining = [candidate for candidate in self.space.points() if point_key(candidate) not in taken]
            if remaining:
                return remaining[int(generator.integers(len(remaining)))]
        return point


def suggest(handle: optuna.Trial, dimension: Dimension) -> Any:
    """Value of a trial in a dimension."""
    distribution: Any = distribution_of(dimension)
    if isinstance(distribution, IntDistribution):
        value: Any = handle.suggest_int(
            dimension.name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    elif isinstance(distribution, FloatDistribution):
        value = handle.suggest_float(
            dimension.name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    else:
        value = handle.suggest_categorical(dimension.name, distribution.choices)
    return decode(dimension, value)


def distribution_of(dimension: Dimension) -> BaseDistribution:
    """Optuna's distribution of a dimension."""
    interval = dimension.range
    if isinstance(interval, Choices):
        return CategoricalDistribution([_encode(value) for value in interval.values])
    if dimension.whole:
        return IntDistribution(int(interval.low), int(interval.high), interval.log, int(interval.step or 1))
    return FloatDistribution(float(interval.low), float(interval.high), interval.log, interval.step)


def _encode(value: Any) -> Any:
    """A choice as Optuna stores it: scalars as they are, lists as JSON text."""
    return json.dumps(value) if isinstance(value, list | dict | tuple) else value


def decode(dimension: Dimension, value: Any) -> Any:
    """Value of a dimension from Optuna's stored value."""
    if isinstance(dimension.range, Between):
        return dimension.canonical(value)
    return next(choice for choice in dimension.range.values if _encode(choice) == value)
