"""The bridge between recctl's strategies and Optuna's samplers, and the encoding of values in Optuna's storage."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from recctl import rng
from recctl.errors import ConfigError
from recctl.models.base.hyperparameters import Between
from recctl.models.base.search_space import Dimension, Point
from recctl.tuning.strategies import FinishedTrial, Strategy


class StrategySampler(optuna.samplers.BaseSampler):
    """An Optuna sampler that uses the points of a strategy, and one of Optuna's samplers where the strategy has none.

    Optuna's sampler is created again for each trial and seeded by the trial's number, so that a resumed search draws
    what an uninterrupted one would draw.

    Args:
        strategy: Proposes points.
        first: Point of trial 0.
        sampler: "tpe", "gp" or "cmaes".
        seed: Seed of the search.
        parallel: Whether several trials run at the same time.
        finished: Returns the finished trials.
    """

    def __init__(
        self,
        strategy: Strategy,
        first: Point,
        sampler: str,
        seed: int,
        parallel: bool,
        finished: Callable[[], Sequence[FinishedTrial]],
    ) -> None:
        self.strategy = strategy
        self.first = first
        self.sampler = sampler
        self.seed = seed
        self.parallel = parallel
        self.finished = finished
        self._point: Point | None = None
        self._fallback: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler()

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Choose the trial's point, or the sampler that will choose it."""
        if trial.number == 0:
            self._point = self.first
        else:
            self._point = self.strategy.propose(trial.number, self.finished())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._fallback = self._new_sampler(trial.number)
        self._fallback.before_trial(study, trial)

    def _new_sampler(self, number: int) -> optuna.samplers.BaseSampler:
        sampler_seed = int(rng.stream(self.seed, "tuning", number).integers(2**31))
        if self._point is not None:
            return optuna.samplers.RandomSampler(sampler_seed)
        if self.sampler == "gp":
            return optuna.samplers.GPSampler(seed=sampler_seed)
        if self.sampler == "cmaes":
            try:
                from recctl.tuning.cmaes import CmaEsSampler

                return CmaEsSampler(sampler_seed)
            except ImportError:
                raise ConfigError("tuning.sampler: cmaes needs a package: pip install 'recctl[cmaes]'") from None
        # constant_liar keeps parallel trials from sampling the same region.
        return optuna.samplers.TPESampler(seed=sampler_seed, multivariate=True, group=True, constant_liar=self.parallel)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        """Dimensions that the fallback sampler samples jointly."""
        if self._point is not None:
            return {}
        return self._fallback.infer_relative_search_space(study, trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        """Values of the jointly sampled dimensions."""
        if self._point is not None:
            return {}
        return self._fallback.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """Value of one dimension: the strategy's, or the fallback sampler's."""
        if self._point is not None and param_name in self._point:
            return _encode(self._point[param_name])
        return self._fallback.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        """Nothing to do: samplers read what they need from the storage."""


def suggest(handle: optuna.Trial, dimension: Dimension) -> Any:
    """Value of a trial in a dimension."""
    search_range = dimension.range
    if isinstance(search_range, Between):
        lower_bound = search_range.low
        upper_bound = search_range.high
        if dimension.whole:
            return handle.suggest_int(dimension.name, int(lower_bound), int(upper_bound), log=search_range.log)
        return handle.suggest_float(dimension.name, lower_bound, upper_bound, log=search_range.log)
    choices = [_encode(value) for value in search_range.values]
    return decode(dimension, handle.suggest_categorical(dimension.name, choices))


def _encode(value: Any) -> Any:
    """A choice as Optuna stores it: scalars as they are, lists as JSON text."""
    return json.dumps(value) if isinstance(value, list | dict | tuple) else value


def decode(dimension: Dimension, value: Any) -> Any:
    """Value of a dimension from Optuna's stored value."""
    if isinstance(dimension.range, Between):
        return value
    return next(choice for choice in dimension.range.values if _encode(choice) == value)
