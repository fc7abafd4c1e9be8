"""A working folder in which commands run, faults are injected, and results are checked."""

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
_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True)
class CommandResult:
    """Exit code and output of a command; the code is None if the command was killed after a time-out."""

    command: tuple[str, ...]
    code: int | None
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The JSON that the command printed."""
        return json.loads(self.out)

    def __str__(self) -> str:
        return f"`recctl {' '.join(self.command)}` ended with {self.code}: {self.err.strip()[-1500:]}"


@dataclass
class RunningCommand:
    """A command that has been started."""

    arena: Arena
    command: tuple[str, ...]
    pid: int
    output_files: tuple[Path, Path]

    def wait(self, seconds: float = _TIMEOUT_SECONDS) -> CommandResult:
        """Wait for the end of the command; kill it after a time-out."""
        code = self.arena.send_request(do="wait", pid=self.pid, seconds=seconds)
        out, err = (path.read_text(encoding="utf-8", errors="replace") for path in self.output_files)
        return CommandResult(self.command, code, out, err)


@dataclass
class Arena:
    """Runs commands in `path`, as forks of a process that has loaded all modules.

    Args:
        folder: Holds `work`, in which commands run, copies of it, and the output of commands.
    """

    folder: Path
    path: Path = field(init=False)

    def __post_init__(self) -> None:
        self.path = self.folder / "work"
        self._n_commands = 0

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True)
        (self.folder / "home").mkdir()
        command = [sys.executable, "-W", "ignore", "-m", "tests.faults.fork_server"]
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

    def send_request(self, **request: Any) -> Any:
        """Send a request to the fork server and return its answer."""
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps(request, default=str) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        if not answer:
            raise RuntimeError(f"the fork server ended during the request {request}")
        return json.loads(answer)

    def start(self, *command: str, fault: dict[str, Any] | None = None, **options: Any) -> RunningCommand:
        """Start `recctl` in a forked process.

        Args:
            command: Arguments of `recctl`.
            fault: Arguments of `hook.Fault`; None runs without the hook.
            options: `largest` (maximum file size in bytes), `user` (user id), `catalog`, `environ`.
        """
        self._n_commands += 1
        output_files = (self.folder / f"{self._n_commands}.out", self.folder / f"{self._n_commands}.err")
        for file in output_files:
            file.touch()
        environ = {"COLUMNS": "200", "NO_COLOR": "1"} | options.pop("environ", {})
        if fault is not None:
            environ["RECCTL_FAULT"] = self._fault_json(fault)
        pid = self.send_request(
            do="start",
            command=command,
            cwd=self.path,
            environ=environ,
            out=output_files[0],
            err=output_files[1],
            **options,
        )
        return RunningCommand(self, command, pid, output_files)

    def run(self, *command: str, **options: Any) -> CommandResult:
        """Run `recctl` in a forked process; takes the options of `start`."""
        return self.start(*command, **options).wait()

    def run_in_new_process(self, *command: str, fault: dict[str, Any]) -> CommandResult:
        """Run `recctl` in a process that is not forked, where `sitecustomize` loads the hook."""
        environ = os.environ | {
            "RECCTL_FAULT": self._fault_json(fault),
            "PYTHONPATH": str(Path(__file__).parent),
            "RECCTL_DATA_HOME": str(self.folder / "home"),
        }
        process = subprocess.run(
            [sys.executable, "-m", "recctl", *command],
            cwd=self.path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
        return CommandResult(command, process.returncode, process.stdout, process.stderr)

    def _fault_json(self, fault: dict[str, Any]) -> str:
        return json.dumps({"root": str(self.path), "log": str(self.log)} | fault)

    @property
    def log(self) -> Path:
        """The log of the file operations of commands that ran with the hook."""
        return self.folder / "points.log"

    def operations(self) -> list[tuple[str, str]]:
        """The file operations in the log, in order: (operation, file)."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(line.split(" ", 2)[1], line.split(" ", 2)[2]) for line in lines]

    # ---- snapshots

    def save_snapshot(self, name: str) -> None:
        """Copy the working folder, for `restore`."""
        shutil.copytree(self.path, self.folder / name, symlinks=True)

    def restore(self, name: str) -> None:
        """Replace the working folder by a snapshot; delete the log and the output of earlier commands."""
        shutil.rmtree(self.path)
        shutil.copytree(self.folder / name, self.path, symlinks=True)
        self.log.unlink(missing_ok=True)
        for err_file in self.folder.glob("*.err"):
            err_file.unlink()
            err_file.with_suffix(".out").unlink(missing_ok=True)


def file_hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file in a folder, by its path relative to the folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
