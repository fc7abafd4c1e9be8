"""Searches of models in the space that a config gives: the baseline, notes, and studies of earlier versions."""

from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
import yaml

from recctl import RunStore, experiment, tuning
from recctl.errors import ConfigError, TrainingError
from recctl.models.base.search_space import declared_space, parse_space
from recctl.models.ease import EASERecommender
from recctl.models.registry import model_class
from recctl.runs import Run
from recctl.tuning.stored_space import from_stored, to_stored
from tests.tuning.searches import EASE, load, optuna_study, store_as_version_0_2, trials


def search(tmp_path: Path, *overrides: str) -> Run:
    return tuning.tune(load(tmp_path, EASE, *overrides), RunStore(tmp_path / "runs"))


# A weak regularization that the data punish: the config's own value, 500, is better than any of the space.
WEAK = "tuning={strategy: random, n_trials: 4, space: {l2_reg: {low: 0.001, high: 0.002}}}"


def test_baseline_outside_the_space_is_reported_but_another_trial_is_kept(tmp_path: Path, listener: Any) -> None:
    run = search(tmp_path, WEAK)
    table = trials(run)
    assert table["l2_reg"][0] == 500.0
    assert table["in_space"].tolist() == [False, True, True, True]
    assert table["state"].tolist() == ["complete"] * 4
    assert table["ndcg@10"].idxmax() == 0, "the baseline is better, so that the test means something"
    best = table["ndcg@10"][1:].idxmax()
    record = run.metadata["tuning"]
    assert record["best_trial"] == best
    assert record["baseline"] == {"trial": 0, "values": [table["ndcg@10"][0]], "point": {"l2_reg": 500.0}}
    assert experiment.load_version(run).l2_reg == table["l2_reg"][best]
    assert yaml.safe_load((run.path / "best.yaml").read_text())["model"]["params"]["l2_reg"] == table["l2_reg"][best]
    study = optuna_study(run)
    assert study.trials[0].state == optuna.trial.TrialState.FAIL
    assert study.best_trial.number == best
    assert any("l2_reg=500.0 is not in 0.001 to 0.002" in notice for notice in listener.notices)
    assert any("better than the best of the search space" in notice for notice in listener.notices)


def test_report_of_a_search_counts_the_baseline_apart_from_the_best_trials(tmp_path: Path) -> None:
    from recctl.reports.search_figures import SearchTrials, history_figure

    run = search(tmp_path, WEAK)
    material = SearchTrials(run)
    assert 0 not in material.complete["number"].tolist()
    assert material.baseline is not None
    assert material.baseline["l2_reg"] == 500.0
    assert material.settings == ["l2_reg"]
    best_so_far = history_figure(material).plot["data"][1]["y"]
    assert max(best_so_far) == run.metadata["tuning"]["best_values"][0]


