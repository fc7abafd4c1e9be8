"""The folder of downloaded data sets, and the locks that keep concurrent processes from writing the same one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recctl import atomic, locking, progress
from recctl.errors import DataError


def home() -> Path:
    """The cache folder: `$RECCTL_DATA_HOME`, or the platform's cache folder for recctl."""
    configured = os.environ.get("RECCTL_DATA_HOME", "")
    if configured:
        return Path(configured).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("recctl", appauthor=False))


@contextmanager
def locked(name: str) -> Iterator[Path]:
    """Hold the lock of a data set; waits while another process or thread holds it.

    The operating system releases the lock when the process dies, for whatever reason.

    Args:
        name: The data set.

    Yields:
        The cache folder, created if it does not exist.

    Raises:
        DataError: The folder can't be created or written to.
    """
    folder = home()
    lock_file = folder / f".{name}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.close(os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o666))
    except OSError as error:
        raise DataError(
            f"{folder}: can't write to the cache folder ({error.strerror}); set RECCTL_DATA_HOME to another folder"
        ) from error
    with locking.locked(
        lock_file, lambda: progress.notice(f"{name}: waiting for another process that is downloading it")
    ):
        yield folder


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Fill a temporary folder that replaces `folder` when the block succeeds; its data set must be locked."""
    prefix = f"{folder.name}-"
    for leftover in folder.parent.glob(f".{prefix}{'[0-9a-f]' * 16}.*"):  # of a process that died
        shutil.rmtree(leftover, ignore_errors=True)
    with atomic.replacing_folder(folder, prefix) as temporary:
        yield temporary
