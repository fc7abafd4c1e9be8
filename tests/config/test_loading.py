"""Configs from files and overrides: all errors reported together, at their lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from recctl import experiment
from recctl.config import Config, find_config, load_config, loading, parse_config, to_yaml
from recctl.config.bundled import bundled_config
from recctl.config.template import template
from recctl.errors import ConfigError
from recctl.models.registry import model_class, model_names

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def notices(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    messages: list[str] = []
    monkeypatch.setattr("recctl.progress.notice", messages.append)
    loading._notice_deprecated_key.cache_clear()
    return messages


def problems(text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        parse_config(text, "c.yaml", Path(), overrides, experiment.CHECKS)
    return error.value.problems


def valid(text: str, *overrides: str) -> Config:
    return parse_config(text, "c.yaml", Path(), overrides, experiment.CHECKS).config


def test_all_errors_are_reported_in_line_order_with_suggestions() -> None:
    text = """\
split: {strategy: leave_last, fold: 3}
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
    assert problems(text) == [
        "c.yaml:1: split.fold: unknown key; one of strategy, n, val_size",
        "c.yaml:3: data.columns.usr: 'usr' is not one of 'user_id', 'item_id', 'rating' or 'timestamp'",
        "c.yaml:4: data.min_user_interactions: -1 should be greater than or equal to 0",
        "c.yaml:5: data.header: 'maybe' should be a valid boolean",
        "c.yaml:6: modle: unknown key; did you mean model?",
        "c.yaml:7: seed: 'x' should be a valid integer",
        "c.yaml:9: evaluation.k_valus: unknown key; did you mean k_values?",
        "c.yaml:10: evaluation.k_values.0: 0 should be greater than or equal to 1",
        "c.yaml:10: evaluation.k_values.1: 2.5 should be a valid integer",
    ]


def test_schema_errors_and_failed_checks_are_reported_together() -> None:
    text = """\
model: {name: eaze}
data: {min_user_interaction: 3}
evaluation: {metrics: [recall, ndgc]}
"""
    assert problems(text, "split.test_size=1.5") == [
        "c.yaml:1: model.name: unknown model 'eaze'; did you mean ease?",
        "c.yaml:2: data.min_user_interaction: unknown key; did you mean min_user_interactions?",
        "c.yaml:3: evaluation.metrics.1: unknown metric 'ndgc'; did you mean ndcg?",
        problems("", "split.test_size=1.5")[0],
    ]


def test_errors_of_one_section_are_reported_together() -> None:
    """Schema, steps, model parameters, metrics and the search space, also where each section has a typo."""
    text = """\
data:
  min_user_interaction: 3
  preprocess:
    - sample_interactions: {}
    - 5
    - sample_interactions: {fraction: 20%}
    - {drop_duplicates: {}, sample_interactions: {n: 1}}
    - select_time_window: {start: 2021-01-01, end: 2020-01-01}
    - drop_duplicates: {keep: some}
split:
  test_size: 20%
model:
  name: als
  param: {}
  params:
    n_factor: 8
evaluation:
  metrics:
    - 5
    - ndgc
  k_values: [5, x]
tuning:
  n_trial: 5
  space:
    n_facors: [5]
"""
    found = problems(text)
    lines = [int(problem.split(":")[1]) for problem in found]
    assert lines == [2, 4, 5, 6, 7, 8, 9, 11, 14, 16, 19, 20, 21, 23, 25]
    assert found[3].endswith("fraction: '20%' should be a valid number; write 0.2")
    assert "data.preprocess.5.drop_duplicates.keep" in found[6], "paths count the elements of the file"
    assert found[12] == "c.yaml:21: evaluation.k_values.1: 'x' should be a valid integer"


