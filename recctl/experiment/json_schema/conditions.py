"""Parts of JSON Schemas.

Every part that has `properties` has its `type`, and every required key is among its properties: ajv demands both in
strict mode. The type of a value that may have several is an `anyOf`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

JsonSchema = dict[str, Any]

ANYTHING: JsonSchema = {}
NULL: JsonSchema = {"type": "null"}
NOT_NULL: JsonSchema = {"not": NULL}


def section(**properties: Any) -> JsonSchema:
    """An object whose properties are valid where it has them. A property that is False must be absent."""
    return {"type": "object", "properties": properties}


def having(**properties: Any) -> JsonSchema:
    """An object that has all of these properties, valid."""
    return section(**properties) | {"required": list(properties)}


def nullable_section(**properties: Any) -> JsonSchema:
    """As `section`, and null is accepted."""
    return {"if": {"type": "object"}, "then": section(**properties)}


def either(*schemas: JsonSchema) -> JsonSchema:
    """A value that one of the schemas accepts."""
    return {"anyOf": list(schemas)}


def negated(schema: JsonSchema) -> JsonSchema:
    """A value that the schema does not accept."""
    return {"not": schema}


def rule(condition: JsonSchema, consequence: JsonSchema) -> JsonSchema:
    """A value that, if the condition accepts it, the consequence accepts too."""
    return {"if": condition, "then": consequence}


def without_dotted_keys(*sections: str) -> JsonSchema:
    """A config without keys such as `data.id_type`, which a rule about these sections would overlook."""
    return {"type": "object", "propertyNames": {"not": {"pattern": rf"^({'|'.join(sections)})\."}}}


def one_of(names: Iterable[str]) -> str:
    """A regular expression of one of these names."""
    return f"({'|'.join(escape(name) for name in names)})"


def escape(name: str) -> str:
    """A name in a regular expression that JavaScript reads; `re.escape` writes some escapes that it refuses."""
    return "".join(character if character.isalnum() or character in "_-@" else f"\\{character}" for character in name)


def without(schema: Mapping[str, Any], *keywords: str) -> JsonSchema:
    """A schema without some of its keywords."""
    return {keyword: value for keyword, value in schema.items() if keyword not in keywords}
