"""The trials of a search of its own: in memory to be read, and in a database to outlive the process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState


class CachedStorage(InMemoryStorage):
    """A database that one process writes to, read once: what is told is written there, then kept here.

    Optuna asks its storage some thirty times a trial, which takes longer than fitting a small model. What the database
    does not take is not known here either.

    Args:
        database: With what was told before.
    """

    def __init__(self, database: RDBStorage) -> None:
        super().__init__()
        self._database = database
        self._study_ids: dict[int, int] = {}
        self._trial_ids: dict[int, int] = {}
        # The study's id in the database and the number of each trial that was read from there. A trial's id is looked
        # up when it is first written to: Optuna has no public way to ask for all of them at once.
        self._read: dict[int, tuple[int, int]] = {}
        for study in database.get_all_studies():
            here = super().create_new_study(study.directions, study.study_name)
            there = database.get_study_id_from_name(study.study_name)
            self._study_ids[here] = there
            for key, value in study.user_attrs.items():
                super().set_study_user_attr(here, key, value)
            for key, value in study.system_attrs.items():
                super().set_study_system_attr(here, key, value)
            for trial in database.get_all_trials(there):
                self._read[super().create_new_trial(here, trial)] = (there, trial.number)

    def _trial_there(self, trial_id: int) -> int:
        """The id that a trial has in the database."""
        if trial_id not in self._trial_ids:
            study_id, number = self._read[trial_id]
            self._trial_ids[trial_id] = self._database.get_trial_id_from_study_id_trial_number(study_id, number)
        return self._trial_ids[trial_id]

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """Begin a study."""
        there = self._database.create_new_study(directions, study_name)
        here = super().create_new_study(directions, study_name)
        self._study_ids[here] = there
        return here

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Note something of a study."""
        self._database.set_study_user_attr(self._study_ids[study_id], key, value)
        super().set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Note something of a study, for Optuna."""
        self._database.set_study_system_attr(self._study_ids[study_id], key, value)
        super().set_study_system_attr(study_id, key, value)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Begin a trial."""
        there = self._database.create_new_trial(self._study_ids[study_id], template_trial)
        here = super().create_new_trial(study_id, template_trial)
        self._trial_ids[here] = there
        return here

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Note what a trial tries."""
        self._database.set_trial_param(self._trial_there(trial_id), param_name, param_value_internal, distribution)
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Note that a trial is over."""
        self._database.set_trial_state_values(self._trial_there(trial_id), state, values)
        return super().set_trial_state_values(trial_id, state, values)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Note the value of an epoch."""
        self._database.set_trial_intermediate_value(self._trial_there(trial_id), step, intermediate_value)
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Note something of a trial."""
        self._database.set_trial_user_attr(self._trial_there(trial_id), key, value)
        super().set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Note something of a trial, for Optuna."""
        self._database.set_trial_system_attr(self._trial_there(trial_id), key, value)
        super().set_trial_system_attr(trial_id, key, value)
