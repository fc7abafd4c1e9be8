"""Which process works on a run, and whether it still lives."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any


def this() -> dict[str, Any]:
    """This process, as a run's metadata name it."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "started": _start_of(os.getpid())}


def is_gone(process: Mapping[str, Any]) -> bool:
    """Whether a process of this machine is no more; of other machines nobody knows."""
    if process.get("host") != socket.gethostname():
        return False
    started = _start_of(process.get("pid", -1))
    return started is None or started != process.get("started")


def _start_of(pid: int) -> str | None:
    """Something that tells a process from a later one of the same number; None if there is none."""
    try:
        # Field 22: clock ticks since boot. Counted after the command in parentheses, which may hold spaces.
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
            # One that has ended stays in the table until its parent asks; some containers' first process never does.
            return None if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        pass
    if os.path.isdir("/proc/self"):
        return None
    try:
        os.kill(pid, 0)
    except PermissionError:
        return "unknown"
    except (OSError, ValueError, OverflowError):
        return None
    return "unknown"
