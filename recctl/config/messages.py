"""Messages for errors of pydantic.

They depend on the type and context of an error, which pydantic documents; its text is only displayed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PREFIX = "Input should"


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
    error_text = str(problem["msg"])
    # pydantic's messages are sentences about "Input"; recctl's begin with the value.
    return (
        f"should{error_text.removeprefix(_PREFIX)}" if error_text.startswith(_PREFIX) else f"is invalid: {error_text}"
    )
