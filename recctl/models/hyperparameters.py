"""Hyperparameters and fitted arrays: declared once, on the class of the model.

    class EASERecommender(Recommender):
        l2_reg: float = hyperparameter(500.0, gt=0, help="...", search=between(10, 10_000, log=True))
        weights: Float32Array = fitted("(n_items, n_items)")

The constructor, the YAML schema, `recctl models NAME`, the tuner and the docs are all made from that line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_type_hints

# One meaning, two names in the literature: an unknown parameter of one name suggests the other.
SYNONYMS = {"lr": "learning_rate", "n_epochs": "epochs", "n_factors": "embedding_dim", "reg": "l2_reg"}


@dataclass(frozen=True)
class Choices:
    """A search range: one of these values."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Between:
    """A search range: from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False


def choices(*values: Any) -> Choices:
    """Search one of these values."""
    return Choices(values)


def between(low: float, high: float, *, log: bool = False) -> Between:
    """Search from `low` to `high`; scale parameters want `log`."""
    return Between(low, high, log)


@dataclass(frozen=True)
class Hyperparameter:
    """The declaration of one hyperparameter."""

    name: str
    annotation: Any
    default: Any
    help: str
    bounds: dict[str, Any]
    search: Choices | Between | None


@dataclass
class _Declared:
    default: Any
    help: str
    bounds: dict[str, Any]
    search: Choices | Between | None


@dataclass(frozen=True)
class Fitted:
    """The declaration of one array (or number) that `fit` sets and `save` keeps."""

    shape: str
    optional: bool = False


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
    return _Declared(default, help, bounds, search)


def fitted(shape: str, *, optional: bool = False, init: Literal[False] = False) -> Any:
    """Declare what fitting makes: an array, an `InteractionMatrix`, or a number."""
    return Fitted(shape, optional)


def collect(cls: type) -> tuple[dict[str, Hyperparameter], dict[str, Fitted]]:
    """The hyperparameters and fitted arrays declared on a class and its bases, in order of declaration."""
    parameters: dict[str, Hyperparameter] = {}
    arrays: dict[str, Fitted] = {}
    for base in reversed(cls.__mro__):
        declared = {name: value for name, value in vars(base).items() if isinstance(value, _Declared | Fitted)}
        if not declared:
            continue
        hints = (
            get_type_hints(base, include_extras=True)
            if any(isinstance(v, _Declared) for v in declared.values())
            else {}
        )
        for name, value in declared.items():
            if isinstance(value, Fitted):
                arrays[name] = value
            else:
                parameters[name] = Hyperparameter(
                    name, hints[name], value.default, value.help, value.bounds, value.search
                )
    return parameters, arrays
