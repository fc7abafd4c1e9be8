from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recctl import locking

pytest.importorskip("fcntl")

HOLDER = """
import sys
from pathlib import Path
from recctl import locking
locking.acquire(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


def test_lock_on_directory_is_released_when_holder_dies(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(BlockingIOError):
            locking.acquire(tmp_path)
        holder.kill()
        holder.wait()
        descriptor = locking.acquire(tmp_path)
    assert descriptor is not None
    with pytest.raises(BlockingIOError):
        locking.acquire(tmp_path)
    os.close(descriptor)
    with locking.locked(tmp_path):
        pass
    assert not list(tmp_path.iterdir()), "a lock leaves no file behind"


def test_waiting_for_a_held_lock_calls_on_wait_once(tmp_path: Path) -> None:
    descriptor = locking.acquire(tmp_path)
    assert descriptor is not None
    calls = []

    def release() -> None:
        calls.append("waiting")
        os.close(descriptor)

    with locking.locked(tmp_path, on_wait=release):
        assert calls == ["waiting"]
    with locking.locked(tmp_path, on_wait=release):
        assert calls == ["waiting"]


def test_is_locked_tells_whether_a_lock_is_held(tmp_path: Path) -> None:
    assert locking.is_locked(tmp_path) is False
    with locking.locked(tmp_path):
        assert locking.is_locked(tmp_path) is True
    assert locking.is_locked(tmp_path) is False
