"""Record of the environment of a run: packages, code, hardware."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from recctl import engines, urls
from recctl.version import __version__

_PACKAGES = ("numpy", "scipy", "pandas", "pyarrow", "numba", "torch", "optuna", "pydantic")
_GIT_TIMEOUT = 10  # seconds


def environment() -> dict[str, Any]:
    """Return versions, the git state of the working directory, and the hardware as plain values."""
    folder, program = os.path.split(sys.argv[0])
    # `python -m recctl` runs the file recctl/__main__.py.
    command = ["recctl" if program == "__main__.py" and os.path.basename(folder) == "recctl" else program]
    command.extend(urls.redact(redact_passwords(argument)) for argument in sys.argv[1:])
    return {
        "recctl": __version__,
        "python": platform.python_version(),
        "packages": {package_name: _package_version(package_name) for package_name in _PACKAGES},
        "git": _git_state(),
        "hardware": {
            "machine": platform.machine(),
            "system": platform.system(),
            "processor": _processor_name(),
            "cpus": os.cpu_count(),
            "threads": engines.threads(),
        },
        "command": command,
    }


def redact_passwords(text: str) -> str:
    """Replace the passwords of URLs in a text by `...`."""
    return re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:...@", text)


@cache  # reading the metadata of packages takes 15 ms, for each run of a comparison or a program
def _package_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_state() -> dict[str, Any] | None:
    """Return the commit of the working directory and whether files are changed; None outside of a repository.

    Also the branch and the URL of `origin`, if there are any.
    """
    try:
        state: dict[str, Any] = {
            "commit": _run_git("rev-parse", "HEAD"),
            "dirty": bool(_run_git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return None
    with suppress(OSError, subprocess.SubprocessError):  # not on a branch, as in many CI systems
        state["branch"] = _run_git("symbolic-ref", "--short", "HEAD")
    with suppress(OSError, subprocess.SubprocessError):
        state["remote"] = urls.redact(redact_passwords(_run_git("config", "--get", "remote.origin.url")))
    return state


def _run_git(*arguments: str) -> str:
    completed = subprocess.run(  # noqa: S603 - fixed arguments, no shell
        ["git", *arguments],  # noqa: S607 - git is found as the user's shell finds it
        capture_output=True,
        text=True,
        timeout=_GIT_TIMEOUT,
        check=True,
    )
    return completed.stdout.strip()


def _processor_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as cpu_file:
            for cpu_line in cpu_file:
                if cpu_line.startswith("model name"):
                    return cpu_line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
