"""Checking the arguments of public functions; every problem is a ConfigError that names the argument and its value."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from functools import wraps
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from pydantic import ConfigDict, ValidationError, validate_call

from recctl.errors import ConfigError
from recctl.suggest import did_you_mean

P = ParamSpec("P")
R = TypeVar("R")

_MAX_VALUE_LENGTH = 60


def whole_number(where: str, name: str, value: Any, low: int = 0, high: int | None = None) -> int:
    """Return a whole number as an int; NumPy's are accepted.

    Args:
        where: The function or class, with which the message begins; empty for none.
        name: Name of the argument.
        value: Its value.
        low: Smallest valid value.
        high: Largest valid value; None for no limit.

    Raises:
        ConfigError: It is not a whole number in these bounds. 2.0, "2" and True are none.
    """
    # bool is a subclass of int: k=True would count as 1.
    is_whole = isinstance(value, Integral) and not _is_bool(value)
    if not is_whole or value < low or (high is not None and value > high):
        limits = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ConfigError(problem(where, name, value, f"must be a whole number {limits}"))
    return int(value)


def number(
    where: str,
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    exclusive: bool = False,
) -> float:
    """Return a finite number as a float.

    Args:
        where: As in `whole_number`.
        name: Name of the argument.
        value: Its value.
        low: Smallest valid value.
        high: Largest valid value.
        exclusive: Whether `low` and `high` themselves are invalid.

    Raises:
        ConfigError: It is not a finite number in these bounds. Text and True are none.
    """
    as_float = float(value) if isinstance(value, Real) and not _is_bool(value) else math.nan
    is_valid = math.isfinite(as_float) and low <= as_float <= high
    if exclusive:
        is_valid = is_valid and low < as_float < high
    if not is_valid:
        raise ConfigError(problem(where, name, value, f"must be a number{_limits(low, high, exclusive)}"))
    return as_float


def flag(where: str, name: str, value: Any) -> bool:
    """Return a truth value as a bool.

    Raises:
        ConfigError: It is neither True nor False. 1, "no" and None are refused: "no" would count as True.
    """
    if not _is_bool(value):
        raise ConfigError(problem(where, name, value, "must be True or False"))
    return bool(value)


def choice(where: str, name: str, value: Any, choices: Iterable[str]) -> str:
    """Return one of several words.

    Raises:
        ConfigError: It is none of `choices`; the message suggests one.
    """
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        raise ConfigError(problem(where, name, value, f"unknown choice{did_you_mean(str(value), known)}"))
    return value


def text(where: str, name: str, value: Any) -> str:
    """Return a text that is not empty.

    Raises:
        ConfigError: It is no text, or empty.
    """
    if not isinstance(value, str) or not value:
        raise ConfigError(problem(where, name, value, "must be a text that is not empty"))
    return value


def path(where: str, name: str, value: Any) -> Path:
    """Return the path of a file or folder.

    Raises:
        ConfigError: It is neither a text nor a path, or empty.
    """
    if not isinstance(value, str | Path) or not str(value):
        raise ConfigError(problem(where, name, value, "must be a path, such as 'models/ease.pkl'"))
    return Path(value)


def instance(where: str, name: str, value: Any, expected: type | tuple[type, ...], description: str) -> Any:
    """Return an object of a class.

    Args:
        where: As in `whole_number`.
        name: Name of the argument.
        value: Its value.
        expected: The class, or several.
        description: What it must be, as "a Run".

    Raises:
        ConfigError: It is of another class.
    """
    if not isinstance(value, expected):
        raise ConfigError(problem(where, name, value, f"must be {description}"))
    return value


def problem(where: str, name: str, value: Any, requirement: str) -> str:
    """The message about an invalid argument: where, its name and value, and what it must be."""
    beginning = f"{where}: " if where else ""
    return f"{beginning}{name}={shown(value)}: {requirement}"


def shown(value: Any) -> str:
    """A value as a message quotes it: its first line, cut off if it is long."""
    first_line, *others = repr(value).splitlines() or [""]
    if len(first_line) > _MAX_VALUE_LENGTH or others:
        return first_line[:_MAX_VALUE_LENGTH] + "..."
    return first_line


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check all arguments against the function's annotations, and raise one ConfigError for all problems.

    Bounds are part of the annotations, `n: Annotated[int, Field(ge=1)]`, so that a config's schema can use them too.
    """
    # pydantic names a positional argument by its position.
    names = list(inspect.signature(function).parameters)
    validated: Callable[P, R] = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(function)
    title = function.__qualname__.removesuffix(".__init__")

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return validated(*args, **kwargs)
        except ValidationError as error:
            # An argument of a union type has one problem for each member.
            problems = [_describe_problem(title, names, details) for details in error.errors()]
            raise ConfigError(*dict.fromkeys(problems)) from None

    return call


def _describe_problem(title: str, names: list[str], details: Any) -> str:
    location = details["loc"][0]  # the name, or the position of a positional argument
    name = names[location] if isinstance(location, int) and location < len(names) else location
    message = details["msg"][0].lower() + details["msg"][1:]
    if details["type"] in ("missing_argument", "unexpected_keyword_argument", "unexpected_positional_argument"):
        return f"{title}: {name}: {message}"
    return problem(title, name, details["input"], message)


def _is_bool(value: Any) -> bool:
    # `np.bool_` is no bool, and this module does not import NumPy.
    return isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")


def _limits(low: float, high: float, exclusive: bool) -> str:
    if math.isinf(low) and math.isinf(high):
        return ""
    if exclusive:
        if math.isinf(high):
            return f" above {low:g}"
        return f" above {low:g} and below {high:g}"
    if math.isinf(high):
        return f" of at least {low:g}"
    return f" from {low:g} to {high:g}"
