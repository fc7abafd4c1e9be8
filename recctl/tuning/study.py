"""The trials of a search in Optuna's storage: claim, begin, report, tell, and take over abandoned trials."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from recctl.evaluation.pareto import dominates, pareto_front
from recctl.metrics.condition import Condition
from recctl.models.base.search_space import Point, Space, point_key
from recctl.tuning.cached_storage import CachedStorage
from recctl.tuning.outcomes import (
    HEARTBEAT_KEY,
    OWNER_KEY,
    PROCESS_KEY,
    Outcome,
    baseline_attributes,
    baseline_of,
    outcome_of,
)
from recctl.tuning.samplers import decode, suggest
from recctl.tuning.strategies import FinishedTrial

# A trial of another machine without a heartbeat for this long is taken over.
HEARTBEAT_TIMEOUT = timedelta(minutes=5)
# A trial without an owner for this many seconds was created by a search that died, or that lost the database.
UNCLAIMED_TIMEOUT = 10.0

_FINISHED_STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
_OPTUNA_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


@dataclass(frozen=True)
class Trial:
    """A trial to run."""

    number: int
    point: Point


class Study:
    """The trials of one search.

    Args:
        study: Optuna's study.
        storage: The storage that holds it.
        space: The search space.
        owner: Id of the run that executes the trials claimed here.
        shared: Whether other processes claim trials of the study too.
        baseline: The point of trial 0 if it lies outside the space. For Optuna the trial then has no parameters and no
            value, and its state is "failed": neither samplers nor pruners learn from it, and it is never the best.
        conditions: What the best trial must satisfy. It is on the Pareto front all the same.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: optuna.storages.BaseStorage,
        space: Space,
        owner: str,
        shared: bool,
        baseline: Point | None = None,
        conditions: Sequence[Condition] = (),
    ) -> None:
        self.study = study
        self.storage = storage
        self.space = space
        self.owner = owner
        self.shared = shared
        self.baseline = baseline
        self.conditions = list(conditions)
        # Multiplied by its sign, every metric is better when it is higher.
        self.signs = [
            1.0 if direction == optuna.study.StudyDirection.MAXIMIZE else -1.0 for direction in study.directions
        ]
        self._study_id = storage.get_study_id_from_name(study.study_name)
        self._trial_ids: dict[int, int] = {}
        self._handles: dict[int, optuna.Trial] = {}
        self._first_seen_unclaimed: dict[int, float] = {}
        self._trials: list[FrozenTrial] = []
        self._refresh()

    # ---- claim, begin, report, tell

    def claim(self) -> int:
        """Claim a trial: an abandoned one if there is one, else a new one.

        Returns:
            The trial's number.
        """
        abandoned = self._abandoned()
        handle = self._open_handle(abandoned[0].number) if abandoned else self.study.ask()
        attributes = {PROCESS_KEY: f"{socket.gethostname()}:{os.getpid()}"}
        if self.shared:
            # Before the owner: an abandoned trial has an old heartbeat, by which others would take it over again.
            attributes[HEARTBEAT_KEY] = _now()
        attributes[OWNER_KEY] = self.owner
        self._set_attributes(handle.number, attributes)
        self._refresh()
        return handle.number

    def begin(self, number: int) -> Trial:
        """Choose the point of a claimed trial, using every trial that has finished since the claim."""
        handle = self._open_handle(number)
        point: Point = {}
        if number == 0 and self.is_baseline_outside:
            point = baseline_of(handle.user_attrs) or self.baseline or {}
            self._set_attributes(number, baseline_attributes(point))
        else:
            for dimension in self.space.active(point):
                point[dimension.name] = suggest(handle, dimension)
        self._handles[number] = handle
        return Trial(number, point)

    def _open_handle(self, number: int) -> optuna.Trial:
        """A handle of a trial that is in the storage; Optuna has no other public way to get one."""
        return optuna.Trial(self.study, self._trial_id(number))

    def _trial_id(self, number: int) -> int:
        """The storage's id of a trial; it never changes."""
        if number not in self._trial_ids:
            self._trial_ids[number] = self.storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        return self._trial_ids[number]

    def release(self) -> None:
        """Give up trials that were claimed but not begun, so that another search can claim them."""
        for trial in self._owned():
            if trial.number not in self._handles:
                self._set_attributes(trial.number, {OWNER_KEY: ""})

    def next_number(self) -> int:
        """Number that the next claim will return, unless another search claims first."""
        abandoned = self._abandoned()
        return abandoned[0].number if abandoned else len(self._trials)

    def has_running(self) -> bool:
        """Whether other searches run trials of the study. Abandoned ones do not count: nobody will finish them."""
        return self.shared and any(not self._is_abandoned(trial) for trial in self._running_elsewhere())

    def has_unclaimed(self) -> bool:
        """Whether a trial of another search has no owner yet, so that it may be running or abandoned."""
        return any(
            OWNER_KEY not in trial.user_attrs and not self._is_abandoned(trial) for trial in self._running_elsewhere()
        )

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Record the monitored metric of an epoch, or its mean so far after a window of a rolling split.

        Returns:
            Whether to prune the trial. Trial 0 is never pruned: it is the baseline of the search.
        """
        handle = self._handles[number]
        with warnings.catch_warnings():
            # A trial that is repeated after an interruption reports its first windows again, which Optuna ignores.
            warnings.filterwarnings("ignore", message="The reported value is ignored")
            handle.report(value, epoch)
        return number > 0 and handle.should_prune()

    def tell(self, number: int, outcome: Outcome) -> None:
        """Record the outcome of a trial; if another search finished the trial first, its outcome stays."""
        handle = self._handles.pop(number)
        state = _OPTUNA_STATES[outcome.state]
        if number == 0 and self.is_baseline_outside:
            state = TrialState.FAIL
        values = outcome.values if state == TrialState.COMPLETE else None
        self._set_attributes(number, outcome.as_attributes())
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            self.study.tell(handle, values, state)
        self._refresh()

    def heartbeat(self) -> None:
        """Record that the trials of this search are alive, and read the trials of others."""
        if not self.shared:
            return
        current_time = _now()
        for trial in self._owned():
            self._set_attributes(trial.number, {HEARTBEAT_KEY: current_time})
        self._refresh()

    # ---- read

    def _refresh(self) -> None:
        """Read all trials once; a storage query for each question would take longer than many a trial."""
        self._trials = self.study.get_trials(deepcopy=False)

    def _set_attributes(self, number: int, attributes: Mapping[str, Any]) -> None:
        """Set user attributes of a trial, unless another search has finished it."""
        trial_id = self._trial_id(number)
        if isinstance(self.storage, CachedStorage):
            self.storage.set_trial_user_attrs(trial_id, attributes)
            return
        # After a long silence, another search may have taken over this trial and finished it.
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            for name, value in attributes.items():
                self.storage.set_trial_user_attr(trial_id, name, value)

    def finished(self) -> list[FinishedTrial]:
        """Finished trials by number, as strategies see them."""
        return [
            FinishedTrial(trial.number, self.point_of(trial), self.score(trial)) for trial in self.finished_trials()
        ]

    def finished_trials(self) -> list[FrozenTrial]:
        """Finished trials by number, as Optuna stores them."""
        return [trial for trial in self._trials if trial.state in _FINISHED_STATES]

    def score(self, trial: FrozenTrial) -> float | None:
        """First monitored metric of a trial, with higher always better; None if the trial has no value."""
        if trial.state != TrialState.COMPLETE or not trial.values:
            return None
        score: float = self.signs[0] * trial.values[0]
        return score

    def scores(self, trial: FrozenTrial) -> tuple[float, ...]:
        """All monitored metrics of a trial that has values, with higher always better."""
        return tuple(sign * value for sign, value in zip(self.signs, trial.values, strict=True))

    def scored_trials(self) -> list[FrozenTrial]:
        """Finished trials that have values, by number."""
        return [trial for trial in self.finished_trials() if self.score(trial) is not None]

    def best(self) -> FrozenTrial | None:
        """Trial with the best first metric; ties are broken by the next metric, then in favor of the earlier trial.

        No other trial dominates it: one that is at least as good in all metrics ranks first if it is better in one.
        With conditions, it is chosen among the trials of the Pareto front that satisfy them.
        """
        candidates = self.scored_trials()
        if self.conditions:
            on_front = set(self.pareto())
            candidates = [trial for trial in candidates if trial.number in on_front and self._is_eligible(trial)]
        # `max` returns the first of equal trials.
        return max(candidates, key=self.scores, default=None)

    def _is_eligible(self, trial: FrozenTrial) -> bool:
        metrics = outcome_of(trial).metrics
        return all(
            condition.metric in metrics and condition.holds(metrics[condition.metric]) for condition in self.conditions
        )

    def pareto(self) -> list[int]:
        """Numbers of the Pareto-optimal trials: no other trial is at least as good in all metrics and better in one."""
        if len(self.signs) == 1:
            return []
        return pareto_front({trial.number: self.scores(trial) for trial in self.scored_trials()})

    def last_gain(self) -> int | None:
        """Number of the last trial that improved on the trials before it; None if no trial has a value.

        With one metric it is better than all of them. With several it enlarges the Pareto front: none of them is at
        least as good in all metrics.
        """
        front: list[tuple[float, ...]] = []
        last_number: int | None = None
        for trial in self.scored_trials():
            scores = self.scores(trial)
            if any(member == scores or dominates(member, scores) for member in front):
                continue
            front = [member for member in front if not dominates(scores, member)]
            front.append(scores)
            last_number = trial.number
        return last_number

    @property
    def is_baseline_outside(self) -> bool:
        """Whether trial 0 lies outside the search space; of a shared study, the process that began it decides."""
        first_trial = self._trials[0] if self._trials else None
        if first_trial is None or not (first_trial.params or _is_baseline(first_trial)):
            return self.baseline is not None
        return _is_baseline(first_trial)

    def finished_baseline(self) -> FrozenTrial | None:
        """Trial 0 if it is finished and lies outside the search space."""
        return next((trial for trial in self.finished_trials() if _is_baseline(trial)), None)

    def taken(self, number: int) -> set[str]:
        """The keys of the points of all trials but one."""
        return {point_key(self.point_of(trial)) for trial in self._trials if trial.number != number}

    def have_points(self, number: int) -> bool:
        """Whether all trials before one have their points, so that it can get another."""
        return all(
            _is_baseline(trial)
            or all(dimension.name in trial.params for dimension in self.space.active(self.point_of(trial)))
            for trial in self._running_elsewhere()
            if trial.number < number
        )

    def point_of(self, trial: FrozenTrial) -> Point:
        """The point that a trial evaluated."""
        baseline = baseline_of(trial.user_attrs)
        if baseline is not None:
            return baseline
        dimensions = {dimension.name: dimension for dimension in self.space.dimensions}
        return {
            dimension_name: decode(dimensions[dimension_name], value)
            for dimension_name, value in trial.params.items()
            if dimension_name in dimensions
        }

    def _owned(self) -> list[FrozenTrial]:
        """Running trials of a shared study that this search claimed."""
        return [trial for trial in self._running() if trial.user_attrs.get(OWNER_KEY) == self.owner]

    def _abandoned(self) -> list[FrozenTrial]:
        """Trials that were started and that no search is working on."""
        return [trial for trial in self._running_elsewhere() if self._is_abandoned(trial)]

    def _running(self) -> list[FrozenTrial]:
        return [trial for trial in self._trials if trial.state == TrialState.RUNNING]

    def _running_elsewhere(self) -> list[FrozenTrial]:
        """Trials that were started, but not begun by this process."""
        return [trial for trial in self._running() if trial.number not in self._handles]

    def _is_abandoned(self, trial: FrozenTrial) -> bool:
        owner = trial.user_attrs.get(OWNER_KEY)
        if owner in (self.owner, "") or not self.shared:
            return True
        if owner is None:
            first_seen = self._first_seen_unclaimed.setdefault(trial.number, monotonic())
            return monotonic() - first_seen > UNCLAIMED_TIMEOUT
        heartbeat = trial.user_attrs.get(HEARTBEAT_KEY)
        last_sign = datetime.fromisoformat(heartbeat) if heartbeat else trial.datetime_start
        # Times without a zone are local: those of Optuna, and the heartbeats of versions before 0.3.
        return last_sign is None or datetime.now(UTC) - last_sign.astimezone() > HEARTBEAT_TIMEOUT


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _is_baseline(trial: FrozenTrial) -> bool:
    return baseline_of(trial.user_attrs) is not None
