"""A CMA-ES sampler that keeps no state: it is computed again from the finished trials of a study.

Optuna's own sampler stores its state in the study as a pickle. Unpickling it could execute code from a shared database,
and Optuna has no public way to read it safely.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cmaes
import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

# The step size of the first generation, as a part of each parameter's range; Optuna's choice.
_FIRST_STEP = 1 / 6
# CMA-ES is not defined for a single parameter.
_FEWEST_PARAMETERS = 2


class CmaEsSampler(optuna.samplers.BaseSampler):
    """CMA-ES (Hansen, 2016, "The CMA Evolution Strategy: A Tutorial") over the numeric parameters of a study.

    Parameters are scaled to [0, 1], on a logarithmic scale where they are searched so. Complete trials, in the order
    of their numbers, form generations. Categorical parameters, and those that not every trial has, are drawn at random.

    Deviation: with parallel trials, a generation may hold points that were drawn from an earlier distribution.

    Args:
        seed: Seed of the points; another one for each trial.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._independent = optuna.samplers.RandomSampler(seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The numeric parameters that all complete trials have in common."""
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        common = optuna.search_space.intersection_search_space(complete)
        numeric: dict[str, BaseDistribution] = {
            dimension_name: distribution
            for dimension_name, distribution in common.items()
            if isinstance(distribution, FloatDistribution | IntDistribution) and not distribution.single()
        }
        return numeric if len(numeric) >= _FEWEST_PARAMETERS else {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A point of the distribution that the complete trials lead to."""
        if not search_space:
            return {}
        n_parameters = len(search_space)
        optimizer = cmaes.CMA(
            mean=np.full(n_parameters, 0.5),
            sigma=_FIRST_STEP,
            bounds=np.tile([0.0, 1.0], (n_parameters, 1)),
            seed=self._seed,
        )
        solutions = _solutions(study, search_space)
        population_size = optimizer.population_size
        for generation_start in range(0, len(solutions) - population_size + 1, population_size):
            optimizer.tell(solutions[generation_start : generation_start + population_size])
        point = optimizer.ask()
        return {
            dimension_name: _from_unit(distribution, float(coordinate))
            for (dimension_name, distribution), coordinate in zip(search_space.items(), point, strict=True)
        }

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)


def _solutions(
    study: optuna.Study, search_space: Mapping[str, BaseDistribution]
) -> Sequence[tuple[NDArray[np.float64], float]]:
    """The points of the complete trials, scaled, and their values; a lower value is better."""
    sign = -1.0 if study.directions[0] == optuna.study.StudyDirection.MAXIMIZE else 1.0
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [
        (
            np.array(
                [
                    _to_unit(distribution, trial.params[dimension_name])
                    for dimension_name, distribution in search_space.items()
                ]
            ),
            sign * trial.values[0],
        )
        for trial in sorted(complete, key=lambda trial: trial.number)
    ]


def _range(distribution: Any) -> tuple[float, float]:
    """The bounds of a parameter; those of one with steps are wider by half a step, so that all values are as likely."""
    lower_bound = float(distribution.low)
    upper_bound = float(distribution.high)
    if distribution.step is not None:
        lower_bound -= distribution.step / 2
        upper_bound += distribution.step / 2
    if distribution.log:
        return math.log(lower_bound), math.log(upper_bound)
    return lower_bound, upper_bound


def _to_unit(distribution: Any, value: float) -> float:
    lower_bound, upper_bound = _range(distribution)
    scaled = math.log(value) if distribution.log else float(value)
    return (scaled - lower_bound) / (upper_bound - lower_bound)


def _from_unit(distribution: Any, coordinate: float) -> float | int:
    lower_bound, upper_bound = _range(distribution)
    scaled = lower_bound + coordinate * (upper_bound - lower_bound)
    value = math.exp(scaled) if distribution.log else scaled
    value = min(max(value, distribution.low), distribution.high)
    if distribution.step is None:
        return float(value)
    n_steps = round((value - distribution.low) / distribution.step)
    nearest = min(distribution.low + n_steps * distribution.step, distribution.high)
    return int(nearest) if isinstance(distribution, IntDistribution) else float(nearest)
