"""A PostgreSQL server for tests, which can be stopped and started."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path


def program(name: str) -> str | None:
    """Path of a PostgreSQL program; Debian does not put them on the PATH."""
    places = [shutil.which(name), *map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}")))]
    return next(filter(None, places), None)


_MAX_PORTS = 3
_TIMEOUT = "180"  # seconds
_NOT_RUNNING = 3  # the exit code of `pg_ctl status`


class Server:
    """A server on a free port of this machine.

    Args:
        folder: Data folder; every user must be able to enter its parents.
    """

    def __init__(self, folder: Path) -> None:
        # PostgreSQL does not run as root.
        self._user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        if self._user:
            shutil.chown(folder, "postgres")
            for parent in folder.parents[:3]:
                parent.chmod(parent.stat().st_mode | 0o055)
        self._run("initdb", "-U", "me", "-A", "trust")
        for attempt in range(_MAX_PORTS):
            self.port = _free_port()
            try:
                self.start()
                break
            except RuntimeError:  # another process has taken the port meanwhile
                if attempt + 1 == _MAX_PORTS:
                    raise
        self.url = f"postgresql://me:secret@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1"
        self._run("pg_ctl", "-l", str(self._folder / "log"), "-o", options, "-w", "-t", _TIMEOUT, "start")

    def stop(self) -> None:
        """Stop it immediately, as a crash would, unless it does not run any more."""
        try:
            self._run("pg_ctl", "-m", "immediate", "-t", _TIMEOUT, "stop")
        except RuntimeError:
            if self._call("pg_ctl", "status").returncode != _NOT_RUNNING:
                raise

    def _run(self, name: str, *arguments: str) -> None:
        done = self._call(name, *arguments)
        if done.returncode:
            log = self._folder / "log"
            tail = log.read_text()[-2000:] if log.exists() else ""
            raise RuntimeError(f"{name} {' '.join(arguments)}: {done.stdout}{tail}")

    def _call(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*self._user, str(program(name)), "-D", str(self._folder / "data"), *arguments]
        # A file instead of pipes: the server would keep them open.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, text=True, check=False)
            output.seek(0)
            return subprocess.CompletedProcess(command, done.returncode, output.read(), "")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
