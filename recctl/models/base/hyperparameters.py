"""Hyperparameters and fitted values: declared once, on the class of the model.

    class EASERecommender(Recommender):
        l2_reg: float = hyperparameter(500.0, gt=0, help="...", search=Between(10, 10_000, log=True))
        weights: Float32Array = fitted("(n_items, n_items)")

The constructor, the YAML schema, `recctl models NAME`, the tuner and the docs are generated from these declarations.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from inspect import Parameter, Signature
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from recctl.data.matrix import InteractionMatrix
from recctl.data.vocabulary import Vocabulary
from recctl.errors import NotFittedError
from recctl.suggest import did_you_mean

# Parameters with two names in the literature: for an unknown parameter the message suggests the other name.
_SYNONYM_PAIRS = (("lr", "learning_rate"), ("n_epochs", "epochs"), ("n_factors", "embedding_dim"), ("reg", "l2_reg"))
SYNONYMS = dict(_SYNONYM_PAIRS) | {second: first for first, second in _SYNONYM_PAIRS}

# The scalar types of arrays that a model file can hold.
_SCALARS: tuple[type[np.generic], ...] = (
    np.bool_,
    np.int8,
    np.int16,
    np.int32,
    np.int64,
    np.uint8,
    np.uint16,
    np.uint32,
    np.uint64,
    np.float16,
    np.float32,
    np.float64,
)


def _array_annotations() -> dict[Any, np.dtype[Any] | None]:
    """The dtype of every annotation that declares an array; None stands for any dtype.

    Annotations are looked up by equality. Their structure (`get_origin`, `get_args`) is an internal of NumPy, which
    NumPy 2.5 changed: there `NDArray` is a type alias.
    """
    generic_array: Any = NDArray
    array_class: Any = np.ndarray
    dtypes: dict[Any, np.dtype[Any] | None] = {
        np.ndarray: None,
        generic_array[Any]: None,
        array_class[Any, Any]: None,
        array_class[Any, np.dtype[Any]]: None,
        array_class[tuple[Any, ...], np.dtype[Any]]: None,
        array_class[tuple[int, ...], np.dtype[Any]]: None,
    }
    for scalar in _SCALARS:
        dtype = np.dtype(scalar)
        dtypes[generic_array[scalar]] = dtype
        dtypes[array_class[Any, np.dtype[scalar]]] = dtype  # type: ignore[valid-type]
        dtypes[array_class[tuple[Any, ...], np.dtype[scalar]]] = dtype  # type: ignore[valid-type]
        dtypes[array_class[tuple[int, ...], np.dtype[scalar]]] = dtype  # type: ignore[valid-type]
    return dtypes


_ARRAYS = _array_annotations()
_OTHER_TYPES = (InteractionMatrix, Vocabulary, int, float, bool, str)


# Bounds in a JSON schema, and how they are written.
_SCHEMA_SIGNS = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}


@dataclass(frozen=True)
class Choices:
    """A search range: one of several values.

    Attributes:
        values: The values.
    """

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Between:
    """A search range: an interval.

    Attributes:
        low: The lower bound, included.
        high: The upper bound, included.
        log: Whether to search on a logarithmic scale, as is usual for learning rates and regularization weights.
        step: Only `low`, `low + step`, ... up to `high` are searched; None for all values. `high` must be one of them.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None


