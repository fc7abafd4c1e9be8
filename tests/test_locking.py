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
locking.hold(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_who_holds_a_folder_holds_it_until_death(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError):
            locking.hold(tmp_path)
        other.kill()
        other.wait()
        descriptor = locking.hold(tmp_path)
    assert descriptor is not None
    with pytest.raises(BlockingIOError):
        locking.hold(tmp_path)
    os.close(descriptor)
    with locking.held(tmp_path):
        pass
    assert not list(tmp_path.iterdir()), "nothing is left of it"
