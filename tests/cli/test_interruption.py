"""Ctrl-C ends a command soon, at any moment, with exit code 130."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import SMALL

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals of POSIX, /proc of Linux")

ROOT = Path(__file__).parents[2]
CTRL_C = "os.kill(os.getpid(), signal.SIGINT)"
START = (
    "import os, signal, sys, time\n"
    "from recctl.cli import interruption, main\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a parent process may ignore it
)


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_code(code: str, cwd: Path) -> tuple[int, str, str, float]:
    """Run a program; its exit code, output, errors and the seconds that it took.

    Its limits are shorter than those of users: C code has half a second to return, and a clean-up two seconds.
    """
    limits = "interruption._SECONDS_TO_NOTICE = 0.5\ninterruption._SECONDS_TO_CLEAN_UP = 2\n"
    begin = time.monotonic()
    process = start("-c", START + limits + code, cwd=cwd)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, out, err, time.monotonic() - begin


# Each is code that runs in a command. Without the module tested here, each would go on for a minute or longer.
LOSSES = {
    "dropped by C code that calls Python": (
        "import ctypes\n"
        f"callback = ctypes.CFUNCTYPE(None)(lambda: {CTRL_C})\n"
        "callback()\n"
        "for _ in range(600): time.sleep(0.1)\n"
    ),
    "dropped by a destructor": (
        f"class Closing:\n    def __del__(self):\n        {CTRL_C}\n        time.sleep(0)\n"
        "Closing()\n"
        "for _ in range(600): time.sleep(0.1)\n"
    ),
    "swallowed": f"try:\n    {CTRL_C}\n    time.sleep(60)\nexcept BaseException:\n    pass\ntime.sleep(60)\n",
    "not noticed by C code": (
        "import hashlib, threading\n"
        f"threading.Timer(0.2, lambda: {CTRL_C}).start()\n"
        "hashlib.pbkdf2_hmac('sha256', b'password', b'salt', 2_000_000_000)\n"
    ),
    "too long a clean-up": f"try:\n    {CTRL_C}\n    time.sleep(60)\nfinally:\n    time.sleep(60)\n",
}


@pytest.mark.parametrize("code", LOSSES.values(), ids=LOSSES.keys())
def test_interruption_that_is_lost_ends_the_process(tmp_path: Path, code: str) -> None:
    body = "".join(f"    {line}\n" for line in code.splitlines())
    program = f"interruption.install()\nwith interruption.Running():\n{body}"
    exit_code, _, err, seconds = run_code(program, tmp_path)
    # Nothing catches the exception here: Python prints it and exits with 1, the hard end with 130.
    assert exit_code in (1, 130), err
    assert "_Interruption" in err or "interrupted" in err
    assert "Exception ignored" not in err
    assert seconds < 30


def test_second_interruption_ends_the_clean_up(tmp_path: Path) -> None:
    program = (
        "interruption._SECONDS_TO_CLEAN_UP = 1000\n"
        "interruption.install()\n"
        "import threading\n"
        f"threading.Timer(0.8, lambda: {CTRL_C}).start()\n"
        "with interruption.Running():\n"
        f"    try:\n        {CTRL_C}\n        time.sleep(60)\n    finally:\n        time.sleep(60)\n"
    )
    exit_code, _, err, seconds = run_code(program, tmp_path)
    assert (exit_code, err) == (130, "interrupted\n")
    assert seconds < 30


def test_interruption_that_became_another_exception_is_one_document(tmp_path: Path) -> None:
    """Packages in C do this when they are imported."""
    program = (
        "from recctl.models import registry\n"
        "def model_names():\n"
        f"    try:\n        {CTRL_C}\n        time.sleep(60)\n"
        "    except KeyboardInterrupt as error:\n        raise ImportError('cannot load library') from error\n"
        "registry.model_names = model_names\n"
        "sys.argv = ['recctl', 'models', '--json']\n"
        "main()\n"
    )
    exit_code, out, err, _ = run_code(program, tmp_path)
    assert (exit_code, err) == (130, "interrupted\n")
    assert json.loads(out) == {"status": "interrupted", "exit_code": 130, "errors": ["interrupted"]}


def test_signal_that_another_package_handles_is_an_interruption(tmp_path: Path) -> None:
    """Ray replaces the handlers while it starts."""
    program = (
        "from recctl.models import registry\n"
        "def model_names():\n"
        "    signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(60)\n"
        "registry.model_names = model_names\n"
        "sys.argv = ['recctl', 'models', '--json']\n"
        "main()\n"
    )
    exit_code, out, err, _ = run_code(program, tmp_path)
    assert (exit_code, err) == (130, "interrupted\n")
    assert json.loads(out)["status"] == "interrupted"


def test_interruption_in_exec_keeps_the_exit_code(tmp_path: Path) -> None:
    """Python exits by SIGINT if a plain KeyboardInterrupt left `exec`, even if it was caught."""
    program = (
        "from recctl.models import registry\n"
        f"registry.model_names = lambda: exec({f'import os, signal, time; {CTRL_C}; time.sleep(60)'!r})\n"
        "sys.argv = ['recctl', 'models']\n"
        "main()\n"
    )
    assert run_code(program, tmp_path)[0] == 130


def _handles_sigterm(process: subprocess.Popen[str]) -> bool:
    """Whether recctl has begun to handle signals; Python itself handles SIGINT only."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


# While Python starts, while packages are imported, while data are read and while a model is fitted. Both signals have
# one handler.
@pytest.mark.parametrize(
    ("seconds", "number"),
    [
        (0.0, signal.SIGINT),
        (0.15, signal.SIGTERM),
        (0.5, signal.SIGINT),
        (1.2, signal.SIGINT),
        (2.5, signal.SIGTERM),
        pytest.param(0.0, signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(0.15, signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(0.5, signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(1.2, signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(2.5, signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_command_ends_in_its_first_seconds(tmp_path: Path, seconds: float, number: signal.Signals) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    setting = "model={name: svdpp, params: {n_epochs: 1000000}}"
    process = start(
        "-c",
        START + "main()",
        "train",
        "small.yaml",
        "--json",
        "-s",
        setting,
        "-s",
        "data.implicit=false",
        cwd=tmp_path,
    )
    try:
        while not _handles_sigterm(process):
            assert process.poll() is None
            time.sleep(0.005)
        time.sleep(seconds)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert json.loads(out)["status"] == "interrupted"
    assert err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in err


def test_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    """As in a shell script's background job."""
    program = (
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "interruption.install()\n"
        f"with interruption.Running():\n    {CTRL_C}\n"
        "    time.sleep(1)\n"  # longer than C code may take to notice a signal
        "print('done')\n"
    )
    assert run_code(program, tmp_path)[:2] == (0, "done\n")


def test_forked_process_handles_signals_as_python_does(tmp_path: Path) -> None:
    program = (
        "interruption.install()\n"
        "reader, writer = os.pipe()\n"
        "with interruption.Running():\n"
        "    child = os.fork()\n"
        "    if child == 0:\n        os.write(writer, b'ready')\n        time.sleep(60)\n        os._exit(0)\n"
        "    os.read(reader, 5)\n"
        "    os.kill(child, signal.SIGTERM)\n"
        "    _, status = os.waitpid(child, 0)\n"
        "    time.sleep(1)\n"  # longer than C code may take to notice a signal
        "    print(os.waitstatus_to_exitcode(status))\n"
    )
    assert run_code(program, tmp_path)[:2] == (0, f"{-signal.SIGTERM}\n")
