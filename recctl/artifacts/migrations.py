"""Migration of the content of files of earlier formats to the current format.

Format 1: hashed as a whole. Format 2: hashed in pieces; the content is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from recctl.errors import ArtifactError

OLDEST = 1

Migration = Callable[[str, dict[str, Any]], dict[str, Any]]


def _from_1_to_2(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    return content


# For each format, the function that converts its content to the next format: `(kind, content) -> content`, with arrays
# still as plain values. tests/models/formats/ has a file of each format and model.
STEPS: Mapping[int, Migration] = {1: _from_1_to_2}


def migrated(kind: str, version: int, content: dict[str, Any], name: str) -> dict[str, Any]:
    """Convert the content of a file to the current format, one format at a time.

    Args:
        kind: Kind of the file, e.g. "model".
        version: Format of the file.
        content: Its content, with arrays as plain values.
        name: Name of the file, for error messages.

    Returns:
        The content in the current format.

    Raises:
        ArtifactError: The content does not conform to the file's format.
    """
    while version in STEPS:
        try:
            content = STEPS[version](kind, content)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{name}: damaged: not a complete {kind} of format {version} ({error!r})") from error
        version += 1
    return content
