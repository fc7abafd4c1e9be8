"""Search spaces: what a search may try, from the declarations of a model or from a config.

A dimension is named as the model names its hyperparameter, or by a path in the config: `data.min_item_interactions`.
Places in it are numbers from 0 to 1, on a log scale where it has one, so that strategies need not know what it holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from recctl.models.base import Recommender
from recctl.models.base.hyperparameters import Between, Choices, Hyperparameter
from recctl.suggest import did_you_mean

Point = dict[str, Any]

# Sections of a config that a search may change besides the model's hyperparameters.
_SECTIONS = ("data", "training")
_KEYS = {"choices", "low", "high", "log", "when"}


@dataclass(frozen=True)
class Dimension:
    """One thing that is searched.

    Attributes:
        name: A hyperparameter's, or a path in the config.
        range: Its values.
        whole: Whether a range holds whole numbers only.
        when: It counts only if these others have one of these values.
    """

    name: str
    range: Choices | Between
    whole: bool = False
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def path(self) -> tuple[str, ...]:
        """Where it stands in a config."""
        return tuple(self.name.split(".")) if "." in self.name else ("model", "params", self.name)

    @property
    def ordered(self) -> bool:
        """Whether its values lie on a line; choices do if they are ascending numbers."""
        if isinstance(self.range, Between):
            return True
        values = self.range.values
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        return numbers and list(values) == sorted(values)

    def at(self, place: float) -> Any:
        """The value at a place."""
        if isinstance(self.range, Choices):
            return self.range.values[min(int(place * len(self.range.values)), len(self.range.values) - 1)]
        low, high = self._ends(self.range)
        value = low + (high - low) * place
        value = math.exp(value) if self.range.log else value
        value = min(max(value, self.range.low), self.range.high)
        return round(value) if self.whole else float(value)

    def place(self, value: Any) -> float:
        """The place of a value; of a choice the middle of its own."""
        if isinstance(self.range, Choices):
            return (self.range.values.index(value) + 0.5) / len(self.range.values)
        low, high = self._ends(self.range)
        here = math.log(value) if self.range.log else value
        return float(min(max((here - low) / (high - low), 0.0), 1.0)) if high > low else 0.5

    def grid(self, size: int) -> list[Any]:
        """All choices; of a range `size` values at equal distances, ends included."""
        if isinstance(self.range, Choices):
            return list(self.range.values)
        return list(dict.fromkeys(self.at(step / (size - 1)) for step in range(size)))

    def including(self, value: Any) -> Dimension:
        """The same, made wider where the value is not in it."""
        if isinstance(self.range, Choices):
            values = self.range.values
            return self if value in values else replace(self, range=Choices((*values, value)))
        if not isinstance(value, int | float) or isinstance(value, bool) or (self.range.log and value <= 0):
            return self
        return replace(
            self, range=replace(self.range, low=min(self.range.low, value), high=max(self.range.high, value))
        )

    def _ends(self, given: Between) -> tuple[float, float]:
        return (math.log(given.low), math.log(given.high)) if given.log else (given.low, given.high)


@dataclass(frozen=True)
class Space:
    """Everything that is searched; conditions look only at dimensions that stand before."""

    dimensions: tuple[Dimension, ...]

    def active(self, value_of: Mapping[str, Any]) -> Iterator[Dimension]:
        """The dimensions that count, given the values of those before; `value_of` is asked while it is being filled."""
        for dimension in self.dimensions:
            if all(value_of.get(other) in values for other, values in dimension.when.items()):
                yield dimension

    def point(self, values: Mapping[str, Any]) -> Point:
        """Of some values those that count."""
        chosen: Point = {}
        for dimension in self.active(chosen):
            if dimension.name in values:
                chosen[dimension.name] = values[dimension.name]
        return chosen

    def at(self, places: Sequence[float]) -> Point:
        """The point at a place in each dimension."""
        return self.point({d.name: d.at(float(place)) for d, place in zip(self.dimensions, places, strict=True)})

    def grid(self, size: int) -> list[Point]:
        """Every combination, once."""
        names = [dimension.name for dimension in self.dimensions]
        combinations = product(*(dimension.grid(size) for dimension in self.dimensions))
        points = (self.point(dict(zip(names, values, strict=True))) for values in combinations)
        return list({repr(point): point for point in points}.values())

    def including(self, point: Mapping[str, Any]) -> Space:
        """The same, made wider where a point is not in it."""
        return Space(tuple(d.including(point[d.name]) if d.name in point else d for d in self.dimensions))


def declared_space(model: type[Recommender]) -> Space:
    """What the model itself says may be searched."""
    found = [
        Dimension(name, declared.search, _whole(declared))
        for name, declared in model.parameters.items()
        if declared.search is not None
    ]
    return Space(tuple(found))


def parse_space(given: Mapping[str, Any], model: type[Recommender]) -> tuple[Space, list[tuple[str, str]]]:
    """The space of a config: for each name a list of choices, or `{low, high, log, choices, when}`.

    Returns:
        The space, and every problem as (name, what is wrong and the way out).
    """
    dimensions: list[Dimension] = []
    problems: list[tuple[str, str]] = []
    for key, what in given.items():
        name = key.removeprefix("model.params.")
        try:
            dimensions.append(_dimension(name, what, model, [d.name for d in dimensions]))
        except ValueError as error:
            problems.append((key, str(error)))
    return Space(tuple(dimensions)), problems


def _dimension(name: str, given: Any, model: type[Recommender], before: Sequence[str]) -> Dimension:
    declared = model.parameters.get(name)
    section = name.partition(".")[0]
    if declared is None and not ("." in name and section in _SECTIONS):
        raise ValueError(f"unknown parameter of {model.name}{did_you_mean(name, model.parameters)}")
    what = {"choices": given} if isinstance(given, list) else given
    if not isinstance(what, dict):
        raise ValueError(f"{given!r}: write a list of choices, or {{low: ..., high: ..., log: true}}")
    for key in what:
        if key not in _KEYS:
            raise ValueError(f"unknown key {key!r}{did_you_mean(key, _KEYS)}")
    when = _conditions(what.get("when") or {}, before)
    if "choices" in what:
        if not isinstance(what["choices"], list) or not what["choices"] or {"low", "high", "log"} & set(what):
            raise ValueError("choices is a list of at least one value, without low, high and log")
        values = tuple(_checked(declared, value) for value in what["choices"])
        return Dimension(name, Choices(tuple({repr(value): value for value in values}.values())), when=when)
    low, high, log = what.get("low"), what.get("high"), what.get("log", False)
    numbers = [value for value in (low, high) if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < 2 or not numbers[0] < numbers[1] or not isinstance(log, bool):
        raise ValueError("write low and high, numbers of which low is the lower, and log: true for a log scale")
    if log and numbers[0] <= 0:
        raise ValueError(f"low={low}: a log scale begins above 0")
    low, high = _checked(declared, low), _checked(declared, high)
    whole = _whole(declared) if declared else isinstance(low, int) and isinstance(high, int)
    return Dimension(name, Between(low, high, log), whole, when)


def _conditions(given: Any, before: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    if not isinstance(given, dict):
        raise ValueError(f"when: {given!r}: write {{parameter: value}} or {{parameter: [values]}}")
    for other in given:
        if other not in before:
            raise ValueError(f"when: {other!r} is not searched before this one; it must stand above it in the space")
    return {other: tuple(value) if isinstance(value, list) else (value,) for other, value in given.items()}


def _checked(declared: Hyperparameter | None, value: Any) -> Any:
    return value if declared is None else declared.check(value)


def _whole(declared: Hyperparameter) -> bool:
    return declared.annotation in (int, int | None)
