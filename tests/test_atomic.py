import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from recctl.atomic import replacing, replacing_folder, write_bytes


def test_file_appears_when_block_succeeds(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError, GeneratorExit])
def test_existing_file_is_kept_if_block_raises(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write_half():
        with replacing(path) as file:
            file.write(b"first half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_existing_file_is_kept_if_process_dies(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    code = """
import os, signal, sys
from pathlib import Path
from recctl.atomic import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"first half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    assert path.read_bytes() == b"old"


def test_concurrent_writers_leave_one_whole_file(tmp_path):
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


def test_file_names_of_maximum_length_work(tmp_path):
    path = tmp_path / ("x" * 255)
    write_bytes(path, b"content")
    assert path.read_bytes() == b"content"


def test_write_bytes_does_not_replace_a_folder(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_bytes(tmp_path / "folder", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_folder_is_replaced_when_block_succeeds(tmp_path):
    path = tmp_path / "a" / "folder"
    for content in ("first", "second"):
        with replacing_folder(path) as folder:
            (folder / content).write_text(content)
            assert not (path / content).exists()
        assert [file.name for file in path.iterdir()] == [content]
        assert list(path.parent.iterdir()) == [path]


def test_existing_folder_is_kept_if_block_raises(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "file").write_text("old")

    def write_half():
        with replacing_folder(path, "name-") as folder:
            assert folder.name.startswith(".name-")
            (folder / "file").write_text("new")
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        write_half()
    assert (path / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_new_parent_is_removed_if_block_raises(tmp_path):
    with pytest.raises(ValueError, match="half"), replacing_folder(tmp_path / "parent" / "folder"):
        raise ValueError("half")
    assert not list(tmp_path.iterdir())
