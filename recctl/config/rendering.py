"""Configs as text: YAML to store, JSON Schema for editors."""

from __future__ import annotations

from typing import Any

import yaml

from recctl.config.schema import Config


class _Dumper(yaml.SafeDumper):
    """Block style for sections, flow style for lists of scalars, no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _list(dumper: yaml.SafeDumper, values: list[Any]) -> yaml.Node:
    flat = not any(isinstance(value, dict | list) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=flat)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # What this package's reader would take for a number is quoted, even where PyYAML's own rules see text.
    looks_like_number = text.replace("_", "").replace(".", "").replace("e", "").replace("-", "").isdecimal()
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if looks_like_number else None)


def _float(dumper: yaml.SafeDumper, value: float) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:float", repr(value))


_Dumper.add_representer(list, _list)
_Dumper.add_representer(str, _text)
_Dumper.add_representer(float, _float)


def to_yaml(values: Any) -> str:
    """Plain values as YAML that reads back equal."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def config_schema(models: dict[str, dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """JSON Schema of a config.

    Args:
        models: The schema of each hyperparameter, by model and name: editors then check `params` of the model named.
    """
    schema = Config.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "recctl config"
    model = schema["$defs"]["ModelConfig"]
    model["properties"]["name"]["enum"] = sorted(models)
    model["allOf"] = [
        {
            "if": {"properties": {"name": {"const": name}}, "required": ["name"]},
            "then": {"properties": {"params": {"properties": params, "additionalProperties": False}}},
        }
        for name, params in sorted(models.items())
    ]
    return schema
