"""Search spaces: the values that a search tries, declared by a model or by a config.

A dimension has the name of a hyperparameter, or a path in the config such as `data.min_item_interactions`. A place in a
dimension is a number from 0 to 1, on a log scale if the dimension has one, so that strategies need not know its values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any, TypeGuard

from recctl.models.base.hyperparameters import Between, Choices, Hyperparameter
from recctl.suggest import did_you_mean

if TYPE_CHECKING:
    from recctl.models.base.recommender import Recommender

Point = dict[str, Any]

# The sections of a config that can be searched, besides the hyperparameters of the model.
_SECTIONS = ("data", "training")
_KEYS = {"choices", "low", "high", "log", "when"}


@dataclass(frozen=True)
class Dimension:
    """One dimension of a search space.

    Attributes:
        name: The name of a hyperparameter, or a path in the config.
        range: The values.
        whole: Whether an interval has integer values only.
        when: Conditions: the dimension is active only if each of these dimensions has one of these values.
    """

    name: str
    range: Choices | Between
    whole: bool = False
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def path(self) -> tuple[str, ...]:
        """The path of the setting in a config."""
        if "." in self.name:
            return tuple(self.name.split("."))
        return "model", "params", self.name

    @property
    def ordered(self) -> bool:
        """Whether the values are ordered: intervals are, and choices that are ascending numbers."""
        if isinstance(self.range, Between):
            return True
        values = self.range.values
        return all(_is_number(value) for value in values) and list(values) == sorted(values)

    def at(self, place: float) -> Any:
        """The value at a place, a number from 0 to 1."""
        if isinstance(self.range, Choices):
            n_values = len(self.range.values)
            # Place 1 belongs to the last value.
            return self.range.values[min(int(place * n_values), n_values - 1)]
        low, high = self._bounds(self.range)
        value = low + (high - low) * place
        value = math.exp(value) if self.range.log else value
        # exp(log(x)) may exceed x by a rounding error, and the model would reject the value.
        value = min(max(value, self.range.low), self.range.high)
        return round(value) if self.whole else float(value)

    def place(self, value: Any) -> float:
        """The place of a value, the inverse of `at`; for a choice the middle of its share of the places."""
        if isinstance(self.range, Choices):
            return (self.range.values.index(value) + 0.5) / len(self.range.values)
        low, high = self._bounds(self.range)
        if high <= low:
            return 0.5
        scaled = math.log(value) if self.range.log else value
        return float(min(max((scaled - low) / (high - low), 0.0), 1.0))

    def grid(self, size: int) -> list[Any]:
        """All choices; or `size` equidistant values of an interval, bounds included."""
        if isinstance(self.range, Choices):
            return list(self.range.values)
        return list(dict.fromkeys(self.at(step / (size - 1)) for step in range(size)))

    def including(self, value: Any) -> Dimension:
        """The dimension extended to include a value; unchanged if it is included, or cannot be."""
        if isinstance(self.range, Choices):
            if value in self.range.values:
                return self
            return replace(self, range=Choices((*self.range.values, value)))
        # A config's own value may be null, which means no limit: no interval includes it.
        if not _is_number(value) or (self.range.log and value <= 0):
            return self
        low = min(self.range.low, value)
        high = max(self.range.high, value)
        return replace(self, range=replace(self.range, low=low, high=high))

    def _bounds(self, interval: Between) -> tuple[float, float]:
        """The bounds of an interval on its scale."""
        if interval.log:
            return math.log(interval.low), math.log(interval.high)
        return interval.low, interval.high


@dataclass(frozen=True)
class Space:
    """A search space. The conditions of a dimension refer to dimensions before it only.

    Attributes:
        dimensions: The dimensions, in the order of the config or of the model's declarations.
    """

    dimensions: tuple[Dimension, ...]

    def active(self, value_of: Mapping[str, Any]) -> Iterator[Dimension]:
        """Yield the dimensions whose conditions hold.

        Args:
            value_of: Values by name. It is read lazily: callers may add the value of each dimension as it is yielded.
        """
        for dimension in self.dimensions:
            if all(value_of.get(other) in values for other, values in dimension.when.items()):
                yield dimension

    def point(self, values: Mapping[str, Any]) -> Point:
        """The point with those of the values whose dimension is active."""
        chosen: Point = {}
        for dimension in self.active(chosen):
            if dimension.name in values:
                chosen[dimension.name] = values[dimension.name]
        return chosen

    def at(self, places: Sequence[float]) -> Point:
        """The point at the given place in each dimension.

        Args:
            places: A number from 0 to 1 for each dimension.
        """
        values = {}
        for dimension, place in zip(self.dimensions, places, strict=True):
            values[dimension.name] = dimension.at(float(place))
        return self.point(values)

    def grid(self, size: int) -> list[Point]:
        """All combinations of the values of `Dimension.grid`, each once."""
        names = [dimension.name for dimension in self.dimensions]
        combinations = product(*(dimension.grid(size) for dimension in self.dimensions))
        points = (self.point(dict(zip(names, values, strict=True))) for values in combinations)
        # Combinations that differ only in inactive dimensions are one point. By repr: lists are not hashable.
        return list({repr(point): point for point in points}.values())

    def including(self, point: Mapping[str, Any]) -> Space:
        """The space extended to include a point."""
        extended = []
        for dimension in self.dimensions:
            if dimension.name in point:
                dimension = dimension.including(point[dimension.name])
            extended.append(dimension)
        return Space(tuple(extended))


def declared_space(model: type[Recommender]) -> Space:
    """The search space of the ranges that the model declares."""
    dimensions = [
        Dimension(name, declared.search, _is_integer(declared))
        for name, declared in model.parameters.items()
        if declared.search is not None
    ]
    return Space(tuple(dimensions))


def parse_space(config: Mapping[str, Any], model: type[Recommender]) -> tuple[Space, list[tuple[str, str]]]:
    """Parse the search space of a config.

    Args:
        config: For each name a list of choices, or a mapping with the keys `low`, `high`, `log`, `choices`, `when`.
        model: The class of the model that is tuned.

    Returns:
        The space, without invalid dimensions; and all problems, as (name, problem with a suggested fix).
    """
    dimensions: list[Dimension] = []
    problems: list[tuple[str, str]] = []
    for key, value in config.items():
        name = key.removeprefix("model.params.")
        earlier = [dimension.name for dimension in dimensions]
        try:
            dimensions.append(_dimension(name, value, model, earlier))
        except ValueError as error:
            problems.append((key, str(error)))
    return Space(tuple(dimensions)), problems


def _dimension(name: str, value: Any, model: type[Recommender], earlier: Sequence[str]) -> Dimension:
    """Parse one dimension.

    Raises:
        ValueError: The problem, with a suggested fix.
    """
    declared = model.parameters.get(name)
    section = name.partition(".")[0]
    if declared is None and not ("." in name and section in _SECTIONS):
        raise ValueError(f"unknown parameter of {model.name}{did_you_mean(name, model.parameters)}")
    settings = {"choices": value} if isinstance(value, list) else value
    if not isinstance(settings, dict):
        raise ValueError(f"{value!r}: write a list of choices, or {{low: ..., high: ..., log: true}}")
    for key in settings:
        if key not in _KEYS:
            raise ValueError(f"unknown key {key!r}{did_you_mean(key, _KEYS)}")
    when = _conditions(settings.get("when") or {}, earlier)
    if "choices" in settings:
        return Dimension(name, _choices(settings, declared), when=when)
    interval = _interval(settings, declared)
    if declared is None:
        # A path of the config has no declaration: `low: 1` means integers, `low: 1.0` does not.
        is_integer = isinstance(interval.low, int) and isinstance(interval.high, int)
    else:
        is_integer = _is_integer(declared)
    return Dimension(name, interval, is_integer, when)


def _choices(settings: Mapping[str, Any], declared: Hyperparameter | None) -> Choices:
    choices = settings["choices"]
    if not isinstance(choices, list) or not choices or {"low", "high", "log"} & set(settings):
        raise ValueError("choices must be a list of at least one value, without low, high and log")
    values = [_checked(declared, value) for value in choices]
    # By repr: True equals 1, but is another choice.
    distinct = {repr(value): value for value in values}
    return Choices(tuple(distinct.values()))


def _interval(settings: Mapping[str, Any], declared: Hyperparameter | None) -> Between:
    low = settings.get("low")
    high = settings.get("high")
    log = settings.get("log", False)
    if not _is_number(low) or not _is_number(high) or not low < high or not isinstance(log, bool):
        raise ValueError("write low and high, numbers with low < high, and log: true for a log scale")
    if log and low <= 0:
        raise ValueError(f"low={low}: the lower bound of a log scale must be above 0")
    return Between(_checked(declared, low), _checked(declared, high), log)


def _conditions(when: Any, earlier: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    if not isinstance(when, dict):
        raise ValueError(f"when: {when!r}: write {{parameter: value}} or {{parameter: [values]}}")
    conditions: dict[str, tuple[Any, ...]] = {}
    for name, value in when.items():
        if name not in earlier:
            raise ValueError(f"when: {name!r} is not searched before this one; move it above it in the space")
        conditions[name] = tuple(value) if isinstance(value, list) else (value,)
    return conditions


def _checked(declared: Hyperparameter | None, value: Any) -> Any:
    return value if declared is None else declared.check(value)


def _is_integer(declared: Hyperparameter) -> bool:
    return declared.annotation in (int, int | None)


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
