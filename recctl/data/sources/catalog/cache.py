"""The folder of downloaded data sets, and the locks that keep concurrent processes from writing the same one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recctl import progress
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
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / f".{name}.lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise DataError(
            f"{folder}: can't write to the cache folder ({error.strerror}); set RECCTL_DATA_HOME to another folder"
        ) from error
    try:
        _acquire(descriptor, name)
        yield folder
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, name: str) -> None:
    try:
        import fcntl
    except ImportError:
        import msvcrt
        import time

        while True:
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
                return
            except OSError:
                time.sleep(0.1)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        progress.notice(f"{name}: waiting for another process that is downloading it")
        fcntl.flock(descriptor, fcntl.LOCK_EX)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Replace a folder atomically; the caller must hold its lock.

    Yields:
        A new folder next to `folder`. It is moved to `folder` if the block succeeds, and removed if it raises.
    """
    for leftover in folder.parent.glob(f".{folder.name}-*"):  # of a process that died
        shutil.rmtree(leftover, ignore_errors=True)
    new_folder = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    old_folder = new_folder.with_name(f"{new_folder.name}-old")
    try:
        yield new_folder
        new_folder.chmod(0o755)  # mkdtemp's 0o700 would hide it from other users
        if folder.exists():
            folder.rename(old_folder)
        new_folder.rename(folder)
    finally:
        shutil.rmtree(new_folder, ignore_errors=True)
        shutil.rmtree(old_folder, ignore_errors=True)
