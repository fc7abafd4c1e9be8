"""Keeping two processes of one machine out of the same file or folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def hold(path: Path, *, wait: bool = False) -> int | None:
    """Lock a file or folder that exists, without changing it.

    The system lets go of the lock when the process dies, however it does, or when the descriptor is closed.

    Args:
        path: What is locked, against others who do the same.
        wait: Wait until it is free.

    Returns:
        The descriptor that holds it; None where the system or the file system has no such locks.

    Raises:
        BlockingIOError: Another holds it, and `wait` is not set.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # some network file systems
        os.close(descriptor)
        return None
    except BaseException:  # interrupted while it waited
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def held(path: Path) -> Iterator[None]:
    """A block in which no other process is that asks for the same path; waits for those that are."""
    descriptor = hold(path, wait=True)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)
