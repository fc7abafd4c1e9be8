"""recctl can be imported on systems that lack what only POSIX, or only Linux, has."""

from __future__ import annotations

import io
import os

from recctl import cli
from tests import preloaded

# Modules that Windows does not have, and what it lacks in `os` and `signal`.
IMPORT_ALL = """
import builtins
import importlib
import os
import pkgutil
import signal

POSIX_ONLY = {"fcntl", "grp", "pwd", "resource", "termios", "tty"}
import_module = builtins.__import__

def import_as_on_windows(name, globals=None, *rest, **others):
    importer = (globals or {}).get("__name__", "")
    if name in POSIX_ONLY and importer.partition(".")[0] == "recctl":
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return import_module(name, globals, *rest, **others)

builtins.__import__ = import_as_on_windows
import torch  # of packages themselves, Windows has other builds
for name in ("fork", "geteuid", "getuid", "register_at_fork", "sched_getaffinity", "sysconf"):
    delattr(os, name)
for name in ("SIGALRM", "SIGKILL", "setitimer"):
    delattr(signal, name)

import recctl
for module in pkgutil.walk_packages(recctl.__path__, "recctl."):
    if module.name != "recctl.__main__":
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] in {"recctl", *POSIX_ONLY} or "RECCTL_TEST_ALL" in os.environ:
                raise
            continue  # a package of an extra is not installed
        print(module.name)
"""


def test_all_modules_are_imported_without_what_only_posix_has() -> None:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    done = preloaded.run("-c", IMPORT_ALL, env=environment, check=True)
    modules = done.stdout.split()
    assert {"recctl.locking", "recctl.cli.interruption", "recctl.runs.liveness", "recctl.engines.memory"} <= {*modules}


def test_characters_that_the_encoding_of_windows_lacks_are_escaped() -> None:
    content = io.BytesIO()
    stream = io.TextIOWrapper(content, encoding="cp1252")
    cli.escape_unencodable(stream)
    stream.write("Amélie, Ночной дозор")
    stream.flush()
    escaped = "\\u041d\\u043e\\u0447\\u043d\\u043e\\u0439 \\u0434\\u043e\\u0437\\u043e\\u0440"
    assert content.getvalue() == f"Amélie, {escaped}".encode("cp1252")


def test_error_handler_that_a_stream_has_is_kept() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogateescape")
    cli.escape_unencodable(stream)
    assert stream.errors == "surrogateescape"
