"""Threads of this machine.

Work is either BLAS calls on all threads (inside `blas_threads`), or many blocks spread over a pool whose members each
compute on one thread (`map_threads`). The two never nest. Blocks are cut by the data, never by the number of threads,
so that results do not depend on it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar

from recctl.errors import ConfigError

Task = TypeVar("Task")
Result = TypeVar("Result")

_threads: int | None = None


def threads() -> int:
    """How many threads recctl computes on: `set_threads`, else `RECCTL_THREADS`, else the processors given to it."""
    if _threads is not None:
        return _threads
    given = os.environ.get("RECCTL_THREADS", "")
    if given:
        if not given.isdecimal() or int(given) < 1:
            raise ConfigError(f"RECCTL_THREADS={given!r}: must be a whole number of at least 1")
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_threads(count: int) -> None:
    """Compute on `count` threads from now on.

    Raises:
        ConfigError: `count` is below 1.
    """
    global _threads
    if count < 1:
        raise ConfigError(f"threads={count}: must be at least 1")
    _threads = count


def blas_threads(count: int | None = None) -> AbstractContextManager[Any]:
    """A block in which BLAS and LAPACK compute on `count` threads; on `threads()` unless given.

    The limit holds for libraries that are loaded when the block begins: import what calls them before it.
    """
    limits: AbstractContextManager[Any] = _controller(len(sys.modules)).limit(
        limits=count or threads(), user_api="blas"
    )
    return limits


@lru_cache(maxsize=1)
def _controller(n_modules: int) -> Any:
    """Knows the libraries that are loaded. To look for them takes 2 ms; new ones come with new modules."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def torch_threads(count: int | None = None) -> Iterator[None]:
    """A block in which torch computes on `count` threads; on `threads()` unless given. It imports torch."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or threads())
    try:
        yield
    finally:
        torch.set_num_threads(before)


def map_threads(function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
    """Results of `function` for each task, in the order of the tasks, computed on all threads.

    BLAS calls inside `function` run on one thread. At most two tasks per thread are under way, so that a consumer that
    uses up results as they come needs memory for a few blocks only. An exception in a task ends the map.
    """
    count = threads()
    with blas_threads(1):
        if count == 1:
            yield from map(function, tasks)
            return
        iterator = iter(tasks)
        with ThreadPoolExecutor(count, thread_name_prefix="recctl") as pool:
            pending: list[Future[Result]] = [pool.submit(function, task) for task in islice(iterator, 2 * count)]
            try:
                while pending:
                    result = pending.pop(0).result()
                    pending.extend(pool.submit(function, task) for task in islice(iterator, 1))
                    yield result
            finally:
                for future in pending:
                    future.cancel()


@contextmanager
def crew() -> Iterator[Callable[[Callable[[Task], Result], Iterable[Task]], list[Result]]]:
    """A block whose threads stay, for work in many phases of a millisecond or less, which is what making a pool takes.

    It gives a function that does what `map_threads` does, and returns the results when all are there.
    """
    count = threads()
    with blas_threads(1):
        if count == 1:
            yield lambda function, tasks: [function(task) for task in tasks]
            return
        with ThreadPoolExecutor(count, thread_name_prefix="recctl") as pool:

            def each(function: Callable[[Task], Result], tasks: Iterable[Task]) -> list[Result]:
                return list(pool.map(function, tasks))

            yield each
