"""The JSON Schema of hyperparameters, of their search spaces, and of what depends on the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recctl.experiment.json_schema.conditions import (
    ANYTHING,
    NULL,
    JsonSchema,
    either,
    having,
    negated,
    rule,
    section,
    without,
)
from recctl.models.base import Recommender
from recctl.models.base.hyperparameters import Hyperparameter

# Keys of a config that a search may vary besides hyperparameters, e.g. `data.min_item_interactions`.
_KEY_OF_CONFIG = r"^(data|training)\."
_HYPERPARAMETER_PREFIX = r"^model\.params\."
# Bounds that a lower and an upper bound are compared with, because JSON Schema can't compare them with each other.
_THRESHOLDS = (0, *(float(f"{digit}e{exponent}") for exponent in range(-6, 7) for digit in (1, 2, 5)))


def params_definition(model: type[Recommender]) -> JsonSchema:
    """The hyperparameters of a model, as in `model.params`."""
    properties = {name: declared.json_schema() for name, declared in model.parameters.items()}
    return section(**properties) | {"description": f"Hyperparameters of {model.name}.", "additionalProperties": False}


def space_definition(model: type[Recommender]) -> JsonSchema:
    """The search space of a model, as in `tuning.space`."""
    properties: JsonSchema = {}
    for name in model.parameters:
        properties[name] = _dimension(model, name)
        properties[f"model.params.{name}"] = {"$ref": f"#/$defs/{model.name}.space/properties/{name}"}
    return {
        "type": "object",
        "description": f"Search space of {model.name}.",
        "properties": properties,
        "patternProperties": {_KEY_OF_CONFIG: {"$ref": "#/$defs/Dimension"}},
        "additionalProperties": False,
    }


def conditions_definition(model: type[Recommender]) -> JsonSchema:
    """The values of other hyperparameters with which one is searched, as in `tuning.space.NAME.when`."""
    properties = {}
    for name in model.parameters:
        value = _value(model, name)
        properties[name] = either(value, {"type": "array", "items": value, "minItems": 1})
    return {
        "anyOf": [
            section(**properties) | {"patternProperties": {_KEY_OF_CONFIG: ANYTHING}, "additionalProperties": False},
            NULL,
        ]
    }


def _dimension(model: type[Recommender], name: str) -> JsonSchema:
    """The range of one hyperparameter: a list of choices, or an interval if it is a number."""
    declared = model.parameters[name]
    choices = {"type": "array", "items": _value(model, name), "minItems": 1}
    properties: JsonSchema = {"choices": choices, "when": {"$ref": f"#/$defs/{model.name}.when"}}
    options: JsonSchema = {"type": "object", "properties": properties, "additionalProperties": False}
    bound = _number(declared)
    if bound is None:
        options["required"] = ["choices"]
    else:
        is_whole = bound["type"] == "integer"
        step = {"type": "integer" if is_whole else "number", "exclusiveMinimum": 0}
        properties |= {"low": bound, "high": bound, "log": {"type": "boolean"}, "step": either(step, NULL)}
        options["allOf"] = [{"$ref": "#/$defs/Interval"}]
    return {"description": declared.help, "anyOf": [choices, options]}


def _value(model: type[Recommender], name: str) -> JsonSchema:
    return {"$ref": f"#/$defs/{model.name}.params/properties/{name}"}


def _number(declared: Hyperparameter) -> JsonSchema | None:
    """The schema of the numbers among the values of a hyperparameter; None if there are none."""
    value = declared.json_schema()
    for schema in value.get("anyOf", [value]):
        if schema.get("type") in ("integer", "number"):
            return without(schema, "default", "description")
    return None


def dimension_definition() -> JsonSchema:
    """The range of a key of the config, whose values its section checks."""
    number = {"type": "number"}
    choices = {"type": "array", "minItems": 1}
    properties = {
        "choices": choices,
        "low": number,
        "high": number,
        "log": {"type": "boolean"},
        "step": either({"type": "number", "exclusiveMinimum": 0}, NULL),
        "when": either({"type": "object"}, NULL),
    }
    options = section(**properties) | {"additionalProperties": False, "allOf": [{"$ref": "#/$defs/Interval"}]}
    return {"anyOf": [choices, options]}


def interval_definition() -> JsonSchema:
    """What the keys of a range have to do with each other."""
    no_interval = section(low=False, high=False, log=False, step=False)
    # A reference, not the type itself: ajv copies definitions without references to all places that refer to them.
    bounds = having(low={"$ref": "#/$defs/Number"}, high={"$ref": "#/$defs/Number"})
    rules = [rule(having(log={"const": True}), section(low={"type": "number", "exclusiveMinimum": 0}, step=NULL))]
    for threshold in _THRESHOLDS:
        # If low <= high and low >= threshold, then high > threshold.
        above = {"type": "number", "exclusiveMinimum": threshold}
        rules.append(rule(having(low={"type": "number", "minimum": threshold}), section(high=above)))
    return {"type": "object", "if": having(choices=ANYTHING), "then": no_interval, "else": bounds, "allOf": rules}


# ---- what depends on the model


def model_rules(model: type[Recommender]) -> dict[str, Any]:
    """The sections `params`, `space` and `training` of an entry of `models:`, as the model allows them."""
    return {
        "params": {"$ref": f"#/$defs/{model.name}.params"},
        "space": {"$ref": f"#/$defs/{model.name}.space"},
        "training": training_rules(model),
    }


def training_rules(model: type[Recommender]) -> JsonSchema:
    """The section `training`, as the model allows it."""
    options: JsonSchema = {}
    if not model.trained_in_epochs:
        options["early_stopping"] = NULL
    if model.warm_start_parameters is None:
        options["warm_start"] = NULL
    return either(section(**options), NULL)


def rating_conditions(model: type[Recommender]) -> Iterator[tuple[JsonSchema, bool, bool]]:
    """Yield conditions on a config; and whether the model then learns from ratings, and predicts them."""
    default = (bool(model.needs_ratings), bool(model.predicts_ratings))
    switches: list[JsonSchema] = []
    for name, declared in model.parameters.items():
        if not isinstance(declared.default, bool):
            continue
        values, problems = model.check({name: not declared.default})
        if problems:
            continue
        changed = model(**values)
        with_other_value = (bool(changed.needs_ratings), bool(changed.predicts_ratings))
        if with_other_value != default:
            condition = having(model=having(params=having(**{name: {"const": not declared.default}})))
            switches.append(condition)
            yield condition, *with_other_value
    with_default = negated(either(*switches)) if switches else ANYTHING
    yield with_default, *default
