"""How much memory and disk space is available, and checks that work will fit."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from recctl.errors import ConfigError, TrainingError

# Returned if the operating system reports no limit.
_UNLIMITED = 1 << 62


def available_memory() -> int:
    """Bytes that can be allocated before the machine, or its container, runs out of memory.

    `RECCTL_MEMORY` (bytes) overrides it, for machines on which the operating system's answer is not accurate.
    """
    setting = os.environ.get("RECCTL_MEMORY", "")
    if setting:
        if not setting.isdecimal():
            raise ConfigError(f"RECCTL_MEMORY={setting!r}: must be a whole number of bytes, such as 4000000000")
        return int(setting)
    return min(_available_on_machine(), _available_in_container())


def peak_memory() -> int | None:
    """The largest resident size of this process so far, in bytes; None if the system does not report it."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def require_memory(needed: float, what: str, hint: str) -> None:
    """Refuse work that would not fit, before anything is allocated.

    Args:
        needed: Bytes needed at the peak.
        what: The work and its size, in the plural, for the message.
        hint: What to do instead, for the message.

    Raises:
        TrainingError: More memory is needed than available.
    """
    available = available_memory()
    if needed > available:
        raise TrainingError(
            f"{what} need {format_bytes(needed)} of memory, {format_bytes(available)} are available; {hint}"
        )


def available_disk(folder: Path) -> int:
    """Free bytes on the disk of a folder, which need not exist yet."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(existing).free


def require_disk(needed: float, folder: Path, what: str) -> None:
    """Refuse work whose result could not be saved, before it begins.

    Args:
        needed: Bytes of the result.
        folder: Where the result will be saved.
        what: The result, in the singular, for the message.

    Raises:
        TrainingError: More disk space is needed than free.
    """
    available = available_disk(folder)
    if needed > available:
        raise TrainingError(
            f"{what} needs {format_bytes(needed)} of disk, {format_bytes(available)} are free in {folder}; "
            "free some space, or choose another folder with --runs-dir"
        )


def _available_on_machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    # No /proc: half of the physical memory is a cautious guess.
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError, AttributeError):
        return _UNLIMITED


def _available_in_container(root: Path = Path("/sys/fs/cgroup")) -> int:
    # Control groups version 2, then version 1.
    for limit_file, usage_file, statistics_file in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        try:
            free = int((root / limit_file).read_text()) - int((root / usage_file).read_text())
            lines = (root / statistics_file).read_text().splitlines()
        except (OSError, ValueError):  # no such controller, or "max"
            continue
        # The page cache counts as used, but is reclaimed when memory is needed.
        cached = sum(int(line.split()[1]) for line in lines if line.startswith(("inactive_file ", "active_file ")))
        return max(0, free + cached)
    return _UNLIMITED


def format_bytes(n_bytes: float) -> str:
    """A size for display: `1.5 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"
