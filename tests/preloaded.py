"""Starts Python programs in forks of a process that has imported the large packages, which saves seconds for each.

A program is a process of its own with its own arguments, environment, working directory and output, and it imports
recctl itself: only packages such as NumPy and torch are loaded already. Nothing is computed before the fork, so that no
thread is lost.

A variable that a package reads when it is imported, such as OMP_NUM_THREADS, has no effect here; programs that need one
are started by `subprocess`. So is every program if RECCTL_NEW_PROCESSES is set, or where the system isn't Linux.

This module imports nothing of the repository, because `.ci/wheel` uses it beside an installed wheel.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

# The address of a running server, for programs that a test starts by a shell script.
SERVER_VARIABLE = "RECCTL_TEST_SERVER"

_PACKAGES = [
    *("typer", "rich.console", "rich.progress", "rich.table", "yaml", "jinja2", "plotly.offline"),
    *("pydantic.main", "pydantic.json_schema", "pydantic.plugin", "pydantic.functional_validators"),
    *("numpy", "scipy.sparse", "scipy.special", "scipy.linalg", "scipy.stats", "pandas", "threadpoolctl"),
    *("pyarrow.csv", "pyarrow.dataset", "pyarrow.json", "pyarrow.pandas_compat", "pyarrow.parquet"),
    # The first optimizer that a program makes imports torch's compiler, which takes two seconds.
    *("numba", "torch", "optuna", "sqlalchemy.orm", "alembic.command", "alembic.migration"),
]


class Program:
    """A running Python program; the interface is a part of `subprocess.Popen`'s.

    Args:
        arguments: Arguments of the interpreter: `-m MODULE ...` or `-c CODE ...`.
        cwd: Working directory; default: the present one.
        env: Environment; default: the present one.

    Attributes:
        pid: The id of the process.
        returncode: The exit code, negative for a signal; None until `poll` or `wait` has seen the end.
    """

    def __init__(self, *arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
        # Files instead of pipes: a program that nobody reads from does not wait.
        self._out = tempfile.TemporaryFile()  # noqa: SIM115
        self._err = tempfile.TemporaryFile()  # noqa: SIM115
        self.returncode: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        if not _forks():
            command = [sys.executable, *arguments]
            self._process = subprocess.Popen(command, cwd=cwd, env=env, stdout=self._out, stderr=self._err)
            self.pid = self._process.pid
            return
        request = {
            "arguments": arguments,
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
        }
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.connect(server_address())
        content = json.dumps(request).encode()
        socket.send_fds(self._connection, [content], [self._out.fileno(), self._err.fileno()])
        self.pid = int(self._connection.recv(100))

    def poll(self) -> int | None:
        """Return the exit code if the program has ended."""
        with contextlib.suppress(TimeoutError, subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the program and return its exit code."""
        if self._process is not None:
            self.returncode = self._process.wait(timeout)
        elif self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise TimeoutError(f"process {self.pid} runs for more than {timeout} seconds")
            self.returncode = int(self._connection.recv(100))
            self._connection.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end of the program and return what it printed on stdout and stderr."""
        self.wait(timeout)
        printed = []
        for file in (self._out, self._err):
            file.seek(0)
            printed.append(file.read().decode(errors="replace"))
            file.close()
        return printed[0], printed[1]


def run(
    *arguments: str,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    check: bool = False,
    timeout: float = 300.0,
) -> subprocess.CompletedProcess[str]:
    """Run a Python program to its end, like `subprocess.run` with captured text."""
    program = Program(*arguments, cwd=cwd, env=env)
    try:
        out, err = program.communicate(timeout)
    except (TimeoutError, subprocess.TimeoutExpired):
        os.kill(program.pid, signal.SIGKILL)
        raise
    assert program.returncode is not None
    assert not check or program.returncode == 0, f"{arguments}: exit code {program.returncode}\n{out}\n{err}"
    return subprocess.CompletedProcess(arguments, program.returncode, out, err)


def shell_environment(folder: Path) -> dict[str, str]:
    """Write a command `recctl` into a folder, and return an environment in which shell scripts find it.

    Each command is a program like those of `run`, without standard input.
    """
    folder.mkdir(exist_ok=True)
    tests = Path(__file__).parent
    script = folder / "recctl"
    script.write_text(f"#!{sys.executable} -IS\n{_COMMAND.format(tests=str(tests))}")
    script.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(tests.parent),
    }
    if _forks():
        environment[SERVER_VARIABLE] = server_address()
    return environment


_COMMAND = """\
import sys
sys.path.insert(0, {tests!r})
import preloaded
program = preloaded.Program("-m", "recctl", *sys.argv[1:])
out, err = program.communicate(300)
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(program.returncode)
"""


def _forks() -> bool:
    return sys.platform == "linux" and not os.environ.get("RECCTL_NEW_PROCESSES")


@cache
def server_address() -> str:
    """Return the address of the server, which is started if the environment names none, and ends with this process."""
    if SERVER_VARIABLE in os.environ:
        return os.environ[SERVER_VARIABLE]
    folder = tempfile.mkdtemp(prefix="recctl-")
    address = f"{folder}/socket"
    # The server ends when its stdin is closed, and so however this process ends.
    # In a session of its own, it does not get Ctrl-C from the terminal.
    server = subprocess.Popen(
        [sys.executable, __file__, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    atexit.register(server.communicate)
    assert server.stdout
    assert server.stdout.readline() == b"ready\n"
    return address


# ---- the server


def _serve(address: str) -> dict[str, Any]:
    """Fork a process for each request; returns the request in the forked process."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen(64)
    print("ready", flush=True)
    running: dict[int, tuple[int, socket.socket]] = {}  # by the descriptor of the process
    while True:
        ready = select.select([0, listener, *running], [], [])[0]
        for descriptor in running.keys() & set(ready):
            pid, connection = running.pop(descriptor)
            os.close(descriptor)
            _, status = os.waitpid(pid, 0)
            with contextlib.suppress(OSError):  # nobody waits for the program
                connection.send(str(os.waitstatus_to_exitcode(status)).encode())
            connection.close()
        if listener in ready:
            connection, _ = listener.accept()
            content, streams, _, _ = socket.recv_fds(connection, 1_000_000, 2)
            pid = os.fork()
            if pid == 0:
                for other in running:
                    os.close(other)
                listener.close()
                connection.close()
                _set_streams(streams)
                request: dict[str, Any] = json.loads(content)
                return request
            for stream in streams:
                os.close(stream)
            running[os.pidfd_open(pid)] = pid, connection
            connection.send(str(pid).encode())
        if 0 in ready and not os.read(0, 1):
            for pid, _ in running.values():
                os.kill(pid, signal.SIGKILL)
            os.unlink(address)
            os.rmdir(os.path.dirname(address))
            os._exit(0)


