"""Searches of several metrics: which trial is kept, and what counts as a gain; and when a trial may be pruned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest

from recctl import RunStore, experiment, tuning
from recctl.config.schema import TuningConfig
from recctl.errors import ConfigError
from recctl.models.base.search_space import Space
from recctl.tuning import tuner
from recctl.tuning.study import Study
from tests.tuning.searches import EASE, load, trials

HIGHER_TWICE = ("maximize", "maximize")


def study_of(values: Sequence[Sequence[float] | None], directions: Sequence[str] = HIGHER_TWICE) -> Study:
    """A study of finished trials with these values; None: a failed trial."""
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, directions=list(directions))
    for of_trial in values:
        state = optuna.trial.TrialState.FAIL if of_trial is None else optuna.trial.TrialState.COMPLETE
        study.add_trial(optuna.trial.create_trial(state=state, values=of_trial))
    return Study(study, storage, Space(()), "run", shared=False)


def best_number(study: Study) -> int | None:
    best = study.best()
    return None if best is None else best.number


def test_tie_in_the_first_metric_is_broken_by_the_next_and_then_by_the_earlier_trial() -> None:
    assert best_number(study_of([(0.5, 0.1), (0.5, 0.3), (0.5, 0.3), (0.4, 0.9)])) == 1
    assert best_number(study_of([(0.5, 0.1), (0.5, 0.3)], ("maximize", "minimize"))) == 0
    assert best_number(study_of([None, (2.0, 0.1), (1.0, 0.0)], ("minimize", "maximize"))) == 2
    assert best_number(study_of([None])) is None


def test_kept_trial_is_on_the_front_where_first_metrics_tie() -> None:
    study = study_of([(0.5, 0.1), (0.5, 0.2), (0.1, 0.2), (0.2, 0.7)])
    assert study.pareto() == [1, 3]
    assert best_number(study) == 1


def test_gain_in_any_metric_is_a_gain() -> None:
    assert study_of([(0.5, 0.1), (0.4, 0.2), (0.3, 0.1)]).last_gain() == 1
    # Between two members of the front: better than each of them in one metric.
    assert study_of([(0.5, 0.1), (0.1, 0.5), (0.3, 0.3)]).last_gain() == 2
    assert study_of([(0.5, 0.1), (0.5, 0.1), None, (0.5, 0.0)]).last_gain() == 0, "equal values are no gain"
    assert study_of([None, None]).last_gain() is None


def test_gain_of_one_metric_is_a_new_best_value() -> None:
    assert study_of([(3.0,), (2.0,), (2.0,), (2.5,)], ["minimize"]).last_gain() == 1


def measure_as(monkeypatch: pytest.MonkeyPatch, metric_values: Sequence[dict[str, float]]) -> None:
    """Replace the metrics of each evaluation, in order: those of trial 0, 1, ..."""
    evaluate = experiment.stages.evaluate_model
    remaining = iter(metric_values)

    def evaluate_model(*arguments: Any, **options: Any) -> Any:
        evaluation = evaluate(*arguments, **options)
        evaluation.metrics.update(next(remaining, {}))
        return evaluation

    monkeypatch.setattr(experiment.stages, "evaluate_model", evaluate_model)


def test_patience_waits_for_a_gain_in_the_second_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ndcg = (0.4, 0.5, 0.4, 0.4, 0.4, 0.4)
    coverage = (0.1, 0.1, 0.1, 0.2, 0.2, 0.1)
    measure_as(
        monkeypatch, [{"ndcg@10": first, "coverage@10": second} for first, second in zip(ndcg, coverage, strict=True)]
    )
    text = EASE + "tuning: {strategy: random, patience: 2, n_trials: 9, monitor: [ndcg@10, coverage@10]}\n"
    run = tuning.tune(load(tmp_path, text), RunStore(tmp_path / "runs"))
    table = trials(run).set_index("number")
    assert list(table.index) == [0, 1, 2, 3, 4, 5], "ndcg@10 alone would have ended it after trial 3"
    assert run.metadata["tuning"]["pareto"] == [1, 3, 4]
    assert table.index[table["pareto"]].tolist() == [1, 3, 4]
    assert run.metadata["tuning"]["best_trial"] == 1
    assert experiment.stages.load_version(run).l2_reg == table["l2_reg"][1]


@pytest.mark.parametrize(
    ("monitor", "problem"),
    [("[]", "at least 1"), ("[ndcg@10, coverage@10, ndcg@10]", "'ndcg@10' is listed 2 times")],
)
def test_empty_and_repeated_metrics_are_refused(tmp_path: Path, monitor: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=rf"tuning\.monitor.*{problem}"):
        load(tmp_path, EASE, f"tuning.monitor={monitor}")


def test_undefined_metric_fails_the_trial_and_the_search_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listener: Any
) -> None:
    measure_as(monkeypatch, [{}, {"ndcg@10": math.nan}])
    run = tuning.tune(load(tmp_path, EASE, "tuning={strategy: random, n_trials: 3}"), RunStore(tmp_path / "runs"))
    assert list(trials(run)["state"]) == ["complete", "failed", "complete"]
    assert any("trial 1 failed: ndcg@10 is undefined (NaN)" in notice for notice in listener.notices)


def losses_in_order(study: optuna.Study, epochs: int, loss: float) -> bool:
    """Report a loss for each epoch of a new trial; whether it is pruned, else it is complete."""
    trial = study.ask()
    for epoch in range(1, epochs + 1):
        trial.report(loss, epoch)
        if trial.should_prune():
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return True
    study.tell(trial, loss)
    return False


def test_median_pruner_needs_several_trials_in_the_same_epoch(tmp_path: Path) -> None:
    pruner = tuner._pruner(TuningConfig(pruner="median"), load(tmp_path, EASE).config)
    study = optuna.create_study(direction="minimize", pruner=pruner)
    losses_in_order(study, 20, 1.0)
    for _ in range(4):
        losses_in_order(study, 2, 9.0)
    assert not losses_in_order(study, 20, 1.1), "only one other trial came to its third epoch"
    for _ in range(3):
        losses_in_order(study, 20, 1.0)
    assert losses_in_order(study, 20, 1.1), "five came to it, and it is behind four of them"
