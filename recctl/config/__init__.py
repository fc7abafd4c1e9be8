"""Configs: YAML files that are validated as a whole, with all errors reported at their lines."""

from recctl.config.flatten import flatten
from recctl.config.loading import Checks, LoadedConfig, find_config, load_config, parse_config
from recctl.config.rendering import to_yaml
from recctl.config.schema import Config

__all__ = [
    "Checks",
    "Config",
    "LoadedConfig",
    "find_config",
    "flatten",
    "load_config",
    "parse_config",
    "to_yaml",
]
