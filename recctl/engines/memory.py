"""How much memory this process may still take."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from recctl.errors import ConfigError, TrainingError


def available_memory() -> int:
    """Bytes that can be allocated before the machine, or the container, runs out.

    `RECCTL_MEMORY` (bytes) overrides, for machines where the operating system's answer is not the whole truth.
    """
    given = os.environ.get("RECCTL_MEMORY", "")
    if given:
        if not given.isdecimal():
            raise ConfigError(f"RECCTL_MEMORY={given!r}: must be a whole number of bytes")
        return int(given)
    return min(_free_of_machine(), _free_of_container())


def peak_memory() -> int | None:
    """The most bytes this process ever had in memory; None where the system doesn't tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def require_memory(needed: float, what: str, way_out: str) -> None:
    """Refuse work that would not fit, before anything is allocated.

    Args:
        needed: Bytes it takes at its peak.
        what: Names the work and its size.
        way_out: What to do instead.

    Raises:
        TrainingError: More is needed than available.
    """
    there = available_memory()
    if needed > there:
        raise TrainingError(
            f"{what} need {format_bytes(needed)} of memory, {format_bytes(there)} are available; {way_out}"
        )


def available_disk(folder: Path) -> int:
    """Bytes that are free where a folder is, or will be."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(there).free


def require_disk(needed: float, folder: Path, what: str) -> None:
    """Refuse work whose result could not be kept, before it is begun.

    Args:
        needed: Bytes of the result.
        folder: Where it is kept.
        what: Names the result.

    Raises:
        TrainingError: More is needed than is free.
    """
    there = available_disk(folder)
    if needed > there:
        raise TrainingError(
            f"{what} needs {format_bytes(needed)} of disk, {format_bytes(there)} are free in {folder}; make room, or "
            "choose another place with --runs-dir"
        )


def _free_of_machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:  # no /proc: half of the physical memory is a cautious guess
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError, AttributeError):
        return 1 << 62


def _free_of_container(root: Path = Path("/sys/fs/cgroup")) -> int:
    for limit, used, statistics in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        try:
            free = int((root / limit).read_text()) - int((root / used).read_text())
            lines = (root / statistics).read_text().splitlines()
        except (OSError, ValueError):  # no such controller, or "max"
            continue
        # Pages of files count as used, but are given back as soon as someone wants the space.
        files = sum(int(line.split()[1]) for line in lines if line.startswith(("inactive_file ", "active_file ")))
        return max(0, free + files)
    return 1 << 62


def format_bytes(n_bytes: float) -> str:
    """A size as people read it: `1.5 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"
