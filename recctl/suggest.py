"""Suggestions for mistyped names, worded alike everywhere."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MIN_SIMILARITY = 0.6
_MAX_LISTED = 20


def did_you_mean(given: str, known: Iterable[str], synonyms: dict[str, str] | None = None) -> str:
    """Return the end of an error message about an unknown name.

    Args:
        given: The name that the user wrote.
        known: The valid names.
        synonyms: Maps other words for valid names to them.

    Returns:
        `"; did you mean l2_reg?"` if a valid name is similar, else a list of the valid names, else an empty string.
    """
    names = list(dict.fromkeys(known))
    synonym = (synonyms or {}).get(given)
    if synonym in names:
        return f"; did you mean {synonym}?"
    spellings: dict[str, str] = {}
    for name in names:
        spellings.setdefault(name.lower(), name)
    similar = difflib.get_close_matches(given.lower(), list(spellings), n=1, cutoff=_MIN_SIMILARITY)
    if similar:
        return f"; did you mean {spellings[similar[0]]}?"
    if not names:
        return ""
    listed = ", ".join(names[:_MAX_LISTED])
    if len(names) > _MAX_LISTED:
        listed += ", ..."
    return f"; one of {listed}"
