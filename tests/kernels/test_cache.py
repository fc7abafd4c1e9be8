"""The cache of compiled kernels: where it is, whom it trusts, and what is cleaned up."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from recctl import progress
from recctl.kernels import cache
from recctl.kernels.compile import INT, CompiledFunction

COMPILING = "compiling numerical kernels (once for this version of recctl and this processor)"


@pytest.fixture(autouse=True)
def _new_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """As in a new process, in which no notice was printed yet; temporary files are in a folder of the test."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(cache.tempfile, "tempdir", str(temporary))
    forget()
    yield
    forget()


def forget() -> None:
    cache._announce_compilation.cache_clear()
    cache.folder_to_write.cache_clear()
    cache._mark_used.cache_clear()


def triple(value: int) -> int:
    return 3 * value


def load(notices: list[str] | None = None) -> CompiledFunction:
    """Compile `triple`, or read it from the cache, as another process would."""
    forget()
    kernel = CompiledFunction(triple, (INT, INT), nogil=True)
    collected: list[str] = [] if notices is None else notices
    with progress.listening(SimpleNamespace(notice=collected.append)):
        assert kernel(5) == 15
    return kernel


def was_cached() -> bool:
    """Whether the kernel is read from the cache rather than compiled."""
    notices: list[str] = []
    load(notices)
    return COMPILING not in notices


def kernel_files(root: Path) -> list[Path]:
    return sorted(root.glob("*/*.kernel"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kernels"
    monkeypatch.setenv("RECCTL_KERNELS_DIR", str(path))
    return path


def test_second_process_reads_what_the_first_compiled(folder: Path) -> None:
    assert not was_cached()
    assert was_cached()
    assert len(kernel_files(folder)) == 1


def test_folders_are_private_and_files_too(folder: Path) -> None:
    load()
    [file] = kernel_files(folder)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, file.parent, file)] == [0o700, 0o700, 0o600]


def test_default_is_the_users_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECCTL_KERNELS_DIR", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name, appauthor: str(tmp_path / name))
    load()
    assert len(kernel_files(tmp_path / "recctl" / "kernels")) == 1


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_file_that_others_may_write_is_compiled_anew(folder: Path, mode: int) -> None:
    load()
    [file] = kernel_files(folder)
    file.chmod(mode)
    assert not was_cached()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_folder_of_a_key_that_others_may_write_is_not_read(folder: Path) -> None:
    load()
    [file] = kernel_files(folder)
    file.parent.chmod(0o777)
    assert not was_cached()


def test_folder_that_others_may_write_is_replaced_by_a_temporary_one(folder: Path, tmp_path: Path) -> None:
    load()
    folder.chmod(0o777)
    notices: list[str] = []
    load(notices)
    [temporary] = (tmp_path / "temporary").iterdir()
    assert stat.S_IMODE(temporary.stat().st_mode) == 0o700
    [reason] = [text for text in notices if text != COMPILING]
    for fact in (str(folder), "others may write to it", str(temporary), "RECCTL_KERNELS_DIR"):
        assert fact in reason
    # The next process reads from there, without a notice.
    notices = []
    load(notices)
    assert notices == []


def test_files_and_folders_of_another_user_are_never_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load()
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert not was_cached()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give a file away")
def test_file_given_by_another_user_is_compiled_anew(folder: Path) -> None:
    load()
    [file] = kernel_files(folder)
    os.chown(file, 65534, 65534)
    assert not was_cached()
    assert file.stat().st_uid == 0


def test_link_to_a_file_is_not_followed(folder: Path, tmp_path: Path) -> None:
    load()
    [file] = kernel_files(folder)
    moved = tmp_path / "moved"
    file.rename(moved)
    file.symlink_to(moved)
    assert not was_cached()


def test_damaged_file_is_compiled_anew(folder: Path) -> None:
    load()
    [file] = kernel_files(folder)
    content = file.read_bytes()
    file.write_bytes(content[:-100])
    assert not was_cached()
    assert was_cached()
    file.write_bytes(b"")
    assert not was_cached()


