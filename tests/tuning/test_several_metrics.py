"""Searches of several metrics: which trial is kept, and what counts as a gain; and when a trial may be pruned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import optuna
import pytest

from recctl import RunStore, experiment, tuning
from recctl.config.schema import TuningConfig
from recctl.errors import AssertionFailedError, ConfigError
from recctl.experiment.lifecycle import next_step
from recctl.metrics.condition import parse_condition
from recctl.models.base.hyperparameters import Between
from recctl.models.base.search_space import Dimension, Space
from recctl.tuning import tuner
from recctl.tuning.results import importances
from recctl.tuning.study import Study
from tests.tuning.searches import EASE, load, trials

HIGHER_TWICE = ("maximize", "maximize")


def study_of(
    values: Sequence[Sequence[float] | None],
    directions: Sequence[str] = HIGHER_TWICE,
    conditions: Sequence[str] = (),
    metrics: Sequence[dict[str, float]] = (),
) -> Study:
    """A study of finished trials with these values of the monitored metrics, and all metrics; None: a failed trial."""
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, directions=list(directions))
    for of_trial, measured in zip_longest(values, metrics):
        state = optuna.trial.TrialState.FAIL if of_trial is None else optuna.trial.TrialState.COMPLETE
        attributes = {"recctl": {"metrics": measured or {}}}
        study.add_trial(optuna.trial.create_trial(state=state, values=of_trial, user_attrs=attributes))
    parsed = [parse_condition(text) for text in conditions]
    return Study(study, storage, Space(()), "run", shared=False, conditions=parsed)


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


def searched_trials(values: Sequence[Sequence[float]]) -> list[optuna.trial.FrozenTrial]:
    """Trials at evenly spaced points of two dimensions, with these values."""
    ranges = {name: optuna.distributions.FloatDistribution(0, 1) for name in ("depth", "width")}
    points = [{"depth": (i % 8) / 7, "width": (i // 8) / 7} for i in range(len(values))]
    return [
        optuna.trial.create_trial(params=point, distributions=dict(ranges), values=list(of_trial))
        for point, of_trial in zip(points, values, strict=True)
    ]


def importances_of(values: Sequence[Sequence[float]], directions: Sequence[str]) -> dict[str, dict[str, float]]:
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, directions=list(directions))
    study.add_trials(searched_trials(values))
    space = Space((Dimension("depth", Between(0, 1)), Dimension("width", Between(0, 1))))
    searched = Study(study, storage, space, "run", shared=False)
    return importances(searched, ["ndcg@10", "rmse", "coverage@10"][: len(directions)])


def test_importances_of_each_metric_equal_those_of_a_search_for_it_alone() -> None:
    # ndcg is high where depth is high, and low where width is high: good values depend on depth, bad ones on width.
    grid = [((i % 8) / 7, (i // 8) / 7) for i in range(64)]
    values = [(10 * depth**8 - width, depth + 5 * width**4, 0.5) for depth, width in grid]
    directions = ["maximize", "minimize", "maximize"]
    computed = importances_of(values, directions)
    assert list(computed) == ["ndcg@10", "rmse"], "all trials have the same coverage"
    for position, metric in enumerate(computed):
        alone = optuna.create_study(direction=directions[position])
        alone.add_trials(searched_trials([[of_trial[position]] for of_trial in values]))
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        expected = optuna.importance.get_param_importances(alone, evaluator=evaluator)
        assert computed[metric] == pytest.approx(expected, abs=1e-4)
        assert importances_of([[of_trial[position]] for of_trial in values], [directions[position]]) == {
            "ndcg@10": computed[metric]
        }
    assert max(computed["ndcg@10"], key=computed["ndcg@10"].__getitem__) == "depth"


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
    assert experiment.load_version(run).l2_reg == table["l2_reg"][1]


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
    assert not losses_in_order(study, 20, 1.1), "only one other trial reached its third epoch"
    for _ in range(3):
        losses_in_order(study, 20, 1.0)
    assert losses_in_order(study, 20, 1.1), "five reached its third epoch, and it is behind four of them"


# ---- conditions


FOUR = [(0.5, 0.1), (0.4, 0.3), (0.3, 0.6), (0.35, 0.2)]
FOUR_MEASURED = [{"ndcg@10": ndcg, "coverage@10": coverage, "auc": 1 - ndcg} for ndcg, coverage in FOUR]


@pytest.mark.parametrize(
    ("conditions", "picked"),
    [
        ([], 0),
        (["coverage@10>=0.3"], 1),
        (["coverage@10>0.3"], 2),
        (["coverage@10>=0.2", "ndcg@10<0.4"], 2),  # trial 3 satisfies them, but trial 1 dominates it
        (["auc>=0.65"], 2),  # a metric that is not optimized
        (["coverage@10>=0.7"], None),
    ],
)
def test_conditions_choose_the_best_first_metric_on_the_front(conditions: list[str], picked: int | None) -> None:
    assert best_number(study_of(FOUR, conditions=conditions, metrics=FOUR_MEASURED)) == picked


SEVERAL = "tuning: {strategy: random, n_trials: 4, monitor: [ndcg@10, coverage@10]}\n"


@pytest.mark.parametrize(
    ("pick", "monitor", "problem"),
    [
        ("coverage@10>=0.3", "ndcg@10", r"several metrics; write monitor: \[ndcg@10, coverage@10\]"),
        ("coverage@10=0.3", "[ndcg@10, coverage@10]", r"'coverage@10=0\.3': must be METRIC>=NUMBER"),
        ("auc>=0.3", "[ndcg@10, coverage@10]", "'auc' is not measured"),
        ("[]", "[ndcg@10, coverage@10]", "at least 1"),
    ],
)
def test_conditions_that_cannot_choose_are_refused(tmp_path: Path, pick: str, monitor: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=rf"tuning\.pick.*{problem}"):
        load(tmp_path, EASE + SEVERAL, f"tuning.monitor={monitor}", f"tuning.pick={pick}")


def test_pick_keeps_a_trial_and_can_be_changed_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        measure_as(patch, FOUR_MEASURED)
        loaded = load(tmp_path, EASE + SEVERAL, 'tuning.pick=["coverage@10>=0.3"]')
        run = tuning.tune(loaded, RunStore(tmp_path / "runs"))
    table = trials(run).set_index("number")
    assert run.metadata["tuning"]["best_trial"] == 1
    assert run.metadata["tuning"]["pick"] == ["coverage@10>=0.3"]
    assert experiment.load_version(run).l2_reg == table["l2_reg"][1]
    assert f"l2_reg: {table['l2_reg'][1]}" in (run.path / "best.yaml").read_text()

    recorded = (run.path / "metadata.json").read_bytes()
    listed = (
        r"no trial .* satisfies coverage@10>=0\.7; the front:\n  trial 0: .*\n  trial 1: .*\n  trial 2: .* = 0\.6\n"
    )
    with pytest.raises(AssertionFailedError, match=listed + r".*--pick 'coverage@10>=0\.6'"):
        tuning.resume(run, more=["tuning.pick=coverage@10>=0.7"])
    assert (run.path / "metadata.json").read_bytes() == recorded

    assert tuning.resume(run, more=["tuning.pick=coverage@10>=0.6"])
    assert run.metadata["tuning"]["best_trial"] == 2
    assert experiment.load_version(run).l2_reg == table["l2_reg"][2]
    assert len(trials(run)) == 4
    assert [entry["trial"] for entry in run.metadata["models"]] == [1, 2]
    assert run.metadata["test_looks"] == 2
    assert tuning.resume(run, more=["tuning.pick=coverage@10>0.5"])
    assert run.metadata["test_looks"] == 2, "the model is the same"
    stored = experiment.load(run.path / "config.yaml").config.tuning
    assert stored is not None
    assert stored.pick == "coverage@10>0.5"


def test_search_without_a_trial_to_pick_keeps_its_trials_and_takes_another_condition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RunStore(tmp_path / "runs")
    measure_as(monkeypatch, FOUR_MEASURED)
    with pytest.raises(AssertionFailedError, match=r"satisfies coverage@10>=0\.7 and ndcg@10>=0\.1"):
        tuning.tune(load(tmp_path, EASE + SEVERAL, 'tuning.pick=["coverage@10>=0.7", "ndcg@10>=0.1"]'), store)
    (run,) = store.runs()
    assert run.status == "failed"
    assert next_step(run) == f"choose one of its trials with: recctl tune --resume {run.id} --pick CONDITION"
    assert tuning.resume(run, more=["tuning.pick=coverage@10>=0.6"])
    assert run.status == "complete"
    assert run.metadata["tuning"]["best_trial"] == 2
    assert len(trials(run)) == 4
    assert next_step(run) is None
