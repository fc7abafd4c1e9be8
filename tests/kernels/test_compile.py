"""Compiling, which a person is told of, and the cache, which makes it rare."""

import os
import subprocess
import sys
from pathlib import Path

_SCRIPT = """
from types import SimpleNamespace
from recctl import progress
heard = SimpleNamespace(notice=print)
with progress.listening(heard):
    from recctl.kernels import csr
"""


def test_kernels_work_without_numbas_events(tmp_path: Path) -> None:
    """They are a developer interface of Numba, which may change."""
    script = "from numba.core import event; del event.Listener\n" + _SCRIPT
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_compiling_is_told_once_and_not_when_the_cache_has_it(tmp_path: Path) -> None:
    def notices() -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT],
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    assert notices() == ["compiling numerical kernels (only once on this machine; up to a minute)"]
    assert notices() == []
