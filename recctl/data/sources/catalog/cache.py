"""Where fetched data lies, and how two processes keep out of each other's way."""

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
    """The cache folder: `RECCTL_DATA_HOME`, else the platform's cache folder for recctl."""
    given = os.environ.get("RECCTL_DATA_HOME", "")
    if given:
        return Path(given).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("recctl", appauthor=False))


@contextmanager
def locked(name: str) -> Iterator[Path]:
    """The cache folder, made if need be, while no other process or thread holds `name`. Waits for those that do.

    The system lets go of the lock when a process dies, however it does.

    Raises:
        DataError: The folder can't be made or written to.
    """
    folder = home()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / f".{name}.lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise DataError(
            f"{folder}: the cache can't be written to ({error.strerror}); RECCTL_DATA_HOME names another folder"
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
        progress.notice(f"{name}: another process is fetching it; waiting")
        fcntl.flock(descriptor, fcntl.LOCK_EX)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, moved into its place when the block ends well; to be used under its lock."""
    for leftover in folder.parent.glob(f".{folder.name}-*"):  # of a process that died
        shutil.rmtree(leftover, ignore_errors=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield beside
        beside.chmod(0o755)
        if folder.exists():
            folder.rename(beside.with_name(f"{beside.name}-old"))
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(beside.with_name(f"{beside.name}-old"), ignore_errors=True)
