"""Check whether the process that works on a run is alive."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any


def current_process() -> dict[str, Any]:
    """Return the record of this process for metadata.json."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "started": _start_time(os.getpid())}


def has_ended(process: Mapping[str, Any]) -> bool:
    """Whether a recorded process of this machine has ended; False for processes of other machines."""
    if process.get("host") != socket.gethostname():
        return False
    start_time = _start_time(process.get("pid", -1))
    return start_time is None or start_time != process.get("started")


def _start_time(pid: int) -> str | None:
    """Return a value that distinguishes a process from later ones with the same pid; None if there is no process."""
    try:
        # Field 22 of stat: clock ticks since boot. Fields are counted after the command, which can contain spaces and
        # parentheses.
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat_file:
            fields = stat_file.read().rpartition(")")[2].split()
        # A zombie (Z, X) has ended but has not been reaped; in some containers, zombies are never reaped.
        return None if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        pass
    if os.path.isdir("/proc/self"):
        return None
    # Without /proc the pid must do.
    try:
        os.kill(pid, 0)
    except PermissionError:
        return "unknown"
    except (OSError, ValueError, OverflowError):
        return None
    return "unknown"