def test_duplicate_and_deprecated_keys_and_overrides_are_reported_with_the_others() -> None:
    text = """\
seed: x
tuning: {patience: 3, no_gain: 4}
seed: 5
model: {name: eaze}
"""
    assert [problem.split(": ")[0] for problem in problems(text, "seed", "sed=2", "data.format.x=1")] == [
        "c.yaml:1",
        "c.yaml:2",
        "c.yaml:3",
        "c.yaml:4",
        "--set 'seed'",
        "--set data.format.x",
        "--set sed",
    ]
    assert problems("seed: 1\nseed: 1") == ["c.yaml:2: seed: duplicate key, first given in line 1"]


def test_errors_of_models_are_reported_together() -> None:
    text = """\
models:
  - {nmae: als, params: {n_factors: 8}}
  - {name: ease, params: {l2_reg: 0}}
  - {name: eaze, training: {early_stopping: {patence: 4}}}
"""
    assert problems(text) == [
        "c.yaml:2: models.0.nmae: unknown key; did you mean name?",  # so n_factors may be right
        "c.yaml:3: models.1.params.l2_reg: 0 should be greater than 0",
        "c.yaml:4: models.2.training.early_stopping.patence: unknown key; did you mean patience?",
        "c.yaml:4: models.2.name: unknown model 'eaze'; did you mean ease?",
    ]


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("20%", "; write 0.2"),
        ("12.5 %", "; write 0.125"),
        ("100.0", "; write 100"),
        ("1.5", ""),
        ("ten", ""),
        ("-3", ""),
        ("[1]", ""),
        ("true", ""),
        ("null", ""),
    ],
)
@pytest.mark.parametrize("key", ["test_size", "val_size"])
def test_wrong_size_is_explained_in_one_sentence(key: str, value: str, hint: str) -> None:
    (problem,) = problems(f"split: {{{key}: {value}}}")
    sentence = "should be a fraction between 0 and 1, such as 0.2, or a whole number of at least 1"
    assert problem.startswith(f"c.yaml:1: split.{key}: ")
    assert problem.endswith(f" {sentence}{hint}")


def test_size_may_be_0_only_where_the_part_may_be_missing() -> None:
    assert valid("split: {val_size: 0}").split.val_size == 0
    assert "0 should be a fraction" in problems("split: {test_size: 0}")[0]


def test_errors_do_not_cause_errors_in_sections_that_depend_on_them() -> None:
    text = """\
split: {val_sise: 0.1}
training: {refit: true}
evaluation: {k_values: [x]}
tuning: {monitor: ndcg@30}
"""
    assert [problem.split(": ")[1] for problem in problems(text)] == ["split.val_sise", "evaluation.k_values.0"]


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
            "data: {preprocess: [{filter_by_interaction_count: {min_user_interactions: '3'}}]}",
            "data.preprocess.0.filter_by_interaction_count.min_user_interactions: '3' should be a valid integer",
        ),
        (
            "data: {preprocess: [{filter_by_interaction_count: {min_user_interactions: true}}]}",
            "data.preprocess.0.filter_by_interaction_count.min_user_interactions: True should be a valid integer",
        ),
        (
            "data: {preprocess: [{weight_events: {column: event, weights: {view: 1, cart: -1}}}]}",
            "data.preprocess.0.weight_events.weights.cart: -1 should be greater than or equal to 0",
        ),
        (
            "data: {preprocess: [{select_rows: {column: event, values: [view, [cart]]}}]}",
            "data.preprocess.0.select_rows.values.1: ['cart'] should be a valid string",
        ),
        (
            "data: {preprocess: [{binarize_implicit_feedback: {treshold: 4}}]}",
            "data.preprocess.0.binarize_implicit_feedback.treshold: unknown parameter; did you mean threshold?",
        ),
        (
            "data: {preprocess: [{normalize_ratings: {method: max}}]}",
            "data.preprocess.0.normalize_ratings.method: 'max' should be 'minmax', 'zscore' or 'user_mean'",
        ),
        ("data: {preprocess: [{a: {}, b: {}}]}", "each step must be one name with parameters"),
        ("split: {strategy: temprl}", "c.yaml:1: split: unknown strategy 'temprl'; did you mean temporal?"),
        ("split: {test_size: 1.5}", "c.yaml:1: split.test_size: 1.5 should be"),
        ("data: {timestamp_format: DD.MM.YYYY}", "data.timestamp_format: has no directive such as %Y"),
        ("data: {user: line}", "data.user: line is not for the format auto; set data.format: lightgcn or sequences"),
        ("split: {strategy: k_fold, fold: 5}", "split.fold: 5 is not below n_folds=5"),
        ("split: {strategy: predefined}", "c.yaml:1: split.test: is missing"),
        ("data: []", "c.yaml:1: data: [] should be a section of `key: value`"),
        ("- a", "a config must be sections"),
    ],
)
def test_error_has_location_value_and_suggestion(text: str, message: str) -> None:
    assert any(message in problem for problem in problems(text)), problems(text)


