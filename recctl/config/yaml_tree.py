"""YAML as plain values that remember the line they came from.

A safe and small part of YAML: no tags, no merge keys, no dates or base-60 numbers made of text; `yes` and `on` are
text, and `1e-3` is a number, as YAML 1.2 has it. Keys can't repeat. Aliases are followed, but an alias bomb is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from recctl.errors import ConfigError

Path = tuple[str | int, ...]

_MOST_BYTES = 1 << 20
_MOST_VALUES = 100_000
_DEEPEST = 50


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2, and underscores in numbers as in Python."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - the base class wants a class attribute


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)", "-+0123456789."),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))
# A plain empty scalar has no first character: PyYAML looks it up under the empty string.
_Loader.yaml_implicit_resolvers[""] = [("tag:yaml.org,2002:null", re.compile("^$"))]


@dataclass
class Tree:
    """Values, and where each of them stands.

    Attributes:
        name: The file's name as the user gave it, or what stands for one ("--set").
        values: Dicts, lists and scalars.
        lines: The line, from 1, of each value by its path, and of each key by the path of its value.
        origins: What set a value that is not in the file, by its path ("--set model.name").
    """

    name: str
    values: Any
    lines: dict[Path, int] = field(default_factory=dict)
    origins: dict[Path, str] = field(default_factory=dict)

    def place(self, path: Path) -> str:
        """`configs/ease.yaml:12`: the line of a value, or of the nearest one around it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.origins:
                return self.origins[path[:end]]
            if path[:end] in self.lines:
                return f"{self.name}:{self.lines[path[:end]]}"
        return self.name

    def set(self, path: Path, value: Any, origin: str) -> None:
        """Put a value at a path, making the sections on the way.

        Raises:
            ConfigError: Something on the way is no section, or a list has no such place.
        """
        here = self.values
        walked: list[str | int] = []
        for depth, part in enumerate(path):
            place: str | int = part
            if isinstance(here, list):
                if not (isinstance(part, str) and part.isdecimal() and int(part) < len(here)):
                    raise ConfigError(f"{origin}: {'.'.join(map(str, walked))} has no element {part!r}")
                place = int(part)
            elif not isinstance(here, dict):
                raise ConfigError(f"{origin}: {'.'.join(map(str, walked))} is a value, not a section")
            walked.append(place)
            if depth == len(path) - 1:
                here[place] = value
            elif isinstance(here, dict) and here.get(place) is None:
                here[place] = {}
                self.origins[tuple(walked)] = origin
            here = here[place]
        self.origins[tuple(walked)] = origin


def parse(text: str, name: str) -> Tree:
    """Parse a YAML document.

    Args:
        text: The document; empty is an empty section.
        name: What to call it in errors.

    Raises:
        ConfigError: Broken YAML, or YAML beyond the part that is taken; with the line.
    """
    if len(text) > _MOST_BYTES:
        raise ConfigError(f"{name}: larger than {_MOST_BYTES:,} bytes; this is no config")
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{name}:{mark.line + 1}" if mark else name
        raise ConfigError(f"{place}: not YAML: {getattr(error, 'problem', None) or error}") from None
    except RecursionError:
        raise ConfigError(f"{name}: nested too deeply") from None
    tree = Tree(name, {})
    if node is not None:
        tree.values = _Builder(tree).build(node, ())
    return tree


def parse_scalar(text: str, origin: str) -> Any:
    """The value of a `--set`: YAML, so that `0.5` is a number and `[64, 32]` a list."""
    return parse(text, origin).values if text.strip() else None


class _Builder:
    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.count = 0
        self.scalars = yaml.constructor.SafeConstructor()

    def build(self, node: yaml.Node, path: Path) -> Any:
        line = node.start_mark.line + 1
        self.tree.lines.setdefault(path, line)
        self.count += 1
        if self.count > _MOST_VALUES or len(path) > _DEEPEST:
            raise ConfigError(f"{self.tree.name}:{line}: too many values or levels; aliases repeat without end?")
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind not in ("null", "bool", "int", "float", "str", "map", "seq"):
            raise ConfigError(f"{self.tree.name}:{line}: tag {node.tag!r}: tags are not allowed in a config")
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, at)) for at, item in enumerate(node.value)]
        try:
            return self.scalar(kind, node)
        except ValueError:
            raise ConfigError(f"{self.tree.name}:{line}: {node.value!r} is no {kind}") from None

    def scalar(self, kind: str, node: yaml.Node) -> Any:
        text = str(node.value)
        if kind == "int":
            return int(text, 0) if text.lower().startswith("0x") else int(text)
        if kind == "float":
            return float(text.lower().replace(".inf", "inf"))
        if kind == "bool":
            return text.lower() == "true"
        return None if kind == "null" else text

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"{self.tree.name}:{line}: a key must be a word")
            key = str(key_node.value)
            if key in values:
                first = self.tree.lines[(*path, key)]
                raise ConfigError(
                    f"{self.tree.name}:{line}: {'.'.join(map(str, (*path, key)))}: given twice, first in line {first}"
                )
            self.tree.lines[(*path, key)] = line
            values[key] = self.build(value_node, (*path, key))
        return values
