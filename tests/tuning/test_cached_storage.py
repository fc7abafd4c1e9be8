import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from recctl.tuning.cached_storage import CachedStorage
from recctl.tuning.storage import own_storage


def contents(storage):
    """Everything in a storage except times."""
    found = []
    for study in sorted(storage.get_all_studies(), key=lambda study: study.study_name):
        trials = [
            (
                t.number,
                t.state,
                t.values,
                t.params,
                t.distributions,
                t.intermediate_values,
                t.user_attrs,
                t.system_attrs,
            )
            for t in storage.get_all_trials(storage.get_study_id_from_name(study.study_name))
        ]
        found.append((study.study_name, study.directions, study.user_attrs, study.system_attrs, trials))
    return found


def fill(storage, name, directions):
    study = optuna.create_study(storage=storage, study_name=name, directions=directions)
    study.set_user_attr("of", {"split": "abc"})
    study_id = storage.get_study_id_from_name(name)
    storage.set_study_system_attr(study_id, "of optuna", [1, 2])
    for number in range(4):
        trial = study.ask()
        trial.suggest_float("l2_reg", 1, 1e4, log=True)
        trial.suggest_int("dim", 8, 64)
        trial.suggest_categorical("loss", ["bpr", "[1, 2]", None])
        trial.set_user_attr("fit_seconds", 0.1 * number)
        trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
        storage.set_trial_system_attr(trial_id, "rung", number)
        if isinstance(storage, CachedStorage):
            storage.set_trial_user_attrs(trial_id, {"fit_seconds": 0.2 * number, "error": None, "ndcg@10": 1 / 3})
            storage.set_trial_user_attrs(trial_id, {"error": 'it\'s "out" of memory', "ndcg@10": 0.5})
        if len(directions) == 1:
            trial.report(0.5, 1)
            trial.report(0.25, 3)
        if number < 3:  # the last one is left running
            state = TrialState.FAIL if number == 1 else TrialState.COMPLETE
            study.tell(trial, None if number == 1 else [1 / 3] * len(directions), state)
    return study


def test_writes_reach_the_database_and_are_read_back(tmp_path):
    path = tmp_path / "study.db"
    storage = own_storage(path)
    fill(storage, "one", ["maximize"])
    fill(storage, "two", ["minimize", "maximize"])
    expected = contents(storage)
    assert [len(entry[-1]) for entry in expected] == [4, 4]
    assert contents(RDBStorage(f"sqlite:///{path}")) == expected
    again = own_storage(path)
    assert contents(again) == expected
    # Continue with cached ids, which differ from the ids in the database.
    study = optuna.load_study(storage=again, study_name="two")
    study.tell(3, [1.0, 2.0])
    study.tell(study.ask(), [3.0, 4.0])
    assert contents(again) != expected
    assert contents(RDBStorage(f"sqlite:///{path}")) == contents(again)


def test_write_refused_by_the_database_is_not_cached(tmp_path, monkeypatch):
    storage = own_storage(tmp_path / "study.db")
    study = fill(storage, "one", ["maximize"])
    before = contents(storage)

    def full(*arguments, **named):
        raise OSError("disk full")

    for name in ("create_new_trial", "set_trial_state_values", "set_trial_user_attr", "set_trial_intermediate_value"):
        monkeypatch.setattr(RDBStorage, name, full)
    with pytest.raises(OSError, match="disk full"):
        study.ask()
    with pytest.raises(OSError, match="disk full"):
        study.tell(3, 1.0)
    assert contents(storage) == before
    assert isinstance(storage, CachedStorage)
