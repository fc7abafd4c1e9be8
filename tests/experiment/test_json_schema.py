"""The JSON Schema of configs agrees with `recctl config validate`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recctl.config import to_yaml, yaml_tree
from recctl.config.loading import parse_config
from recctl.errors import ConfigError
from recctl.experiment import CHECKS
from recctl.experiment.json_schema import config_json_schema
from recctl.models.registry import model_names
from tests.conftest import skip_without
from tests.experiment.config_mistakes import MISTAKES, VALID

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def is_valid() -> Callable[[str], bool]:
    """Whether the schema accepts a config, by another implementation of JSON Schema than that of editors."""
    skip_without("jsonschema", "pip install jsonschema")
    import jsonschema

    validator = jsonschema.Draft202012Validator(config_json_schema())

    def check(text: str) -> bool:
        return bool(validator.is_valid(yaml_tree.parse(text, "config").values))

    return check


def passes_validate(text: str) -> bool:
    try:
        parse_config(text, "config", Path(), checks=CHECKS)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("kind", MISTAKES)
def test_schema_refuses_what_validate_refuses(is_valid: Callable[[str], bool], kind: str) -> None:
    assert len(set(MISTAKES[kind])) >= 20
    assert [text for text in MISTAKES[kind] if passes_validate(text)] == []
    assert [text for text in MISTAKES[kind] if is_valid(text)] == []


def test_schema_accepts_what_validate_accepts(is_valid: Callable[[str], bool]) -> None:
    bundled = [path.read_text() for path in sorted((ROOT / "configs").glob("*.yaml"))]
    loaded = [parse_config(text, "config", ROOT, checks=CHECKS).config for text in bundled]
    # With `models:`, a config that spells out all keys has the section `model` too, which they replace.
    complete = [to_yaml(config.model_dump()) for config in loaded if not config.models]
    texts = [*VALID, *bundled, *complete]
    assert [text for text in texts if not passes_validate(text)] == []
    assert [text for text in texts if not is_valid(text)] == []


def test_schema_lists_the_ranges_of_every_model() -> None:
    definitions = config_json_schema()["$defs"]
    for name in model_names():
        params = definitions[f"{name}.params"]["properties"]
        assert {key.removeprefix("model.params.") for key in definitions[f"{name}.space"]["properties"]} == set(params)


def test_model_of_a_plug_in_is_in_the_schema(is_valid: Callable[[str], bool], tmp_path: Path, monkeypatch: Any) -> None:
    code = (
        "from recctl.models.base import Recommender\n"
        "from recctl.models.hyperparameters import hyperparameter\n\n"
        "class Mine(Recommender):\n"
        "    name = 'my-model'\n"
        "    depth: int = hyperparameter(2, help='Depth.', ge=1)\n"
    )
    (tmp_path / "my_model.py").write_text(code)
    assert not is_valid("model: {name: my-model}")
    monkeypatch.setenv("RECCTL_MODELS_PATH", str(tmp_path))
    definitions = config_json_schema()["$defs"]
    assert definitions["my-model.params"]["properties"]["depth"]["minimum"] == 1
    assert "my-model" in definitions["ModelConfig"]["properties"]["name"]["enum"]


def test_new_config_names_its_schema_and_writes_it(recctl: Any, workdir: Path) -> None:
    assert recctl("config", "init", "als", "-o", "mine.yaml").code == 0
    first_line, second_line, *_ = (workdir / "mine.yaml").read_text().splitlines()
    assert first_line == "# yaml-language-server: $schema=recctl.schema.json"
    assert "recctl train mine.yaml" in second_line
    schema = json.loads((workdir / "recctl.schema.json").read_text())
    assert schema == json.loads(json.dumps(config_json_schema()))


def test_new_config_leaves_other_files_alone(recctl: Any, workdir: Path) -> None:
    other = workdir / "recctl.schema.json"
    other.write_text('{"title": "mine"}')
    assert recctl("config", "init", "-o", "mine.yaml").code == 0
    assert recctl("config", "schema", "-o", "recctl.schema.json").code == 2
    assert other.read_text() == '{"title": "mine"}'
    # A schema of another version of recctl is replaced.
    other.write_text('{"title": "recctl config"}')
    assert recctl("config", "schema", "-o", "recctl.schema.json").code == 0
    assert "$defs" in other.read_text()


def test_new_config_on_stdout_says_how_to_make_its_schema(recctl: Any, workdir: Path) -> None:
    outcome = recctl("config", "init")
    assert outcome.out.startswith("# yaml-language-server: $schema=recctl.schema.json\n")
    assert "recctl config schema -o recctl.schema.json" in outcome.err
    assert not (workdir / "recctl.schema.json").exists()
