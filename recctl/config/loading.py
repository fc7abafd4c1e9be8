"""Loading of configs: YAML text and overrides become a Config, or a ConfigError with all problems."""

from __future__ import annotations

import copy
import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from recctl import progress
from recctl.config import schema, yaml_tree
from recctl.config.bundled import bundled_config
from recctl.config.messages import expectation, own_message
from recctl.config.yaml_tree import Path as TreePath
from recctl.config.yaml_tree import Tree
from recctl.errors import ConfigError
from recctl.suggest import did_you_mean

# Path of a value in the config, and what is wrong with it.
Problem = tuple[TreePath, str]
# Paths of values, by the start of the paths of problems. "*" is any position of a list, and the same one in the values.
Reads = Mapping[TreePath, Sequence[TreePath]]

# The line of problems of overrides, which are reported last.
_AFTER_THE_FILE = float("inf")
# Keys of a temporal split that say the same by a size and by dates: an override of one replaces the others.
_REPLACED_SPLIT_KEYS = {
    "test_size": ("test_start", "test_days"),
    "test_start": ("test_size",),
    "test_days": ("test_size",),
    "val_size": ("val_start", "val_days"),
    "val_start": ("val_size", "val_days"),
    "val_days": ("val_size", "val_start"),
}


@dataclass(frozen=True)
class Checks:
    """Checks and defaults that depend on models, steps and metrics, which this package does not know.

    Attributes:
        checks: Each takes the whole Config and yields problems as (path, message).
        fill_defaults: Fills in defaults before the checks; it leaves invalid values as they are.
        reads: Which other values the checks of a value read. Where one of these is invalid, the problem could be its
            consequence and is not reported. The longest start of a path counts; none means no other value.
    """

    checks: Sequence[Callable[[schema.Config], Iterable[Problem]]] = ()
    fill_defaults: Callable[[schema.Config], None] = lambda config: None
    reads: Reads = field(default_factory=dict)


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
    default = bundled_config(schema.ModelConfig().name)
    if default is None:
        raise ConfigError("no config found, nor the default that comes with recctl; write one: recctl config init")
    return default, "the default that comes with recctl"


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
        bundled = bundled_config(path.stem) if isinstance(error, FileNotFoundError) else None
        if bundled is not None and bundled.name == path.name:
            # Commands of the documentation, typed where there is no clone of the repository.
            command = f"recctl config copy {bundled.stem} -o {shlex.quote(str(path))}"
            raise ConfigError(f"{path}: {reason}; a config of this name comes with recctl: {command}") from None
        if path.parent.is_dir():
            similar_names = sorted(config_file.name for config_file in path.parent.glob("*.y*ml"))
        raise ConfigError(f"{path}: {reason}{did_you_mean(path.name, similar_names)}") from None
    # The default that comes with recctl names no files, but overrides may: `recctl train --set data.source=mine.csv`.
    base = Path() if path == bundled_config(schema.ModelConfig().name) else path.parent
    return parse_config(config_text, str(path), base, overrides, checks)


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
    tree = yaml_tree.parse(text, name, dotted_keys=True)
    if not isinstance(tree.values, dict):
        raise ConfigError(f"{name}:1: a config must be sections of `key: value`, not {type(tree.values).__name__}")
    found: list[tuple[float, str]] = [*tree.duplicates, *_rename_deprecated_keys(tree)]
    for override in overrides:
        try:
            _apply_override(tree, override)
        except ConfigError as error:
            found += [(_AFTER_THE_FILE, problem) for problem in error.problems]
    return _validate(tree, base, checks, found)


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


def _validate(tree: Tree, base: Path, checks: Checks | None, found: Sequence[tuple[float, str]] = ()) -> LoadedConfig:
    """Validate a tree; the error has the problems that were found before, with their lines, and all others."""
    checks = checks or Checks()
    try:
        config = schema.Config.model_validate(tree.values)
    except ValidationError as error:
        problems = _schema_problems(error, tree)
        # Otherwise a typo would hide these problems until it is fixed.
        problems += _check_valid_values(tree, error, checks)
        raise _config_error(tree, problems, found) from None
    problems = _run_checks(config, checks)
    if problems or found:
        raise _config_error(tree, problems, found)
    return LoadedConfig(config, tree.name, base, tree.values)


def _run_checks(config: schema.Config, checks: Checks) -> list[Problem]:
    checks.fill_defaults(config)
    return [problem for check in checks.checks for problem in check(config)]


# ---- checks of a config that has errors


def _check_valid_values(tree: Tree, error: ValidationError, checks: Checks) -> list[Problem]:
    """Run the checks on a config without its invalid values, so that all problems are reported at once."""
    invalid = {_existing(_path_in(tree.values, problem["loc"]), tree.values) for problem in error.errors()}
    suspects = {path for problem in error.errors() for path in _suspects(problem, tree)}
    while () not in invalid:
        positions: dict[TreePath, list[int]] = {}
        values = _without(tree.values, invalid, positions)
        try:
            config = schema.Config.model_validate(values)
        except ValidationError as consequences:  # such as a section that lacks a key now
            paths = {_existing(_path_in(values, problem["loc"]), values) for problem in consequences.errors()}
            paths = {_in_original(path, positions) for path in paths}
            if paths <= invalid:
                return []
            invalid |= paths
            suspects |= paths
        else:
            problems = [(_in_original(path, positions), message) for path, message in _run_checks(config, checks)]
            return [
                (path, message)
                for path, message in problems
                if not _overlap([path], invalid) and not _overlap(_read_by_check(path, checks.reads), suspects)
            ]
    return []


def _existing(path: TreePath, values: Any) -> TreePath:
    """The start of a path that the values have: without a key that is missing."""
    for depth, path_part in enumerate(path):
        if isinstance(values, dict) and path_part not in values:
            return path[:depth]
        values = values[path_part]
    return path


