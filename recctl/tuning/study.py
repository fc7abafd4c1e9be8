"""The trials of a search in Optuna's storage: asked for and told here, taken up again by whoever goes on."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from recctl.models.base.search_space import Point, Space
from recctl.tuning.samplers import decoded, suggest
from recctl.tuning.strategies import Tried

# A trial of another machine that has not been heard of for so long is taken up here.
SILENT = timedelta(minutes=5)
# One that nobody has put a name to for so many seconds was asked for by somebody who is gone, or lost the database.
UNCLAIMED = 10.0

_OVER = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
_OURS = "recctl"


@dataclass(frozen=True)
class Outcome:
    """What a trial came to.

    Attributes:
        state: complete, pruned, or failed.
        values: One for each metric that is sought.
        metrics: All that was measured on validation.
        fit_seconds: How long fitting took.
        evaluate_seconds: How long measuring took.
        chosen_epoch: The best epoch of a model that is trained in some.
        model: The file its model was left in, if it promised to be the best.
        error: Why it failed.
    """

    state: Literal["complete", "pruned", "failed"]
    values: list[float] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    fit_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    chosen_epoch: int | None = None
    model: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Trial:
    """A trial that is to be run."""

    number: int
    point: Point


class Study:
    """The trials of one search.

    Args:
        study: Optuna's.
        storage: The storage that holds the study.
        space: What is searched.
        owner: Who runs the trials that are asked for here: the run's id.
        shared: Whether others ask and tell too.
    """

    def __init__(
        self, study: optuna.Study, storage: optuna.storages.BaseStorage, space: Space, owner: str, shared: bool
    ) -> None:
        self.study = study
        self.storage = storage
        self.space = space
        self.owner = owner
        self.shared = shared
        self.signs = [1.0 if d == optuna.study.StudyDirection.MAXIMIZE else -1.0 for d in study.directions]
        self._study_id = storage.get_study_id_from_name(study.study_name)
        self._trial_ids: dict[int, int] = {}
        self._handles: dict[int, optuna.Trial] = {}
        self._seen_unclaimed: dict[int, float] = {}
        self._trials: list[FrozenTrial] = []
        self._read()

    # ---- asking and telling

    def claim(self) -> int:
        """The number of the next trial, which is ours from now on: one that was begun and left, else a new one."""
        left = self._left()
        handle = self._reopened(left[0].number) if left else self.study.ask()
        if self.shared:
            handle.set_user_attr("owner", self.owner)
        self._read()
        return handle.number

    def begin(self, number: int) -> Trial:
        """A trial that was claimed, and what it tries: what was told since it was claimed counts."""
        handle = self._reopened(number)
        point: Point = {}
        for dimension in self.space.active(point):
            point[dimension.name] = suggest(handle, dimension)
        self._handles[number] = handle
        return Trial(number, point)

    def _reopened(self, number: int) -> optuna.Trial:
        """A handle on a trial that is in the storage already; Optuna has no other public way to one."""
        return optuna.Trial(self.study, self._trial_id(number))

    def _trial_id(self, number: int) -> int:
        """The id that the storage gave to a trial; it never changes."""
        if number not in self._trial_ids:
            self._trial_ids[number] = self.storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        return self._trial_ids[number]

    def leave(self) -> None:
        """Leave trials that were claimed and not begun to whoever asks next."""
        for trial in self._ours():
            if trial.number not in self._handles:
                self._note(trial, "owner", "")

    def next_number(self) -> int:
        """The number the next trial will have, if nobody else asks."""
        left = self._left()
        return left[0].number if left else len(self._trials)

    def has_unclaimed(self) -> bool:
        """Whether there is a trial of which nobody can say yet if anyone is at it."""
        return any("owner" not in trial.user_attrs and not self._is_left(trial) for trial in self._under_way())

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Note the value of an epoch.

        Returns:
            Whether the trial is not worth going on with.
        """
        handle = self._handles[number]
        handle.report(value, epoch)
        # What the config says is always measured to its end: nothing that is worse may be called the best.
        return number > 0 and handle.should_prune()

    def tell(self, number: int, outcome: Outcome) -> None:
        """Note what a trial came to; one that somebody else has told already stays as it is."""
        handle = self._handles.pop(number)
        state = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            handle.set_user_attr(_OURS, {key: value for key, value in asdict(outcome).items() if value is not None})
            values = outcome.values if outcome.state == "complete" else None
            self.study.tell(handle, values, state[outcome.state])
        self._read()

    def heartbeat(self) -> None:
        """Say to others that the trials that are ours are alive, and hear of theirs."""
        if not self.shared:
            return
        now = datetime.now().isoformat()  # noqa: DTZ005 - as Optuna's own times are
        for trial in self._ours():
            self._note(trial, "alive", now)
        self._read()

    # ---- what there is

    def _read(self) -> None:
        """See what stands in the storage; to ask it for each question would take longer than many a trial."""
        self._trials = self.study.get_trials(deepcopy=False)

    def _note(self, trial: FrozenTrial, key: str, value: str) -> None:
        # Who fell silent for long may find that others took up the trial, and ended it.
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            self.storage.set_trial_user_attr(self._trial_id(trial.number), key, value)

    def tried(self) -> list[Tried]:
        """The trials that are over, by number."""
        return [Tried(trial.number, self.point_of(trial), self.score(trial)) for trial in self.over()]

    def over(self) -> list[FrozenTrial]:
        """The same, as Optuna keeps them."""
        return [trial for trial in self._trials if trial.state in _OVER]

    def score(self, trial: FrozenTrial) -> float | None:
        """The first value of a trial, higher being better; None if it has none."""
        return self.signs[0] * trial.values[0] if trial.state == TrialState.COMPLETE and trial.values else None

    def best(self) -> FrozenTrial | None:
        """The best trial by the first metric, the earlier one of equals."""
        scored = [(score, -trial.number, trial) for trial in self.over() if (score := self.score(trial)) is not None]
        return max(scored, key=lambda entry: entry[:2])[2] if scored else None

    def pareto(self) -> list[int]:
        """Numbers of the trials that no other beats in every metric."""
        return sorted(trial.number for trial in self.study.best_trials) if len(self.signs) > 1 else []

    def point_of(self, trial: FrozenTrial) -> Point:
        """What a trial tried."""
        by_name = {dimension.name: dimension for dimension in self.space.dimensions}
        return {name: decoded(by_name[name], value) for name, value in trial.params.items() if name in by_name}

    def _ours(self) -> list[FrozenTrial]:
        """Trials of a shared study that were claimed here, and are not over."""
        running = (trial for trial in self._trials if trial.state == TrialState.RUNNING)
        return [trial for trial in running if trial.user_attrs.get("owner") == self.owner]

    def _left(self) -> list[FrozenTrial]:
        """Trials that were begun, and that nobody is at."""
        return [trial for trial in self._under_way() if self._is_left(trial)]

    def _under_way(self) -> list[FrozenTrial]:
        """Trials that were begun, and not here."""
        running = (trial for trial in self._trials if trial.state == TrialState.RUNNING)
        return [trial for trial in running if trial.number not in self._handles]

    def _is_left(self, trial: FrozenTrial) -> bool:
        owner = trial.user_attrs.get("owner")
        if owner in (self.owner, "") or not self.shared:
            return True
        if owner is None:
            return monotonic() - self._seen_unclaimed.setdefault(trial.number, monotonic()) > UNCLAIMED
        heard = trial.user_attrs.get("alive")
        last = datetime.fromisoformat(heard) if heard else trial.datetime_start
        return last is None or datetime.now() - last > SILENT  # noqa: DTZ005


def outcome_of(trial: FrozenTrial) -> dict[str, Any]:
    """What was noted of a trial's outcome, as plain values."""
    noted: dict[str, Any] = trial.user_attrs.get(_OURS, {})
    return noted
