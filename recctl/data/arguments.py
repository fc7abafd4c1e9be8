"""Checking the arguments of public functions against their annotations."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from pydantic import ConfigDict, ValidationError, validate_call

from recctl.errors import ConfigError

P = ParamSpec("P")
R = TypeVar("R")

_MAX_VALUE_LENGTH = 60


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check arguments against the function's annotations, and raise one ConfigError for all problems.

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
            problems = [_describe_problem(title, names, problem) for problem in error.errors()]
            raise ConfigError(*dict.fromkeys(problems)) from None

    return call


def _describe_problem(title: str, names: list[str], problem: Any) -> str:
    location = problem["loc"][0]  # the name, or the position of a positional argument
    name = names[location] if isinstance(location, int) and location < len(names) else location
    message = problem["msg"][0].lower() + problem["msg"][1:]
    if problem["type"] in ("missing_argument", "unexpected_keyword_argument", "unexpected_positional_argument"):
        return f"{title}: {name}: {message}"
    value = repr(problem["input"]).splitlines()[0][:_MAX_VALUE_LENGTH]
    return f"{title}: {name}={value}: {message}"
