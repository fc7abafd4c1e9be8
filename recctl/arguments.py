"""Checks of the arguments of public functions; every problem is a ConfigError that names the argument and its value.

`validated` declares the checks of a function:

    @validated(k=at_least(1), on_unknown=one_of("error", "skip"), exclude_seen=flag)
    def recommend(self, user_ids, k=10, exclude_seen=True, *, on_unknown="error"): ...

A check is a function `(where, name, value)` that returns the value, possibly as a plainer type (an int for NumPy's), or
raises a ConfigError. It can also be called directly.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterable, Mapping
from functools import cache, wraps
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from recctl.errors import ConfigError
from recctl.suggest import did_you_mean

P = ParamSpec("P")
R = TypeVar("R")
Function = TypeVar("Function", bound=Callable[..., Any])

Check = Callable[[str, str, Any], Any]
"""Called with the function (the beginning of messages), the name of the argument, and its value."""

_MAX_VALUE_LENGTH = 60


def validated(**checks: Check) -> Callable[[Function], Function]:
    """Check arguments of a function, defaults excepted, and raise one ConfigError for all problems.

    Args:
        checks: The check of each argument, by name.
    """

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        title = _title(function)
        assert checks.keys() <= signature.parameters.keys(), title

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)  # Python's own message about missing and unexpected arguments
            problems: list[str] = []
            for name in checks.keys() & bound.arguments.keys():
                try:
                    bound.arguments[name] = checks[name](title, name, bound.arguments[name])
                except ConfigError as error:
                    problems.extend(error.problems)
            if problems:
                raise ConfigError(*sorted(problems))
            return function(*bound.args, **bound.kwargs)

        return call  # type: ignore[return-value]

    return decorate


def check_fields(record: object, **checks: Check) -> None:
    """Check attributes of a dataclass, in its `__post_init__`, and raise one ConfigError for all problems.

    Args:
        record: The object.
        checks: The check of each attribute, by name.
    """
    problems: list[str] = []
    for name, check in checks.items():
        try:
            check(type(record).__name__, name, getattr(record, name))
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(*problems)


def whole_number(where: str, name: str, value: Any, low: int | None = None, high: int | None = None) -> int:
    """Return a whole number as an int; NumPy's are accepted.

    Args:
        where: The function or class, with which the message begins; empty for none.
        name: Name of the argument.
        value: Its value.
        low: Smallest valid value; None for no limit.
        high: Largest valid value; None for no limit.

    Raises:
        ConfigError: It is not a whole number in these bounds. 2.0, "2" and True are none.
    """
    if not is_whole(value) or (low is not None and value < low) or (high is not None and value > high):
        limits = ""
        if low is not None:
            limits = f" of at least {low}" if high is None else f" from {low} to {high}"
        raise ConfigError(problem(where, name, value, f"must be a whole number{limits}"))
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


def text(where: str, name: str, value: Any) -> str:
    """Return a text that is not empty.

    Raises:
        ConfigError: It is no text, or empty.
    """
    if not isinstance(value, str) or not value:
        raise ConfigError(problem(where, name, value, "must be a text that is not empty"))
    return value


def path(where: str, name: str, value: Any) -> Any:
    """Return the path of a file or folder, as it was given: a `Path` would lose the beginning of `./NAME`.

    Raises:
        ConfigError: It is neither a text nor a path, or empty.
    """
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise ConfigError(problem(where, name, value, "must be a path, such as 'folder/file'"))
    return value


def callbacks(where: str, name: str, value: Any) -> list[Any]:
    """Return the callbacks of a training as a list.

    Raises:
        ConfigError: It is no list, or holds something that is neither a callback nor a function.
    """
    listed: list[Any] = many(anything, "[EarlyStopping()]")(where, name, value)
    for position, callback in enumerate(listed):
        if not hasattr(callback, "after_epoch") and (isinstance(callback, type) or not callable(callback)):
            requirement = "must be a callback, such as EarlyStopping(), or a function of the model and its metrics"
            raise ConfigError(problem(where, f"{name}[{position}]", callback, requirement))
    return listed


def anything(where: str, name: str, value: Any) -> Any:
    """Return any value: the check of the elements of a list that are not checked here."""
    return value


# ---- checks with parameters


def at_least(low: int) -> Check:
    """A whole number of at least `low`."""
    return lambda where, name, value: whole_number(where, name, value, low)


def between(low: float, high: float) -> Check:
    """A number above `low` and below `high`."""
    return lambda where, name, value: number(where, name, value, low, high, exclusive=True)


def one_of(*choices: str) -> Check:
    """One of several words; the message suggests one."""

    def check(where: str, name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ConfigError(problem(where, name, value, f"unknown choice{did_you_mean(str(value), choices)}"))
        return value

    return check


def optional(check: Check) -> Check:
    """None, or what `check` accepts."""
    return lambda where, name, value: None if value is None else check(where, name, value)


def of_type(expected: type | tuple[type, ...], description: str) -> Check:
    """An object of a class, or of one of several.

    Args:
        expected: The class, or several.
        description: What it must be, as "a Run".
    """

    def check(where: str, name: str, value: Any) -> Any:
        if not isinstance(value, expected):
            raise ConfigError(problem(where, name, value, f"must be {description}"))
        return value

    return check


def many(check: Check, example: str) -> Check:
    """A list or another iterable, returned as a list; text, dicts and tables are none.

    Args:
        check: Of each element.
        example: A valid value, for the message.
    """

    def check_all(where: str, name: str, value: Any) -> list[Any]:
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
            raise ConfigError(problem(where, name, value, f"must be a list, such as {example}"))
        return [check(where, f"{name}[{position}]", element) for position, element in enumerate(value)]

    return check_all


def overrides(where: str, name: str, value: Any) -> list[str]:
    """Return settings `section.key=value` as a list.

    Raises:
        ConfigError: It is no list of texts.
    """
    listed: list[str] = many(text, "['model.params.l2_reg=250']")(where, name, value)
    return listed


# ---- messages


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


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number. True is none, although it is an int: `k=True` would count as 1."""
    return isinstance(value, Integral) and not _is_bool(value)


