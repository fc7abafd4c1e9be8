"""Messages for errors of pydantic.

They depend on the type and context of an error, which pydantic documents; its text is only displayed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_PREFIX = "Input should"
# What pydantic adds after the expectation: how it tried to convert the value.
_ATTEMPTS = re.compile(r", (unable to|got a number) .*")
_PERCENTAGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%")


def own_message(problem: Mapping[str, Any]) -> str | None:
    """The text of a ValueError that a validator of recctl raised; None for an error of pydantic itself."""
    if problem["type"] != "value_error":
        return None
    return str(problem["ctx"]["error"])


def expectation(problem: Mapping[str, Any]) -> str:
    """What the value should be: continues a sentence that begins with the value.

    Args:
        problem: An entry of `ValidationError.errors()`.
    """
    if problem["type"] == "too_short":
        return f"should have at least {problem['ctx']['min_length']} item"
    error_text = str(problem["msg"])
    # pydantic's messages are sentences about "Input"; recctl's begin with the value.
    if not error_text.startswith(_PREFIX):
        return f"is invalid: {error_text}"
    return f"should{_ATTEMPTS.sub('', error_text.removeprefix(_PREFIX))}{percentage_hint(problem['input'])}"


def percentage_hint(value: Any) -> str:
    """How to write a percentage as a number, as the end of a message; empty for other values.

    >>> percentage_hint("20%")
    '; write 0.2'
    """
    matched = _PERCENTAGE.fullmatch(value.strip()) if isinstance(value, str) else None
    return f"; write {float(matched[1]) / 100:g}" if matched else ""
