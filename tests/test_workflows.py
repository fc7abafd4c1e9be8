"""Typical workflows in Python from end to end, on synthetic data similar to MovieLens."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import optuna
import pandas as pd
import pytest

import recctl
from recctl import EASERecommender, Evaluator, InteractionDataset, cli, experiment
from recctl.data import binarize_implicit_feedback, filter_by_interaction_count, generate, normalize_ratings


@pytest.fixture(scope="module")
def df() -> pd.DataFrame:
    return generate(300, 200, 20_000, seed=3)


def test_model_beats_random_in_quick_prototype(df: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = InteractionDataset(df, implicit=True, min_user_interactions=5)
    train, test = dataset.split(test_size=0.2, seed=42)
    model = EASERecommender(l2_reg=500.0)
    model.fit(train.data)
    evaluator = Evaluator(metrics=["ndcg"], k_values=[10])
    results = evaluator.evaluate(model, test, task="ranking", train_data=train)
    floor = recctl.make_model("random").fit(train.data)
    assert results["ndcg@10"] > 2 * evaluator.evaluate(floor, test, train_data=train)["ndcg@10"]
    evaluator.print_results(results)
    assert f"{results['ndcg@10']:.4f}" in capsys.readouterr().out


def test_manual_tuning_chooses_on_validation(df: pd.DataFrame, workdir: Path) -> None:
    dataset = InteractionDataset(df, implicit=True, min_user_interactions=5)
    train, val, test = dataset.split(test_size=0.2, val_size=0.1, strategy="random", seed=42)
    assert len(train) + len(val) + len(test) == len(dataset)
    evaluator = Evaluator(metrics=["precision", "recall", "ndcg", "hit_rate"], k_values=[5, 10, 20])
    models = {f"{l2_reg}": EASERecommender(l2_reg=l2_reg).fit(train.data) for l2_reg in [50, 200, 500]}
    results = {name: evaluator.evaluate(model, val, task="ranking", train_data=train) for name, model in models.items()}
    best = max(results, key=lambda name: results[name]["ndcg@10"])
    assert set(results[best]) == {f"{m}@{k}" for m in ("precision", "recall", "ndcg", "hit_rate") for k in (5, 10, 20)}
    timestamp = datetime.datetime.now(tz=datetime.UTC).strftime("%Y%m%d_%H%M%S")
    models[best].save(f"models/ease_{timestamp}.pkl")
    loaded = EASERecommender()
    loaded.load(f"models/ease_{timestamp}.pkl")
    users = train.data["user_id"].unique()[:3].tolist()
    pd.testing.assert_frame_equal(loaded.recommend(users, k=5), models[best].recommend(users, k=5))
    assert evaluator.evaluate(loaded, test, train_data=train) == evaluator.evaluate(
        models[best], test, train_data=train
    )


def test_comparison_equals_evaluation_by_hand(df: pd.DataFrame, workdir: Path) -> None:
    df.to_csv("ratings.csv", index=False)
    Path("compare.yaml").write_text(
        "data: {source: ratings.csv, min_user_interactions: 5}\n"
        "split: {test_size: 0.2, val_size: 0.1}\n"
        "models:\n"
        "  - {label: EASE, name: ease, params: {l2_reg: 500.0}}\n"
        "  - {label: ALS, name: als, params: {n_factors: 20, n_iterations: 5}}\n"
        "  - {label: NCF, name: ncf, params: {embedding_dim: 16, hidden_layers: [16], epochs: 2, device: auto}}\n"
        "evaluation: {metrics: [precision, recall, ndcg], k_values: [10, 20]}\n"
    )
    run = recctl.compare(["compare.yaml"])
    document = experiment.comparison.run.comparison_result(run)
    results = {model["label"]: model for model in document["compared"]}
    assert list(results) == sorted(results, key=lambda name: -results[name]["metrics"]["ndcg@10"]["value"])
    best = max(results, key=lambda name: results[name]["validation"])
    assert document["best"] == best

    # By hand: one split, each model fitted on train, the best chosen on validation.
    dataset = InteractionDataset(df, implicit=True, min_user_interactions=5)
    train, val, test = dataset.split(test_size=0.2, val_size=0.1, seed=42)
    evaluator = Evaluator(metrics=["precision", "recall", "ndcg"], k_values=[10, 20])
    ease = EASERecommender(l2_reg=500.0).fit(train.data)
    assert results["EASE"]["validation"] == pytest.approx(evaluator.evaluate(ease, val, train_data=train)["ndcg@10"])
    by_hand = evaluator.evaluate(ease, test, train_data=train)
    reported = {key: figure["value"] for key, figure in results["EASE"]["metrics"].items() if key in by_hand}
    assert reported == pytest.approx(by_hand)
    loaded = recctl.load_model(recctl.RunStore().resolve(results["EASE"]["runs"][0]).path / "models/v1.pkl")
    users = train.data["user_id"].unique()[:3].tolist()
    pd.testing.assert_frame_equal(loaded.recommend(users, k=5), ease.recommend(users, k=5))


def test_production_pipeline_recommends_no_seen_items(df: pd.DataFrame, workdir: Path) -> None:
    df = filter_by_interaction_count(df, min_user_interactions=10, min_item_interactions=10)
    df = binarize_implicit_feedback(df, threshold=3.0)
    dataset = InteractionDataset(df, implicit=True)
    train, val, test = dataset.split(test_size=0.1, val_size=0.05, strategy="temporal", seed=42)
    assert train.data["timestamp"].max() < val.data["timestamp"].min()
    assert val.data["timestamp"].max() < test.data["timestamp"].min()
    evaluator = Evaluator()

    def objective(trial: optuna.Trial) -> float:
        model = EASERecommender(l2_reg=trial.suggest_float("l2_reg", 10, 2000, log=True))
        model.fit(train.data)
        return evaluator.evaluate(model, val, task="ranking", train_data=train)["ndcg@10"]

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))
    study.optimize(objective, n_trials=5)

    train_val = pd.concat([train.data, val.data])
    final_model = EASERecommender(l2_reg=study.best_params["l2_reg"])
    final_model.fit(train_val)
    test_results = evaluator.evaluate(final_model, test, task="ranking", train_data=train)
    final_model.save("production/ease_model_v1.pkl")
    metadata = {"model": "EASE", "test_ndcg@10": test_results["ndcg@10"], "train_size": len(train_val)}
    Path("production/model_metadata_v1.json").write_text(json.dumps(metadata))

    # The model was fitted on train and validation: none of their pairs is recommended.
    users = val.data["user_id"].unique().tolist()
    pairs = set(train_val[["user_id", "item_id"]].itertuples(index=False, name=None))
    recommended = final_model.recommend(users, k=10, on_unknown="skip")
    assert not pairs & set(recommended[["user_id", "item_id"]].itertuples(index=False, name=None))


@pytest.mark.parametrize(
    ("verb", "config", "kind"),
    [
        ("train", "quickstart", "train"),
        ("compare", "compare", "compare"),
        ("tune", "production", "tune"),
    ],
)
def test_packaged_configs_run(workdir: Path, verb: str, config: str, kind: str) -> None:
    text = (Path(__file__).parents[1] / "configs" / f"{config}.yaml").read_text()
    path = workdir / "smaller.yaml"
    path.write_text(text.replace("epochs: 20", "epochs: 2"))
    smaller = {
        "data.source": "synthetic",
        "data.synthetic": "{n_users: 150, n_items: 80, n_interactions: 6000}",
        **({"tuning.n_trials": "4"} if verb == "tune" else {}),
    }
    changes = [f"--set={key}={value}" for key, value in smaller.items()]
    assert cli.run([verb, str(path), *changes, "-q"]) == 0
    made = [run for run in recctl.RunStore(workdir / "runs").runs() if run.metadata["kind"] == kind]
    assert [run.status for run in made] == ["complete"]
    if verb == "tune":
        assert [entry["fitted_on"] for entry in made[0].metadata["models"]] == ["train", "train+validation"]


def test_data_inspection_and_scaling_work(df: pd.DataFrame) -> None:
    train, _ = InteractionDataset(df).split(test_size=0.2, seed=1)
    users, items = train.data["user_id"].nunique(), train.data["item_id"].nunique()
    assert len(train.data) / (users * items) == pytest.approx(train.describe()["density"])
    scaled = normalize_ratings(df, method="minmax")
    assert scaled["rating"].between(0, 1).all()
    half = train.data.sample(frac=0.5, random_state=42)
    assert EASERecommender().fit(half).is_fitted


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        ("random", {"val_size": 0.1}),
        ("random", {"val_size": 0.1, "within_user": True}),
        ("temporal", {"val_size": 0.1}),
        ("leave_last", {"val_size": 0.1, "n": 2}),
        ("user", {"val_size": 0.1, "fold_in": 0.7}),
        ("k_fold", {"n_folds": 4, "fold": 3}),
    ],
)
def test_every_split_strategy_trains_and_evaluates(workdir: Path, strategy: str, options: dict[str, object]) -> None:
    from recctl import experiment
    from recctl.config import parse_config, to_yaml

    text = to_yaml(
        {
            "data": {"source": "synthetic", "synthetic": {"n_users": 200, "n_items": 80, "n_interactions": 6000}},
            "split": {"strategy": strategy, **options},
            "model": {"params": {"l2_reg": 50.0}},
            "evaluation": {"metrics": ["ndcg", "hit_rate", "auc", "coverage"], "k_values": [10]},
        }
    )
    run = experiment.train(parse_config(text, "c", Path(), (), experiment.CHECKS))
    metrics = run.metrics()
    assert list(metrics) == (["validation", "test"] if "val_size" in options else ["test"])
    for values in metrics.values():
        assert 0.5 < values["auc"] <= 1, "better than chance"
        assert values["ndcg@10"] > 0.02
    assert experiment.evaluate(run, "test")[1] == metrics["test"]


def test_predefined_split_is_read_from_files(workdir: Path, df: pd.DataFrame) -> None:
    from recctl import experiment

    order = df.sample(frac=1, random_state=1)
    (workdir / "files").mkdir()
    for name, part in {"train": order[:15_000], "val": order[15_000:17_000], "test": order[17_000:]}.items():
        part.to_csv(workdir / "files" / f"{name}.csv", index=False)
    (workdir / "files" / "c.yaml").write_text(
        "data: {source: train.csv, preprocess: [{drop_duplicates: {keep: first}}]}\n"
        "split: {strategy: predefined, test: test.csv, validation: val.csv}\n"
        "model: {name: item-knn}\n"
    )
    run = experiment.train(experiment.load(Path("files/c.yaml")))
    sizes = run.metadata["split"]["leakage"]["parts"]
    assert {name: part["interactions"] for name, part in sizes.items()} == {
        "train": 15_000,
        "validation": 2_000,
        "test": 3_000,
    }
    again = experiment.train(experiment.load(run.path / "config.yaml"))
    assert again.metrics() == run.metrics()


def test_rating_and_ranking_metrics_are_evaluated_together(workdir: Path) -> None:
    from recctl.cli import run

    text = Path("small.yaml").read_text().replace("ndcg, hit_rate", "ndcg, rmse, mae")
    svd = "{name: svd, params: {n_epochs: 2}}"
    Path("small.yaml").write_text(text.replace("{name: ease, params: {l2_reg: 50.0}}", svd))
    assert run(["train", "small.yaml", "-q"]) == 0
    metrics = recctl.RunStore().resolve("latest").metrics()["validation"]
    assert metrics["rmse"] >= metrics["mae"] > 0
    assert metrics["ndcg@10"] > 0
