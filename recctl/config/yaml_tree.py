"""A parser for a safe subset of YAML that records the line of each value.

The subset has no tags, merge keys, dates or base-60 numbers. As in YAML 1.2, `yes` and `on` are text, and `1e-3` is a
number. `007`, `+5` and `0x10` are text, as ids and events of data are. Keys must be unique. Aliases are allowed, but
limits on size and depth reject alias bombs.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import yaml

from recctl.errors import ConfigError

Path = tuple[str | int, ...]

# Limits that no config reaches. Nested aliases can describe 10^9 values in a kilobyte: values are counted as they are
# built, and building stops at the limit.
_MAX_BYTES = 1 << 20
_MAX_VALUES = 100_000
_MAX_DEPTH = 50
_MAX_FAST_DEPTH = 1000  # far below the depth at which the loader in C overflows the stack


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of JSON, a few more of YAML 1.2 and, as in Python, underscores in numbers."""

    # Empty, so that none of YAML 1.1 is inherited, by which `no` is False, `12:30` is 750 and `1e-3` is text.
    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML requires a class attribute


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"-?(0|[1-9][0-9_]*)", "-0123456789"),
    ("float", r"-?(\.[0-9]+|(0|[1-9][0-9_]*)(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)", "-+0123456789."),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))
# An empty scalar has no first character: PyYAML looks it up under the empty string.
_Loader.yaml_implicit_resolvers[""] = [("tag:yaml.org,2002:null", re.compile("^$"))]


class _FastLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The same in C, if PyYAML was built with it: it takes a tenth of the time."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


@dataclass
class Tree:
    """Parsed values and their locations.

    Attributes:
        name: Name of the file as the user gave it, or of another source ("--set").
        values: Dicts, lists and scalars.
        lines: Line, from 1, of each value by its path; for values of a mapping, the line of the key.
        origins: By path, the source of each value that is not in the file ("--set model.name").
        duplicates: Lines of keys that their section has already, whose values are left out, with error messages.
    """

    name: str
    values: Any
    lines: dict[Path, int] = field(default_factory=dict)
    origins: dict[Path, str] = field(default_factory=dict)
    duplicates: list[tuple[int, str]] = field(default_factory=list)

    def place(self, path: Path) -> str:
        """Return the location of a value, or of the nearest enclosing one, e.g. `configs/ease.yaml:12`."""
        for prefix_length in range(len(path), -1, -1):
            if path[:prefix_length] in self.origins:
                return self.origins[path[:prefix_length]]
            if path[:prefix_length] in self.lines:
                return f"{self.name}:{self.lines[path[:prefix_length]]}"
        return self.name

    def line(self, path: Path) -> int | None:
        """Return the line of a value, or of the nearest enclosing one; None if an override set it."""
        for prefix_length in range(len(path), -1, -1):
            if path[:prefix_length] in self.origins:
                return None
            if path[:prefix_length] in self.lines:
                return self.lines[path[:prefix_length]]
        return None

    def rename(self, path: Path, name: str) -> None:
        """Change the name of the key at a path, in place; its locations are kept."""
        *parents, old_name = path
        section = self.values
        for path_part in parents:
            section = section[path_part]
        # Rebuilt in order, then replaced in place: other code holds references to the section, and configs are written
        # back in their order.
        renamed = {name if key == old_name else key: value for key, value in section.items()}
        section.clear()
        section.update(renamed)
        new_path = (*parents, name)
        self.lines = {_replace_start(known_path, path, new_path): line for known_path, line in self.lines.items()}
        self.origins = {
            _replace_start(known_path, path, new_path): origin for known_path, origin in self.origins.items()
        }

    def set(self, path: Path, value: Any, origin: str) -> None:
        """Set the value at a path, creating missing sections.

        Args:
            path: Keys and, for lists, indices.
            value: The value.
            origin: Source of the value in error messages, e.g. "--set model.name".

        Raises:
            ConfigError: The path leads through a scalar, or a list has no such element.
        """
        parent = self.values
        walked: list[str | int] = []
        for depth, path_part in enumerate(path):
            key: str | int = path_part
            if isinstance(parent, list):
                # Digits only: int() would also accept `-1` and `1_0`.
                if not (isinstance(path_part, str) and path_part.isdecimal() and int(path_part) < len(parent)):
                    raise ConfigError(f"{origin}: {'.'.join(map(str, walked))} has no element {path_part!r}")
                key = int(path_part)
            elif not isinstance(parent, dict):
                raise ConfigError(f"{origin}: {'.'.join(map(str, walked))} is a value, not a section")
            walked.append(key)
            if depth == len(path) - 1:
                parent[key] = value
            # A section that is null in the file, as in `params:` without values, counts as missing.
            elif isinstance(parent, dict) and parent.get(key) is None:
                parent[key] = {}
                self.origins[tuple(walked)] = origin
            parent = parent[key]
        self.origins[tuple(walked)] = origin


def _replace_start(path: Path, start: Path, new_start: Path) -> Path:
    return new_start + path[len(start) :] if path[: len(start)] == start else path