def _set_streams(streams: list[int]) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    for target, stream in enumerate((null, *streams)):
        os.dup2(stream, target)
        os.close(stream)


def _run_program(request: dict[str, Any]) -> None:
    """Do what the interpreter does with its arguments."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    kind, program, *arguments = request["arguments"]
    sys.path[0] = request["cwd"] if kind == "-m" else ""
    search_path = request["env"].get("PYTHONPATH", "")
    sys.path[1:1] = [entry for entry in search_path.split(os.pathsep) if entry and entry not in sys.path]
    if kind == "-m":
        sys.argv = [program, *arguments]
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        sys.argv = ["-c", *arguments]
        exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})


def _load_numba_registries() -> None:
    """Do what numba does before it reads its first kernel, which takes half a second."""
    from numba.core.registry import cpu_target

    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()


def _main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in _PACKAGES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    _load_numba_registries()
    os.fsync = lambda _descriptor: None  # programs may be killed, not the machine
    gc.collect()
    gc.freeze()  # the garbage collector of a program does not touch, and so copy, the pages of the server
    request = _serve(sys.argv[1])
    code: Any = None
    try:
        _run_program(request)
    except SystemExit as exit_:
        if not isinstance(exit_.code, int | None):
            raise
        code = exit_.code
    _exit(code or 0)


def _exit(code: int) -> NoReturn:
    """End the process as the interpreter does, but leave its memory to the system.

    To free each of the objects of all packages takes half a second, and many tests start ten programs.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _main()
