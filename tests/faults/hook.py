"""Counts and logs the file operations of the process that loads it, and injects a fault at one of them.

Every change below a folder is a numbered file operation: opening for writing, each write(2), fsync, rename, link,
mkdir, unlink, rmdir, and each commit of an SQLite database. Operations in C code (PyArrow, the pages of SQLite) are not
seen; kills at random times and disks that are really full cover those.

`$RECCTL_FAULT` configures the fault, as JSON: `root` (the folder), `log` (a file that gets a line for each operation),
`at` (the number of the operation, from 0), `lasting`, and `do`:

- kill: SIGKILL before the operation. torn: SIGKILL after half of a write, or right after another operation.
- ENOSPC, EIO, EROFS, EACCES: the operation fails with this error; with `lasting`, all later ones to which the error
  applies fail too.
- SIGTERM, SIGINT: the signal arrives before the operation.
- back: the clock jumps back by a day.
"""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

# Operations to which an error does not apply: a full disk still deletes files and syncs what it has, and permissions
# are only checked when a file is opened.
_UNAFFECTED = {"ENOSPC": ("unlink", "rmdir", "fsync"), "EACCES": ("write", "fsync", "commit")}
_SQLITE_MESSAGES = {
    "ENOSPC": "database or disk is full",
    "EIO": "disk I/O error",
    "EROFS": "attempt to write a readonly database",
}
_DAY_SECONDS = 86_400


class Fault:
    """A fault, and the operation at which it is injected; the arguments are those of `$RECCTL_FAULT`."""

    def __init__(self, root: str, log: str, at: int = -1, do: str = "", lasting: bool = False) -> None:
        self.root = os.path.realpath(root) + os.sep
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.at = at
        self.do = do
        self.lasting = lasting
        self.n_operations = 0
        self.lock = threading.RLock()

    def run_operation(
        self, operation: str, path: Any, run: Callable[[], Any], run_half: Callable[[], Any] | None = None
    ) -> Any:
        """Run a file operation, or inject the fault.

        Args:
            operation: Name of the operation.
            path: The file: a path or a file descriptor.
            run: Runs the operation.
            run_half: Runs a part of it; default: all of it.

        Returns:
            The result of `run`.
        """
        relative_path = self.relative_path(path)
        if relative_path is None:
            return run()
        with self.lock:
            number = self.n_operations
            self.n_operations += 1
        os.write(self.log, f"{number} {operation} {relative_path}\n".encode())
        is_first = number == self.at
        if is_first or (self.lasting and number > self.at >= 0):
            self._inject(operation, path, run_half or run, is_first)
        return run()

    def _inject(self, operation: str, path: Any, run_half: Callable[[], Any], is_first: bool) -> None:
        if self.do in ("kill", "torn"):
            if self.do == "torn":
                run_half()
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.do in ("SIGTERM", "SIGINT"):
            os.kill(os.getpid(), getattr(signal, self.do))
        elif self.do == "back":
            set_clock_back()
        elif operation not in _UNAFFECTED.get(self.do, ()):
            # A write to a full disk writes what still fits.
            if is_first and self.do == "ENOSPC":
                run_half()
            if operation == "commit":
                raise sqlite3.OperationalError(_SQLITE_MESSAGES[self.do])
            code = getattr(errno, self.do)
            if operation in ("write", "fsync"):
                raise OSError(code, os.strerror(code))
            raise OSError(code, os.strerror(code), os.fspath(path))

    def relative_path(self, path: Any) -> str | None:
        """The path relative to the root of the fault; None for a file outside of it."""
        if isinstance(path, int):
            try:
                path = os.readlink(f"/proc/self/fd/{path}")
            except OSError:
                return None
        folder = os.path.realpath(os.path.dirname(os.fspath(path)) or ".")
        full_path = os.path.join(folder, os.path.basename(path))
        return full_path.removeprefix(self.root) if full_path.startswith(self.root) else None


def load() -> None:
    """Install the fault of `$RECCTL_FAULT`, if it is set."""
    spec = os.environ.get("RECCTL_FAULT")
    if spec:
        install(Fault(**json.loads(spec)))


def install(fault: Fault) -> None:
    """Replace the functions that change files."""
    _patch_os_functions(fault)
    _patch_open(fault)
    _patch_sqlite(fault)


def _patch_os_functions(fault: Fault) -> None:
    def patch(name: str, path_position: int = 0) -> None:
        original = getattr(os, name)

        def patched(*args: Any, **kwargs: Any) -> Any:
            path = args[path_position]
            if kwargs.get("dir_fd") is not None:
                path = os.path.join(os.readlink(f"/proc/self/fd/{kwargs['dir_fd']}"), path)
            return fault.run_operation(name, path, lambda: original(*args, **kwargs), lambda: None)

        setattr(os, name, patched)

    for name in ("mkdir", "unlink", "remove", "rmdir", "fsync", "truncate"):
        patch(name)
    for name in ("rename", "replace", "link"):
        patch(name, path_position=1)


def _patch_open(fault: Fault) -> None:
    original_open = io.open

    class PatchedFile(io.FileIO):
        def write(self, data: Any) -> int:
            data = bytes(data)
            first_half = data[: len(data) // 2]
            write = super().write
            return int(
                fault.run_operation("write", self.fileno(), lambda: write(data), lambda: write(first_half)),
            )

    def patched_open(file: Any, mode: str = "r", buffering: int = -1, *args: Any, **kwargs: Any) -> Any:
        is_written = set(mode) & set("wax+")
        if isinstance(file, int) or not is_written or fault.relative_path(file) is None:
            return original_open(file, mode, buffering, *args, **kwargs)
        raw_mode = mode.replace("b", "").replace("t", "")
        raw = fault.run_operation("open", file, lambda: PatchedFile(file, raw_mode), lambda: None)
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(buffered, *args, **kwargs)

    io.open = patched_open  # type: ignore[assignment]
    builtins.open = patched_open  # type: ignore[assignment]


def _patch_sqlite(fault: Fault) -> None:
    original_connect = sqlite3.connect

    class PatchedConnection(sqlite3.Connection):
        path: str = ""

        def commit(self) -> None:
            commit = super().commit
            fault.run_operation("commit", self.path, commit)

    def patched_connect(database: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("factory", PatchedConnection)
        connection = original_connect(database, *args, **kwargs)
        connection.path = os.path.abspath(database)
        return connection

    sqlite3.connect = patched_connect  # type: ignore[assignment]
    sqlite3.dbapi2.connect = patched_connect  # type: ignore[assignment]


def set_clock_back(seconds: float = _DAY_SECONDS) -> None:
    """Let recctl and Optuna see an earlier time."""
    import datetime as datetime_module

    original_datetime = datetime_module.datetime
    original_time = time.time
    original_time_ns = time.time_ns
    time.time = lambda: original_time() - seconds
    time.time_ns = lambda: original_time_ns() - int(seconds * 1e9)

    class EarlierDatetime(original_datetime):  # type: ignore[valid-type, misc]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return original_datetime.now(tz) - datetime_module.timedelta(seconds=seconds)

    for name, module in list(sys.modules.items()):
        is_patched = name.partition(".")[0] in ("recctl", "optuna")
        if is_patched and getattr(module, "datetime", None) is original_datetime:
            module.datetime = EarlierDatetime  # type: ignore[attr-defined]
