"""Points of strategies as Optuna asks for them, and values as it keeps them."""

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
from recctl.tuning.strategies import Strategy, Tried


class StrategySampler(optuna.samplers.BaseSampler):
    """Gives Optuna the points of a strategy; what the strategy leaves open is sampled by one of Optuna's own.

    That one is made anew for each trial, seeded by the trial's number.

    Args:
        strategy: Proposes points.
        first: What trial 0 tries.
        sampler: tpe, gp or cmaes.
        seed: Of the search.
        several: Whether trials run at once.
        tried: Gives the trials that are over.
    """

    def __init__(
        self,
        strategy: Strategy,
        first: Point,
        sampler: str,
        seed: int,
        several: bool,
        tried: Callable[[], Sequence[Tried]],
    ) -> None:
        self.strategy, self.first, self.sampler, self.seed, self.several = strategy, first, sampler, seed, several
        self.tried = tried
        self._point: Point | None = None
        self._inner: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler()

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Decide what the trial tries, or who will."""
        number = trial.number
        self._point = self.first if number == 0 else self.strategy.propose(number, self.tried())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._inner = self._made(number)
        self._inner.before_trial(study, trial)

    def _made(self, number: int) -> optuna.samplers.BaseSampler:
        seed = int(rng.stream(self.seed, "tuning", number).integers(2**31))
        if self._point is not None:
            return optuna.samplers.RandomSampler(seed)
        if self.sampler == "gp":
            return optuna.samplers.GPSampler(seed=seed)
        if self.sampler == "cmaes":
            from recctl.tuning.cmaes import CmaEsSampler

            try:
                return CmaEsSampler(seed=seed)
            except ImportError:
                raise ConfigError("tuning.sampler: cmaes needs a package: pip install 'recctl[cmaes]'") from None
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=self.several)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        """What is sampled together."""
        return {} if self._point is not None else self._inner.infer_relative_search_space(study, trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        """The values of what is sampled together."""
        return {} if self._point is not None else self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        """The value of one thing."""
        if self._point is not None and param_name in self._point:
            return _encoded(self._point[param_name])
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        """Nothing: what there is to know stands in the storage."""


def suggest(handle: optuna.Trial, dimension: Dimension) -> Any:
    """The value of a trial in a dimension."""
    given = dimension.range
    if isinstance(given, Between):
        if dimension.whole:
            return handle.suggest_int(dimension.name, int(given.low), int(given.high), log=given.log)
        return handle.suggest_float(dimension.name, given.low, given.high, log=given.log)
    choices = [_encoded(value) for value in given.values]
    return decoded(dimension, handle.suggest_categorical(dimension.name, choices))


def _encoded(value: Any) -> Any:
    """A choice as Optuna keeps them: scalars as they are, lists as text."""
    return json.dumps(value) if isinstance(value, list | dict | tuple) else value


def decoded(dimension: Dimension, value: Any) -> Any:
    """A value as the dimension has it, from what Optuna keeps."""
    if isinstance(dimension.range, Between):
        return value
    return next(choice for choice in dimension.range.values if _encoded(choice) == value)
