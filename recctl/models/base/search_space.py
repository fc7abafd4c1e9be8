"""Search spaces: the values that a search tries, declared by a model or by a config.

A dimension has the name of a hyperparameter, or a path in the config such as `data.min_item_interactions`. A place in a
dimension is a number from 0 to 1, on a log scale if the dimension has one, so that strategies need not know its values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeGuard, get_args

from recctl.models.base.hyperparameters import Between, Choices, Hyperparameter
from recctl.suggest import did_you_mean, most_similar

if TYPE_CHECKING:
    from recctl.models.base.recommender import Recommender

Point = dict[str, Any]

# The sections of a config that can be searched, besides the hyperparameters of the model.
_SECTIONS = ("data", "training")
_KEYS = {"choices", "low", "high", "log", "step", "when"}
# A value is a multiple of a step if it is this close to one, as a part of the step; Optuna's tolerance.
_STEP_TOLERANCE = 1e-8


@dataclass(frozen=True)
class Dimension:
    """One dimension of a search space.

    Attributes:
        name: The name of a hyperparameter, or a path in the config.
        range: The values.
        whole: Whether an interval has integer values only.
        when: Conditions: the dimension is active only if each of these settings has one of these values.
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

    @property
    def size(self) -> int | None:
        """The number of values; None for an interval of real numbers."""
        if isinstance(self.range, Choices):
            return len(self.range.values)
        step = self._step
        if step is None:
            return None
        return round((self.range.high - self.range.low) / step) + 1

    @property
    def _step(self) -> float | None:
        """The distance of neighboring values; None for an interval of real numbers."""
        if isinstance(self.range, Between) and self.range.step is not None:
            return self.range.step
        return 1 if self.whole else None

    def values(self) -> Iterator[Any]:
        """Yield all values of a dimension that has a size."""
        if isinstance(self.range, Choices):
            yield from self.range.values
            return
        for position in range(self.size or 0):
            yield self._nth(position)

    def at(self, place: float) -> Any:
        """The value at a place, a number from 0 to 1. Values of a finite dimension without log have equal shares."""
        interval = self.range
        if isinstance(interval, Choices):
            return interval.values[_position_at(place, len(interval.values))]
        if self.size is not None and not interval.log:
            return self._nth(_position_at(place, self.size))
        low, high = self._bounds(interval)
        return self._from_scale(interval, low + (high - low) * place)

    def place(self, value: Any) -> float:
        """The place of a value, the inverse of `at`; of a value that has a share of the places, its middle."""
        interval = self.range
        if isinstance(interval, Choices):
            return (_position_of(value, interval.values) + 0.5) / len(interval.values)
        if self.size is not None and not interval.log:
            position = round((value - interval.low) / (self._step or 1))
            return float((position + 0.5) / self.size)
        low, high = self._bounds(interval)
        if high <= low:
            return 0.5
        scaled = math.log(value) if interval.log else value
        return float(min(max((scaled - low) / (high - low), 0.0), 1.0))

    def grid(self, size: int) -> list[Any]:
        """All choices, or all multiples of a step; else `size` equidistant values of an interval, bounds included."""
        interval = self.range
        if isinstance(interval, Choices) or interval.step is not None:
            return list(self.values())
        scale: Callable[[float], float] = math.log if interval.log else float
        low = scale(interval.low)
        high = scale(interval.high)
        values = [self._from_scale(interval, low + (high - low) * position / (size - 1)) for position in range(size)]
        return list(dict.fromkeys(values))

    def contains(self, value: Any) -> bool:
        """Whether a value is one of the dimension's."""
        interval = self.range
        if isinstance(interval, Choices):
            return any(is_same(value, choice) for choice in interval.values)
        if not _is_number(value) or not interval.low <= value <= interval.high:
            return False
        step = self._step
        if step is None:
            return True
        n_steps = (value - interval.low) / step
        return abs(n_steps - round(n_steps)) < _STEP_TOLERANCE

    def canonical(self, value: Any) -> Any:
        """A value of the dimension as the dimension writes it: 100 as 100.0, and 0.1 + 0.2 as 0.3 if steps are 0.1."""
        interval = self.range
        if isinstance(interval, Choices):
            return interval.values[_position_of(value, interval.values)]
        step = self._step
        return float(value) if step is None else self._nth(round((value - interval.low) / step))

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

    def describe(self) -> str:
        """The values in words, for messages."""
        if isinstance(self.range, Choices):
            return ", ".join(map(str, self.range.values))
        text = f"{self.range.low:g} to {self.range.high:g}"
        return text if self.range.step is None else f"{text} in steps of {self.range.step:g}"

    def _nth(self, position: int) -> Any:
        """The value after a number of steps from the lower bound."""
        assert isinstance(self.range, Between)
        if self.whole:
            return round(self.range.low) + position * round(self._step or 1)
        # In decimal: 0.1 + 2 * 0.1 is 0.3, as it is written.
        return float(_decimal(self.range.low) + position * _decimal(self._step or 1))

    def _from_scale(self, interval: Between, scaled: float) -> Any:
        value = math.exp(scaled) if interval.log else scaled
        # exp(log(x)) may differ from x by a rounding error; a bound itself is exact.
        for bound in (interval.low, interval.high):
            if math.isclose(value, bound, rel_tol=1e-14, abs_tol=0.0):
                value = bound
        value = min(max(value, interval.low), interval.high)
        return round(value) if self.whole else float(value)

    def _bounds(self, interval: Between) -> tuple[float, float]:
        """The bounds of an interval on its scale; of integers half a step wider, so that the bounds are as likely."""
        margin = 0.5 if self.whole else 0.0
        low = interval.low - margin
        high = interval.high + margin
        return (math.log(low), math.log(high)) if interval.log else (low, high)


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
            if _holds(dimension.when, value_of):
                yield dimension

    def point(self, values: Mapping[str, Any]) -> Point:
        """The point with those of the values whose dimension is active."""
        chosen: Point = {}
        for dimension in self.active(chosen):
            if dimension.name in values:
                value = values[dimension.name]
                chosen[dimension.name] = dimension.canonical(value) if dimension.contains(value) else value
        return chosen

    def outside(self, point: Mapping[str, Any]) -> list[Dimension]:
        """The active dimensions that do not contain the point's value."""
        return [
            dimension
            for dimension in self.active(point)
            if dimension.name not in point or not dimension.contains(point[dimension.name])
        ]

    def at(self, places: Sequence[float]) -> Point:
        """The point at the given place in each dimension.

        Args:
            places: A number from 0 to 1 for each dimension.
        """
        values = {}
        for dimension, place in zip(self.dimensions, places, strict=True):
            values[dimension.name] = dimension.at(float(place))
        return self.point(values)

    @property
    def size(self) -> int | None:
        """The number of points; None if an interval of real numbers makes them infinitely many."""
        names = {name for dimension in self.dimensions for name in dimension.when}
        # For each combination of the values that conditions refer to: the number of points that have it.
        counts: list[tuple[Point, int]] = [({}, 1)]
        for dimension in self.dimensions:
            extended: list[tuple[Point, int]] = []
            for chosen, count in counts:
                if not _holds(dimension.when, chosen):
                    extended.append((chosen, count))
                elif dimension.size is None:
                    return None
                elif dimension.name in names:
                    extended += [({**chosen, dimension.name: value}, count) for value in dimension.values()]
                else:
                    extended.append((chosen, count * dimension.size))
            counts = extended
        return sum(count for _, count in counts)

    def points(self) -> Iterator[Point]:
        """Yield all points of a space that has a size."""
        return self._combinations(lambda dimension: dimension.values(), {}, 0)

    def grid(self, size: int) -> list[Point]:
        """All combinations of the values of `Dimension.grid`, each once."""
        return list(self._combinations(lambda dimension: dimension.grid(size), {}, 0))

    def _combinations(
        self, values_of: Callable[[Dimension], Iterator[Any] | Sequence[Any]], chosen: Point, position: int
    ) -> Iterator[Point]:
        """Yield the chosen values with all combinations of values of the dimensions from a position on."""
        if position == len(self.dimensions):
            yield chosen
            return
        dimension = self.dimensions[position]
        if not _holds(dimension.when, chosen):
            yield from self._combinations(values_of, chosen, position + 1)
            return
        for value in values_of(dimension):
            yield from self._combinations(values_of, {**chosen, dimension.name: value}, position + 1)

    def including(self, point: Mapping[str, Any]) -> Space:
        """The space extended to include a point."""
        extended = []
        for dimension in self.dimensions:
            if dimension.name in point:
                dimension = dimension.including(point[dimension.name])
            extended.append(dimension)
        return Space(tuple(extended))

    def given(self, fixed: Mapping[str, Any]) -> Space:
        """The space with the conditions on settings that it does not search decided by their values.

        Args:
            fixed: The hyperparameters of the config; those of dimensions are ignored.

        Returns:
            The space without such conditions, and without the dimensions for which one of them does not hold.
        """
        searched = {dimension.name for dimension in self.dimensions}
        kept: list[Dimension] = []
        for dimension in self.dimensions:
            on_fixed = {name: values for name, values in dimension.when.items() if name not in searched}
            on_searched = {name: values for name, values in dimension.when.items() if name in searched}
            is_possible = on_searched.keys() <= {other.name for other in kept}
            if is_possible and _holds(on_fixed, fixed):
                kept.append(replace(dimension, when=on_searched))
        return Space(tuple(kept))


