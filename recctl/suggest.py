"""Did you mean ...? One rule for every name a user can mistype."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(given: str, known: Iterable[str], synonyms: dict[str, str] | None = None) -> str:
    """`"; did you mean l2_reg?"`, or the names there are, or nothing where there are none.

    Args:
        given: What the user wrote.
        known: What would have been right.
        synonyms: Other words for known names.
    """
    names = list(dict.fromkeys(known))
    meant = (synonyms or {}).get(given)
    if meant in names:
        return f"; did you mean {meant}?"
    close = difflib.get_close_matches(given.lower(), [name.lower() for name in names], n=1, cutoff=0.6)
    if close:
        return f"; did you mean {next(name for name in names if name.lower() == close[0])}?"
    if not names:
        return ""
    return f"; one of {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}"