@dataclass(frozen=True)
class Hyperparameter:
    """The declaration of one hyperparameter; `hyperparameter` describes the attributes."""

    default: Any
    help: str
    search: Choices | Between | None = None
    bounds: Mapping[str, Any] = field(default_factory=dict)
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    annotation: Any = None
    # The annotation with the bounds of its parts, such as those of the elements of list[Annotated[int, Field(ge=1)]].
    constrained_annotation: Any = None

    @cached_property
    def _adapter(self) -> Any:
        from pydantic import ConfigDict, Field, TypeAdapter

        annotated: Any = Annotated[self.constrained_annotation, Field(**self.bounds)]
        # NaN and infinity are values of the type, but of no hyperparameter and of no element of one.
        return TypeAdapter(annotated, config=ConfigDict(allow_inf_nan=False))

    def check(self, value: Any) -> Any:
        """Convert a value to the declared type.

        NumPy scalars are accepted as numbers, and tuples and NumPy arrays as lists.

        Raises:
            ValueError: The value, or an element of a list, has another type or is out of bounds.
        """
        from pydantic import ValidationError

        try:
            # Strict: `epochs: "20"` or `true` is more often a mistake than meant as a number.
            return self._adapter.validate_python(_without_numpy(value), strict=True)
        except ValidationError as error:
            from recctl.config.messages import expectation

            problem = error.errors()[0]
            if problem["type"] == "string_pattern_mismatch" and "examples" in self.bounds:
                *examples, last = map(repr, self.bounds["examples"])
                raise ValueError(f"{value!r} should be of the form {', '.join(examples)} or {last}") from None
            position = "".join(f"[{part}]" for part in problem["loc"] if isinstance(part, int))
            message = f"{problem['input']!r} {expectation(problem)}"
            raise ValueError(f"{position} {message}" if position else message) from None

    def json_schema(self) -> dict[str, Any]:
        """The JSON schema of its values, with description and default."""
        schema: dict[str, Any] = self._adapter.json_schema()
        return schema | {"description": self.help, "default": self.default}

    @property
    def element_bounds(self) -> str:
        """The bounds of the elements of a list, in words; empty if there are none."""
        elements = self._adapter.json_schema().get("items", {})
        return ", ".join(
            f"{sign} {elements[keyword]}" for keyword, sign in _SCHEMA_SIGNS.items() if keyword in elements
        )

    def type_name(self) -> str:
        """The type in Python notation: `float`, `list[int]`, `'a' | 'b'`; for a pattern, examples of its values."""
        if "examples" in self.bounds:
            return " | ".join(map(repr, self.bounds["examples"]))
        return _type_text(self.annotation)


def _without_numpy(value: Any) -> Any:
    """A value with Python's numbers and lists in place of tuples, and of scalars and arrays of NumPy or torch."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_without_numpy(element) for element in value]
    return value


def _type_text(annotation: Any) -> str:
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if origin is Literal:
        return " | ".join(map(repr, arguments))
    if origin in (Union, UnionType):
        return " | ".join(map(_type_text, arguments))
    if annotation is NoneType:
        return "None"
    name: str = getattr(origin or annotation, "__name__", str(annotation))
    return f"{name}[{', '.join(map(_type_text, arguments))}]" if arguments else name


@dataclass(frozen=True)
class Fitted:
    """The declaration of one value that `fit` sets and `save` stores; `fitted` describes the attributes."""

    shape: str
    annotation: Any = None
    stored_as: str = ""
    if_absent: Any = None

    @property
    def dimensions(self) -> list[str]:
        """The names of the dimensions: `["n_items", "n_factors"]` for the shape `"(n_items, n_factors)"`."""
        parts = self.shape.strip("()").split(",")
        return [part.strip() for part in parts if part.strip()]

    @property
    def is_array(self) -> bool:
        """Whether the value is a NumPy array."""
        return self.annotation in _ARRAYS

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The dtype that an array must have; None if any dtype is allowed, or if the value is not an array."""
        return _ARRAYS.get(self.annotation)

    def require_supported(self, place: str) -> None:
        """Check that saved values can be checked against the annotation.

        Args:
            place: The name of the class and of the attribute, for the error message.

        Raises:
            TypeError: The annotation is neither an array nor one of the other supported types.
        """
        if self.is_array or self.annotation in _OTHER_TYPES:
            return
        raise TypeError(
            f"{place}: fitted() does not support the annotation {self.annotation!r}; use a NumPy array type such as "
            "NDArray[np.float32], InteractionMatrix, Vocabulary, int, float, bool or str"
        )

    def __get__(self, instance: object, owner: type) -> Any:
        if instance is None:
            return self
        # After a fit the instance has an attribute of this name, which takes precedence over the class attribute.
        raise NotFittedError(f"{owner.__name__} is not fitted yet: call fit() or load() first")


