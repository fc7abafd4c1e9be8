"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file beside `path` and move it there when the block ends well; missing folders are made.

    What stood at `path` stays until then, and stays for good if the block raises or the process dies.
    """
    beside = path.parent / f".{secrets.token_hex(8)}.tmp"
    with with_filename(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            with suppress(OSError):  # why it failed is what counts
                beside.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


@contextmanager
def with_filename(path: Path) -> Iterator[None]:
    """Let the system's errors in the block name a file: that of a write names none, or one that is gone again."""
    try:
        yield
    except OSError as error:
        if error.filename is None or Path(os.fsdecode(error.filename)).suffix == ".tmp":
            error.filename, error.filename2 = str(path), None
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file, or leave what stood there."""
    with replacing(path) as file:
        file.write(content)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where the system can."""
    if os.name != "posix":
        return
    with suppress(OSError):  # some network file systems don't sync folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
