"""The YAML parser: values, lines, and what it rejects."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recctl.config import to_yaml, yaml_tree
from recctl.config.yaml_tree import parse, parse_scalar
from recctl.errors import ConfigError

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Zl", "Zp"]))
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcxyz_", min_size=1), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text("abc_", min_size=1, max_size=5), trees, max_size=4))
def test_to_yaml_then_parse_returns_equal_values(values: dict[str, object]) -> None:
    assert parse(to_yaml(values), "x").values == values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 1e5),
        (".5", 0.5),
        ("1_000_000", 1_000_000),
        ("0", 0),
        ("-0.5e-05", -5e-06),
        ("10.", 10.0),
        ("007", "007"),
        ("01.5", "01.5"),
        ("+5", "+5"),
        ("0x10", "0x10"),
        ("12:30:00", "12:30:00"),
        ("2020-01-01", "2020-01-01"),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("~", None),
        ("", None),
        ("-.inf", float("-inf")),
        ("'5'", "5"),
        ("[1, 2.0, a]", [1, 2.0, "a"]),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    parsed = parse(f"a: {text}", "x").values["a"]
    assert parsed == value
    assert type(parsed) is type(value)


PIECES = [
    "a",
    "b: ",
    "c:\n  ",
    "- ",
    "? ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "\n",
    "\n  ",
    "'",
    '"',
    " # x",
    "&x ",
    "*x",
    "!!int ",
    "|\n  ",
]
PIECES += ["1", "0.5", "~", "%", "---\n", "\u2028", "\ufeff", "\r\n", "<<: ", "\\n", "\t", "\ud800"]


def _outcome(text: str) -> object:
    try:
        tree = parse("model: {name: ease}\nk:\n  " + text, "x")
    except ConfigError as error:
        return str(error)
    return repr(tree.values), tree.lines


@given(st.lists(st.sampled_from(PIECES), max_size=10).map("".join))
def test_values_lines_and_messages_are_the_same_without_the_loader_in_c(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml_tree, "_FastLoader", yaml_tree._Loader)
        expected = _outcome(text)
    assert _outcome(text) == expected


def test_place_gives_line_of_each_value() -> None:
    tree = parse("a: 1\nb:\n  c: 2\n  d:\n    - x\n    - {e: 3}\n", "f.yaml")
    assert tree.place(("a",)) == "f.yaml:1"
    assert tree.place(("b", "c")) == "f.yaml:3"
    assert tree.place(("b", "d", 1, "e")) == "f.yaml:6"
    assert tree.place(("b", "missing")) == "f.yaml:2"


def test_rename_keeps_order_and_lines() -> None:
    tree = parse("a: 1\nb:\n  c: {x: 1}\n  d: 2\n", "f.yaml")
    tree.rename(("b", "c"), "e")
    assert list(tree.values["b"]) == ["e", "d"]
    assert tree.place(("b", "e", "x")) == "f.yaml:3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!python/object/apply:os.system [ls]", "x:1: tag 'tag:yaml.org,2002:python/object/apply:os.system'"),
        ("a: !mine 3", "tags are not allowed"),
        ("a: [1,", "x:1: not YAML"),
        ("a:\n  b: 1\n c: 2", "x:3: not YAML"),
        ("a: 1\n---\nb: 2", "not YAML"),
        ("? [1]\n: 2", "a key must be text"),
        ("a: &a [*a]", "too many values or levels"),
        ("[" * 3000, "nested too deeply"),
        ("[" * 100_000, "nested too deeply"),
        ("- " * 100_000, "nested too deeply"),
        ("a: " + "x" * (1 << 20), "too large for a config"),
    ],
)
def test_unsupported_yaml_is_rejected_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text, "x")
    assert message in str(error.value)


def test_duplicate_keys_are_listed_with_their_lines() -> None:
    tree = parse("a: 1\nb: {c: 1, c: 2}\na: 3\n", "x")
    assert tree.values == {"a": 1, "b": {"c": 1}}
    assert tree.duplicates == [
        (2, "x:2: b.c: duplicate key, first given in line 2"),
        (3, "x:3: a: duplicate key, first given in line 1"),
    ]
    with pytest.raises(ConfigError, match="--set x:1: a: duplicate key"):
        parse_scalar("{a: 1, a: 2}", "--set x")


DOTTED = """\
data.id_type: text
split.strategy: leave_last
data:
  source: a.csv
model.params.l2_reg: 5.0
evaluation:
data.columns: {user_id: u}
"""


def test_dotted_key_is_a_key_of_its_section_with_its_line() -> None:
    tree = parse(DOTTED, "f.yaml", dotted_keys=True)
    assert tree.values == {
        "data": {"source": "a.csv", "id_type": "text", "columns": {"user_id": "u"}},
        "split": {"strategy": "leave_last"},
        "model": {"params": {"l2_reg": 5.0}},
        "evaluation": None,
    }
    places = {
        ("data",): 3,
        ("data", "id_type"): 1,
        ("data", "columns", "user_id"): 7,
        ("split",): 2,
        ("model", "params"): 5,
    }
    assert {path: tree.line(path) for path in places} == places


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 3\nseed.x: 1", "x:2: seed.x: seed is not a section"),
        ("data: {preprocess: [a]}\ndata.preprocess.0: 1", "x:2: data.preprocess.0: data.preprocess is not a section"),
        ("a" + ".a" * 200 + ": 1", "x:1: too many levels"),
    ],
)
def test_dotted_key_that_needs_another_section_is_rejected(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text, "x", dotted_keys=True)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data.format: csv\ndata: {format: tsv}", "x:2: data.format: duplicate key, first given in line 1"),
        ("data: {format: tsv}\n\ndata.format: csv", "x:3: data.format: duplicate key, first given in line 1"),
        ("data.format: csv\ndata.format: csv", "x:2: data.format: duplicate key, first given in line 1"),
        (
            "data.columns: {}\ndata.columns.user_id: u\ndata: {columns: {}}",
            "x:3: data.columns: duplicate key, first given in line 1",
        ),
    ],
)
def test_key_that_is_given_in_both_forms_is_a_duplicate(text: str, message: str) -> None:
    assert parse(text, "x", dotted_keys=True).duplicates == [(int(message[2]), message)]


def test_dotted_keys_are_plain_keys_inside_of_sections() -> None:
    text = "tuning: {space: {data.min_item_interactions: [1, 2]}}"
    assert parse(text, "x", dotted_keys=True).values["tuning"]["space"] == {"data.min_item_interactions": [1, 2]}
    assert parse("{data.x: 1}", "--set tuning.space").values == {"data.x": 1}


def test_alias_bomb_is_rejected_before_expansion() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(ConfigError, match="too many values"):
        parse("\n".join(lines), "x")


def test_aliases_are_resolved() -> None:
    assert parse("a: &k [5, 10]\nb: *k", "x").values == {"a": [5, 10], "b": [5, 10]}


def test_pyyaml_reads_written_configs() -> None:
    values = {"seed": 1, "list": [1, 2], "text": "a: b # c", "none": None, "float": 1e-7, "nested": {"on": True}}
    assert yaml.safe_load(to_yaml(values)) == {**values, "float": "1e-07"} or yaml.safe_load(to_yaml(values)) == values
