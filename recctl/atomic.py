"""Write files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a temporary file next to `path` and rename it when the block succeeds; missing folders are created.

    An existing file at `path` is replaced only then. It is kept if the block raises or the process dies.
    """
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    with with_filename(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):  # the first error is the one to report
                temporary.unlink(missing_ok=True)
            raise
        _sync(path.parent)


@contextmanager
def replacing_folder(path: Path, prefix: str = "") -> Iterator[Path]:
    """Fill a temporary folder next to `path` and rename it when the block succeeds; missing parents are created.

    An existing folder at `path` is replaced only then. It is kept if the block raises. Two renames replace a folder:
    a process that dies between them leaves the old content in `.PREFIX*.old`.

    Args:
        path: The folder to create or replace.
        prefix: Begins the names of the temporary folders, so that leftovers can be recognized.

    Yields:
        The temporary folder.
    """
    temporary = path.parent / f".{prefix}{secrets.token_hex(8)}.tmp"
    parent_is_new = not path.parent.exists()
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in names:
                _sync(os.path.join(folder, name))
            _sync(folder)
        _replace_folder(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if parent_is_new and not path.exists():
            with suppress(OSError):  # another process has written into it
                path.parent.rmdir()


@contextmanager
def with_filename(path: Path) -> Iterator[None]:
    """Set the file name of an OSError that names no file or a temporary one to `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is None or Path(os.fsdecode(error.filename)).suffix == ".tmp":
            error.filename = str(path)
            error.filename2 = None
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file; an existing one is kept if that fails."""
    with replacing(path) as file:
        file.write(content)


def set_default_mode(path: Path) -> None:
    """Give a file the permissions that new files have here: those of the umask, or of the folder's default ACL.

    Some libraries create files that only their owner can read, whatever the umask says. In a runs directory that is
    shared by a group, nobody else could use them.
    """
    probe = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        with probe.open("xb"):
            mode = stat.S_IMODE(probe.stat().st_mode)
    finally:
        probe.unlink(missing_ok=True)
    path.chmod(mode)


def _replace_folder(temporary: Path, path: Path) -> None:
    old = temporary.with_suffix(".old")
    if path.exists():
        path.rename(old)
    try:
        temporary.rename(path)
    except OSError:
        if old.exists():
            old.rename(path)
        raise
    _sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: str | Path) -> None:
    """Flush a file or folder to disk, so that a new name survives a power cut."""
    if os.name != "posix":
        return
    with suppress(OSError):  # some network file systems can't flush folders
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