def parse(text: str, name: str, *, dotted_keys: bool = False) -> Tree:
    """Parse a YAML document.

    Args:
        text: The document; an empty one is an empty section.
        name: Name of the document in error messages.
        dotted_keys: Whether a key of the document such as `data.id_type` means the key `id_type` of the section `data`.

    Raises:
        ConfigError: Invalid YAML, or YAML outside of the supported subset; with the line.
    """
    # Before parsing, whose time and memory grow with the text.
    if len(text) > _MAX_BYTES:
        raise ConfigError(f"{name}: larger than {_MAX_BYTES:,} bytes, which is too large for a config")
    try:
        # Nodes, not values: they still have line numbers, tags and duplicate keys, all of which `yaml.load` drops.
        node = _compose(text)
    except yaml.YAMLError as error:
        problem_mark = getattr(error, "problem_mark", None)
        location = f"{name}:{problem_mark.line + 1}" if problem_mark else name
        raise ConfigError(f"{location}: not YAML: {getattr(error, 'problem', None) or error}") from None
    except RecursionError:
        raise ConfigError(f"{name}: nested too deeply") from None
    tree = Tree(name, {})
    if node is not None:
        tree.values = _Builder(tree, dotted_keys).build(node, ())
    return tree


def _compose(text: str) -> yaml.Node | None:
    # The loader in C accepts more tabs than YAML allows, and a text that is nested too deeply ends the process. No text
    # has more levels of blocks than its longest line has characters.
    longest_line = max(map(len, text.splitlines()), default=0)
    if "\t" not in text and longest_line + text.count("[") + text.count("{") < _MAX_FAST_DEPTH:
        # Messages about errors come from the loader in Python, as they do without the one in C.
        with suppress(yaml.YAMLError, UnicodeError):
            return yaml.compose(text, Loader=_FastLoader)
    return yaml.compose(text, Loader=_Loader)


def parse_scalar(text: str, origin: str) -> Any:
    """Parse the value of a `--set`, which is YAML: `0.5` is a number and `[64, 32]` a list.

    Raises:
        ConfigError: As for `parse`, or keys are duplicate.
    """
    if not text.strip():
        return None
    tree = parse(text, origin)
    if tree.duplicates:
        raise ConfigError(*(message for _, message in tree.duplicates))
    return tree.values


class _Builder:
    def __init__(self, tree: Tree, dotted_keys: bool) -> None:
        self.tree = tree
        self.dotted_keys = dotted_keys
        self.count = 0

    def build(self, node: yaml.Node, path: Path) -> Any:
        line_number = node.start_mark.line + 1
        # Values of a mapping already have the line of their key.
        self.tree.lines.setdefault(path, line_number)
        self.count += 1
        # Counted here and not in the text, because an alias repeats values that the text has only once.
        if self.count > _MAX_VALUES or len(path) > _MAX_DEPTH:
            raise ConfigError(f"{self.tree.name}:{line_number}: too many values or levels; check for recursive aliases")
        node_type = node.tag.removeprefix("tag:yaml.org,2002:")
        if node_type not in ("null", "bool", "int", "float", "str", "map", "seq"):
            raise ConfigError(f"{self.tree.name}:{line_number}: tag {node.tag!r}: tags are not allowed in a config")
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, position)) for position, item in enumerate(node.value)]
        try:
            return self.scalar(node_type, node)
        except ValueError:
            raise ConfigError(f"{self.tree.name}:{line_number}: {node.value!r} is not a valid {node_type}") from None

    def scalar(self, kind: str, node: yaml.Node) -> Any:
        text = str(node.value)
        if kind == "int":
            return int(text)
        if kind == "float":
            return float(text.lower().replace(".inf", "inf"))
        if kind == "bool":
            return text.lower() == "true"
        if kind == "null":
            return None
        return text

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        dotted_items: list[tuple[yaml.ScalarNode, yaml.Node]] = []
        for key_node, value_node in node.value:
            line_number = key_node.start_mark.line + 1
            # Lists and mappings as keys, which YAML allows, cannot be dict keys.
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"{self.tree.name}:{line_number}: a key must be text")
            key = str(key_node.value)
            if self.dotted_keys and not path and "." in key:
                dotted_items.append((key_node, value_node))
            else:
                self.add(values, key_node, (*path, key), value_node)
        # Last, when the sections that they belong to are complete.
        for key_node, value_node in dotted_items:
            self.add_dotted(values, key_node, value_node)
        return values

    def add(self, section: dict[str, Any], key_node: yaml.Node, path: Path, value_node: yaml.Node) -> None:
        """Add a value to a section, by the last part of its path."""
        # The line of the key: a long value may begin on a later one.
        line_number = key_node.start_mark.line + 1
        if path[-1] in section:
            first_line, line_number = sorted((self.tree.lines[path], line_number))
            dotted = ".".join(map(str, path))
            message = f"{self.tree.name}:{line_number}: {dotted}: duplicate key, first given in line {first_line}"
            # Not raised, so that the other problems of a config are reported with it.
            self.tree.duplicates.append((line_number, message))
            return
        self.tree.lines[path] = line_number
        section[str(path[-1])] = self.build(value_node, path)

    def add_dotted(self, values: dict[str, Any], key_node: yaml.ScalarNode, value_node: yaml.Node) -> None:
        """Add a value whose key is its path in the document, such as `data.id_type`."""
        line_number = key_node.start_mark.line + 1
        path = tuple(str(key_node.value).split("."))
        if len(path) > _MAX_DEPTH:
            raise ConfigError(f"{self.tree.name}:{line_number}: too many levels")
        section = values
        for depth, key in enumerate(path[:-1], start=1):
            # As for --set, a section that is null counts as missing.
            if section.get(key) is None:
                section[key] = {}
                self.tree.lines.setdefault(path[:depth], line_number)
            section = section[key]
            if not isinstance(section, dict):
                outer = ".".join(path[:depth])
                raise ConfigError(f"{self.tree.name}:{line_number}: {key_node.value}: {outer} is not a section")
        self.add(section, key_node, path, value_node)
