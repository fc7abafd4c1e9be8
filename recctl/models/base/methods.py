"""Methods that can be called on a model or on its class."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
Model = TypeVar("Model")


class model_or_class_method(Generic[P]):  # noqa: N801 - a decorator, as classmethod
    """A method that returns its model; called on the class, it acts on a new model with default hyperparameters."""

    def __init__(self, function: Callable[Concatenate[Any, P], Any]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: Model | None, owner: type[Model]) -> Callable[P, Model]:
        return MethodType(self.function, owner() if instance is None else instance)
