"""What a run was made with: packages, code, machine."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from recctl import engines
from recctl.version import __version__

_PACKAGES = ("numpy", "scipy", "pandas", "pyarrow", "numba", "torch", "optuna", "pydantic")


def environment() -> dict[str, Any]:
    """Versions, git state of the working directory, and hardware, as plain values."""
    return {
        "recctl": __version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "git": _git(),
        "hardware": {
            "machine": platform.machine(),
            "system": platform.system(),
            "processor": _processor(),
            "cpus": os.cpu_count(),
            "threads": engines.threads(),
        },
        "command": [os.path.basename(sys.argv[0]), *map(redact_passwords, sys.argv[1:])],
    }


def redact_passwords(text: str) -> str:
    """A text with the passwords of the URLs in it left out."""
    return re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:...@", text)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git() -> dict[str, Any] | None:
    """Commit and dirty flag of the repository that the working directory lies in, if it does."""

    def ask(*arguments: str) -> str:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            ["git", *arguments],  # noqa: S607 - git is found as the user's shell finds it
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        return done.stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
