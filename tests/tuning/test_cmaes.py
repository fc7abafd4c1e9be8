"""The CMA-ES sampler: it learns from finished trials, respects bounds and stores nothing in the study."""

from __future__ import annotations

import math

import optuna
import pytest

pytest.importorskip("cmaes")

from recctl.tuning.cmaes import CmaEsSampler

DIRECTIONS = {"minimize": 1.0, "maximize": -1.0}


def run(direction: str, n_trials: int) -> optuna.Study:
    """Search the minimum of a quadratic, or the maximum of its negative, with a new sampler for each trial."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction=direction)
    for number in range(n_trials):
        study.sampler = CmaEsSampler(seed=number)
        trial = study.ask()
        x = trial.suggest_float("x", -5, 5)
        rate = trial.suggest_float("rate", 1e-4, 1, log=True)
        n = trial.suggest_int("n", 1, 64, log=True)
        trial.suggest_categorical("kind", ["a", "b"])
        assert -5 <= x <= 5
        assert 1e-4 <= rate <= 1
        assert 1 <= n <= 64
        loss = (x - 2) ** 2 + (math.log10(rate) + 3) ** 2 + math.log2(n / 32) ** 2
        study.tell(trial, DIRECTIONS[direction] * loss)
    return study


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_search_converges(direction: str) -> None:
    study = run(direction, 150)
    assert abs(study.best_value) < 0.1
    late = [abs(trial.value or 0.0) for trial in study.trials[-20:]]
    assert sum(late) / len(late) < 1.0, "the distribution has moved to the optimum"


def test_equal_searches_have_equal_trials() -> None:
    first, second = (run("minimize", 30) for _ in range(2))
    assert [trial.params for trial in first.trials] == [trial.params for trial in second.trials]


def test_study_holds_no_state_of_the_sampler() -> None:
    assert all(not trial.system_attrs for trial in run("minimize", 20).trials)


def test_single_parameter_is_drawn_at_random() -> None:
    study = optuna.create_study()
    for number in range(5):
        study.sampler = CmaEsSampler(seed=number)
        trial = study.ask()
        study.tell(trial, trial.suggest_int("n", 1, 3))
    assert {trial.params["n"] for trial in study.trials} <= {1, 2, 3}
