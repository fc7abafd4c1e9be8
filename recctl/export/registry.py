"""Which formats there are: every module of this package that holds one, and those of installed packages.

A format's module is named after it, `similar_items.py` for `similar-items`, so that asking for one imports no other. An
installed package offers formats by entry points of the group `recctl.exports`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from pydantic import ValidationError

import recctl.export
from recctl import plugins
from recctl.config.messages import expectation, own_message
from recctl.errors import ConfigError
from recctl.export.base import ExportFormat
from recctl.suggest import did_you_mean

_MACHINERY = {"api", "base", "registry"}


def format_names() -> list[str]:
    """Names of all formats, in alphabetical order."""
    return sorted({*_modules(), *plugins.available("exports")})


def format_class(name: str) -> type[ExportFormat]:
    """The class of a format.

    Raises:
        ConfigError: No format has this name (suggests one that has), or what offers it can't be imported.
    """
    found: Any = None
    if name in _modules():
        module = import_module(f"recctl.export.{_modules()[name]}")
        found = next((value for value in vars(module).values() if getattr(value, "name", None) == name), None)
    elif name in plugins.available("exports"):
        found = plugins.load("exports", name)
    else:
        raise ConfigError(f"unknown export format {name!r}{did_you_mean(name, format_names())}")
    if not (isinstance(found, type) and issubclass(found, ExportFormat)):
        raise ConfigError(f"export format {name!r}: what offers it holds no subclass of ExportFormat of this name")
    return found


def format_classes() -> list[type[ExportFormat]]:
    """The classes of all formats, in the order of their names."""
    return [format_class(name) for name in format_names()]


def missing_of(cls: type[ExportFormat]) -> list[str]:
    """Modules that a format needs and that are not installed."""
    return [module for module in cls.needs if find_spec(module) is None]


def require_extra(cls: type[ExportFormat]) -> None:
    """Refuse a format whose extra is not installed.

    Raises:
        ConfigError: It is not; names it.
    """
    missing = missing_of(cls)
    if missing:
        raise ConfigError(f"export format {cls.name}: {missing[0]} is missing: pip install 'recctl[{cls.extra}]'")


def make_format(name: str, options: Mapping[str, Any]) -> ExportFormat:
    """A format with its options.

    Raises:
        ConfigError: No such format, its extra is not installed, or options that it does not take or of wrong values:
            all of them.
    """
    cls = format_class(name)
    require_extra(cls)
    try:
        return cls(**options)
    except ValidationError as error:
        raise ConfigError(*(f"export format {name}: {_in_words(cls, each)}" for each in error.errors())) from None


def _in_words(cls: type[ExportFormat], problem: Any) -> str:
    option = str(problem["loc"][0]) if problem["loc"] else "options"
    if problem["type"] == "extra_forbidden":
        there = did_you_mean(option, cls.model_fields) or "; it takes no options"
        return f"takes no {option}{there}"
    shown = repr(problem["input"])
    return f"{option}: {shown[:60]}: {own_message(problem) or expectation(problem)}"


def _modules() -> dict[str, str]:
    """Module names by format. Modules that start with `_` hold none."""
    found = (module.name for module in pkgutil.iter_modules(recctl.export.__path__))
    return {name.replace("_", "-"): name for name in found if name not in _MACHINERY and not name.startswith("_")}
