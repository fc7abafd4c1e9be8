"""Load the kernels that a command will call; those missing in the cache are compiled by several processes.

Numba compiles one function at a time in a process, mostly in Python. Helper processes, one for each free core, take
kernels from the same queue and write them to the cache, from which this process reads them.

`usage.json` lists the kernels that models call, written by `python -m tests.benchmarks.kernel_usage`. A kernel that is
missing there is compiled at its first call.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from pkgutil import iter_modules
from threading import Thread
from typing import Any

from recctl import engines, progress
from recctl.kernels import __path__ as _folders
from recctl.kernels.compile import CompiledFunction, find_kernels, kernels_of_module

_MAX_PROCESSES = 4  # each takes about 200 MB
_MIN_KERNELS_PER_PROCESS = 4  # to start a process and import numba in it takes as long as these
_HELPER = (
    "import sys; sys.path.insert(0, sys.argv[1]); from recctl.kernels.loading import compile_on_request as run; run()"
)


def kernels_of_training(models: Iterable[str], *, evaluates: bool = True) -> list[str]:
    """Names of the kernels that reading, splitting, fitting and evaluating calls, the slowest to compile first.

    Args:
        models: The models that are fitted.
        evaluates: Whether they are evaluated, too.
    """
    usage = _usage()
    used = set(usage["split"])
    for model in models:
        used.update(usage["models"].get(model, []))
    if evaluates:
        used.update(usage["evaluate"])
    return _slowest_first(used)


def kernels_of_all_commands(models: Iterable[str]) -> list[str]:
    """Names of the kernels that any command calls for these models, the slowest to compile first."""
    return _slowest_first({*kernels_of_training(models), *_usage()["other commands"]})


def all_kernels() -> list[str]:
    """Names of all kernels, the slowest to compile first."""
    return _slowest_first(name for module in iter_modules(_folders) for name in kernels_of_module(module.name))


def _slowest_first(names: Iterable[str]) -> list[str]:
    # So that processes which compile at the same time end at the same time.
    seconds = _usage()["seconds"]
    return sorted(names, key=lambda name: (-seconds.get(name, 0), name))


@cache
def _usage() -> dict[str, Any]:
    usage: dict[str, Any] = json.loads((files("recctl.kernels") / "usage.json").read_text(encoding="utf-8"))
    return usage


def load(names: Iterable[str]) -> int:
    """Compile kernels, or read them from the cache.

    Call this before measuring durations, which would otherwise include some seconds of compilation in the process that
    calls a kernel first.

    Args:
        names: Their names, the slowest to compile first.

    Returns:
        The number of kernels that were compiled.
    """
    kernels = [kernel for kernel in find_kernels(names) if not kernel.is_loaded]
    missing = [kernel for kernel in kernels if not kernel.cache().exists()]
    if missing:
        with progress.task("Compiling kernels", len(missing), "kernels") as task:
            _compile(missing, task)
    for kernel in kernels:
        kernel.dispatcher  # noqa: B018 - compiles or reads at the first access
    return len(missing)


def count_cached(names: Iterable[str]) -> int:
    """Return how many of these kernels are in the cache on disk."""
    return sum(kernel.cache().exists() for kernel in find_kernels(names))


def _compile(kernels: list[CompiledFunction], task: progress.Task) -> None:
    queue = deque(kernels)
    n_done = 0

    def compile_all(compile_one: Callable[[CompiledFunction], None]) -> None:
        nonlocal n_done
        with suppress(IndexError, OSError):  # the queue is empty, or the helper died: its kernel is compiled here
            while True:
                compile_one(queue.popleft())
                n_done += 1
                task.update(n_done)

    n_processes = min(engines.threads(), _MAX_PROCESSES, len(kernels) // _MIN_KERNELS_PER_PROCESS)
    with _helpers(n_processes - 1) as helpers:
        threads = [Thread(target=compile_all, args=(_request(helper),), daemon=True) for helper in helpers]
        for thread in threads:
            thread.start()
        compile_all(lambda kernel: kernel.dispatcher)
        for thread in threads:
            thread.join()


@contextmanager
def _helpers(number: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that compile kernels on request; they end with the block, or with this process."""
    # -P: otherwise modules in the current directory, such as a random.py, would hide those of Python.
    command = [sys.executable, "-P", "-c", _HELPER, str(Path(__file__).parents[2])]
    environment = {**os.environ, "RECCTL_THREADS": "1"}
    helpers: list[subprocess.Popen[str]] = []
    try:
        with suppress(OSError):  # without helpers, this process compiles all
            while len(helpers) < number:
                helpers.append(_start(command, environment))
        yield helpers
    finally:
        for helper in helpers:
            helper.kill()
            helper.communicate()


def _start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(  # noqa: S603 - this interpreter with recctl's own code
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environment
    )


def _request(helper: subprocess.Popen[str]) -> Callable[[CompiledFunction], None]:
    assert helper.stdin is not None
    assert helper.stdout is not None
    requests = helper.stdin
    answers = helper.stdout

    def compile_one(kernel: CompiledFunction) -> None:
        requests.write(f"{kernel.name}\n")
        requests.flush()
        if not answers.readline():
            raise BrokenPipeError

    return compile_one


def compile_on_request() -> None:
    """The work of a helper: compile each kernel that is named on stdin, and answer with a line."""
    for line in sys.stdin:
        for kernel in find_kernels([line.strip()]):
            kernel.dispatcher  # noqa: B018
        print(flush=True)