def test_dotted_key_is_validated_as_a_key_of_its_section() -> None:
    config = valid("data.id_type: text\nmodel: {name: als}\nmodel.params.n_factors: 8\ntuning.no_gain: 5\n")
    assert config.data.id_type == "text"
    assert config.model.params["n_factors"] == 8
    assert config.tuning is not None
    assert config.tuning.patience == 5
    assert problems("data: {source: synthetic}\ndata.id_tipe: text\nsplit.test_size: 20%\n") == [
        "c.yaml:2: data.id_tipe: unknown key; did you mean id_type?",
        problems("\n\nsplit.test_size: 20%")[0],
    ]


def test_values_of_data_keep_leading_zeros_and_signs() -> None:
    step = "select_rows: {column: kind, values: [007, 0x10, +5, 7, 1.0, true]}"
    config = valid(f"data: {{preprocess: [{step}]}}")
    assert config.data.preprocess[0]["select_rows"] == {"column": "kind", "values": ["007", "0x10", "+5", 7, 1.0, True]}


@pytest.mark.parametrize("value", ["007", "7", "0x10", "+5", "1e3", "view"])
def test_unquoted_value_selects_the_rows_that_have_it(tmp_path: Path, value: str) -> None:
    kinds = ["007", "7", "7", "0x10", "+5", "16", "5", "1000", "1000.0", "view", "VIEW"]
    rows = "".join(f"{user},{user + 1},{kind}\n" for user, kind in enumerate(kinds))
    (tmp_path / "events.csv").write_text("user_id,item_id,kind\n" + rows)
    step = f"select_rows: {{column: kind, values: [{value}]}}"
    text = f"data: {{source: events.csv, preprocess: [{step}]}}"
    dataset, _, _ = experiment.read_dataset(parse_config(text, "c.yaml", tmp_path, (), experiment.CHECKS))
    # 1e3 is a number, which 1000 and 1000.0 are equal to.
    expected = {"1000", "1000.0"} if value == "1e3" else {value}
    assert len(dataset) == sum(kind in expected for kind in kinds)


def test_overrides_are_validated_like_the_file() -> None:
    config = valid("model: {params: {l2_reg: 5.0}}", "model.params.l2_reg=1e3", "split.test_size=100", "seed=7")
    assert config.model.params == {"l2_reg": 1000.0}
    assert config.split.test_size == 100
    assert config.seed == 7
    assert problems("", "model.params.l2_rge=2") == [
        "--set model.params.l2_rge: unknown parameter; did you mean l2_reg?"
    ]
    assert problems("", "sed=2") == ["--set sed: unknown key; did you mean seed?"]
    assert "must be section.key=value" in problems("", "seed")[0]
    assert "is a value, not a section" in problems("seed: 3", "seed.x=2")[0]
    assert "has no element" in problems("data: {preprocess: []}", "data.preprocess.0.x=1")[0]


