"""Compiled kernels on disk, shared by all environments of a user.

Numba's own cache lies beside the source files: each environment compiles its own kernels, and the files are trusted
without a check. This one lies in the user's cache folder:

    kernels/            mode 0700
      1f3a.../          one folder for each combination of kernel sources, versions of the compiler, and processor
        csr.row_starts-5d41....kernel

A cached kernel is code: folders and files that belong to another user, or that others may write to, are never read.
Files appear whole or not at all, and begin with a checksum, so that any number of processes may use the cache at a
time.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import stat
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from recctl import progress
from recctl.errors import RecctlWarning
from recctl.version import __version__

FOLDER_VARIABLE = "RECCTL_KERNELS_DIR"
# Folders of other versions or processors that are kept, the most recently used ones: a kernel takes about 20 kB.
_MAX_KEYS = 8
_DIGEST_DIGITS = 32
_SECONDS_OF_A_DAY = 86_400
# Settings of numba that change the machine code; the processor is part of the key by itself. With Intel's SVML, which
# only some environments have, kernels call functions of that library.
_NUMBA_SETTINGS = (
    "OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "ENABLE_AVX", "USING_SVML",
)  # fmt: skip
# Folders of the system where Python looks for one that takes temporary files, besides those of the environment.
_TEMPORARY_FOLDERS = ("/tmp", "/var/tmp", "/usr/tmp")  # noqa: S108 - only compared with
_TEMPORARY_FOLDER_VARIABLES = ("TMPDIR", "TEMP", "TMP")


class KernelCache:
    """The cache of one kernel, with the methods by which a dispatcher of numba reads and writes its cache.

    Args:
        name: Names the file, such as `csr.row_starts`.
        description: All that the machine code depends on, beside what the folder stands for.
    """

    def __init__(self, name: str, description: str) -> None:
        digest = hashlib.sha256(description.encode()).hexdigest()[:_DIGEST_DIGITS]
        self._file_name = f"{name}-{digest}.kernel"

    @property
    def cache_path(self) -> str:
        """The folder of the file."""
        return str(user_folder() / key())

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Return the compiled kernel; None if it is not in the cache."""
        from numba.core.compiler import CompileResult

        target.refresh()  # the context must know all intrinsics that the kernel may call
        content = self._read()
        if content is None:
            _announce_compilation()
            return None
        return CompileResult._rebuild(target, *pickle.loads(content))  # noqa: S301 - only files of the user are read

    def save_overload(self, signature: Any, result: Any) -> None:
        """Write a compiled kernel."""
        from numba.core.serialize import dumps

        compiled = result.library
        if compiled.has_dynamic_globals:  # it contains addresses of this process
            return
        # Upgraded or edited while this process runs: the kernel may be made of other sources than its key says.
        if _hash_sources() != _SOURCES:
            return
        _write(self._file_name, dumps(result._reduce()))

    def exists(self) -> bool:
        """Whether the cache has the kernel."""
        return self._read() is not None

    def _read(self) -> bytes | None:
        for root in (user_folder(), _temporary_folder()):
            if root is None:
                continue
            if _reason_to_ignore(root) is not None or _reason_to_ignore(root / key()) is not None:
                continue
            content = _read_own_file(root / key() / self._file_name)
            if content is not None:
                _mark_used(root / key())
                return content
        return None


@cache
def _announce_compilation() -> None:
    """Print a notice, once per process: the command takes longer than usual."""
    # A program that turns warnings into errors must not fail in the middle of a compilation.
    with suppress(RecctlWarning):
        progress.notice("compiling numerical kernels (once for this version of recctl and this processor)")


def user_folder() -> Path:
    """The folder of compiled kernels: `$RECCTL_KERNELS_DIR`, or a part of the user's cache folder for recctl.

    For a user without a home, the path is relative and begins with `~`; it is never used.
    """
    configured = os.path.expanduser(os.environ.get(FOLDER_VARIABLE, ""))
    if configured:
        return Path(configured) if configured.startswith("~") else Path(configured).absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("recctl", appauthor=False)) / "kernels"


def _temporary_folder() -> Path | None:
    """Where kernels are cached if the user has no home, or a read-only one; None if there is no such folder."""
    try:
        parent = tempfile.gettempdir()
        # Where there is none, Python takes the current folder: kernels in it may have come with a repository.
        if parent == os.getcwd() and not _is_for_temporary_files(parent):
            return None
    except OSError:
        return None
    user = os.geteuid() if hasattr(os, "geteuid") else "user"  # on Windows, temporary folders belong to a user anyway
    return Path(parent) / f"recctl-kernels-{user}"


def _is_for_temporary_files(folder: str) -> bool:
    configured = [os.environ.get(variable) for variable in _TEMPORARY_FOLDER_VARIABLES]
    return folder in _TEMPORARY_FOLDERS or folder in [os.path.abspath(path) for path in configured if path]


def _hash_sources() -> bytes:
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        with suppress(OSError):  # removed by an upgrade in this moment, or the lock of an editor, a link to nothing
            content = source.read_bytes()
            digest.update(f"{source.name}\0".encode())
            digest.update(hashlib.sha256(content).digest())
    return digest.digest()


