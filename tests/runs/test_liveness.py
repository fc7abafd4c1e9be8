"""A run whose process has ended is shown as died, wherever the process ran; one that is worked on never is."""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recctl import locking
from recctl.errors import ConfigError
from recctl.runs import Run, liveness

HERE = socket.gethostname()
GONE = {"pid": 2**22 + 7, "host": HERE, "started": "1"}
# The number is taken by a process that is alive, but began at another time.
NUMBER_REUSED = {"pid": os.getpid(), "host": HERE, "started": "another process's"}
IN_CONTAINER = liveness.current_process() | {"host": "a-container-that-is-gone"}
BEFORE_REBOOT = IN_CONTAINER | {"boot": "another-boot"}
OF_VERSION_0_1 = {"pid": os.getpid(), "host": "a-container-that-is-gone", "started": "1"}


@pytest.fixture
def left(tmp_path: Path) -> Run:
    """A run as a process leaves it that is killed: its status is running, and its lock is free."""
    run = Run.create(tmp_path, "ease-x", "train", {"seed": 1})
    run._release_lock()
    return run


@pytest.fixture
def held(left: Run) -> Iterator[Run]:
    """The same, but the lock is held."""
    descriptor = locking.acquire(left.path)
    assert descriptor is not None
    yield left
    os.close(descriptor)


def status(run: Run, process: dict[str, Any]) -> str:
    run.metadata["process"] = process
    run.save_metadata()
    return Run.open(run.path).status


@pytest.mark.parametrize(
    "process",
    [GONE, NUMBER_REUSED, IN_CONTAINER, BEFORE_REBOOT, OF_VERSION_0_1, {}],
    # Without process numbers, which differ among the workers that run the tests.
    ids=["gone", "number reused", "in a container", "before a reboot", "of version 0.1", "unknown"],
)
def test_run_whose_process_is_gone_and_whose_lock_is_free_has_died(left: Run, process: dict[str, Any]) -> None:
    assert status(left, process) == "died"
    Run.open(left.path).begin()  # can be resumed


@pytest.mark.parametrize("process", [GONE, NUMBER_REUSED, IN_CONTAINER, BEFORE_REBOOT])
def test_run_whose_lock_is_held_is_running_whatever_its_process(held: Run, process: dict[str, Any]) -> None:
    assert status(held, process) == "running"
    with pytest.raises(ConfigError, match=f"another process is working on it .*on {process['host']}"):
        Run.open(held.path).require_idle()


def test_run_of_a_live_process_is_running_without_locks(left: Run) -> None:
    assert status(left, liveness.current_process()) == "running"


def test_free_lock_on_a_network_file_system_says_nothing_of_other_machines(
    left: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "_is_shared", lambda directory: True)
    assert status(left, BEFORE_REBOOT) == "running"
    assert status(left, OF_VERSION_0_1) == "running"
    # Containers of this machine share its kernel, which keeps the locks.
    assert status(left, IN_CONTAINER) == "died"
    assert status(left, GONE) == "died"


def test_file_system_without_locks_says_nothing_of_other_machines(left: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "is_locked", lambda path: None)
    assert status(left, IN_CONTAINER) == "running"
    assert status(left, GONE) == "died"


@pytest.mark.parametrize(
    ("kind", "is_shared"),
    [("ext4", False), ("overlay", False), ("tmpfs", False), ("nfs4", True), ("fuse.sshfs", True), ("cifs", True)],
)
def test_shared_file_systems_are_recognized_by_their_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, is_shared: bool
) -> None:
    device = os.stat(tmp_path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts = f"21 1 0:5 / /other rw shared:1 - nfs4 server:/ rw\n22 1 {number} / / rw,relatime - {kind} /dev/x rw\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: mounts)
    assert liveness._is_shared(tmp_path) is is_shared


def test_status_can_be_asked_while_a_run_begins(left: Run) -> None:
    """Asking holds a shared lock for a moment, which does not make `begin` fail."""
    import threading

    descriptor = os.open(left.path, os.O_RDONLY)
    fcntl = pytest.importorskip("fcntl")
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    timer = threading.Timer(0.01, os.close, [descriptor])
    timer.start()
    Run.open(left.path).begin()
    timer.join()


class WindowsKernel:
    """Stands for kernel32 of Windows: process 7 runs, 8 has ended but is held open by another, no other exists."""

    CREATED = 133_000_000_000_000_000

    def __init__(self) -> None:
        self.opened: list[int] = []
        self.closed: list[int] = []
        self.OpenProcess = WindowsFunction(self._open)

    def _open(self, access: int, inherit: bool, pid: int) -> int | None:
        if pid not in (7, 8):
            return None
        self.opened.append(pid)
        return pid

    def GetExitCodeProcess(self, handle: Any, exit_code: Any) -> int:
        exit_code._obj.value = {7: 259, 8: 0}[handle.value]
        return 1

    def GetProcessTimes(self, handle: Any, created: Any, *others: Any) -> int:
        assert len(others) == 3
        created._obj.value = self.CREATED
        return 1

    def CloseHandle(self, handle: Any) -> int:
        self.closed.append(handle.value)
        return 1


class WindowsFunction:
    """A function of a C library, which has a settable type of its result."""

    restype: Any = None

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def test_process_of_windows_is_identified_by_its_creation_time(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = WindowsKernel()
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    assert liveness._start_time_on_windows(7) == str(WindowsKernel.CREATED)
    assert liveness._start_time_on_windows(8) is None
    assert liveness._start_time_on_windows(9) is None
    assert kernel.closed == kernel.opened == [7, 8]
