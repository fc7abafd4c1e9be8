"""Content of files of past formats as the present format has it.

Format 1: hashed in one piece. Format 2: hashed piece by piece; the content is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from recctl.errors import ArtifactError

OLDEST = 1

# For each format, what makes the next one of its content: `(kind, content) -> content`, arrays still as plain values.
# A file of every format and model lies in tests/models/formats/.
STEPS: Mapping[int, Callable[[str, dict[str, Any]], dict[str, Any]]] = {1: lambda kind, content: content}


def migrated(kind: str, version: int, content: dict[str, Any], name: str) -> dict[str, Any]:
    """The content of a file of a past format, step by step made that of the present one.

    Raises:
        ArtifactError: It is not what its format says it is.
    """
    while version in STEPS:
        try:
            content = STEPS[version](kind, content)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{name}: damaged: no whole {kind} of format {version} ({error!r})") from error
        version += 1
    return content
