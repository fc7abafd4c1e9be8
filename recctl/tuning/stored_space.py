"""Search spaces as studies store them: a study keeps its space, whatever ranges a later version declares by default."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from recctl.models.base.hyperparameters import Between, Choices
from recctl.models.base.search_space import Dimension, Space


def to_stored(space: Space) -> list[dict[str, Any]]:
    """A space as values of JSON."""
    return [_to_stored(dimension) for dimension in space.dimensions]


def _to_stored(dimension: Dimension) -> dict[str, Any]:
    stored: dict[str, Any] = {"name": dimension.name}
    search_range = dimension.range
    if isinstance(search_range, Choices):
        stored["choices"] = list(search_range.values)
    else:
        stored |= {
            "low": search_range.low,
            "high": search_range.high,
            "log": search_range.log,
            "step": search_range.step,
            "whole": dimension.whole,
        }
    stored["when"] = {name: list(values) for name, values in dimension.when.items()}
    return stored


def from_stored(stored: Sequence[Any]) -> Space:
    """A space from what a study stores: mappings, or the texts of versions before 0.3."""
    return Space(
        tuple(_from_text(dimension) if isinstance(dimension, str) else _from_mapping(dimension) for dimension in stored)
    )


def is_extended(stored: Sequence[Any]) -> bool:
    """Whether the space is of a version before 0.3, which extended it to include the config's own values."""
    return any(isinstance(dimension, str) for dimension in stored)


def _from_mapping(stored: dict[str, Any]) -> Dimension:
    when = {name: tuple(values) for name, values in stored["when"].items()}
    if "choices" in stored:
        return Dimension(stored["name"], Choices(tuple(stored["choices"])), when=when)
    search_range = Between(stored["low"], stored["high"], stored["log"], stored["step"])
    return Dimension(stored["name"], search_range, stored["whole"], when)


def _from_text(text: str) -> Dimension:
    """A dimension from its `repr` of version 0.2, which holds literals only."""
    values = _arguments(ast.parse(text, mode="eval").body)
    search_range = values["range"]
    arguments = _arguments(search_range)
    make_range = {"Choices": Choices, "Between": Between}[search_range.func.id]
    return Dimension(
        ast.literal_eval(values["name"]),
        make_range(**{name: ast.literal_eval(value) for name, value in arguments.items()}),
        ast.literal_eval(values["whole"]),
        ast.literal_eval(values["when"]),
    )


def _arguments(call: Any) -> dict[str, Any]:
    return {keyword.arg: keyword.value for keyword in call.keywords}
