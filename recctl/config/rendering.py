"""Configs as text: YAML, and JSON Schema for editors."""

from __future__ import annotations

from typing import Any

import yaml

from recctl.config.schema import DEPRECATED_KEYS, Config


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


def config_schema(models: dict[str, dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return the JSON Schema of a config.

    Args:
        models: JSON Schema of each hyperparameter, by model and name; editors then validate `model.params`.
    """
    schema = Config.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "recctl config"
    # Keys such as `data.id_type`.
    schema["patternProperties"] = {r"^\w+\.": {}}
    model_schema = schema["$defs"]["ModelConfig"]
    model_schema["properties"]["name"]["enum"] = sorted(models)
    model_schema["allOf"] = [
        {
            "if": {"properties": {"name": {"const": model_name}}, "required": ["name"]},
            "then": {"properties": {"params": {"properties": params, "additionalProperties": False}}},
        }
        for model_name, params in sorted(models.items())
    ]
    definitions = {"tuning": schema["$defs"]["TuningConfig"]}
    for section, renamed_keys in DEPRECATED_KEYS.items():
        properties = definitions[section]["properties"]
        for old_name, new_name in renamed_keys.items():
            properties[old_name] = properties[new_name] | {"deprecated": True}
    return schema
