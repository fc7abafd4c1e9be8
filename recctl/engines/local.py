"""Threads of this machine.

Work is either BLAS calls on all threads (inside `blas_threads`), or many blocks that are spread over a thread pool,
each computed on one thread, BLAS calls included (`map_threads`). The two are never nested. Blocks depend on the data,
never on the number of threads: neither do the results.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache, partial
from itertools import islice
from typing import Any

from recctl import progress
from recctl.engines.interface import Result, Task
from recctl.engines.thread_limits import Restore, SharedLimit
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


def blas_threads(count: int | None = None) -> AbstractContextManager[None]:
    """A context in which BLAS and LAPACK use `count` threads, by default `threads()`.

    The limit applies to libraries that are loaded when the context is entered: import their users before it. While
    another thread holds a context of another number, it waits.
    """
    libraries = _libraries("blas", len(sys.modules))

    def limit_blas(count: int) -> Restore:
        before = [library.num_threads for library in libraries]
        _set_threads_of(libraries, [count] * len(libraries))
        return partial(_set_threads_of, libraries, before)

    return _blas_limit.hold(count or threads(), libraries, limit_blas, may_wait=not _in_pool_thread())


_blas_limit = SharedLimit()
_torch_limit = SharedLimit()


def _set_threads_of(libraries: Sequence[Any], counts: Sequence[int]) -> None:
    for library, count in zip(libraries, counts, strict=True):
        # Since threadpoolctl 3.8, OpenBLAS ignores all threads but the one that has set a limit first. Here the last
        # thread to end restores it, and `SharedLimit` excludes conflicts.
        release = getattr(library, "clear_controlling_thread", None)
        if release is not None:
            release(force=True)
        library.set_num_threads(count)
        if release is not None:
            release(force=True)


@lru_cache(maxsize=2)
def _libraries(kind: str, n_modules: int) -> tuple[Any, ...]:
    """The loaded libraries of a kind, `blas` or `openmp`. Searching takes 2 ms; new ones come with new modules."""
    from threadpoolctl import ThreadpoolController

    return tuple(ThreadpoolController().select(user_api=kind).lib_controllers)


@contextmanager
def torch_threads(count: int | None = None) -> Iterator[None]:
    """A context in which torch uses `count` threads, by default `threads()`. It imports torch.

    In a forked process torch uses one thread, see `limit_torch_after_fork`. While another thread holds a context of
    another number, it waits.
    """
    import torch

    count = 1 if _is_forked_with_torch else count or threads()

    def limit_torch(count: int) -> Restore:
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        return partial(torch.set_num_threads, before)

    before = torch.get_num_threads()
    with _torch_limit.hold(count, "torch", limit_torch):
        # OpenMP has a number for each thread of the program besides: only the first context has set its own.
        if torch.get_num_threads() != count:
            torch.set_num_threads(count)
        yield
    if torch.get_num_threads() != before:
        for library in _libraries("openmp", len(sys.modules)):
            library.set_num_threads(before)


# Whether this process was forked from one that had imported torch.
_is_forked_with_torch = False


def limit_torch_after_fork() -> None:
    """In a process that was forked from one that had imported torch, make torch use one thread; call it before torch.

    OpenMP's threads do not survive a fork: the first parallel loop of the child would wait for them forever.
    """
    global _has_limited_torch
    if not _is_forked_with_torch:
        return
    import torch

    torch.set_num_threads(1)
    if not _has_limited_torch:
        _has_limited_torch = True
        progress.notice(
            "torch uses one thread in this process, because it was forked from one that had imported torch; processes "
            "that are started by 'spawn' (multiprocessing.get_context('spawn')) use all"
        )


_has_limited_torch = False


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
        function = progress.with_listener(function)
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


def _after_fork_in_child() -> None:
    """Forget the threads of the parent, which a child process does not have."""
    global _is_forked_with_torch
    _thread_pool.cache_clear()
    _blas_limit.reset()
    _torch_limit.reset()
    _is_forked_with_torch = "torch" in sys.modules


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


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

    reporting_work = progress.with_listener(work)
    others = [pool.submit(reporting_work) for _ in range(min(count, len(tasks)) - 1)]
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
