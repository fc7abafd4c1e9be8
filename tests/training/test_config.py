"""The `training` section of a config, from the file to the model."""

from pathlib import Path

import pytest

from recctl import RunStore, experiment, load_model
from recctl.config import parse_config
from recctl.errors import ConfigError

TEXT = """
data: {source: synthetic, synthetic: {n_users: 60, n_items: 60, n_interactions: 1500}}
split: {test_size: 0.2, val_size: 0.2}
model: {name: svd, params: {n_epochs: 30, lr: 0.02}}
training: {early_stopping: {patience: 2}}
evaluation: {metrics: [rmse, ndcg], k_values: [10]}
"""


def load(tmp_path: Path, text: str = TEXT, *overrides: str):
    (tmp_path / "config.yaml").write_text(text)
    return experiment.load(tmp_path / "config.yaml", overrides)


def problems(tmp_path: Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, TEXT, *overrides)
    return caught.value.problems


@pytest.mark.parametrize("monitor", ["rmse", "ndcg@10", "auc", "loss"])
def test_best_epoch_is_restored_and_recorded(tmp_path: Path, monitor: str) -> None:
    loaded = load(tmp_path, TEXT, f"training.early_stopping.monitor={monitor}")
    run = experiment.train(loaded, RunStore(tmp_path / "runs"))
    recorded = run.metadata["training"]
    assert recorded["monitor"] == monitor
    model = load_model(run.path / "models" / "v1.pkl")
    assert model.best_epoch == recorded["best_epoch"]
    if monitor in ("rmse", "ndcg@10"):
        measured = experiment.evaluate(run, "validation")[1][monitor]
        assert measured == pytest.approx(recorded["best_score"], abs=1e-6)


def test_defaults_follow_from_the_model(tmp_path: Path) -> None:
    config = load(tmp_path).config
    assert config.data.implicit is False
    assert config.training.early_stopping.monitor == "rmse"
    assert parse_config("", "x", tmp_path).config.training.early_stopping is None
    ranking = ("training={}", "evaluation.metrics=[ndcg]")
    assert load(tmp_path, TEXT, "model={name: ease}", *ranking).config.data.implicit is True


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.implicit=true", "data.implicit: svd learns from ratings; write implicit: false"),
        ("split.val_size=0", "rmse is measured on validation, but there is no validation part; set split.val_size"),
        ("training.early_stopping.monitor=ndgc@10", "unknown metric 'ndgc'; did you mean ndcg?"),
        ("training.early_stopping.monitor=ndcg", "'ndcg' has no valid cutoff; write ndcg@10"),
        ("training.early_stopping.monitor=rmse@10", "'rmse@10': rmse has no cutoffs; write rmse"),
        ("training.early_stopping.patience=0", "training.early_stopping.patience"),
        ("training.early_stoping.patience=2", "training.early_stoping: unknown key; did you mean early_stopping?"),
    ],
)
def test_invalid_monitor_is_an_error(tmp_path: Path, override: str, message: str) -> None:
    assert any(message in problem for problem in problems(tmp_path, override))


def test_training_section_of_other_models_names_the_epoch_models(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ease is not trained in epochs; remove it, or choose one of: .*svdpp"):
        load(tmp_path, TEXT.replace("{name: svd, params: {n_epochs: 30, lr: 0.02}}", "{name: ease}"))


def test_need_of_ratings_can_depend_on_a_hyperparameter(tmp_path: Path) -> None:
    explicit = "model={name: als, params: {implicit: false}}"
    assert load(tmp_path, TEXT, explicit, "training={}").config.data.implicit is False
    ranking = ("training={}", "evaluation.metrics=[ndcg]")
    assert load(tmp_path, TEXT, "model={name: als}", *ranking).config.data.implicit is True
    (problem,) = problems(tmp_path, explicit, "training={}", "data.implicit=true")
    assert problem == "--set data.implicit: als learns from ratings; write implicit: false"


def test_conflicting_hyperparameters_are_an_error_before_data_is_read(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "model={name: sasrec, params: {n_heads: 3}}", "training={}")
    assert problem.endswith("model.params.n_heads: embedding_dim=64 is not a multiple of n_heads=3: change one")


def test_error_of_an_override_names_the_override(tmp_path: Path) -> None:
    without = TEXT.replace("training: {early_stopping: {patience: 2}}\n", "").replace("[rmse, ndcg]", "[ndcg]")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, without, "model={name: ease}", "training.early_stopping.patience=3")
    (problem,) = caught.value.problems
    assert problem.startswith("--set training.early_stopping.patience: training.early_stopping: ease is not trained in")
