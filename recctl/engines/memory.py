"""How much memory this process may still take."""

from __future__ import annotations

import os
from pathlib import Path

from recctl.errors import ConfigError


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


def _free_of_container() -> int:
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            return max(0, int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # no such controller, or "max"
            continue
    return 1 << 62


def in_words(n_bytes: float) -> str:
    """A size as people read it: `1.5 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"
