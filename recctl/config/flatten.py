"""Nested sections as flat keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flatten(values: Mapping[Any, Any], separator: str = ".") -> dict[str, Any]:
    """Return the values of nested mappings by their joined keys; lists stay values, empty mappings vanish.

    >>> flatten({"model": {"name": "ease", "params": {"l2_reg": 5.0}}})
    {'model.name': 'ease', 'model.params.l2_reg': 5.0}
    """
    flattened: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            for inner_key, inner_value in flatten(value, separator).items():
                flattened[f"{key}{separator}{inner_key}"] = inner_value
        else:
            flattened[str(key)] = value
    return flattened
