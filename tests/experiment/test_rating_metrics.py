"""RMSE and MAE of scores that are no ratings are refused, and what older runs have of them decides nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recctl import EASERecommender, Evaluator, InteractionDataset, RunStore, experiment, make_model
from recctl.config import parse_config
from recctl.errors import ConfigError
from recctl.experiment.comparison.run import comparison_result
from recctl.experiment.monitors import default_monitor
from recctl.models.registry import model_names
from recctl.runs import Run

HEAD = """\
seed: 1
data: {source: synthetic, implicit: false, synthetic: {n_users: 40, n_items: 30, n_interactions: 600}}
split: {strategy: random, test_size: 0.2, val_size: 0.1}
"""
EXPLICIT_ALS = "{name: als, params: {implicit: false, n_factors: 2, n_iterations: 2}}"
SVD = "{name: svd, params: {n_epochs: 3, n_factors: 2}}"


def rated_table() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    pairs = draw.permutation(30 * 20)[:400]
    taste = draw.normal(0, 1, 30)[pairs // 20] + draw.normal(0, 1, 20)[pairs % 20]
    ratings = np.clip(np.round(60 + 15 * taste), 1, 100)
    return pd.DataFrame({"user_id": pairs // 20, "item_id": pairs % 20, "rating": ratings, "timestamp": pairs})


TABLE = rated_table()
SMALL_MODELS: dict[str, dict[str, Any]] = {
    "svd": {"n_epochs": 5},
    "svdpp": {"n_epochs": 5},
    "ncf": {"epochs": 1, "embedding_dim": 4, "hidden_layers": [4]},
    "lightgcn": {"epochs": 1, "embedding_dim": 4},
    "sasrec": {"epochs": 1, "embedding_dim": 4},
}


def problems(model: str, metrics: str = "[ndcg]", more: str = "") -> list[str]:
    text = f"{HEAD}model: {model}\nevaluation: {{metrics: {metrics}, k_values: [10]}}\n{more}"
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "c.yaml", Path(), (), experiment.CHECKS)
    return caught.value.problems


# ---- models


@pytest.mark.parametrize("name", model_names())
def test_models_that_predict_ratings_do_better_than_their_mean(name: str) -> None:
    model = make_model(name, **SMALL_MODELS.get(name, {}))
    assert model.predicts_ratings == (name in ("svd", "svdpp"))
    data = InteractionDataset(TABLE, implicit=False)
    model.fit(data)
    evaluator = Evaluator(["rmse", "ndcg"], [10])
    if model.predicts_ratings:
        error = evaluator.evaluate(model, TABLE, "rating_prediction")["rmse"]
        assert error < TABLE.rating.std()
    else:
        with pytest.raises(ConfigError, match=rf"^rmse: the scores of {name} are not ratings.*ndcg.*svd, svdpp"):
            evaluator.evaluate(model, TABLE, "rating_prediction")


def test_als_predicts_ratings_if_it_learns_from_them() -> None:
    assert make_model("als", implicit=False).predicts_ratings
    assert not make_model("als").predicts_ratings
    assert not type(make_model("als")).predicts_ratings


def test_class_can_declare_what_its_scores_are() -> None:
    class ByRatings(EASERecommender):
        name = "by-ratings"
        needs_ratings = True
        trained_in_epochs = True

    class Ranker(ByRatings):
        name = "ranker"
        predicts_ratings = False

    assert ByRatings.predicts_ratings
    assert (default_monitor(ByRatings, True), default_monitor(Ranker, True)) == ("rmse", "ndcg@10")
    model = Ranker().fit(TABLE)
    with pytest.raises(ConfigError, match=r"rmse, mae: .*; if they are ratings, set predicts_ratings = True in Ranker"):
        Evaluator().evaluate(model, TABLE, "rating_prediction")


def test_evaluator_of_rankings_leaves_out_other_metrics_without_a_word() -> None:
    model = EASERecommender().fit(TABLE.iloc[:300])
    assert list(Evaluator(["rmse", "ndcg"], [10]).evaluate(model, TABLE.iloc[300:])) == ["ndcg@10"]


# ---- configs


@pytest.mark.parametrize("name", ["popularity", "ease", "als", "sasrec"])
def test_metrics_by_name_are_refused(name: str) -> None:
    (problem,) = problems(f"{{name: {name}}}", "[rmse, ndcg, mae]")
    assert problem.startswith(f"c.yaml:5: evaluation.metrics: rmse, mae: the scores of {name} are not ratings")
    assert "als with params: {implicit: false}, svd, svdpp" in problem


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("training.early_stopping.monitor", "training: {early_stopping: {monitor: rmse}}\n"),
        ("tuning.monitor", "tuning: {monitor: rmse}\n"),
        ("tuning.monitor", "tuning: {monitor: [ndcg@10, mae]}\n"),
    ],
)
def test_monitored_metrics_are_refused(path: str, more: str) -> None:
    (problem,) = problems("{name: sasrec}", "[ndcg]", more)
    assert f"{path}: " in problem
    assert "the scores of sasrec are not ratings" in problem


def test_evaluation_monitor_is_refused() -> None:
    (problem, *_) = problems("{name: ease}", "[ndcg], monitor: rmse")
    assert "evaluation.monitor: rmse: the scores of ease are not ratings" in problem


def test_search_over_models_without_ratings_is_refused() -> None:
    (problem,) = problems(EXPLICIT_ALS, "[rmse]", "tuning: {space: {implicit: [true, false]}}\n")
    assert "tuning.space.implicit: True: rmse: the scores of als are not ratings" in problem


@pytest.mark.parametrize("model", [SVD, "{name: svdpp}", EXPLICIT_ALS])
def test_metrics_of_models_of_ratings_are_accepted(model: str) -> None:
    text = f"{HEAD}model: {model}\nevaluation: {{metrics: [rmse, mae], monitor: mae}}\n"
    assert parse_config(text, "c.yaml", Path(), (), experiment.CHECKS).config.evaluation.metrics == ["rmse", "mae"]


def test_wrong_hyperparameter_is_the_only_problem() -> None:
    (problem,) = problems("{name: als, params: {implicit: fales}}", "[rmse]")
    assert "model.params.implicit" in problem


# ---- commands


def test_evaluate_refuses_before_test_is_looked_at(recctl: Any) -> None:
    Path("ease.yaml").write_text(f"{HEAD}model: {{name: ease}}\nevaluation: {{metrics: [ndcg], k_values: [10]}}\n")
    run_id = recctl("train", "ease.yaml", "--json").json["run_id"]
    looks = RunStore().resolve(run_id).metadata["test_looks"]
    for options in (["-m", "rmse"], ["-m", "ndcg", "-m", "mae"], ["--assert", "rmse<1"]):
        done = recctl("evaluate", run_id, "--on", "test", *options)
        assert done.code == 2
        assert "the scores of ease are not ratings" in done.err
    assert RunStore().resolve(run_id).metadata["test_looks"] == looks


def mixed(metrics: str, models: str = f"[{SVD}, {{name: popularity}}]") -> str:
    path = Path("mixed.yaml")
    path.write_text(f"{HEAD}models: {models}\nevaluation: {{metrics: {metrics}, k_values: [10]}}\n")
    return str(path)


@pytest.mark.parametrize("models", [f"[{SVD}, {{name: popularity}}]", f"[{{name: popularity}}, {SVD}]"])
def test_comparison_uses_the_metrics_that_mean_something_for_all(recctl: Any, models: str) -> None:
    done = recctl("compare", mixed("[rmse, recall]", models), "--resamples", "100", "--json")
    assert done.code == 0, done.err
    comparison = done.json["comparison"]
    assert comparison["metric"] == "recall@10"
    for model in comparison["compared"]:
        assert set(model["metrics"]) == {"recall@10", "coverage@10"}
        metrics = RunStore().resolve(model["runs"][0]).metrics()["test"]
        assert ("rmse" in metrics) == (model["label"] == "svd")
    assert "rmse: left out, because the scores of popularity are not ratings." in comparison["words"]
    run = RunStore().resolve(done.json["run_id"])
    assert "rmse" in experiment.load_run_config(run).config.evaluation.metrics  # if it is resumed, svd has it too


def test_comparison_by_a_metric_that_means_nothing_fits_no_model(recctl: Any) -> None:
    for arguments in (
        [mixed("[rmse, ndcg]"), "--metric", "rmse"],
        [mixed("[rmse]")],
        [mixed("[ndcg, rmse], monitor: rmse")],
    ):
        done = recctl("compare", *arguments)
        assert done.code == 2
        assert "the scores of popularity are not ratings" in done.err
    assert RunStore().runs() == []


def test_two_configs_may_differ_in_metrics_of_ratings(recctl: Any) -> None:
    for name, model, metrics in (("a", SVD, "[ndcg, rmse]"), ("b", "{name: popularity}", "[ndcg]")):
        Path(f"{name}.yaml").write_text(f"{HEAD}model: {model}\nevaluation: {{metrics: {metrics}, k_values: [10]}}\n")
    assert recctl("compare", "a.yaml", "b.yaml", "--resamples", "100").code == 0


# ---- runs of older versions


def as_of_version_2(run: Run, value: float) -> None:
    """Give a run the RMSE that version 0.2 measured of any scores."""
    config = run.path / "config.yaml"
    config.write_text(
        config.read_text().replace("- ndcg", "- ndcg\n  - rmse").replace("monitor: null", "monitor: rmse")
    )
    for path in (run.path / "evaluations.json", run.path / "metrics.json"):
        path.write_text(path.read_text().replace('"ndcg@10":', f'"rmse": {value},\n"ndcg@10":'))
    table = pd.read_parquet(run.path / "per_user.parquet").assign(rmse=value)
    table.to_parquet(run.path / "per_user.parquet")
    metadata = json.loads((run.path / "metadata.json").read_text())
    metadata["monitor"] = {"metric": "rmse", "mode": "min"}
    (run.path / "metadata.json").write_text(json.dumps(metadata))


@pytest.fixture
def old_runs(recctl: Any) -> dict[str, str]:
    """The ids of two runs with RMSE: the lower one, of popularity, means nothing."""
    ids = {}
    for name, model in {"svd": SVD, "popularity": "{name: popularity}"}.items():
        metrics = "[ndcg, rmse], monitor: rmse" if name == "svd" else "[ndcg]"
        Path("c.yaml").write_text(f"{HEAD}model: {model}\nevaluation: {{metrics: {metrics}, k_values: [10]}}\n")
        done = recctl("train", "c.yaml", "--json")
        assert done.code == 0, done.err
        ids[name] = done.json["run_id"]
    as_of_version_2(RunStore().resolve(ids["popularity"]), 0.001)
    return ids


def test_old_figures_are_shown_but_never_the_best(recctl: Any, old_runs: dict[str, str]) -> None:
    shown = recctl("runs", "show", old_runs["popularity"], "--json")
    assert shown.json["metrics"]["validation"]["rmse"] == 0.001
    best = recctl("runs", "show", "best", "--json")
    assert best.json["run_id"] == old_runs["svd"]
    assert f"left out, because the scores of their models are not ratings: {old_runs['popularity']} (rmse)" in best.err
    listed = recctl("runs", "list", "--sort", "rmse", "--json").json["runs"]
    assert [row["run_id"] for row in listed] == [old_runs["popularity"], old_runs["svd"]]  # the best last
    assert listed[0]["metrics"]["rmse"] == 0.001
    filtered = recctl("runs", "list", "--where", "rmse<9", "--json").json["runs"]
    assert [row["run_id"] for row in filtered] == [old_runs["svd"]]


def test_old_runs_are_compared_and_evaluated_by_what_means_something(recctl: Any, old_runs: dict[str, str]) -> None:
    done = recctl("compare", *old_runs.values(), "--resamples", "100", "--metric", "ndcg@10", "--json")
    assert done.code == 0, done.err
    assert all("rmse" not in model["metrics"] for model in done.json["comparison"]["compared"])
    assert recctl("compare", *old_runs.values(), "--metric", "rmse").code == 2
    evaluated = recctl("evaluate", old_runs["popularity"], "--json")
    assert evaluated.code == 0, evaluated.err
    assert list(evaluated.json["measured"]) == ["ndcg@10"]
    assert recctl("recommend", old_runs["popularity"], "1").code == 0


def test_old_comparison_calls_no_rmse_significant(recctl: Any) -> None:
    done = recctl("compare", mixed("[ndcg]"), "--resamples", "100", "--json")
    run = RunStore().resolve(done.json["run_id"])
    stored = (run.path / "comparison.json").read_text().replace('"ndcg@10"', '"rmse"').replace('"max"', '"min"')
    document = json.loads(stored)
    for model in document["compared"]:
        model["metrics"]["rmse"] |= {"p": 0.001, "p_holm": 0.001}
    document["worse"] = ["popularity is significantly worse"]
    (run.path / "comparison.json").write_text(json.dumps(document))
    read = comparison_result(run)
    assert read["worse"] == []
    assert {model["metrics"]["rmse"]["p_holm"] for model in read["compared"]} == {None}
    assert not any("significant" in sentence for sentence in read["words"])
    assert "rmse means nothing here, because the scores of popularity are not ratings." in read["words"]
