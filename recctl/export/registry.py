"""The registry of export formats: the format modules of this package, and formats of installed packages.

A format's module is named after it, `similar_items.py` for `similar-items`, so that using one format imports no other.
Installed packages add formats by entry points of the group `recctl.exports`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from pydantic import ValidationError

import recctl.export
from recctl import plugins
from recctl.arguments import problem, scalar_problem
from recctl.config.messages import expectation, own_message
from recctl.errors import ConfigError
from recctl.export.base import ExportFormat
from recctl.suggest import did_you_mean

_NOT_FORMATS = {"api", "base", "registry"}
# A value is cut to this length in error messages.
_MAX_SHOWN = 60


def format_names() -> list[str]:
    """Names of all formats, in alphabetical order."""
    return sorted({*_modules(), *plugins.available("exports")})


def format_class(name: str) -> type[ExportFormat]:
    """The class of a format.

    Raises:
        ConfigError: No format has this name (the message suggests one), or its package has no such class.
    """
    candidate: Any = None
    if name in _modules():
        module = import_module(f"recctl.export.{_modules()[name]}")
        candidate = next(
            (
                candidate_value
                for candidate_value in vars(module).values()
                if getattr(candidate_value, "name", None) == name
            ),
            None,
        )
    elif name in plugins.available("exports"):
        candidate = plugins.load("exports", name)
    else:
        raise ConfigError(f"unknown export format {name!r}{did_you_mean(name, format_names())}")
    if not (isinstance(candidate, type) and issubclass(candidate, ExportFormat)):
        raise ConfigError(f"export format {name!r}: its module has no subclass of ExportFormat with this name")
    return candidate


def format_classes() -> list[type[ExportFormat]]:
    """The classes of all formats, in the order of their names."""
    return [format_class(name) for name in format_names()]


def missing_modules(cls: type[ExportFormat]) -> list[str]:
    """Modules that a format needs and that are not installed."""
    return [module for module in cls.needs if find_spec(module) is None]


def require_extra(cls: type[ExportFormat]) -> None:
    """Check that the dependencies of a format are installed.

    Raises:
        ConfigError: One is missing; names the extra to install.
    """
    missing = missing_modules(cls)
    if missing:
        raise ConfigError(f"export format {cls.name}: {missing[0]} is not installed: pip install 'recctl[{cls.extra}]'")


def make_format(name: str, options: Mapping[str, Any]) -> ExportFormat:
    """A format with its options.

    Raises:
        ConfigError: No format has this name, its extra is not installed, or options are unknown or invalid; lists all
            problems.
    """
    format_type = format_class(name)
    require_extra(format_type)
    problems = list(_type_problems(format_type, options))
    if problems:
        raise ConfigError(*problems)
    try:
        return format_type(**options)
    except ValidationError as error:
        problems = [f"export format {name}: {_message(format_type, details)}" for details in error.errors()]
    raise ConfigError(*problems)


def _type_problems(cls: type[ExportFormat], options: Mapping[str, Any]) -> Iterator[str]:
    """Options of other types than their fields, which pydantic would convert; texts come from the command line."""
    for name, value in options.items():
        if name not in cls.model_fields or isinstance(value, str):
            continue
        if requirement := scalar_problem(cls.model_fields[name].annotation, value):
            yield problem(f"export format {cls.name}", name, value, requirement)


def _message(cls: type[ExportFormat], problem: Any) -> str:
    option = str(problem["loc"][0]) if problem["loc"] else "options"
    if problem["type"] == "extra_forbidden":
        suggestion = did_you_mean(option, cls.model_fields) or "; it takes no options"
        return f"unknown option {option}{suggestion}"
    value_text = repr(problem["input"])
    return f"{option}: {value_text[:_MAX_SHOWN]}: {own_message(problem) or expectation(problem)}"


def _modules() -> dict[str, str]:
    """Module names by format name. Modules that start with `_` are no formats."""
    module_names = [module.name for module in pkgutil.iter_modules(recctl.export.__path__)]
    return {
        module_name.replace("_", "-"): module_name
        for module_name in module_names
        if module_name not in _NOT_FORMATS and not module_name.startswith("_")
    }
