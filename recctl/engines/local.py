"""Threads of this machine.

Work is either BLAS calls on all threads (inside `blas_threads`), or many blocks that are spread over a thread pool,
each computed on one thread, BLAS calls included (`map_threads`). The two are never nested. Blocks depend on the data,
never on the number of threads: neither do the results.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from itertools import islice
from typing import Any

from recctl.engines.interface import Result, Task
from recctl.errors import ConfigError

_threads: int | None = None
_thread_state = threading.local()


def threads() -> int:
    """Number of threads that recctl uses: `set_threads`, else `RECCTL_THREADS`, else the available processors."""
    if _threads is not None:
        return _threads
    setting = os.environ.get("RECCTL_THREADS", "")
    if setting:
        if not setting.isdecimal() or int(setting) < 1:
            raise ConfigError(f"RECCTL_THREADS={setting!r}: must be a whole number of at least 1")
        return int(setting)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_threads(count: int) -> None:
    """Use `count` threads from now on.

    Raises:
        ConfigError: `count` is below 1.
    """
    global _threads
    if count < 1:
        raise ConfigError(f"threads={count}: must be at least 1")
    _threads = count


def blas_threads(count: int | None = None) -> AbstractContextManager[Any]:
    """A context in which BLAS and LAPACK use `count` threads, by default `threads()`.

    The limit applies to libraries that are loaded when the context is entered: import their users before it.
    """
    limits: AbstractContextManager[Any] = _controller(len(sys.modules)).limit(
        limits=count or threads(), user_api="blas"
    )
    return limits


@lru_cache(maxsize=1)
def _controller(n_modules: int) -> Any:
    """Controller of the loaded libraries. Searching for them takes 2 ms; new ones come with new modules."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def torch_threads(count: int | None = None) -> Iterator[None]:
    """A context in which torch uses `count` threads, by default `threads()`. It imports torch."""
    import torch

    previous = torch.get_num_threads()
    torch.set_num_threads(count or threads())
    try:
        yield
    finally:
        torch.set_num_threads(previous)


def map_threads(function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
    """Results of `function` for each task, in the order of the tasks, computed on all threads.

    BLAS calls inside `function` use one thread. At most two tasks per thread are in progress, so that a consumer that
    processes results one by one needs memory for a few of them only. An exception in a task ends the iteration.
    """
    count = threads()
    with blas_threads(1):
        if count == 1 or _in_pool_thread():
            yield from map(function, tasks)
            return
        pool = _thread_pool(count)
        iterator = iter(tasks)
        pending = [pool.submit(function, task) for task in islice(iterator, 2 * count)]
        try:
            while pending:
                result = pending.pop(0).result()
                pending.extend(pool.submit(function, task) for task in islice(iterator, 1))
                yield result
        finally:
            for future in pending:
                future.cancel()
            wait(pending)


@lru_cache(maxsize=1)
def _thread_pool(count: int) -> ThreadPoolExecutor:
    """Persistent thread pool; starting threads costs about 1 ms, as much as many tasks."""
    return ThreadPoolExecutor(
        count, thread_name_prefix="recctl", initializer=setattr, initargs=(_thread_state, "in_pool", True)
    )


def _in_pool_thread() -> bool:
    """Whether this is a thread of the pool, which would deadlock waiting for itself."""
    return getattr(_thread_state, "in_pool", False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_thread_pool.cache_clear)  # a child process has no threads of its parent


@contextmanager
def worker_pool() -> Iterator[Callable[[Callable[[Task], Result], Iterable[Task]], list[Result]]]:
    """A context for work in many phases of a millisecond or less, which sets the BLAS limit once.

    It gives a function like `map_threads` that returns a list when all results are available.
    """
    count = threads()
    with blas_threads(1):
        if count == 1 or _in_pool_thread():
            yield lambda function, tasks: [function(task) for task in tasks]
            return
        pool = _thread_pool(count)
        yield lambda function, tasks: _map_with_caller(pool, count, function, list(tasks))


def _map_with_caller(
    pool: ThreadPoolExecutor, count: int, function: Callable[[Task], Result], tasks: list[Task]
) -> list[Result]:
    """Results of `function` for each task; the calling thread computes too, all tasks if the others start too late."""
    results: dict[int, Result] = {}
    remaining = iter(range(len(tasks)))

    def work() -> None:
        try:
            for number in remaining:
                results[number] = function(tasks[number])
        except BaseException:
            # Use up the iterator, so that no thread starts another task.
            for _ in remaining:
                pass
            raise

    others = [pool.submit(work) for _ in range(min(count, len(tasks)) - 1)]
    _thread_state.in_pool = True
    try:
        work()
    finally:
        _thread_state.in_pool = False
        started = [other for other in others if not other.cancel()]
        wait(started)
    for other in started:
        other.result()
    return [results[number] for number in range(len(tasks))]
