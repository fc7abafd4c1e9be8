"""Hyperparameters and fitted values: declared once, on the class of the model.

    class EASERecommender(Recommender):
        l2_reg: float = hyperparameter(500.0, gt=0, help="...", search=Between(10, 10_000, log=True))
        weights: Float32Array = fitted("(n_items, n_items)")

The constructor, the YAML schema, `recctl models NAME`, the tuner and the docs are all made from that line.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, Literal, get_type_hints

from recctl.errors import NotFittedError
from recctl.suggest import did_you_mean

# One meaning, two names in the literature: an unknown parameter of one name suggests the other.
_PAIRS = (("lr", "learning_rate"), ("n_epochs", "epochs"), ("n_factors", "embedding_dim"), ("reg", "l2_reg"))
SYNONYMS = {a: b for pair in _PAIRS for a, b in (pair, pair[::-1])}


@dataclass(frozen=True)
class Choices:
    """A search range: one of these values."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Between:
    """A search range: from `low` to `high`, both included; scale parameters want `log`."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Hyperparameter:
    """The declaration of one hyperparameter; `hyperparameter` describes the attributes."""

    default: Any
    help: str
    search: Choices | Between | None = None
    bounds: Mapping[str, Any] = field(default_factory=dict)
    annotation: Any = None

    @cached_property
    def _adapter(self) -> Any:
        from pydantic import Field, TypeAdapter

        limits: dict[str, Any] = dict(self.bounds)
        if self.annotation in (float, float | None):
            limits["allow_inf_nan"] = False
        annotated: Any = Annotated[self.annotation, Field(**limits)]
        return TypeAdapter(annotated)

    def check(self, value: Any) -> Any:
        """The value in the declared type.

        Raises:
            ValueError: Another type, or out of bounds; says which.
        """
        from pydantic import ValidationError

        # NumPy's numbers, as a search draws them, are as good as Python's own, and tuples as good as lists.
        plain = value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
        try:
            return self._adapter.validate_python(list(plain) if isinstance(plain, tuple) else plain, strict=True)
        except ValidationError as error:
            problem = error.errors()[0]
            where = "".join(f"[{part}]" for part in problem["loc"] if isinstance(part, int))
            message = problem["msg"].replace("Input should", "should")
            raise ValueError(f"{where}{' ' if where else ''}{problem['input']!r} {message}") from None

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema of its values, with meaning and default."""
        return {**self._adapter.json_schema(), "description": self.help, "default": self.default}

    def type_name(self) -> str:
        """Its type as people read it: `float`, `list[int]`, `'a' | 'b'`."""
        text = self.annotation.__name__ if isinstance(self.annotation, type) else str(self.annotation)
        if text.startswith("typing.Literal["):
            return text.removeprefix("typing.Literal[").removesuffix("]").replace(", ", " | ")
        return text if "[" not in str(self.annotation) else str(self.annotation).replace("typing.", "")


@dataclass(frozen=True)
class Fitted:
    """The declaration of one value that `fit` sets and `save` keeps; `fitted` describes the attributes."""

    shape: str
    annotation: Any = None

    def __get__(self, instance: object, owner: type) -> Any:
        if instance is None:
            return self
        # Fitting puts the value in the instance, where it is found before this declaration.
        raise NotFittedError(f"{owner.__name__} is not fitted yet: call fit() or load() first")


def hyperparameter(
    default: Any,
    *,
    help: str,  # noqa: A002 - the word readers expect
    search: Choices | Between | None = None,
    **bounds: Any,
) -> Any:
    """Declare a hyperparameter.

    Args:
        default: Its value unless given.
        help: One line of meaning, shown wherever the parameter is.
        search: Its default search range.
        bounds: `gt`, `ge`, `lt`, `le`, `min_length`, ... as pydantic's `Field` takes them.
    """
    return Hyperparameter(default, help, search, bounds)


def fitted(shape: str, *, init: Literal[False] = False) -> Any:
    """Declare what fitting makes: an array, an `InteractionMatrix`, or a number.

    Args:
        shape: `"(n_items, n_factors)"`, `""` for a number. Sizes of one name are equal; those named like a
            hyperparameter are that. A file is checked against it, and against the type, when it is loaded.
        init: Always False: type checkers take it as "no argument of the constructor".
    """
    return Fitted(shape)


def collect(cls: type) -> tuple[dict[str, Hyperparameter], dict[str, Fitted]]:
    """The hyperparameters and fitted values declared on a class and its bases, in order of declaration."""
    parameters: dict[str, Hyperparameter] = {}
    values: dict[str, Fitted] = {}
    for base in reversed(cls.__mro__):
        declared = {name: value for name, value in vars(base).items() if isinstance(value, Hyperparameter | Fitted)}
        hints = get_type_hints(base) if declared else {}
        for name, value in declared.items():
            if isinstance(value, Hyperparameter):
                parameters[name] = replace(value, annotation=hints[name])
            else:
                values[name] = replace(value, annotation=hints[name])
    return parameters, values


def validate(
    parameters: Mapping[str, Hyperparameter], values: Mapping[str, Any]
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Check hyperparameters, and fill in the defaults of those that are not given.

    Returns:
        The value of every parameter, and every problem as (parameter, what is wrong and the way out).
    """
    checked = {name: copy(declared.default) for name, declared in parameters.items()}
    problems = []
    for name, value in values.items():
        if name not in parameters:
            problems.append((name, f"unknown parameter{did_you_mean(name, parameters, SYNONYMS)}"))
            continue
        try:
            checked[name] = parameters[name].check(value)
        except ValueError as error:
            problems.append((name, str(error)))
    return checked, problems
