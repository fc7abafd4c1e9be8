"""Configs from files and overrides: every error at once, at its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from recctl import experiment
from recctl.config import Config, find_config, load_config, parse_config, to_yaml
from recctl.config.template import template
from recctl.errors import ConfigError
from recctl.models.registry import model_class, model_names

CONFIGS = Path(__file__).parents[2] / "configs"


def problems(text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        parse_config(text, "c.yaml", Path(), overrides, experiment.CHECKS)
    return error.value.problems


def valid(text: str, *overrides: str) -> Config:
    return parse_config(text, "c.yaml", Path(), overrides, experiment.CHECKS).config


def test_every_error_is_told_at_once_with_its_line_and_a_suggestion() -> None:
    text = """\
split: {strategy: temporal, n: 3}
data:
  columns: {usr: 1}
  min_user_interactions: -1
  header: maybe
modle: {}
seed: x
evaluation:
  k_valus: [5]
  k_values: [0, 2.5]
"""
    found = problems(text)
    assert sorted(found) == sorted(
        [
            "c.yaml:1: split.n: unknown key; one of strategy, test_size, val_size",
            "c.yaml:3: data.columns.usr: 'usr' is none of 'user_id', 'item_id', 'rating' or 'timestamp'",
            "c.yaml:4: data.min_user_interactions: -1 should be greater than or equal to 0",
            "c.yaml:5: data.header: 'maybe' should be a valid boolean, unable to interpret input",
            "c.yaml:6: modle: unknown key; did you mean model?",
            "c.yaml:7: seed: 'x' should be a valid integer",
            "c.yaml:9: evaluation.k_valus: unknown key; did you mean k_values?",
            "c.yaml:10: evaluation.k_values.0: 0 should be greater than or equal to 1",
            "c.yaml:10: evaluation.k_values.1: 2.5 should be a valid integer",
        ]
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {params: {l2_rge: 1}}", "c.yaml:1: model.params.l2_rge: unknown parameter; did you mean l2_reg?"),
        ("model: {params: {reg: 1}}", "c.yaml:1: model.params.reg: unknown parameter; did you mean l2_reg?"),
        ("model:\n  params:\n    l2_reg: 0", "c.yaml:3: model.params.l2_reg: 0 should be greater than 0"),
        ("model: {params: {l2_reg: '5'}}", "c.yaml:1: model.params.l2_reg: '5' should be a valid number"),
        ("model: {name: eese}", "c.yaml:1: model.name: unknown model 'eese'; did you mean ease?"),
        ("evaluation: {metrics: [ndgc]}", "c.yaml:1: evaluation.metrics.0: unknown metric 'ndgc'; did you mean ndcg?"),
        ("evaluation: {metrics: [ndcg@10]}", "write ndcg here and 10 in k_values"),
        ("evaluation: {monitor: map@10}", "'map@10' is not measured"),
        ("evaluation: {monitor: ndcg@7}", "'ndcg@7' is not measured"),
        ("data: {preprocess: [{filter: {}}]}", "c.yaml:1: data.preprocess.0.filter: unknown step"),
        ("data: {preprocess: [{binarize_implicit_feedback: }]}", "threshold must be given"),
        (
            "data: {preprocess: [{binarize_implicit_feedback: {treshold: 4}}]}",
            "data.preprocess.0.binarize_implicit_feedback.treshold: unknown parameter; did you mean threshold?",
        ),
        (
            "data: {preprocess: [{normalize_ratings: {method: max}}]}",
            "data.preprocess.0.normalize_ratings.method: 'max' should be 'minmax', 'zscore' or 'user_mean'",
        ),
        ("data: {preprocess: [{a: {}, b: {}}]}", "each step is one name with its parameters"),
        ("split: {strategy: temprl}", "c.yaml:1: split: unknown strategy 'temprl'; did you mean temporal?"),
        ("split: {test_size: 1.5}", "c.yaml:1: split.test_size: 1.5 should be"),
        ("split: {strategy: k_fold, fold: 5}", "split.fold: 5 is not below n_folds=5"),
        ("split: {strategy: predefined}", "c.yaml:1: split.test: is missing"),
        ("data: []", "c.yaml:1: data: [] is a value; a section of `key: value` belongs here"),
        ("- a", "a config is sections"),
    ],
)
def test_an_error_names_place_value_and_way_out(text: str, message: str) -> None:
    assert any(message in problem for problem in problems(text)), problems(text)


def test_overrides_are_validated_like_the_file() -> None:
    config = valid("model: {params: {l2_reg: 5.0}}", "model.params.l2_reg=1e3", "split.test_size=100", "seed=7")
    assert config.model.params == {"l2_reg": 1000.0}
    assert config.split.test_size == 100
    assert config.seed == 7
    assert problems("", "model.params.l2_rge=2") == [
        "--set model.params.l2_rge: unknown parameter; did you mean l2_reg?"
    ]
    assert problems("", "sed=2") == ["--set sed: unknown key; did you mean seed?"]
    assert "write it as section.key=value" in problems("", "seed")[0]
    assert "is a value, not a section" in problems("seed: 3", "seed.x=2")[0]
    assert "has no element" in problems("data: {preprocess: []}", "data.preprocess.0.x=1")[0]


def test_another_model_or_strategy_starts_from_its_own_defaults() -> None:
    config = valid("model: {name: ease, params: {l2_reg: 5.0}}", "model.name=item-knn")
    assert "l2_reg" not in config.model.params
    assert config.model.params["n_neighbors"] == 100
    config = valid("split: {test_size: 0.3, val_size: 0.1}", "split.strategy=leave_last", "split.n=2")
    assert config.split.model_dump() == {"strategy": "leave_last", "n": 2, "val_size": 0.1}


@pytest.mark.parametrize("name", model_names())
def test_a_resolved_config_is_valid_and_says_the_same(name: str) -> None:
    config = valid(f"model: {{name: {name}}}\ndata: {{preprocess: [{{drop_duplicates: {{keep: first}}}}]}}")
    assert valid(to_yaml(config.model_dump())) == config


@pytest.mark.parametrize("name", model_names())
def test_the_template_of_every_model_is_valid(name: str) -> None:
    parameters = {key: (p.default, p.help) for key, p in model_class(name).parameters.items()}
    text = template(name, parameters)
    config = valid(text)
    assert config.model.name == name
    assert all(" # " in line for line in text.splitlines() if ": " in line and not line.startswith("#"))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_the_configs_that_come_with_recctl_are_valid_and_spell_out_their_sections(path: Path) -> None:
    loaded = experiment.load(path)
    assert {"data", "split", "models" if loaded.config.models else "model", "evaluation"} <= loaded.given.keys()


def test_every_model_has_a_config() -> None:
    named = {experiment.load(path).config.model.name for path in CONFIGS.glob("*.yaml")}
    assert set(model_names()) <= named


def test_the_config_that_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RECCTL_CONFIG", raising=False)
    packaged, why = find_config()
    assert "comes with recctl" in why
    experiment.load(packaged)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/default.yaml").touch()
    assert find_config()[0] == Path("configs/default.yaml")
    (tmp_path / "recctl.yaml").touch()
    assert find_config()[0] == Path("recctl.yaml")
    monkeypatch.setenv("RECCTL_CONFIG", "other.yaml")
    assert find_config() == (Path("other.yaml"), "$RECCTL_CONFIG")


def test_a_missing_file_suggests_one_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "ease.yaml").touch()
    with pytest.raises(ConfigError, match=r"eese.yaml: No such file or directory; did you mean ease.yaml\?"):
        load_config(tmp_path / "eese.yaml")
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "bad.yaml")
