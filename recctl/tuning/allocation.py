"""How the budget of a search is divided among several models.

Adaptive allocation is successive halving (Jamieson and Talwalkar, "Non-stochastic best arm identification and
hyperparameter optimization", AISTATS 2016) with models as arms: of M models, `ceil(log2 M)` rungs leave one. A part of
`1 / (rungs + 1)` of the budget belongs to each rung, which divides it equally among the models that are left; the last
model gets the rest. After a rung the better half stays, by the best validation value; of equal ones, those that took
less time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Standing:
    """What a model has achieved so far.

    Attributes:
        label: The model.
        score: Its best validation value, with higher always better; None if no trial has a value.
        seconds: The time of all its trials.
        n_trials: Number of its finished trials.
    """

    label: str
    score: float | None
    seconds: float
    n_trials: int


@dataclass(frozen=True)
class Share:
    """What each model of a rung may spend. Of two limits, the first that is reached ends the model's part.

    Attributes:
        trials: Number of trials; None: no limit.
        seconds: Seconds of trials; None: no limit.
    """

    trials: int | None
    seconds: float | None


@dataclass(frozen=True)
class Rung:
    """A rung as it is stored: it is planned when it begins and decided when it ends, and both are kept for good.

    Attributes:
        models: The models that take part.
        share: What each of them may spend.
        n_trials_before: Number of finished trials of each model when the rung began.
        survivors: The models that stay, the best first; None until the rung ends.
    """

    models: list[str]
    share: Share
    n_trials_before: dict[str, int]
    survivors: list[str] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the rung as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Rung:
        """Make the rung of plain values."""
        return cls(**{**values, "share": Share(**values["share"])})


def n_rungs(n_models: int) -> int:
    """Number of rungs after which one of some models is left."""
    return math.ceil(math.log2(n_models))


def plan_share(n_models: int, n_left: int, total: Share, spent: Share) -> Share | None:
    """What each model that is left may spend in the next rung; None if the budget does not last for another one.

    Args:
        n_models: Number of models at the beginning of the search.
        n_left: Number of models that are left; 1 for the last one, which gets the rest.
        total: The budget of the whole search.
        spent: What all models have spent so far.
    """
    parts = 1 if n_left == 1 else (n_rungs(n_models) + 1) * n_left
    trials = None
    seconds = None
    if total.trials is not None:
        left = total.trials - (spent.trials or 0)
        if left < n_left:
            return None
        trials = left if n_left == 1 else min(max(1, total.trials // parts), left // n_left)
    if total.seconds is not None:
        seconds_left = total.seconds - (spent.seconds or 0.0)
        if seconds_left <= 0:
            return None
        seconds = seconds_left if n_left == 1 else min(total.seconds / parts, seconds_left / n_left)
    return Share(trials, seconds)


def ranked(standings: Sequence[Standing]) -> list[str]:
    """The models that have a value, the best first; of equal ones, the faster."""
    with_value = [standing for standing in standings if standing.score is not None]
    with_value.sort(key=lambda standing: (-(standing.score or 0.0), standing.seconds))
    return [standing.label for standing in with_value]


def surviving(standings: Sequence[Standing]) -> list[str]:
    """The better half of some models, the best first; a model without a value never stays."""
    return ranked(standings)[: math.ceil(len(standings) / 2)]
