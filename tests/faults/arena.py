"""A folder in which commands run, are hurt, and are looked at afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

_ROOT = Path(__file__).parents[2]
_SECONDS = 120.0


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    command: tuple[str, ...]
    code: int | None
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The JSON it printed."""
        return json.loads(self.out)

    def __str__(self) -> str:
        return f"`recctl {' '.join(self.command)}` ended with {self.code}: {self.err.strip()[-1500:]}"


@dataclass
class Started:
    """A command under way."""

    arena: Arena
    command: tuple[str, ...]
    pid: int
    files: tuple[Path, Path]

    def wait(self, seconds: float = _SECONDS) -> Done:
        """What it came to; the code is None if it had to be killed because it did not end in time."""
        code = self.arena.ask(do="wait", pid=self.pid, seconds=seconds)
        out, err = (path.read_text(encoding="utf-8", errors="replace") for path in self.files)
        return Done(self.command, code, out, err)


@dataclass
class Arena:
    """Commands run in `path`, forked from a process that has everything loaded.

    Args:
        folder: Where everything is kept: `work`, in which commands run; copies of it; what they print.
    """

    folder: Path
    path: Path = field(init=False)

    def __post_init__(self) -> None:
        self.path = self.folder / "work"
        self._number = 0

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True)
        (self.folder / "home").mkdir()
        command = [sys.executable, "-W", "ignore", "-m", "tests.faults.server"]
        environ = os.environ | {"RECCTL_DATA_HOME": str(self.folder / "home"), "PYTHONPATH": str(_ROOT)}
        for name in ("RECCTL_CONFIG", "RECCTL_RUNS_DIR", "RECCTL_MEMORY", "RECCTL_STORAGE"):
            environ.pop(name, None)
        self._server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT, env=environ, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.close()
        self._server.wait(30)
        self._server.stdout.close()

    def ask(self, **request: Any) -> Any:
        """The server's answer."""
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps(request, default=str) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        if not answer:
            raise RuntimeError(f"the server has ended, at {request}")
        return json.loads(answer)

    def start(self, *command: str, fault: dict[str, Any] | None = None, **how: Any) -> Started:
        """Begin `recctl` with these arguments.

        Args:
            command: Its arguments.
            fault: What `hook` does to it.
            how: `largest` (bytes of a file), `user` (its number), `catalog`, `environ`.
        """
        self._number += 1
        files = (self.folder / f"{self._number}.out", self.folder / f"{self._number}.err")
        for file in files:
            file.touch()
        environ = {"COLUMNS": "200", "NO_COLOR": "1", **how.pop("environ", {})}
        if fault is not None:
            environ["RECCTL_FAULT"] = json.dumps({"root": str(self.path), "log": str(self.log), **fault})
        pid = self.ask(do="start", command=command, cwd=self.path, environ=environ, out=files[0], err=files[1], **how)
        return Started(self, command, pid, files)

    def run(self, *command: str, **how: Any) -> Done:
        """What `recctl` with these arguments comes to."""
        return self.start(*command, **how).wait()

    def run_anew(self, *command: str, fault: dict[str, Any]) -> Done:
        """The same in a process that was not forked: the hook is loaded by `sitecustomize`."""
        spec = json.dumps({"root": str(self.path), "log": str(self.log), **fault})
        environ = os.environ | {
            "RECCTL_FAULT": spec,
            "PYTHONPATH": str(Path(__file__).parent),
            "RECCTL_DATA_HOME": str(self.folder / "home"),
        }
        done = subprocess.run(
            [sys.executable, "-m", "recctl", *command],
            cwd=self.path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        return Done(command, done.returncode, done.stdout, done.stderr)

    @property
    def log(self) -> Path:
        """What the last fault's process did to files, point by point."""
        return self.folder / "points.log"

    def points(self) -> list[tuple[str, str]]:
        """The same: what, and the file."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(line.split(" ", 2)[1], line.split(" ", 2)[2]) for line in lines]

    # ---- putting things back

    def keep(self, name: str) -> None:
        """Copy everything, for `restore`."""
        shutil.copytree(self.path, self.folder / name, symlinks=True)

    def restore(self, name: str) -> None:
        """Begin from a copy again."""
        shutil.rmtree(self.path)
        shutil.copytree(self.folder / name, self.path, symlinks=True)
        self.log.unlink(missing_ok=True)
        for old in self.folder.glob("*.err"):
            old.unlink()
            old.with_suffix(".out").unlink(missing_ok=True)


def hashes(folder: Path) -> dict[str, str]:
    """The hash of every file in a folder, by its path within."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
