"""The space of a search: that of the config or the model's default, and the config's own point in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recctl.config import Config
from recctl.config.schema import TuningConfig
from recctl.errors import ConfigError
from recctl.models.base import Recommender
from recctl.models.base.hyperparameters import Between
from recctl.models.base.search_space import Dimension, Point, Space, declared_space, is_same, parse_space
from recctl.models.registry import model_class


def search_space(config: Config, section: TuningConfig, *, may_be_empty: bool = False) -> Space:
    """The space of a search.

    A manual search has the values of its points and the config's own, so that every trial lies inside.

    Args:
        config: The config of the search.
        section: Its section `tuning`.
        may_be_empty: Whether the model may have nothing to search, as one of several models: it has a single trial.

    Raises:
        ConfigError: Nothing is searched.
    """
    model_type = model_class(config.model.name)
    if section.strategy == "manual":
        names = dict.fromkeys(name for point in section.points for name in point)
        choices = {name: [point[name] for point in section.points if name in point] for name in names}
        space, _ = parse_space(choices, model_type)
        space = space.including(config_values(config, space))
    else:
        space = declared_or_given(config, section)
    if not space.dimensions and not may_be_empty:
        reason = "has no search ranges" if not section.space else "searches nothing: no condition of tuning.space holds"
        raise ConfigError(f"{config.model.name} {reason}; define some in tuning.space")
    return space


def declared_or_given(config: Config, section: TuningConfig) -> Space:
    """The space in the config, or else the ranges that the model declares, for the config's fixed hyperparameters."""
    model_type = model_class(config.model.name)
    space = parse_space(section.space, model_type)[0] if section.space else declared_space(model_type)
    return space.given(_hyperparameters(config, model_type))


def baseline_outside(config: Config, section: TuningConfig, space: Space) -> list[Dimension]:
    """The dimensions of the space that was given, or is the default, in which the config's own values lie outside it.

    Only a manual search that gives no space has none.
    """
    if section.strategy == "manual":
        if not section.space:
            return []
        space = declared_or_given(config, section)
    return space.outside(space.point(config_values(config, space)))


def config_values(config: Config, space: Space) -> Point:
    """The config's value of each dimension; None where the config has none."""
    values = config.model_dump()
    values["model"]["params"] = _hyperparameters(config, model_class(config.model.name))
    return {dimension.name: _value_at(values, dimension.path) for dimension in space.dimensions}


def notes(config: Config, section: TuningConfig) -> Iterator[str]:
    """What the user should know about the space in the config: what is not searched, and what is searched in vain."""
    if not section.space or section.strategy == "manual":
        return
    model_type = model_class(config.model.name)
    parsed, _ = parse_space(section.space, model_type)
    space = declared_or_given(config, section)
    searched = {dimension.name: dimension for dimension in space.dimensions}
    for dimension in parsed.dimensions:
        place = f"tuning.space.{dimension.name}"
        if dimension.name not in searched:
            conditions = ", ".join(f"{name}={list(values)}" for name, values in dimension.when.items())
            yield f"{place} is not searched: its condition does not hold in this config ({conditions})"
            continue
        last_value = _last_value_note(dimension, section.space)
        if last_value:
            yield f"{place}: {last_value}"
        for name, allowed in _unmet(dimension, searched, _hyperparameters(config, model_type), model_type):
            values = ", ".join(map(str, allowed))
            yield f"{place}: {config.model.name} reads it only if {name} is {values}; add when: {{{name}: [{values}]}}"


def _last_value_note(dimension: Dimension, given: Mapping[str, Any]) -> str | None:
    if not isinstance(dimension.range, Between) or dimension.range.step is None:
        return None
    settings = given.get(dimension.name) or given[f"model.params.{dimension.name}"]
    if dimension.range.high == settings["high"]:
        return None
    return (
        f"its last value is {dimension.range.high:g}: {settings['high']} is not low={dimension.range.low:g} "
        f"plus a multiple of step={dimension.range.step:g}"
    )


def _unmet(
    dimension: Dimension, searched: Mapping[str, Dimension], fixed: Mapping[str, Any], model_type: type[Recommender]
) -> Iterator[tuple[str, Sequence[Any]]]:
    """The hyperparameters with values in the search for which the model does not read this one."""
    declared = model_type.parameters.get(dimension.name)
    if declared is None:
        return
    for name, allowed in declared.when.items():
        if name in dimension.when:
            continue
        other = searched.get(name)
        values = [fixed[name]] if other is None else list(other.values())
        if not all(any(is_same(value, each) for each in allowed) for value in values):
            yield name, allowed


def _hyperparameters(config: Config, model_type: type[Recommender]) -> dict[str, Any]:
    """All hyperparameters of the config, defaults included."""
    return model_type.check(config.model.params)[0]


def _value_at(values: Any, path: Sequence[str | int]) -> Any:
    for path_part in path:
        if isinstance(values, list):
            values = values[int(path_part)]
        elif isinstance(values, dict):
            values = values.get(path_part)
        else:
            return None
    return values
