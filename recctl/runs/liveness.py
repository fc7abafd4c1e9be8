"""Check whether the process that works on a run is alive.

Two kinds of evidence: the recorded process itself, which can be looked up on the machine and in the container that it
runs in; and the lock on the run's directory, which the system releases when its holder dies, wherever it ran.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from recctl import locking

# File systems that several machines can mount. On these, the lock of a directory may be known to one machine only.
_SHARED_FILE_SYSTEMS = (
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "vboxsf", "prl_fs", "lustre", "ceph", "gpfs", "beegfs",
    "afs", "ocfs2", "gfs2", "fuse",
)  # fmt: skip


def current_process() -> dict[str, Any]:
    """Return the record of this process for metadata.json."""
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started": _start_time(os.getpid()),
        "boot": _boot_id(),
    }


def has_ended(process: Mapping[str, Any], directory: Path) -> bool:
    """Whether a recorded process has ended; False if that can't be seen from this machine.

    Args:
        process: What `current_process` returned.
        directory: The run's directory, which the process locks as long as it works on the run.
    """
    is_same_host = process.get("host") == socket.gethostname()
    if is_same_host and _is_running(process):
        return False
    lock_is_held = locking.is_locked(directory)
    # A container can have the name of its host, or of another container, and process numbers of its own.
    if lock_is_held:
        return False
    if is_same_host:
        return True
    # Another host name: another machine, or a container of this one. A free lock is evidence only if this machine sees
    # the locks of the other.
    return lock_is_held is False and _sees_locks_of(process, directory)


def has_died(process: Mapping[str, Any], directory: Path) -> bool:
    """Whether the process of a run whose recorded status is "running" has ended; see `has_ended`."""
    with suppress(FileNotFoundError):  # deleted in the meantime
        return has_ended(process, directory)
    return False


def _sees_locks_of(process: Mapping[str, Any], directory: Path) -> bool:
    boot_id = process.get("boot")
    is_same_kernel = boot_id is not None and boot_id == _boot_id()
    return is_same_kernel or not _is_shared(directory)


def _is_running(process: Mapping[str, Any]) -> bool:
    start_time = _start_time(process.get("pid", -1))
    return start_time is not None and start_time == process.get("started")


def _boot_id() -> str | None:
    """Return an id that all containers of a machine have in common until it is rebooted; None if there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None


def _is_shared(directory: Path) -> bool:
    """Whether a directory is on a file system that other machines may have mounted too; False if it is not known."""
    device = os.stat(directory).st_dev
    device_number = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    for mount in mounts:
        # Fields 3 and, after the separator, the first of the rest: device and type of the file system.
        fields, _, rest = mount.partition(" - ")
        if fields.split()[2] == device_number:
            return rest.split(" ", 1)[0].partition(".")[0] in _SHARED_FILE_SYSTEMS
    return False


def _start_time(pid: int) -> str | None:
    """Return a value that distinguishes a process from later ones with the same pid; None if there is no process."""
    if os.name == "nt":
        # There, `os.kill(pid, 0)` would interrupt the process.
        return _start_time_on_windows(pid)
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


def _start_time_on_windows(pid: int) -> str | None:
    import ctypes

    query_limited_information = 0x1000
    still_active = 259
    kernel: Any = ctypes.windll.kernel32  # type: ignore[attr-defined]
    kernel.OpenProcess.restype = ctypes.c_void_p
    handle = ctypes.c_void_p(kernel.OpenProcess(query_limited_information, False, pid))
    if not handle:
        return None
    try:
        # A process that has ended can be opened as long as another one holds a handle of it.
        exit_code = ctypes.c_ulong()
        kernel.GetExitCodeProcess(handle, ctypes.byref(exit_code))
        if exit_code.value != still_active:
            return None
        times = [ctypes.c_ulonglong() for _ in ("creation", "exit", "kernel", "user")]
        if not kernel.GetProcessTimes(handle, *map(ctypes.byref, times)):
            return "unknown"
        return str(times[0].value)
    finally:
        kernel.CloseHandle(handle)