def test_search_of_the_baseline_alone_says_what_to_raise(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no trial in the search space has run: .*raise tuning\.n_trials"):
        search(tmp_path, WEAK, "tuning.n_trials=1")


def test_exhausted_space_ends_the_search_with_a_note_and_resume_adds_nothing(tmp_path: Path, listener: Any) -> None:
    settings = "tuning={n_trials: 12, space: {l2_reg: [400, 500, 600]}}"
    run = search(tmp_path, settings)
    assert sorted(trials(run)["l2_reg"]) == [400, 500, 600]
    assert any("the search ends after 3 of 12 trials" in notice for notice in listener.notices)
    assert "in_space" not in trials(run)
    assert tuning.resume(run, more=["tuning.n_trials=20"])
    assert len(trials(run)) == 3
    assert any("the search ends after 3 of 20 trials" in notice for notice in listener.notices)


def test_notes_name_what_is_searched_in_vain(tmp_path: Path, listener: Any) -> None:
    text = EASE.replace("model: {name: ease}", "model: {name: als, params: {n_iterations: 1, implicit: true}}")
    space = (
        "{reg: {low: 0.01, high: 0.1, step: 0.04}, cg_steps: [1, 2], block_size: [2, 4],"
        " alpha: {low: 1, high: 9, when: {implicit: false}}}"
    )
    run = tuning.tune(load(tmp_path, text, f"tuning={{n_trials: 2, space: {space}}}"), RunStore(tmp_path / "runs"))
    assert "alpha" not in trials(run)
    notices = "\n".join(listener.notices)
    assert "tuning.space.alpha is not searched: its condition does not hold in this config" in notices
    assert "tuning.space.reg: its last value is 0.09: 0.1 is not low=0.01 plus a multiple of step=0.04" in notices
    assert "tuning.space.block_size: als reads it only if solver is ials++" in notices
    assert "cg_steps: als reads" not in notices


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("tuning={space: {l2_reg: {low: 1, high: 9, when: {l2_reg: 3}}}}",), "not searched before this one"),
        (
            ("tuning={strategy: manual, space: {l2_reg: {low: 1, high: 9}}, points: [{l2_reg: 4.0}, {l2_reg: 10.0}]}",),
            r"tuning.points\[?.?1\]?.*10.0 is outside tuning.space \(1 to 9\)",
        ),
        (
            (
                "model={name: als, params: {implicit: true}}",
                "tuning={space: {alpha: {low: 1, high: 9, when: {implicit: false}}}}",
            ),
            "als searches nothing: no condition of tuning.space holds",
        ),
    ],
)
def test_space_that_contradicts_itself_is_refused(tmp_path: Path, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        search(tmp_path, *overrides)


def test_manual_points_without_a_space_compete_with_the_config(tmp_path: Path) -> None:
    run = search(tmp_path, "tuning={strategy: manual, points: [{l2_reg: 0.001}]}")
    assert "in_space" not in trials(run)
    assert run.metadata["tuning"]["best_trial"] == trials(run)["ndcg@10"].idxmax() == 0


# ---- studies of earlier versions


def test_stored_space_is_read_as_it_was() -> None:
    given = {
        "loss": ["bpr", "sampled_softmax"],
        "temperature": {"low": 0.05, "high": 0.5, "log": True, "when": {"loss": "sampled_softmax"}},
        "n_layers": {"low": 1, "high": 4, "step": 1},
        "edge_dropout": {"low": 0.0, "high": 0.5, "step": 0.1},
    }
    space, problems = parse_space(given, model_class("lightgcn"))
    assert problems == []
    assert from_stored(yaml.safe_load(yaml.safe_dump(to_stored(space)))) == space
    default = declared_space(EASERecommender)
    assert from_stored(to_stored(default)) == default


# As version 0.2 stored it: extended by the config's own value, 500.
OLD_SPACE = ["Dimension(name='l2_reg', range=Between(low=1.0, high=500.0, log=True), whole=False, when={})"]


def test_text_of_version_0_2_is_read() -> None:
    (dimension,) = from_stored(OLD_SPACE).dimensions
    assert (dimension.range.low, dimension.range.high, dimension.range.log) == (1.0, 500.0, True)
    text = "Dimension(name='n', range=Choices(values=([8], [16, 8], None)), whole=True, when={'loss': ('bpr', 'x')})"
    (dimension,) = from_stored([text]).dimensions
    assert (dimension.range.values, dimension.when) == (([8], [16, 8], None), {"loss": ("bpr", "x")})
    with pytest.raises(ValueError, match="malformed node"):
        from_stored([text.replace("True", "__import__('os').getcwd()")])


@pytest.mark.parametrize("space", ["{l2_reg: {low: 1.0, high: 10.0, log: true}}", "{}"])
def test_search_of_version_0_2_is_resumed_in_its_own_space(tmp_path: Path, space: str) -> None:
    run = search(tmp_path, f"tuning={{n_trials: 3, space: {space}}}")
    old = store_as_version_0_2(run)
    database = f"sqlite:///{run.path / 'study.db'}"
    identity = old.user_attrs["recctl"] | {"space": OLD_SPACE}
    outcomes = [trial.user_attrs["recctl"] for trial in old.trials]
    optuna.delete_study(study_name="study", storage=database)
    old = optuna.create_study(study_name="study", storage=database, direction="maximize")
    old.set_user_attr("recctl", identity)
    distribution = optuna.distributions.FloatDistribution(1.0, 500.0, log=True)
    for value, outcome in zip([500.0, 2.0, 90.0], outcomes, strict=True):
        old.add_trial(
            optuna.trial.create_trial(
                params={"l2_reg": value},
                distributions={"l2_reg": distribution},
                value=outcome["metrics"]["ndcg@10"],
                user_attrs={"recctl": outcome},
            )
        )
    assert tuning.resume(run, more=["tuning.n_trials=6"])
    table = pd.read_parquet(run.path / "trials.parquet")
    assert table["l2_reg"][:3].tolist() == [500.0, 2.0, 90.0]
    assert len(table) == 6
    assert table["l2_reg"].between(1.0, 500.0).all()
    assert "in_space" not in table, "its space was extended to its config, which therefore takes part"


def test_default_ranges_of_a_later_version_do_not_change_a_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from recctl.models.base import Between

    run = search(tmp_path, "tuning={n_trials: 2, strategy: random}")
    later = replace(EASERecommender.parameters["l2_reg"], search=Between(1e7, 1e8))
    monkeypatch.setitem(EASERecommender.parameters, "l2_reg", later)
    assert tuning.resume(run, more=["tuning.n_trials=6"])
    assert trials(run)["l2_reg"].between(10, 10_000).all()
    again = experiment.train(experiment.load(run.path / "best.yaml"), RunStore(tmp_path / "runs"))
    assert again.metrics() == run.metrics()
