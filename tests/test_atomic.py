import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from recctl.atomic import replacing, write_bytes


def test_a_file_appears_with_the_end_of_the_block(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError, GeneratorExit])
def test_what_stood_there_stays_if_the_block_raises(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def break_off():
        with replacing(path) as file:
            file.write(b"half of the n")
            raise error

    with pytest.raises(error):
        break_off()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_stood_there_stays_if_the_process_dies(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    code = """
import os, signal, sys
from pathlib import Path
from recctl.atomic import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"half of the n")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    assert path.read_bytes() == b"old"


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path):
    path = tmp_path / "file"
    contents = [bytes([n]) * 100_000 for n in range(32)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_bytes(path, content), contents))
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask


def test_names_as_long_as_the_system_takes(tmp_path):
    path = tmp_path / ("x" * 255)
    write_bytes(path, b"content")
    assert path.read_bytes() == b"content"


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_bytes(tmp_path / "folder", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