def test_overriding_model_or_strategy_resets_its_parameters() -> None:
    config = valid("model: {name: ease, params: {l2_reg: 5.0}}", "model.name=item-knn")
    assert "l2_reg" not in config.model.params
    assert config.model.params["n_neighbors"] == 100
    config = valid("split: {test_size: 0.3, val_size: 0.1}", "split.strategy=leave_last", "split.n=2")
    assert config.split.model_dump() == {"strategy": "leave_last", "n": 2, "val_size": 0.1}


@pytest.mark.parametrize("name", model_names())
def test_resolved_config_validates_to_itself(name: str) -> None:
    config = valid(f"model: {{name: {name}}}\ndata: {{preprocess: [{{drop_duplicates: {{keep: first}}}}]}}")
    assert valid(to_yaml(config.model_dump())) == config


@pytest.mark.parametrize("name", model_names())
def test_template_of_each_model_is_valid_and_commented(name: str) -> None:
    model = model_class(name)
    parameters = {key: (p.default, p.help) for key, p in model.parameters.items()}
    facts = {"in_order": model.reads_order, "in_epochs": model.trained_in_epochs}
    text = template(name, parameters, implicit=not model.needs_ratings, **facts)
    config = valid(text)
    assert config.model.name == name
    assert all(" # " in line for line in text.splitlines() if ": " in line and not line.startswith("#"))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_bundled_configs_are_valid_and_have_all_sections(path: Path) -> None:
    loaded = experiment.load(path)
    assert {"data", "split", "models" if loaded.config.models else "model", "evaluation"} <= loaded.given.keys()


@pytest.mark.parametrize("name", model_names())
def test_each_model_has_a_bundled_config_that_suits_it(name: str) -> None:
    path = bundled_config(name)
    assert path is not None
    assert path.parent == CONFIGS
    config = experiment.load(path).config
    model = model_class(name)
    assert config.model.name == name
    assert (config.split.strategy == "leave_last") == model.reads_order
    assert (config.training.early_stopping is not None) == model.trained_in_epochs
    assert config.data.implicit != model.needs_ratings
    assert config.has_validation


def test_file_of_an_override_of_the_default_config_is_relative_to_the_working_directory() -> None:
    path = bundled_config("ease")
    assert path is not None
    loaded = experiment.load(path, ["data.source=mine.csv"])
    assert loaded.base / loaded.config.data.source == Path("mine.csv")


def test_find_config_prefers_environment_then_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_missing_file_suggests_similar_name(tmp_path: Path) -> None:
    (tmp_path / "ease.yaml").touch()
    with pytest.raises(ConfigError, match=r"eese.yaml: No such file or directory; did you mean ease.yaml\?"):
        load_config(tmp_path / "eese.yaml")
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "bad.yaml")


def test_deprecated_keys_work_with_a_notice(notices: list[str]) -> None:
    config = valid("tuning:\n  no_gain: 5\n", "tuning.minutes=30")
    assert config.tuning is not None
    assert (config.tuning.patience, config.tuning.timeout_minutes) == (5, 30)
    assert notices == [
        "c.yaml:2: tuning.no_gain is deprecated and will be removed in recctl 0.4; use tuning.patience",
        "--set: tuning.minutes is deprecated and will be removed in recctl 0.4; use tuning.timeout_minutes",
    ]
    valid("tuning:\n  no_gain: 5\n")
    assert len(notices) == 2, "one notice per location"


def test_errors_of_deprecated_keys_have_their_line() -> None:
    assert problems("tuning:\n  no_gain: 0\n") == ["c.yaml:2: tuning.patience: 0 should be greater than or equal to 1"]
    assert problems("tuning:\n  patience: 3\n  no_gain: 4\n") == [
        "c.yaml:3: tuning.no_gain: previous name of tuning.patience, which is given too; remove one of the two"
    ]


def test_deprecated_keys_without_value_give_no_notice(notices: list[str]) -> None:
    """Configs of runs of earlier versions spell out all keys."""
    valid("tuning: {minutes: null, no_gain: null}")
    assert notices == []