# Of the files that this process imports: modules with kernels import this one first.
_SOURCES = _hash_sources()


@cache
def key() -> str:
    """Identify the sources of all kernels, the compiler and the processor; kernels of another key are never loaded.

    The sources of all kernels, because a kernel contains helpers and constants of other modules. Contents are hashed:
    the time stamps of a source file differ between two installations of one version.
    """
    from recctl.kernels.numba_import import import_without_scipy_linalg

    import_without_scipy_linalg()
    import llvmlite
    import numba
    import numpy
    from numba.core import config
    from numba.core.registry import cpu_target

    digest = hashlib.sha256(_SOURCES)
    facts = [
        __version__,
        sys.version,
        numba.__version__,
        llvmlite.__version__,
        numpy.__version__,
        # The operating system and architecture, the name of the processor and its features.
        *cpu_target.target_context.codegen().magic_tuple(),
        *(str(getattr(config, setting, None)) for setting in _NUMBA_SETTINGS),
    ]
    digest.update("\0".join(str(fact) for fact in facts).encode())
    return digest.hexdigest()[:_DIGEST_DIGITS]


# ---- what may be read


def _reason_to_ignore(folder: Path) -> str | None:
    """Why a folder is not used; None if it is."""
    if not folder.is_absolute():
        # The path of a user without a home begins with ~, and would mean a folder in the current one.
        return "there is no home folder"
    try:
        status = os.lstat(folder)
    except FileNotFoundError:
        return "it does not exist"
    except OSError as error:
        return error.strerror or str(error)
    if stat.S_ISLNK(status.st_mode):
        return "it is a symbolic link"
    if not stat.S_ISDIR(status.st_mode):
        return "it is not a folder"
    return _reason_to_distrust(status)


def _reason_to_distrust(status: os.stat_result) -> str | None:
    if not hasattr(os, "geteuid"):  # Windows, whose permissions are not in the mode
        return None
    if status.st_uid != os.geteuid():
        return "it belongs to another user"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others may write to it"
    return None


def _read_own_file(path: Path) -> bytes | None:
    """Read a file of the cache; None if there is none, or if it is damaged or can't be trusted."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        # Of the opened file: between a check of the path and its opening, the file could be replaced.
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or _reason_to_distrust(status) is not None:
            return None
        try:
            content = file.read()
        except OSError:
            return None
    checksum = content[: hashlib.sha256().digest_size]
    content = content[len(checksum) :]
    if hashlib.sha256(content).digest() != checksum:
        return None
    return content


# ---- writing


def _write(file_name: str, content: bytes) -> None:
    root = folder_to_write()
    if root is None:
        return
    with suppress(OSError):  # the disk is full, or another process has just cleaned up
        folder = root / key()
        for private in (root, folder):  # the root may have been deleted since it was chosen
            _make_private(private)
            if _reason_to_ignore(private) is not None:
                return
        _replace_file(folder / file_name, hashlib.sha256(content).digest() + content)


@cache
def folder_to_write() -> Path | None:
    """The folder that takes new kernels; None if there is none. A notice is printed if it is not the user's."""
    user = user_folder()
    reason = _reason_not_to_write(user)
    if reason is None:
        _clean_up(user)
        return user
    temporary = _temporary_folder()
    hint = f"set {FOLDER_VARIABLE} to a folder of your own"
    if temporary is not None and _reason_not_to_write(temporary) is None:
        progress.notice(f"{user}: compiled kernels can't be kept here: {reason}; using {temporary}; {hint}")
        _clean_up(temporary)
        return temporary
    progress.notice(f"{user}: compiled kernels can't be kept here: {reason}; each process compiles its own; {hint}")
    return None


def _reason_not_to_write(root: Path) -> str | None:
    if not root.is_absolute():
        return _reason_to_ignore(root)
    try:
        _make_private(root)
        reason = _reason_to_ignore(root)
        if reason is None:
            tempfile.TemporaryFile(dir=root).close()
    except OSError as error:
        return error.strerror or str(error)
    return reason


def _make_private(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)


def _replace_file(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)  # of mode 0600
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


# ---- cleaning up


@cache
def _mark_used(folder: Path) -> None:
    """Record in the folder's time stamp that it is used, once a day."""
    with suppress(OSError):  # read-only
        if time.time() - os.stat(folder).st_mtime > _SECONDS_OF_A_DAY:
            os.utime(folder)


def _clean_up(root: Path) -> None:
    """Remove the least recently used folders of other keys, and what killed processes have left."""
    with suppress(OSError):
        others = [entry for entry in os.scandir(root) if _is_key(entry.name) and entry.name != key()]
        others.sort(key=lambda entry: entry.stat(follow_symlinks=False).st_mtime, reverse=True)
        for entry in others[_MAX_KEYS - 1 :]:
            shutil.rmtree(entry, ignore_errors=True)  # does not follow links
    with suppress(OSError):
        for unfinished in (root / key()).glob(".*.tmp"):
            if time.time() - unfinished.stat().st_mtime > _SECONDS_OF_A_DAY:
                unfinished.unlink()


def _is_key(name: str) -> bool:
    return len(name) == _DIGEST_DIGITS and set(name) <= set("0123456789abcdef")
