"""Arguments of public functions, checked against the annotations that declare them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from pydantic import ConfigDict, ValidationError, validate_call

from recctl.errors import ConfigError

P = ParamSpec("P")
R = TypeVar("R")


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse arguments that do not fit the function's annotations, with one ConfigError for all of them.

    Bounds stand in the annotations, `n: Annotated[int, Field(ge=1)]`, where a config's schema finds them too.
    """
    names = list(inspect.signature(function).parameters)
    validated: Callable[P, R] = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(function)
    title = function.__qualname__.removesuffix(".__init__")

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return validated(*args, **kwargs)
        except ValidationError as error:
            raise ConfigError(*dict.fromkeys(_problem(title, names, problem) for problem in error.errors())) from None

    return call


def _problem(title: str, names: list[str], problem: Any) -> str:
    place = problem["loc"][0]  # an argument given by position is told by its position
    name = names[place] if isinstance(place, int) and place < len(names) else place
    complaint = problem["msg"][0].lower() + problem["msg"][1:]
    if problem["type"] in ("missing_argument", "unexpected_keyword_argument", "unexpected_positional_argument"):
        return f"{title}: {name}: {complaint}"
    return f"{title}: {name}={repr(problem['input']).splitlines()[0][:60]}: {complaint}"
