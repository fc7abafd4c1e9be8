"""Starts `recctl` as often as it is asked to, without the seconds it takes to import everything: by fork.

A child is a process of its own, which runs the command line's own `main` with its arguments, environment and working
directory; only the modules are there already. The server computes on one thread, for threads don't survive a fork.
Requests are lines of JSON on stdin: `start` answers with the process's id, `wait` with its exit status.
"""

from __future__ import annotations

import contextlib
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


def warm_up(commands: list[list[str]]) -> None:
    """Run commands once, so that all they need is loaded and compiled."""
    for command in commands:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = cli.run(command)
        if code:
            raise SystemExit(f"{command}: {code}: {out.getvalue()}")
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    if others:
        raise SystemExit(f"threads are running: {others}")


def start(request: dict[str, Any]) -> int:
    """Fork a process that runs one command."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        _become(request)
        code = _run()
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _become(request: dict[str, Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir(request["cwd"])
    os.environ |= request["environ"]
    for number, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, request["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        file = os.open(name, flags, 0o666)
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", 1)
    sys.argv = ["recctl", *request["command"]]
    if request.get("largest"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as a shell's `ulimit -f` for a program that checks its writes
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest"], request["largest"]))
    if request.get("catalog"):
        _serve_from(request["catalog"])
    if request.get("user"):
        os.setgroups([])
        os.setgid(request["user"])
        os.setuid(request["user"])
    hook.load()


def _serve_from(how: dict[str, Any]) -> None:
    """Let the catalog's MovieLens-100K be an archive on a server of ours."""
    from recctl.data.sources.catalog import datasets, download
    from recctl.data.sources.catalog.mirrors import WebArchive
    from recctl.data.sources.options import ReadOptions

    columns = {"user_id": 0, "item_id": 1, "rating": 2, "timestamp": 3}
    layout = ReadOptions(format="csv", delimiter="::", header=False, columns=columns)
    mirror = WebArchive("The web", how["url"], "ml/ratings.dat", layout, how["md5"])
    entry = datasets.CatalogDataset("movielens-100k", 2, 2, 2, "terms", "https://example.org", 10**6, (mirror,))
    datasets._ENTRIES = (entry,)
    seconds = {"connect_seconds": 2.0, "stall_seconds": 0.3}
    download.download.__kwdefaults__ |= seconds


def _run() -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as Python itself does
    try:
        cli.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))


def wait(pid: int, seconds: float) -> int | None:
    """A process's exit code, negative for the signal that ended it; None if it has not ended in time."""
    deadline = time.monotonic() + seconds
    pause = 0.001
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        time.sleep(pause)
        pause = min(1.5 * pause, 0.05)


def main() -> None:
    """Serve until stdin ends."""
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "warm up":
            os.chdir(request["cwd"])
            warm_up(request["commands"])
            answer: Any = True
        elif request["do"] == "start":
            answer = start(request)
        elif request["do"] == "kill":  # here, where it is known whether the number is still that process's
            os.kill(request["pid"], request["signal"])
            answer = True
        else:
            answer = wait(request["pid"], request["seconds"])
        sys.__stdout__.write(json.dumps(answer) + "\n")
        sys.__stdout__.flush()


if __name__ == "__main__":
    main()
