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
    similar = most_similar(given, names)
    if similar is not None:
        return f"; did you mean {similar}?"
    if not names:
        return ""
    listed = ", ".join(names[:_MAX_LISTED])
    if len(names) > _MAX_LISTED:
        listed += ", ..."
    return f"; one of {listed}"


def most_similar(given: str, known: Iterable[str], min_similarity: float = _MIN_SIMILARITY) -> str | None:
    """Return the valid name that is most similar to the given one, or None if none is similar."""
    spellings: dict[str, str] = {}
    for name in known:
        spellings.setdefault(name.lower(), name)
    similar = difflib.get_close_matches(given.lower(), list(spellings), n=1, cutoff=min_similarity)
    return spellings[similar[0]] if similar else None
