"""From a YAML file and overrides to a Config, or to every error in it at once."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from recctl.config import schema, yaml_tree
from recctl.config.messages import expectation, own_message
from recctl.config.yaml_tree import Path as TreePath
from recctl.config.yaml_tree import Tree
from recctl.errors import ConfigError
from recctl.suggest import did_you_mean

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
    """A valid config, and where it came from.

    Attributes:
        config: Every default filled in.
        origin: The file, as it was found or given.
        base: The folder that relative paths in it start from.
        given: What the user wrote, overrides included, without defaults.
    """

    config: schema.Config
    origin: str
    base: Path
    given: Mapping[str, Any] = field(default_factory=dict)


def find_config() -> tuple[Path, str]:
    """The config to use when none is named, and why this one.

    `$RECCTL_CONFIG`, else `./recctl.yaml`, else `configs/default.yaml`, else the default that comes with recctl.
    """
    if os.environ.get("RECCTL_CONFIG"):
        return Path(os.environ["RECCTL_CONFIG"]), "$RECCTL_CONFIG"
    for candidate in ("recctl.yaml", "configs/default.yaml"):
        if Path(candidate).is_file():
            return Path(candidate), "found here"
    return Path(str(resources.files("recctl.config") / "default.yaml")), "the default that comes with recctl"


def load_config(path: Path, overrides: Sequence[str] = (), checks: Checks | None = None) -> LoadedConfig:
    """Read and validate a config file.

    Args:
        path: The file.
        overrides: `section.key=value` each; the value is YAML.
        checks: What else to check.

    Raises:
        ConfigError: With every problem found, each with file, line and suggestion.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        near = sorted(p.name for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        raise ConfigError(f"{path}: {reason}{did_you_mean(path.name, near)}") from None
    return parse_config(text, str(path), path.parent, overrides, checks)


def parse_config(
    text: str, name: str, base: Path, overrides: Sequence[str] = (), checks: Checks | None = None
) -> LoadedConfig:
    """Validate the text of a config; `load_config` describes the rest."""
    tree = yaml_tree.parse(text, name)
    if not isinstance(tree.values, dict):
        raise ConfigError(f"{name}:1: a config is sections of `key: value`, not {type(tree.values).__name__}")
    for override in overrides:
        _override(tree, override)
    return _validated(tree, base, checks)


def with_values(loaded: LoadedConfig, values: Mapping[TreePath, Any], checks: Checks | None = None) -> LoadedConfig:
    """The same config with other values at some paths, validated again.

    Raises:
        ConfigError: With every problem found.
    """
    tree = Tree(loaded.origin, copy.deepcopy(dict(loaded.given)))
    for path, value in values.items():
        tree.set(path, value, loaded.origin)
    return _validated(tree, loaded.base, checks)


def _validated(tree: Tree, base: Path, checks: Checks | None) -> LoadedConfig:
    try:
        config = schema.Config.model_validate(tree.values)
    except ValidationError as error:
        raise ConfigError(*(_told(tree, path, message) for path, message in _problems(error, tree))) from None
    checks = checks or Checks()
    checks.fill_defaults(config)
    problems = [problem for check in checks.checks for problem in check(config)]
    if problems:
        raise ConfigError(*(_told(tree, path, message) for path, message in problems))
    return LoadedConfig(config, tree.name, base, tree.values)


def _override(tree: Tree, override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override!r}: write it as section.key=value, e.g. --set model.params.l2_reg=250")
    parts = tuple(key.strip().split("."))
    parsed = yaml_tree.parse_scalar(value, f"--set {key}")
    _drop_what_does_not_apply(tree, parts, parsed)
    tree.set(parts, parsed, f"--set {key}")


def _drop_what_does_not_apply(tree: Tree, key: TreePath, value: Any) -> None:
    """Another model or strategy does not inherit what was written for the one before.

    `--set model.name=als` on EASE's config means ALS with its defaults, not ALS with EASE's l2_reg.
    """
    section = tree.values.get(key[0]) if len(key) == 2 else None
    if not isinstance(section, dict) or section.get(key[1]) == value:
        return
    if key == ("model", "name"):
        section.pop("params", None)
    elif key == ("split", "strategy") and value in _strategies():
        known = _split_sections()[_strategies().index(value)].model_fields
        for name in [name for name in section if name not in known]:
            del section[name]


def _told(tree: Tree, path: TreePath, message: str) -> str:
    dotted = ".".join(map(str, path))
    place = tree.place(path)
    return f"{place}: {message}" if place == f"--set {dotted}" or not dotted else f"{place}: {dotted}: {message}"


def _problems(error: ValidationError, tree: Tree) -> list[Problem]:
    """Pydantic's errors as paths in the file and words of ours, one for each place."""
    found: dict[TreePath, str] = {}
    for problem in error.errors():
        path = _path_in(tree, problem["loc"])
        # A value that fits none of a union's types has an error for each: they are joined.
        if path in found:
            found[path] = f"{found[path]}, or {_complaint(problem)}"
        else:
            found[path] = _message(problem, path, tree)
    return list(found.items())


def _path_in(tree: Tree, loc: tuple[int | str, ...]) -> TreePath:
    """A pydantic location without the names of union members, which stand in no file."""
    path: list[int | str] = []
    here: Any = tree.values
    for at, part in enumerate(loc):
        if (isinstance(here, dict) and part in here) or (isinstance(here, list) and isinstance(part, int)):
            here = here[part]  # type: ignore[index]
            path.append(part)
        elif isinstance(here, dict) and at == len(loc) - 1:
            path.append(part)  # a key that is missing
    return tuple(path)


def _message(problem: Any, path: TreePath, tree: Tree) -> str:
    kind, value = problem["type"], problem["input"]
    if kind == "extra_forbidden":
        return f"unknown key{did_you_mean(str(path[-1]), _fields_at(path[:-1], tree))}"
    if kind == "union_tag_invalid":
        given = value.get("strategy") if isinstance(value, dict) else value
        return f"unknown strategy {given!r}{did_you_mean(str(given), _strategies())}"
    if kind == "union_tag_not_found":
        return f"strategy is missing; one of {', '.join(_strategies())}"
    if kind == "missing":
        return "is missing"
    return own_message(problem) or f"{value!r} {_complaint(problem)}"


def _complaint(problem: Any) -> str:
    """What is wrong with a value, without the value."""
    if problem["type"] == "literal_error":
        return f"is none of {problem['ctx']['expected']}"
    if problem["type"] == "model_type":
        return "is a value; a section of `key: value` belongs here"
    return own_message(problem) or expectation(problem)


def _strategies() -> list[str]:
    return [get_args(member.model_fields["strategy"].annotation)[0] for member in _split_sections()]


def _split_sections() -> tuple[type[BaseModel], ...]:
    return get_args(get_args(schema.SplitConfig)[0])


def _fields_at(path: TreePath, tree: Tree) -> list[str]:
    """Names of the fields a section may have."""
    section: type[BaseModel] = schema.Config
    for part in path:
        annotation: Any = section.model_fields[str(part)].annotation if str(part) in section.model_fields else None
        if str(part) == "split":
            annotation = _split_sections()[_strategies().index(tree.values["split"].get("strategy", "random"))]
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        section = annotation
    return list(section.model_fields)
