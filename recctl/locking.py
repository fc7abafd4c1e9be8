"""Advisory locks that keep two processes of one machine from changing the same run or data set.

The lock is the system's own: it is released when its holder closes the descriptor or dies, however it dies, so that no
stale lock is left behind. On network file systems, two machines may not see each other's locks of a directory (Linux
keeps those of NFS directories to itself); where a file system has no locks at all, work goes on without one.

The package `filelock` uses the same system call but was not chosen: it needs a separate file that it can create and
open for writing. recctl locks the run directory itself, which leaves nothing behind in a run, works for runs that are
mounted read-only, and survives any file in it being replaced.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# On Windows locked bytes can't be read by others: lock one behind the end of any file.
_LOCKED_BYTE = 1 << 30
_SECONDS_BETWEEN_ATTEMPTS = 0.1
# `is_locked` itself holds a lock for some microseconds, which must not look like another process at work.
_SECONDS_OF_A_CHECK = 0.05


def acquire(path: Path, *, wait: bool = False) -> int | None:
    """Lock an existing file or directory without changing it.

    Args:
        path: The file or directory to lock.
        wait: Wait until the lock is free instead of raising.

    Returns:
        The descriptor that holds the lock; closing it releases the lock. None if the system or the file system has no
        such locks (on Windows: for directories).

    Raises:
        BlockingIOError: Another descriptor holds the lock and `wait` is False.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        if os.name == "nt" and path.is_dir():
            return None
        raise
    try:
        try:
            _lock(descriptor, wait)
        except BlockingIOError:
            time.sleep(_SECONDS_OF_A_CHECK)
            _lock(descriptor, wait)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # the file system has no locks
        os.close(descriptor)
        return None
    except BaseException:  # interrupted while waiting
        os.close(descriptor)
        raise
    return descriptor


def is_locked(path: Path) -> bool | None:
    """Whether a process holds the lock of a file or directory; None if the system or the file system has no locks.

    Raises:
        OSError: The file or directory can't be opened.
    """
    try:
        import fcntl
    except ImportError:
        return None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # Shared, so that processes which check at the same time do not see each other.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return False


@contextmanager
def locked(path: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock of an existing file or directory inside the block; wait until it is free.

    Args:
        path: The file or directory to lock.
        on_wait: Called once if another process holds the lock.
    """
    try:
        descriptor = acquire(path)
    except BlockingIOError:
        if on_wait is not None:
            on_wait()
        descriptor = acquire(path, wait=True)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _lock(descriptor: int, wait: bool) -> None:
    try:
        import fcntl
    except ImportError:
        _lock_on_windows(descriptor, wait)
        return
    operation = fcntl.LOCK_EX
    if not wait:
        operation |= fcntl.LOCK_NB
    fcntl.flock(descriptor, operation)


def _lock_on_windows(descriptor: int, wait: bool) -> None:
    import msvcrt

    while True:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            return
        except OSError as error:
            if not wait:
                raise BlockingIOError(*error.args) from error
        time.sleep(_SECONDS_BETWEEN_ATTEMPTS)
