"""Checking a file against the checksum that a config gives."""

from __future__ import annotations

import hashlib
from pathlib import Path

from recctl.errors import ConfigError, DataError


def require_checksum(path: Path, checksum: str, label: str | None = None) -> None:
    """Check the content of a file.

    Args:
        path: The file.
        checksum: Algorithm and digest, e.g. `sha256:9f86d0...`.
        label: What messages call the file; by default its path.

    Raises:
        ConfigError: The path is no single file.
        DataError: The file has other content.
    """
    label = label or str(path)
    if not path.is_file():
        raise ConfigError(f"data.checksum: is of a single file, and {label} holds several; leave it out")
    algorithm, _, expected = checksum.partition(":")
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    if actual != expected:
        raise DataError(
            f"{label}: its {algorithm} is {actual}, not {expected}: it is damaged or has changed; if the new content "
            f"is right, set data.checksum: {algorithm}:{actual}"
        )
