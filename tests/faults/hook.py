"""Hurts the process it is loaded into at the n-th thing it does to files below a folder, and logs all of them.

Every change goes through here as one numbered point: opening for writing, each write(2), fsync, rename, link, mkdir,
unlink, rmdir, and each commit of an SQLite database. What C code writes by itself (PyArrow, SQLite's pages) is not
seen; kills at random times and a disk that is really full are for that.

What to do stands in `$RECCTL_FAULT`, as JSON: `root` (the folder), `log` (gets a line for each point), `at` (the point,
from 0), `do`:

- kill: SIGKILL before the point. torn: SIGKILL after half of what was to be written, or right after the point.
- ENOSPC, EIO, EROFS, EACCES: the point fails so, and with `lasting` every later one that the error would hit.
- SIGTERM, SIGINT: the signal arrives before the point.
- back: the clock goes back a day.
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

# A full disk still lets go of files, and can sync what it has.
_SPARED = {"ENOSPC": ("unlink", "rmdir", "fsync"), "EACCES": ("write", "fsync", "commit")}
_SQLITE = {
    "ENOSPC": "database or disk is full",
    "EIO": "disk I/O error",
    "EROFS": "attempt to write a readonly database",
}
_DAY = 86_400


class Fault:
    """One fault, waiting for its point."""

    def __init__(self, root: str, log: str, at: int = -1, do: str = "", lasting: bool = False) -> None:
        self.root = os.path.realpath(root) + os.sep
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.at, self.do, self.lasting = at, do, lasting
        self.count = 0
        self.lock = threading.RLock()

    def point(self, what: str, path: Any, go_on: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        """Let `go_on` change something at `path`, or not."""
        place = self._place(path)
        if place is None:
            return go_on()
        with self.lock:
            number = self.count
            self.count += 1
        os.write(self.log, f"{number} {what} {place}\n".encode())
        if number == self.at or (self.lasting and number > self.at >= 0):
            self._strike(what, path, half or go_on, first=number == self.at)
        return go_on()

    def _strike(self, what: str, path: Any, half: Callable[[], Any], first: bool) -> None:
        if self.do in ("kill", "torn"):
            if self.do == "torn":
                half()
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.do in ("SIGTERM", "SIGINT"):
            os.kill(os.getpid(), getattr(signal, self.do))
        elif self.do == "back":
            turn_back_the_clock()
        elif what not in _SPARED.get(self.do, ()):
            if first and self.do == "ENOSPC":
                half()
            if what == "commit":
                raise sqlite3.OperationalError(_SQLITE[self.do])
            code = getattr(errno, self.do)
            named = () if what in ("write", "fsync") else (os.fspath(path),)
            raise OSError(code, os.strerror(code), *named)

    def _place(self, path: Any) -> str | None:
        if isinstance(path, int):
            try:
                path = os.readlink(f"/proc/self/fd/{path}")
            except OSError:
                return None
        full = os.path.join(os.path.realpath(os.path.dirname(os.fspath(path)) or "."), os.path.basename(path))
        return full.removeprefix(self.root) if full.startswith(self.root) else None


def load() -> None:
    """Do as the environment says; nothing if it says nothing."""
    spec = os.environ.get("RECCTL_FAULT")
    if spec:
        install(Fault(**json.loads(spec)))


def install(fault: Fault) -> None:
    """Put every change of files through a fault's points."""
    _watch_names(fault)
    _watch_content(fault)
    _watch_databases(fault)


def _watch_names(fault: Fault) -> None:
    def through(name: str, which: int = 0) -> None:
        original = getattr(os, name)

        def changed(*arguments: Any, **more: Any) -> Any:
            path = arguments[which]
            if more.get("dir_fd") is not None:
                path = os.path.join(os.readlink(f"/proc/self/fd/{more['dir_fd']}"), path)
            return fault.point(name, path, lambda: original(*arguments, **more), lambda: None)

        setattr(os, name, changed)

    for name in ("mkdir", "unlink", "remove", "rmdir", "fsync", "truncate"):
        through(name)
    for name in ("rename", "replace", "link"):
        through(name, which=1)


def _watch_content(fault: Fault) -> None:
    class Watched(io.FileIO):
        def write(self, data: Any) -> int:
            data = bytes(data)
            write = super().write
            return int(fault.point("write", self.fileno(), lambda: write(data), lambda: write(data[: len(data) // 2])))

    def open_(file: Any, mode: str = "r", buffering: int = -1, *arguments: Any, **more: Any) -> Any:
        if isinstance(file, int) or not set(mode) & set("wax+") or fault._place(file) is None:
            return original_open(file, mode, buffering, *arguments, **more)
        raw = fault.point("open", file, lambda: Watched(file, mode.replace("b", "").replace("t", "")), lambda: None)
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *arguments, **more)

    original_open = io.open
    io.open = builtins.open = open_  # type: ignore[assignment]


def _watch_databases(fault: Fault) -> None:
    class Connection(sqlite3.Connection):
        path: str = ""

        def commit(self) -> None:
            commit = super().commit
            fault.point("commit", self.path, commit)

    connect = sqlite3.connect

    def connect_(database: Any, *arguments: Any, **more: Any) -> Any:
        made = connect(database, *arguments, **{"factory": Connection, **more})
        made.path = os.path.abspath(database)
        return made

    sqlite3.connect = sqlite3.dbapi2.connect = connect_  # type: ignore[assignment]


def turn_back_the_clock(seconds: float = _DAY) -> None:
    """Let everything in recctl believe that it is earlier."""
    import datetime as module

    real, real_time, real_ns = module.datetime, time.time, time.time_ns
    time.time = lambda: real_time() - seconds
    time.time_ns = lambda: real_ns() - int(seconds * 1e9)

    class Earlier(real):  # type: ignore[valid-type, misc]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return real.now(tz) - module.timedelta(seconds=seconds)

    for name, loaded in list(sys.modules.items()):
        if name.partition(".")[0] in ("recctl", "optuna") and getattr(loaded, "datetime", None) is real:
            loaded.datetime = Earlier  # type: ignore[attr-defined]