def _suspects(problem: Any, tree: Tree) -> list[TreePath]:
    """The paths of what is not as the user meant it: an unknown key could be any key that its section lacks."""
    path = _path_in(tree.values, problem["loc"])
    if problem["type"] != "extra_forbidden":
        return [_existing(path, tree.values)]
    section = tree.values
    for path_part in path[:-1]:
        section = section[path_part]
    known = _fields_at(path[:-1], tree)
    return [(*path[:-1], name) for name in known if name not in section] if known else [path[:-1]]


def _without(values: Any, left_out: Set[TreePath], positions: dict[TreePath, list[int]], path: TreePath = ()) -> Any:
    """Return nested values without those at some paths.

    Args:
        values: Dicts, lists and scalars.
        left_out: The paths of the values to leave out.
        positions: The positions of the elements that each list keeps are added, by its path.
        path: The path of `values`.
    """
    if isinstance(values, dict):
        return {
            key: _without(value, left_out, positions, (*path, key))
            for key, value in values.items()
            if (*path, key) not in left_out
        }
    if isinstance(values, list):
        positions[path] = [position for position in range(len(values)) if (*path, position) not in left_out]
        return [_without(values[position], left_out, positions, (*path, position)) for position in positions[path]]
    return values


def _in_original(path: TreePath, positions: Mapping[TreePath, list[int]]) -> TreePath:
    """Return the original path of a value in what `_without` returned."""
    original: TreePath = ()
    for path_part in path:
        if original in positions and isinstance(path_part, int):
            path_part = positions[original][path_part]
        original = (*original, path_part)
    return original


def _read_by_check(path: TreePath, reads: Reads) -> list[TreePath]:
    """The paths of what the check of a value reads besides the value; everything if `reads` does not say."""
    starts = [start for start in reads if _matches(path, start)]
    if not starts:
        return [()]
    start = max(starts, key=len)
    here = dict(zip(start, path, strict=False)).get("*", "*")
    return [tuple(here if part == "*" else part for part in read_path) for read_path in reads[start]]


def _matches(path: TreePath, start: TreePath) -> bool:
    """Whether a path begins so."""
    return len(path) >= len(start) and all(expected in ("*", part) for expected, part in zip(start, path, strict=False))


def _overlap(paths: Iterable[TreePath], others: Iterable[TreePath]) -> bool:
    """Whether any of the paths leads to a part of what one of the others leads to, or the other way round."""
    others = list(others)
    for path in paths:
        for other in others:
            depth = min(len(path), len(other))
            if path[:depth] == other[:depth]:
                return True
    return False


def _config_error(tree: Tree, problems: Sequence[Problem], found: Sequence[tuple[float, str]]) -> ConfigError:
    """Report problems in the order of their lines; those of overrides follow."""
    reported = list(found)
    for path, message in problems:
        line_number = tree.line(path)
        line = _AFTER_THE_FILE if line_number is None else line_number
        reported.append((line, _format_problem(tree, path, message)))
    return ConfigError(*(message for _, message in sorted(reported, key=lambda entry: entry[0])))


def _format_problem(tree: Tree, path: TreePath, message: str) -> str:
    location = tree.place(path)
    dotted = ".".join(map(str, path))
    if not dotted or location == f"--set {dotted}":
        return f"{location}: {message}"
    return f"{location}: {dotted}: {message}"


# ---- deprecated keys


def _rename_deprecated_keys(tree: Tree) -> list[tuple[float, str]]:
    """Give the values of deprecated keys their current names.

    Returns:
        For each section that has both names of a key, the line of the previous one, and an error message.
    """
    problems: list[tuple[float, str]] = []
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
                line_number = tree.line((section, old_name)) or _AFTER_THE_FILE
                problems.append((line_number, f"{location}: {section}.{old_name}: {message}"))
                del values[old_name]
                continue
            # Configs of runs of earlier versions spell out all keys: a null changes nothing and needs no notice.
            if values[old_name] is not None:
                _notice_deprecated_key(location, f"{section}.{old_name}", f"{section}.{new_name}")
            # In the tree, not in the schema: messages about the value keep the line that the user wrote.
            tree.rename((section, old_name), new_name)
    return problems


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
    elif path[0] == "split" and value is not None:
        for field_name in _REPLACED_SPLIT_KEYS.get(str(path[1]), ()):
            # Two overrides that contradict each other are an error.
            if ("split", field_name) not in tree.origins:
                section.pop(field_name, None)


# ---- messages about errors of pydantic


def _schema_problems(error: ValidationError, tree: Tree) -> list[Problem]:
    """Return one problem per path of the config."""
    messages: dict[TreePath, str] = {}
    for problem in error.errors():
        problem_path = _path_in(tree.values, problem["loc"])
        # A value that matches no member of a union has one error per member, which are joined.
        if problem_path in messages:
            alternative = _expectation(problem).removeprefix("should be ")
            messages[problem_path] = f"{messages[problem_path]}, or {alternative}"
        else:
            messages[problem_path] = _message(problem, problem_path, tree)
    return list(messages.items())


def _path_in(values: Any, location: tuple[int | str, ...]) -> TreePath:
    """Return a location of pydantic without the names of union members, which the config does not have."""
    config_path: list[int | str] = []
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
        elif isinstance(path_part, int):  # an element of the list of sections
            continue
        elif field_name in section.model_fields:
            annotation = _section_in(section.model_fields[field_name].annotation)
        if annotation is None:
            return []
        section = annotation
    return list(section.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The section in an annotation such as `TuningConfig | None` or `list[ComparedModel]`; None if there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = [_section_in(argument) for argument in get_args(annotation)]
    return next((section for section in found if section is not None), None)
