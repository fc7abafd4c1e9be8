"""An Optuna storage that reads from memory and writes through to a database."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

# Optuna's table of user attributes. Its storage writes each attribute in a transaction of its own, which takes about
# 3 ms with SQLite: with a dozen metrics longer than fitting a small model.
_USER_ATTRIBUTES = sqlalchemy.table(
    "trial_user_attributes", sqlalchemy.column("trial_id"), sqlalchemy.column("key"), sqlalchemy.column("value_json")
)


class CachedStorage(InMemoryStorage):
    """A write-through cache of a database that only one process writes to.

    Optuna queries its storage about thirty times per trial; with SQLite that takes longer than fitting a small model.
    Each write goes to the database first, so memory never holds anything that the database refused.

    Args:
        database: Read once, completely.
    """

    def __init__(self, database: RDBStorage) -> None:
        super().__init__()
        self._database = database
        self._study_ids: dict[int, int] = {}
        self._trial_ids: dict[int, int] = {}
        # Study id in the database and trial number of each trial that was read from it. The trial's id there is looked
        # up at its first write: Optuna has no public way to get all ids at once.
        self._read: dict[int, tuple[int, int]] = {}
        for study in database.get_all_studies():
            cached_id = super().create_new_study(study.directions, study.study_name)
            database_id = database.get_study_id_from_name(study.study_name)
            self._study_ids[cached_id] = database_id
            for attribute_name, value in study.user_attrs.items():
                super().set_study_user_attr(cached_id, attribute_name, value)
            for attribute_name, value in study.system_attrs.items():
                super().set_study_system_attr(cached_id, attribute_name, value)
            for trial in database.get_all_trials(database_id):
                self._read[super().create_new_trial(cached_id, trial)] = (database_id, trial.number)

    def close(self) -> None:
        """Close the connections to the database.

        SQLite then moves all trials into the one file, which can be copied, and on Windows deleted.
        """
        self._database.remove_session()
        self._database.engine.dispose()

    def _database_trial_id(self, trial_id: int) -> int:
        """Id of a trial in the database."""
        if trial_id not in self._trial_ids:
            study_id, number = self._read[trial_id]
            self._trial_ids[trial_id] = self._database.get_trial_id_from_study_id_trial_number(study_id, number)
        return self._trial_ids[trial_id]

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """Create a study."""
        database_id = self._database.create_new_study(directions, study_name)
        cached_id = super().create_new_study(directions, study_name)
        self._study_ids[cached_id] = database_id
        return cached_id

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set a user attribute of a study."""
        self._database.set_study_user_attr(self._study_ids[study_id], key, value)
        super().set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Set a system attribute of a study."""
        self._database.set_study_system_attr(self._study_ids[study_id], key, value)
        super().set_study_system_attr(study_id, key, value)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Create a trial."""
        database_id = self._database.create_new_trial(self._study_ids[study_id], template_trial)
        cached_id = super().create_new_trial(study_id, template_trial)
        self._trial_ids[cached_id] = database_id
        return cached_id

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Set a parameter of a trial."""
        self._database.set_trial_param(
            self._database_trial_id(trial_id), param_name, param_value_internal, distribution
        )
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Set the state and the values of a trial."""
        self._database.set_trial_state_values(self._database_trial_id(trial_id), state, values)
        return super().set_trial_state_values(trial_id, state, values)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Record the metric of an epoch."""
        self._database.set_trial_intermediate_value(self._database_trial_id(trial_id), step, intermediate_value)
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set a user attribute of a trial."""
        self._database.set_trial_user_attr(self._database_trial_id(trial_id), key, value)
        super().set_trial_user_attr(trial_id, key, value)

    def set_trial_user_attrs(self, trial_id: int, attributes: Mapping[str, Any]) -> None:
        """Set several user attributes of a trial in one transaction."""
        database_id = self._database_trial_id(trial_id)
        rows = [
            {"trial_id": database_id, "key": name, "value_json": json.dumps(value)}
            for name, value in attributes.items()
        ]
        columns = _USER_ATTRIBUTES.c
        previous = sqlalchemy.and_(columns.trial_id == database_id, columns.key.in_(list(attributes)))
        with self._database.engine.begin() as connection:
            connection.execute(sqlalchemy.delete(_USER_ATTRIBUTES).where(previous))
            connection.execute(sqlalchemy.insert(_USER_ATTRIBUTES), rows)
        for name, value in attributes.items():
            super().set_trial_user_attr(trial_id, name, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set a system attribute of a trial."""
        self._database.set_trial_system_attr(self._database_trial_id(trial_id), key, value)
        super().set_trial_system_attr(trial_id, key, value)
