"""Configs as text: YAML."""

from __future__ import annotations

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Writes sections in block style, lists of scalars in flow style, and no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_list(dumper: yaml.SafeDumper, values: list[Any]) -> yaml.Node:
    has_only_scalars = not any(isinstance(value, dict | list) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=has_only_scalars)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # Quote what `yaml_tree` would read as a number, even where PyYAML, with its YAML 1.1 rules, reads text.
    looks_like_number = text.replace("_", "").replace(".", "").replace("e", "").replace("-", "").isdecimal()
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if looks_like_number else None)


def _represent_float(dumper: yaml.SafeDumper, value: float) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:float", repr(value))


_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(float, _represent_float)


def to_yaml(values: Any) -> str:
    """Format plain values as YAML from which `yaml_tree.parse` reads equal values."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