def is_same(value: Any, other: Any) -> bool:
    """Whether two values of a setting are equal; unlike in Python, True is not 1."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def point_key(point: Mapping[str, Any]) -> str:
    """A text that only equal points share; points may hold lists, which are not hashable."""
    return repr(sorted(point.items()))


def declared_space(model: type[Recommender]) -> Space:
    """The search space of the ranges that the model declares."""
    dimensions = [
        _declared_dimension(name, declared.search, declared)
        for name, declared in model.parameters.items()
        if declared.search is not None
    ]
    return Space(tuple(dimensions))


def _declared_dimension(name: str, search: Choices | Between, declared: Hyperparameter) -> Dimension:
    is_integer = _is_integer(declared)
    if isinstance(search, Between):
        search = _ending_at_a_step(search, is_integer)
    return Dimension(name, search, is_integer, declared.when)


def parse_space(config: Mapping[str, Any], model: type[Recommender]) -> tuple[Space, list[tuple[str, str]]]:
    """Parse the search space of a config.

    Args:
        config: For each name a list of choices, or a mapping with the keys `low`, `high`, `log`, `step`, `choices`,
            `when`. If `high` is no multiple of the step from `low`, the range ends at the last one before it.
        model: The class of the model that is tuned.

    Returns:
        The space, without invalid dimensions; and all problems, as (name, problem with a suggested fix).
    """
    dimensions: list[Dimension] = []
    problems: list[tuple[str, str]] = []
    for key, value in config.items():
        name = key.removeprefix("model.params.")
        earlier = {dimension.name: dimension for dimension in dimensions}
        later = {other.removeprefix("model.params.") for other in config} - set(earlier)
        try:
            dimensions.append(_dimension(name, value, model, earlier, later))
        except ValueError as error:
            problems.append((key, str(error)))
    return Space(tuple(dimensions)), problems


def _dimension(
    name: str, value: Any, model: type[Recommender], earlier: Mapping[str, Dimension], later: set[str]
) -> Dimension:
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
    when = _conditions(settings.get("when") or {}, model, earlier, later)
    if "choices" in settings:
        return Dimension(name, _choices(settings, declared), when=when)
    interval = _interval(settings, declared)
    if declared is None:
        # A path of the config has no declaration: `low: 1` means integers, `low: 1.0` does not.
        is_integer = all(isinstance(number, int) for number in (interval.low, interval.high, interval.step or 1))
    else:
        is_integer = _is_integer(declared)
    return Dimension(name, _ending_at_a_step(interval, is_integer), is_integer, when)


def _choices(settings: Mapping[str, Any], declared: Hyperparameter | None) -> Choices:
    choices = settings["choices"]
    if not isinstance(choices, list) or not choices or {"low", "high", "log", "step"} & set(settings):
        raise ValueError("choices must be a list of at least one value, without low, high, log and step")
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
    step = settings.get("step")
    if step is not None:
        if not _is_number(step) or not 0 < step <= high - low:
            raise ValueError(f"step={step!r}: write a number above 0 and at most high - low = {high - low:g}")
        if log:
            raise ValueError("step and log exclude each other: leave out one, or write a list of choices")
    return Between(_checked(declared, low), _checked(declared, high), log, step)


def _ending_at_a_step(interval: Between, is_integer: bool) -> Between:
    """The interval with its last multiple of the step as upper bound."""
    if interval.step is None:
        return interval
    if is_integer and interval.step != round(interval.step):
        raise ValueError(f"step={interval.step}: steps of whole numbers are whole; write step: {interval.step:.0f}")
    low = _decimal(interval.low)
    step = _decimal(interval.step)
    last = low + (_decimal(interval.high) - low) // step * step
    if is_integer:
        return replace(interval, high=int(last), step=int(interval.step))
    return replace(interval, high=float(last))


def _conditions(
    when: Any, model: type[Recommender], earlier: Mapping[str, Dimension], later: set[str]
) -> dict[str, tuple[Any, ...]]:
    """Parse the conditions of a dimension.

    Args:
        when: As in the config.
        model: The class of the model that is tuned.
        earlier: The dimensions before this one.
        later: The names of this one and of those after it.
    """
    if not isinstance(when, dict):
        raise ValueError(f"when: {when!r}: write {{parameter: value}} or {{parameter: [values]}}")
    conditions: dict[str, tuple[Any, ...]] = {}
    for name, given in when.items():
        if name in earlier:
            conditions[name] = _values_of_dimension(given, earlier[name])
        elif name in later:
            raise ValueError(f"when: {name!r} is not searched before this one; move it above it in the space")
        elif name in model.parameters:
            conditions[name] = _values_of_parameter(name, given, model.parameters[name])
        else:
            known = [*earlier, *model.parameters]
            raise ValueError(f"when: {name!r} is neither searched nor a parameter{did_you_mean(str(name), known)}")
    return conditions


def _values_of_dimension(given: Any, dimension: Dimension) -> tuple[Any, ...]:
    """The values of a condition on a dimension of the space."""
    # A list may be several values, or one value of a dimension whose values are lists.
    values = given if isinstance(given, list) and not dimension.contains(given) else [given]
    for value in values:
        if not dimension.contains(value):
            hint = f"; its values are {dimension.describe()}"
            if isinstance(dimension.range, Choices):
                hint = did_you_mean(str(value), [str(choice) for choice in dimension.range.values])
            raise ValueError(f"when: {dimension.name}: {value!r} is none of its values in this space{hint}")
    if not values:
        raise ValueError(f"when: {dimension.name}: []: write at least one value")
    return tuple(dimension.canonical(value) for value in values)


def _values_of_parameter(name: str, given: Any, declared: Hyperparameter) -> tuple[Any, ...]:
    """The values of a condition on a hyperparameter that is not searched, so that its value is the config's."""
    values = given if isinstance(given, list) else [given]
    checked = []
    for value in values:
        try:
            checked.append(declared.check(value))
        except ValueError as error:
            similar = most_similar(str(value), map(str, get_args(declared.annotation)))
            hint = f"; did you mean {similar}?" if similar else ""
            raise ValueError(f"when: {name}: {error}{hint}") from None
    if not checked:
        raise ValueError(f"when: {name}: []: write at least one value")
    return tuple(checked)


def _holds(conditions: Mapping[str, tuple[Any, ...]], value_of: Mapping[str, Any]) -> bool:
    return all(
        name in value_of and any(is_same(value_of[name], allowed) for allowed in values)
        for name, values in conditions.items()
    )


def _position_at(place: float, n_values: int) -> int:
    """The position of the value at a place; place 1 belongs to the last value."""
    return min(int(place * n_values), n_values - 1)


def _position_of(value: Any, choices: Sequence[Any]) -> int:
    return next(position for position, choice in enumerate(choices) if is_same(value, choice))


def _decimal(number: float) -> Decimal:
    """A number as it is written."""
    return Decimal(repr(float(number)))


def _checked(declared: Hyperparameter | None, value: Any) -> Any:
    return value if declared is None else declared.check(value)


def _is_integer(declared: Hyperparameter) -> bool:
    return declared.annotation in (int, int | None)


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
