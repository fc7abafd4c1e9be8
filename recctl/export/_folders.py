"""Folders that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from recctl.errors import ArtifactError, ConfigError
from recctl.export._manifest import MANIFEST


@contextmanager
def replacing(path: Path, force: bool) -> Iterator[Path]:
    """Write a folder beside `path` and move it there when the block ends well; missing parents are made.

    What stood at `path` stays until the new folder is whole, and for good if the block raises.

    Args:
        path: Where the folder will stand.
        force: Replace an export that stands there; anything else there but an empty folder is never replaced.

    Raises:
        ConfigError: Something stands there.
        ArtifactError: It can't be written.
    """
    _require_room(path, force)
    beside = path.parent / f".{secrets.token_hex(8)}.tmp"
    made = not path.parent.exists()
    try:
        beside.mkdir(parents=True)
        yield beside
        for folder, _, names in os.walk(beside):
            for name in names:
                _sync(os.path.join(folder, name))
            _sync(folder)
        _move(beside, path)
    except OSError as error:
        raise ArtifactError(f"{path}: can't be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        if made and not path.exists():
            with suppress(OSError):  # somebody else has put something there
                path.parent.rmdir()


def _require_room(path: Path, force: bool) -> None:
    if not path.exists() and not path.is_symlink():
        return
    if path.is_dir() and not any(path.iterdir()):
        return
    if not (path / MANIFEST).is_file():
        raise ConfigError(f"{path}: there is something that is no export; choose another place")
    if not force:
        raise ConfigError(f"{path}: there is an export already; --force replaces it, or choose another place")


def _move(beside: Path, path: Path) -> None:
    """Put a whole folder in its place; what stood there is deleted after that."""
    old = beside.with_suffix(".old")
    if path.exists():
        path.rename(old)
    try:
        beside.rename(path)
    except OSError:
        if old.exists():
            old.rename(path)
        raise
    _sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: str | Path) -> None:
    if os.name != "posix":
        return
    with suppress(OSError):  # some network file systems don't sync folders
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
