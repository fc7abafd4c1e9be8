"""A PostgreSQL server for tests, which can be stopped and started."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path


def program(name: str) -> str | None:
    """Path of a PostgreSQL program; Debian does not put them on the PATH."""
    places = [shutil.which(name), *map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}")))]
    return next(filter(None, places), None)


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
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"postgresql://me:secret@127.0.0.1:{self.port}/postgres"
        self._run("initdb", "-U", "me", "-A", "trust")
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1"
        self._run("pg_ctl", "-l", str(self._folder / "log"), "-o", options, "-w", "start")

    def stop(self) -> None:
        """Stop it immediately, as a crash would."""
        self._run("pg_ctl", "-m", "immediate", "stop")

    def _run(self, name: str, *arguments: str) -> None:
        command = [*self._user, str(program(name)), "-D", str(self._folder / "data"), *arguments]
        subprocess.run(command, check=True, capture_output=True)
