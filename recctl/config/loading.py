"""Loading of configs: YAML text and overrides become a Config, or a ConfigError with all problems."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from recctl import progress
from recctl.config import schema, yaml_tree
from recctl.config.messages import expectation, own_message
from recctl.config.yaml_tree import Path as TreePath
from recctl.config.yaml_tree import Tree
from recctl.errors import ConfigError
from recctl.suggest import did_you_mean

# Path of a value in the config, and what is wrong with it.
Problem = tuple[TreePath, str]


@dataclass(frozen=True)
class Checks:
    """Checks and defaults that depend on models, steps and metrics, which this package does not know.

    Attributes:
        checks: Each takes the whole Config and yields problems as (path, message).
        fill_defaults: Fills in defaults before the checks; it leaves invalid values as they are.
    """

    checks: Sequence[Callable[[schema.Config], Iterable[Problem]]] = ()
    fill_defaults: Callable[[schema.Config], None] = lambda config: None


@dataclass(frozen=True)
class LoadedConfig:
    """A valid config and its origin.

    Attributes:
        config: The config with all defaults filled in.
        origin: Name of the file, as the user gave it.
        base: Directory that relative paths in the config start from.
        given: The values that the user wrote, including overrides, without defaults.
    """

    config: schema.Config
    origin: str
    base: Path
    given: Mapping[str, Any] = field(default_factory=dict)


def find_config() -> tuple[Path, str]:
    """Find the config that is used when none is given.

    Returns:
        The first that exists of `$RECCTL_CONFIG`, `./recctl.yaml`, `configs/default.yaml` and the default that comes
        with recctl; and why it was chosen.
    """
    if os.environ.get("RECCTL_CONFIG"):
        return Path(os.environ["RECCTL_CONFIG"]), "$RECCTL_CONFIG"
    # A project's own file before the layout of a clone of recctl.
    for candidate in ("recctl.yaml", "configs/default.yaml"):
        if Path(candidate).is_file():
            return Path(candidate), "found here"
    return Path(str(resources.files("recctl.config") / "default.yaml")), "the default that comes with recctl"


def load_config(path: Path, overrides: Sequence[str] = (), checks: Checks | None = None) -> LoadedConfig:
    """Read and validate a config file.

    Args:
        path: The file.
        overrides: Each is `section.key=value` with a YAML value.
        checks: Additional checks.

    Raises:
        ConfigError: Lists every problem with file, line and suggestion.
    """
    try:
        config_text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        similar_names: list[str] = []
        if path.parent.is_dir():
            similar_names = sorted(config_file.name for config_file in path.parent.glob("*.y*ml"))
        raise ConfigError(f"{path}: {reason}{did_you_mean(path.name, similar_names)}") from None
    return parse_config(config_text, str(path), path.parent, overrides, checks)


def parse_config(
    text: str, name: str, base: Path, overrides: Sequence[str] = (), checks: Checks | None = None
) -> LoadedConfig:
    """Validate the text of a config.

    Args:
        text: YAML.
        name: Name of the config in error messages.
        base: Directory that relative paths start from.
        overrides: Each is `section.key=value` with a YAML value.
        checks: Additional checks.

    Raises:
        ConfigError: Lists every problem with name, line and suggestion.
    """
    tree = yaml_tree.parse(text, name)
    if not isinstance(tree.values, dict):
        raise ConfigError(f"{name}:1: a config must be sections of `key: value`, not {type(tree.values).__name__}")
    _rename_deprecated_keys(tree)
    for override in overrides:
        _apply_override(tree, override)
    return _validate(tree, base, checks)


def with_values(loaded: LoadedConfig, values: Mapping[TreePath, Any], checks: Checks | None = None) -> LoadedConfig:
    """Return the config with other values at some paths, validated again.

    Raises:
        ConfigError: Lists every problem.
    """
    # `tree.set` changes nested sections in place, and the caller keeps using `loaded`.
    tree = Tree(loaded.origin, copy.deepcopy(dict(loaded.given)))
    for value_path, value in values.items():
        tree.set(value_path, value, loaded.origin)
    return _validate(tree, loaded.base, checks)


def _validate(tree: Tree, base: Path, checks: Checks | None) -> LoadedConfig:
    checks = checks or Checks()
    try:
        config = schema.Config.model_validate(tree.values)
    except ValidationError as error:
        problems = _schema_problems(error, tree)
        # Otherwise a typo in one section would hide the problems of all others until it is fixed.
        problems += _check_valid_sections(tree, [path for path, _ in problems], checks)
        raise _config_error(tree, problems) from None
    problems = _run_checks(config, checks)
    if problems:
        raise _config_error(tree, problems)
    return LoadedConfig(config, tree.name, base, tree.values)


def _run_checks(config: schema.Config, checks: Checks) -> list[Problem]:
    checks.fill_defaults(config)
    return [problem for check in checks.checks for problem in check(config)]


# Sections that the checks of a section also read: with errors there, its problems could be consequences.
_READ_BY_CHECKS = {
    "data": {"model"},
    "split": {"data"},
    "training": {"model", "split"},
    "tuning": {"data", "model", "evaluation"},
    "models": {"data", "split", "training"},
}


def _check_valid_sections(tree: Tree, invalid_paths: Sequence[TreePath], checks: Checks) -> list[Problem]:
    """Run the checks on a config without its invalid sections, so that all problems are reported at once."""
    invalid_sections = {problem_path[0] if problem_path else None for problem_path in invalid_paths}
    values = {section: value for section, value in tree.values.items() if section not in invalid_sections}
    try:
        config = schema.Config.model_validate(values)
    except ValidationError:
        return []
    return [
        (problem_path, message)
        for problem_path, message in _run_checks(config, checks)
        if not invalid_sections & ({problem_path[0]} | _READ_BY_CHECKS.get(str(problem_path[0]), set()))
    ]


def _config_error(tree: Tree, problems: Sequence[Problem]) -> ConfigError:
    """Report problems in the order of their lines; those of overrides follow."""

    def line(problem: Problem) -> float:
        line_number = tree.line(problem[0])
        # Overrides have no line.
        return float("inf") if line_number is None else line_number

    return ConfigError(
        *(_format_problem(tree, problem_path, message) for problem_path, message in sorted(problems, key=line))
    )


def _format_problem(tree: Tree, path: TreePath, message: str) -> str:
    location = tree.place(path)
    dotted = ".".join(map(str, path))
    if not dotted or location == f"--set {dotted}":
        return f"{location}: {message}"
    return f"{location}: {dotted}: {message}"


# ---- deprecated keys


def _rename_deprecated_keys(tree: Tree) -> None:
    """Give the values of deprecated keys their current names.

    Raises:
        ConfigError: A section has both names of a key.
    """
    for section, renamed_keys in schema.DEPRECATED_KEYS.items():
        values = tree.values.get(section)
        if not isinstance(values, dict):
            continue
        for old_name, new_name in renamed_keys.items():
            if old_name not in values:
                continue
            location = tree.place((section, old_name))
            if new_name in values:
                message = f"previous name of {section}.{new_name}, which is given too; remove one of the two"
                raise ConfigError(f"{location}: {section}.{old_name}: {message}")
            # Configs of runs of earlier versions spell out all keys: a null changes nothing and needs no notice.
            if values[old_name] is not None:
                _notice_deprecated_key(location, f"{section}.{old_name}", f"{section}.{new_name}")
            # In the tree, not in the schema: messages about the value keep the line that the user wrote.
            tree.rename((section, old_name), new_name)


@cache  # once for each place, however often a config is loaded
def _notice_deprecated_key(place: str, old_name: str, new_name: str) -> None:
    progress.notice(f"{place}: {old_name} is deprecated and will be removed in recctl 0.4; use {new_name}")


# ---- overrides


def _apply_override(tree: Tree, override: str) -> None:
    dotted_key, equals, value = override.partition("=")
    dotted_key = dotted_key.strip()
    # `--set a` is more often a forgotten value than a wish for null, which is written `a=`.
    if not equals or not dotted_key:
        raise ConfigError(f"--set {override!r}: must be section.key=value, e.g. --set model.params.l2_reg=250")
    value_path = tuple(dotted_key.split("."))
    new_name = schema.DEPRECATED_KEYS.get(value_path[0], {}).get(value_path[1]) if len(value_path) == 2 else None
    if new_name is not None:
        _notice_deprecated_key("--set", dotted_key, f"{value_path[0]}.{new_name}")
        value_path = (value_path[0], new_name)
    # Only the first `=` separates: values such as `source=a=b.csv` may contain more.
    parsed = yaml_tree.parse_scalar(value, f"--set {dotted_key}")
    _drop_inapplicable_values(tree, value_path, parsed)
    tree.set(value_path, parsed, f"--set {dotted_key}")


def _drop_inapplicable_values(tree: Tree, path: TreePath, value: Any) -> None:
    """Drop the values that belong to the previous model or split strategy if an override selects another.

    `--set model.name=als` on a config of EASE means ALS with its defaults, not ALS with the l2_reg of EASE.
    """
    section = tree.values.get(path[0]) if len(path) == 2 else None
    if not isinstance(section, dict) or section.get(path[1]) == value:
        return
    if path == ("model", "name"):
        section.pop("params", None)
    elif path == ("split", "strategy") and value in _strategies():
        known_fields = _split_sections()[_strategies().index(value)].model_fields
        # Keys that both strategies have, such as test_size, keep their values.
        for field_name in [field_name for field_name in section if field_name not in known_fields]:
            del section[field_name]


# ---- messages about errors of pydantic


def _schema_problems(error: ValidationError, tree: Tree) -> list[Problem]:
    """Return one problem per path of the config."""
    messages: dict[TreePath, str] = {}
    for problem in error.errors():
        problem_path = _path_in(tree, problem["loc"])
        # A value that matches no member of a union has one error per member, which are joined.
        if problem_path in messages:
            messages[problem_path] = f"{messages[problem_path]}, or {_expectation(problem)}"
        else:
            messages[problem_path] = _message(problem, problem_path, tree)
    return list(messages.items())


def _path_in(tree: Tree, location: tuple[int | str, ...]) -> TreePath:
    """Return a location of pydantic without the names of union members, which the config does not have."""
    config_path: list[int | str] = []
    values: Any = tree.values
    for position, path_part in enumerate(location):
        is_key = isinstance(values, dict) and path_part in values
        if is_key or (isinstance(values, list) and isinstance(path_part, int)):
            values = values[path_part]
            config_path.append(path_part)
        # Any other part that the config does not have is the name of a union member, which pydantic inserts.
        elif isinstance(values, dict) and position == len(location) - 1:
            config_path.append(path_part)  # a key that is missing
    return tuple(config_path)


def _message(problem: Any, path: TreePath, tree: Tree) -> str:
    error_type = problem["type"]
    value = problem["input"]
    if error_type == "extra_forbidden":
        return f"unknown key{did_you_mean(str(path[-1]), _fields_at(path[:-1], tree))}"
    if error_type == "union_tag_invalid":
        strategy = value.get("strategy") if isinstance(value, dict) else value
        return f"unknown strategy {strategy!r}{did_you_mean(str(strategy), _strategies())}"
    if error_type == "union_tag_not_found":
        return f"strategy is missing; must be one of {', '.join(_strategies())}"
    if error_type == "missing":
        return "is missing"
    return own_message(problem) or f"{value!r} {_expectation(problem)}"


def _expectation(problem: Any) -> str:
    """Describe what a value should be, to follow the value in a message."""
    if problem["type"] == "literal_error":
        return f"is not one of {problem['ctx']['expected']}"
    if problem["type"] == "model_type":
        return "should be a section of `key: value`"
    return own_message(problem) or expectation(problem)


def _strategies() -> list[str]:
    return [get_args(section.model_fields["strategy"].annotation)[0] for section in _split_sections()]


def _split_sections() -> tuple[type[BaseModel], ...]:
    return get_args(get_args(schema.SplitConfig)[0])


def _fields_at(path: TreePath, tree: Tree) -> list[str]:
    """Return the names of the fields that the section at a path may have."""
    section: type[BaseModel] = schema.Config
    for path_part in path:
        field_name = str(path_part)
        annotation: Any = None
        if field_name == "split":
            # The split is a union: its fields depend on the strategy that the config selects.
            strategy = tree.values["split"].get("strategy", "random")
            annotation = _split_sections()[_strategies().index(strategy)]
        elif field_name in section.model_fields:
            annotation = section.model_fields[field_name].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        section = annotation
    return list(section.model_fields)
