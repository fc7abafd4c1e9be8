"""Runs `recctl` in forked processes, which saves the seconds that imports take.

A child is a process of its own that calls `main` of the command line with its arguments, environment and working
directory; only the modules are loaded already. The server computes on one thread, because threads don't survive a fork.
Requests are lines of JSON on stdin; each is answered by a line on stdout: `start` by the id of the process, `wait` by
its exit code.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import resource
import signal
import sys
import threading
import time
import traceback
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "RECCTL_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

from recctl import cli
from tests.faults import hook

_INTERNAL_ERROR_CODE = 70


def warm_up(commands: list[list[str]]) -> None:
    """Run commands once, so that all modules are loaded and all kernels are compiled."""
    for command in commands:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = cli.run(command)
        if code:
            raise SystemExit(f"{command}: {code}: {out.getvalue()}")
    threads = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    if threads:
        raise SystemExit(f"threads are running: {threads}")
    gc.collect()
    gc.freeze()  # the garbage collector of a child does not touch, and so copy, the pages of the server


def start(request: dict[str, Any]) -> int:
    """Run a command in a forked process, and return the id of the process."""
    pid = os.fork()
    if pid:
        return pid
    code = _INTERNAL_ERROR_CODE
    try:
        _set_up_child(request)
        code = _run_command_line()
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _set_up_child(request: dict[str, Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir(request["cwd"])
    os.environ |= request["environ"]
    _redirect_streams(request["out"], request["err"])
    sys.argv = ["recctl", *request["command"]]
    if request.get("largest"):
        # Like `ulimit -f` of a shell for a program that checks its writes.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest"], request["largest"]))
    if request.get("catalog"):
        _replace_catalog(request["catalog"])
    if request.get("user"):
        os.setgroups([])
        os.setgid(request["user"])
        os.setuid(request["user"])
    hook.load()


def _redirect_streams(out: str, err: str) -> None:
    for descriptor, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, err, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        file = os.open(path, flags, 0o666)
        os.dup2(file, descriptor)
        os.close(file)
    sys.stdin = os.fdopen(0)
    sys.stdout = os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", 1)


def _replace_catalog(options: dict[str, Any]) -> None:
    """Let the catalog download MovieLens-100K from a local server.

    Args:
        options: `url` and `md5` of the archive.
    """
    from recctl.data.sources.catalog import datasets, download
    from recctl.data.sources.catalog.mirrors import WebArchive
    from recctl.data.sources.options import ReadOptions

    columns = {"user_id": 0, "item_id": 1, "rating": 2, "timestamp": 3}
    read_options = ReadOptions(format="csv", delimiter="::", header=False, columns=columns)
    mirror = WebArchive("The web", options["url"], "ml/ratings.dat", read_options, options["md5"])
    entry = datasets.CatalogDataset("movielens-100k", 2, 2, 2, "terms", "https://example.org", 10**6, (mirror,))
    datasets._ENTRIES = (entry,)
    download.download.__kwdefaults__ |= {"connect_seconds": 2.0, "stall_seconds": 0.3}


def _run_command_line() -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Python's default
    try:
        cli.main()
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else int(bool(exit_.code))


def wait(pid: int, seconds: float) -> int | None:
    """Wait for a process, and kill it after a time-out.

    Returns:
        The exit code; a negative number for the signal that ended the process; None after a time-out.
    """
    deadline = time.monotonic() + seconds
    pause = 0.001
    while True:
        ended_pid, status = os.waitpid(pid, os.WNOHANG)
        if ended_pid:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        time.sleep(pause)
        pause = min(1.5 * pause, 0.05)


def handle(request: dict[str, Any]) -> Any:
    """Handle a request and return its answer."""
    if request["do"] == "warm up":
        os.chdir(request["cwd"])
        warm_up(request["commands"])
        return True
    if request["do"] == "start":
        return start(request)
    if request["do"] == "kill":
        # The server has not waited for the process yet, so its id can't belong to another one.
        os.kill(request["pid"], request["signal"])
        return True
    return wait(request["pid"], request["seconds"])


def main() -> None:
    """Serve until stdin ends."""
    # Still an operation at which faults are injected, but processes are killed and not the machine.
    os.fsync = lambda _descriptor: None
    for line in sys.stdin:
        answer = handle(json.loads(line))
        sys.__stdout__.write(json.dumps(answer) + "\n")
        sys.__stdout__.flush()


if __name__ == "__main__":
    main()
