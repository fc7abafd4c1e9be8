"""Servers that tests start on a free port of this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from urllib.error import URLError
from urllib.request import urlopen

# Machines that run tests are often busy.
_START_SECONDS = 120.0


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def serving(
    command: Sequence[str | int | Path], url: str, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run a server until the end of the context, which begins when the URL answers.

    Args:
        command: The command.
        url: An address that the server answers.
        environment: Environment variables beside those of this process.
    """
    with TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | (environment or {}),
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not _answers(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    output.seek(0)
                    raise RuntimeError(f"{command[0]} does not answer at {url}:\n{output.read()[-2000:]}")
                time.sleep(0.1)
            yield url
        finally:
            # With its workers.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=10):
            return True
    except (URLError, OSError):
        return False