def hyperparameter(
    default: Any,
    *,
    help: str,  # noqa: A002 - the word readers expect
    search: Choices | Between | None = None,
    when: Mapping[str, tuple[Any, ...]] | None = None,
    **bounds: Any,
) -> Any:
    """Declare a hyperparameter.

    The annotation of the attribute is its type. Elements of a list have their bounds in the annotation:
    `list[Annotated[int, Field(ge=1)]]`.

    Args:
        default: The default value.
        help: A description in one line, shown by the command line and the docs.
        search: The default search range of the tuner; None if it is not searched by default.
        when: For other hyperparameters, the values with which the model reads this one, such as
            `{"loss": ("sampled_softmax",)}`; with other values it is not searched.
        bounds: Constraints such as `gt`, `ge`, `lt`, `le`, `min_length`, as accepted by pydantic's `Field`; with a
            `pattern`, also `examples` of its values.
    """
    return Hyperparameter(default, help, search, bounds, when or {})


def fitted(shape: str, *, stored_as: str = "", if_absent: Any = None, init: Literal[False] = False) -> Any:
    """Declare a fitted value: an array, an `InteractionMatrix`, a `Vocabulary`, a number or a text.

    The annotation is `NDArray[scalar]` of a boolean, integer or float scalar of NumPy, `NDArray[Any]`, or one of the
    other types. Any other annotation raises a TypeError when the class is defined. Loading a file checks the values
    against type and shape.

    Args:
        shape: The shape, such as `"(n_items, n_factors)"`; `""` for a number. Dimensions of the same name have equal
            sizes. A dimension with the name of a hyperparameter has its value as size.
        stored_as: Key of the value in files; the name of the attribute by default. An attribute that is renamed keeps
            its old key, so that files of all versions stay readable.
        if_absent: The value in files without this key, for an attribute that an older version did not have; None if
            such files are incomplete.
        init: Always False: it tells type checkers that the value is not an argument of the constructor.
    """
    return Fitted(shape, stored_as=stored_as, if_absent=if_absent)


def collect(cls: type) -> tuple[dict[str, Hyperparameter], dict[str, Fitted]]:
    """Collect the hyperparameters and fitted values declared on a class and its bases, in order of declaration.

    Raises:
        TypeError: The annotation of a fitted value is not supported.
    """
    parameters: dict[str, Hyperparameter] = {}
    values: dict[str, Fitted] = {}
    for base in reversed(cls.__mro__):
        declarations = {name: value for name, value in vars(base).items() if isinstance(value, Hyperparameter | Fitted)}
        hints = get_type_hints(base) if declarations else {}
        constrained_hints = get_type_hints(base, include_extras=True) if declarations else {}
        for name, declaration in declarations.items():
            if isinstance(declaration, Hyperparameter):
                parameters[name] = replace(
                    declaration, annotation=hints[name], constrained_annotation=constrained_hints[name]
                )
            else:
                key = declaration.stored_as or name
                values[name] = replace(declaration, stored_as=key, annotation=hints[name])
                values[name].require_supported(f"{base.__name__}.{name}")
    _require_valid_conditions(cls, parameters)
    return parameters, values


def _require_valid_conditions(cls: type, parameters: Mapping[str, Hyperparameter]) -> None:
    """Check that the conditions of hyperparameters name values that the others can have.

    Raises:
        TypeError: A condition names no hyperparameter, a value that it cannot have, or one that is searched later.
    """
    names = list(parameters)
    for name, declared in parameters.items():
        for other, allowed in declared.when.items():
            place = f"{cls.__name__}.{name}: when: {other!r}"
            if other not in parameters:
                raise TypeError(f"{place} is not a hyperparameter{did_you_mean(other, parameters)}")
            if parameters[other].search is not None and names.index(other) > names.index(name):
                raise TypeError(f"{place} is searched after {name}; declare it before")
            for value in allowed:
                try:
                    parameters[other].check(value)
                except ValueError as error:
                    raise TypeError(f"{place}: {error}") from None


def signature(parameters: Mapping[str, Hyperparameter]) -> Signature:
    """The signature of a model's constructor."""
    return Signature(
        [
            Parameter(name, Parameter.KEYWORD_ONLY, default=declared.default, annotation=declared.annotation)
            for name, declared in parameters.items()
        ]
    )


def validate(
    parameters: Mapping[str, Hyperparameter], values: Mapping[str, Any]
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Check hyperparameters, and fill in defaults.

    Returns:
        The value of every hyperparameter; and all problems, as (hyperparameter, problem with a suggested fix).
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
