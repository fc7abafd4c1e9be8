"""The JSON Schema of preprocessing steps."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from recctl.data.preprocessing import STEPS
from recctl.experiment.json_schema.conditions import NOT_NULL, NULL, JsonSchema, having, negated, rule, section

# A date, a moment or seconds since 1970; pandas also reads `today`.
_TIME = {"anyOf": [{"type": "string", "pattern": r"[0-9]|^\s*(now|today)\s*$"}, {"type": "number"}, NULL]}
# What the types of parameters can't express, as `recctl.data.preprocessing.PARAMETER_CHECKS`.
_RULES: dict[str, list[JsonSchema]] = {
    "sample_interactions": [
        rule(having(n=NOT_NULL), section(fraction=NULL)),
        rule(negated(having(n=NOT_NULL)), having(fraction=NOT_NULL)),
    ],
}
_PARAMETERS: dict[str, dict[str, JsonSchema]] = {"select_time_window": {"start": _TIME, "end": _TIME}}


def step_definition() -> JsonSchema:
    """A preprocessing step: its name with its parameters."""
    return {
        "type": "object",
        "properties": {name: _step(name) for name in STEPS},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }


def _step(name: str) -> JsonSchema:
    step = STEPS[name]
    annotations = get_type_hints(step, include_extras=True)
    parameters = list(inspect.signature(step).parameters.values())[1:]  # without the table
    properties: dict[str, Any] = {}
    for parameter in parameters:
        properties[parameter.name] = TypeAdapter(annotations[parameter.name]).json_schema()
        if parameter.default is not parameter.empty and parameter.default is not None:
            properties[parameter.name]["default"] = parameter.default
    options = section(**(properties | _PARAMETERS.get(name, {}))) | {"additionalProperties": False}
    required = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    if required:
        options["required"] = required
    if name in _RULES:
        options["allOf"] = _RULES[name]
    summary = (inspect.getdoc(step) or "").partition("\n")[0]
    is_complete_without = not required and name not in _RULES
    return {"description": summary, "anyOf": [options, NULL] if is_complete_without else [options]}