@pytest.mark.parametrize("where", ["/dev/null/home", "~"])
def test_without_a_home_kernels_are_kept_in_a_temporary_folder(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RECCTL_KERNELS_DIR", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name, appauthor: f"{where}/.cache/{name}")
    notices: list[str] = []
    load(notices)
    [temporary] = (tmp_path / "temporary").iterdir()
    assert len(kernel_files(temporary)) == 1
    assert any(str(temporary) in text for text in notices)
    assert was_cached()


@pytest.mark.parametrize("configured", [True, False])
def test_without_a_home_no_kernels_of_the_current_folder_are_read(
    configured: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A folder whose name begins with ~ may have come with a repository.
    relative = "~nobody-of-this-name/recctl/kernels"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECCTL_KERNELS_DIR", str(tmp_path / relative))
    load()
    assert len(kernel_files(tmp_path / relative)) == 1
    monkeypatch.setenv("RECCTL_KERNELS_DIR", relative if configured else "")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name, appauthor: f"~nobody-of-this-name/{name}")
    notices: list[str] = []
    load(notices)
    assert COMPILING in notices
    assert any("there is no home folder" in text for text in notices)


def test_current_folder_is_not_taken_for_temporary_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As `tempfile.gettempdir` answers where no folder takes temporary files.
    temporary = tmp_path / "temporary"
    monkeypatch.chdir(temporary)
    for variable in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(variable, raising=False)
    folder.write_text("no folder")
    load()
    assert list(temporary.iterdir()) == []
    # One that is chosen may well be the current folder.
    monkeypatch.setenv("TMPDIR", str(temporary))
    load()
    assert len(list(temporary.iterdir())) == 1


def test_without_folders_for_temporary_files_cached_kernels_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gettempdir() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(cache.tempfile, "gettempdir", gettempdir)
    assert not was_cached()
    assert was_cached()


def test_folder_that_was_deleted_in_the_meantime_is_private_again(folder: Path) -> None:
    umask = os.umask(0o002)
    try:
        load()
        assert cache.folder_to_write() == folder
        shutil.rmtree(folder)
        cache._write("some.kernel", b"content")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(kernel_files(folder)) == 1


def test_link_to_a_folder_is_not_used(folder: Path, tmp_path: Path) -> None:
    load()
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    notices: list[str] = []
    load(notices)
    assert any("it is a symbolic link" in text for text in notices)


def test_unfinished_files_of_killed_processes_are_removed_after_a_day(folder: Path) -> None:
    load()
    old = folder / cache.key() / ".old.tmp"
    new = folder / cache.key() / ".new.tmp"
    for path in (old, new):
        path.write_text("half")
    two_days_ago = time.time() - 2 * 86_400
    os.utime(old, (two_days_ago, two_days_ago))
    cache.folder_to_write.cache_clear()
    cache.folder_to_write()
    assert not old.exists()
    assert new.exists()


def test_without_any_folder_kernels_are_compiled_by_each_process(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write_text("no folder")
    shutil.rmtree(tmp_path / "temporary")
    (tmp_path / "temporary").write_text("no folder either")
    notices: list[str] = []
    load(notices)
    assert any("each process compiles its own" in text for text in notices)
    assert not was_cached()


@pytest.mark.parametrize("module", ["numba", "llvmlite", "numpy"])
def test_another_version_of_the_compiler_has_another_key(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fresh_key()
    monkeypatch.setattr(f"{module}.__version__", "0.0.1")
    assert fresh_key() != before


def test_another_processor_has_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    from numba.core.codegen import JITCPUCodegen

    before = fresh_key()
    monkeypatch.setattr(JITCPUCodegen, "magic_tuple", lambda _: ("x86_64", "znver9", "+x"))
    assert fresh_key() != before


def test_key_depends_on_the_sources_but_not_on_their_time_stamps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fresh_key()
    copy = tmp_path / "kernels"
    shutil.copytree(Path(cache.__file__).parent, copy)
    monkeypatch.setattr(cache, "__file__", str(copy / "cache.py"))
    source = copy / "csr.py"
    os.utime(source, (1, 1))
    monkeypatch.setattr(cache, "_SOURCES", cache._hash_sources())
    assert fresh_key() == before
    source.write_text(source.read_text() + "\n")
    monkeypatch.setattr(cache, "_SOURCES", cache._hash_sources())
    assert fresh_key() != before


def test_sources_that_change_while_a_process_runs_change_no_key_and_its_kernels_are_not_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fresh_key()
    copy = tmp_path / "upgraded"
    shutil.copytree(Path(cache.__file__).parent, copy)
    (copy / "csr.py").write_text("# another version\n")
    monkeypatch.setattr(cache, "__file__", str(copy / "cache.py"))
    assert fresh_key() == before
    load()
    assert kernel_files(folder) == []


def test_link_to_nothing_among_the_sources_changes_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "kernels"
    shutil.copytree(Path(cache.__file__).parent, copy)
    (copy / ".#csr.py").symlink_to("somebody@somewhere.123")
    monkeypatch.setattr(cache, "__file__", str(copy / "cache.py"))
    assert cache._hash_sources() == cache._SOURCES


def test_environment_with_svml_has_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    from numba.core import config

    before = fresh_key()
    monkeypatch.setattr(config, "USING_SVML", not config.USING_SVML)
    assert fresh_key() != before


def fresh_key() -> str:
    """The key as a new process computes it."""
    cache.key.cache_clear()
    key = cache.key()
    cache.key.cache_clear()
    return key


def test_least_recently_used_keys_are_removed_and_other_files_stay(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    now = time.time()
    for days in range(12):
        old = folder / f"{days:032x}"
        old.mkdir()
        os.utime(old, (now, now - days * 86_400))
    (folder / "notes").mkdir()
    load()
    names = {path.name for path in folder.iterdir()}
    assert names == {f"{days:032x}" for days in range(7)} | {"notes", cache.key()}


def test_reading_marks_a_key_as_used(folder: Path) -> None:
    load()
    used = folder / cache.key()
    os.utime(used, (1, 1))
    load()
    assert time.time() - used.stat().st_mtime < 3600
