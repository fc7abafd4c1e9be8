"""Configs: YAML files, validated whole, with every error at its line."""

from recctl.config.flatten import flatten
from recctl.config.loading import Checks, LoadedConfig, find_config, load_config, parse_config
from recctl.config.rendering import config_schema, to_yaml
from recctl.config.schema import Config

__all__ = [
    "Checks",
    "Config",
    "LoadedConfig",
    "config_schema",
    "find_config",
    "flatten",
    "load_config",
    "parse_config",
    "to_yaml",
]