# ---- by annotations


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check all arguments against the function's annotations, and raise one ConfigError for all problems.

    Bounds are part of the annotations, `n: Annotated[int, Field(ge=1)]`, so that a config's schema can use them too.
    """
    signature = inspect.signature(function)
    title = _title(function)

    @cache
    def argument_types() -> dict[str, tuple[Any, TypeAdapter[Any]]]:
        """The annotation and the validator of each argument that has one.

        They are made at the first call: importing recctl must not take the tens of milliseconds.
        """
        config = ConfigDict(arbitrary_types_allowed=True)
        annotations = get_type_hints(function, include_extras=True)
        return {
            name: (annotations[name], TypeAdapter(annotations[name], config=config))
            for name in signature.parameters
            if name in annotations
        }

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ConfigError(f"{title}: {error}") from None
        problems = []
        types = argument_types()
        for name, value in bound.arguments.items():
            if name not in types:
                continue
            annotation, adapter = types[name]
            # pydantic would convert "3", True and 3.0 to 3.
            if requirement := scalar_problem(annotation, value):
                problems.append(problem(title, name, value, requirement))
                continue
            try:
                bound.arguments[name] = adapter.validate_python(value)
            except ValidationError as error:
                # An argument of a union type has one problem for each member.
                problems += [_describe_problem(title, name, details) for details in error.errors()]
        if problems:
            raise ConfigError(*dict.fromkeys(problems))
        return function(*bound.args, **bound.kwargs)

    return call


def scalar_problem(annotation: Any, value: Any) -> str | None:
    """What is wrong with the type of a value of which numbers or truth values are expected; None if nothing is.

    Args:
        annotation: The type, such as `int`, `float | None` or `Annotated[int, Field(ge=1)]`. Others are not checked.
        value: The value.
    """
    expected = _member_types(annotation)
    if not expected or not expected <= {int, float, bool, NoneType}:
        return None
    if value is None:
        is_valid = NoneType in expected
    elif _is_bool(value):
        is_valid = bool in expected
    elif is_whole(value):
        is_valid = bool(expected & {int, float})
    else:
        is_valid = float in expected and isinstance(value, Real) and math.isfinite(float(value))
    if is_valid:
        return None
    # Worded as pydantic's messages, which stand beside them.
    if float in expected:
        return "input should be a valid number"
    return f"input should be a valid {'integer' if int in expected else 'boolean'}"


def _member_types(annotation: Any) -> set[Any]:
    """The types of a union; of any other annotation, itself."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _member_types(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return {member for part in get_args(annotation) for member in _member_types(part)}
    return {annotation}


def _title(function: Callable[..., Any]) -> str:
    """The name of a function in messages: for a constructor, that of its class."""
    *owners, name = function.__qualname__.split(".")
    return owners[-1] if name == "__init__" else name


def _describe_problem(title: str, name: str, details: Any) -> str:
    message = details["msg"][0].lower() + details["msg"][1:]
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
