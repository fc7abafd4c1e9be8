"""Threads of this machine.

Work is either BLAS calls on all threads (inside `blas_threads`), or many blocks spread over a pool whose members each
compute on one thread (`map_threads`), such calls of their own included. The two never nest. Blocks are cut by the data,
never by the number of threads, so that results do not depend on it.
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
from typing import Any, TypeVar

from recctl.errors import ConfigError

Task = TypeVar("Task")
Result = TypeVar("Result")

_threads: int | None = None
_here = threading.local()


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
        if count == 1 or _is_member():
            yield from map(function, tasks)
            return
        iterator, pool = iter(tasks), _pool(count)
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
def _pool(count: int) -> ThreadPoolExecutor:
    """Threads that stay: to start them takes a millisecond, as long as much of what they are given."""
    return ThreadPoolExecutor(
        count, thread_name_prefix="recctl", initializer=setattr, initargs=(_here, "is_member", True)
    )


def _is_member() -> bool:
    """Whether this is a thread of the pool, which would wait for itself."""
    return getattr(_here, "is_member", False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of its parent's threads


@contextmanager
def crew() -> Iterator[Callable[[Callable[[Task], Result], Iterable[Task]], list[Result]]]:
    """A block for work in many phases of a millisecond or less: limits are set once.

    It gives a function that does what `map_threads` does, and returns the results when all are there.
    """
    count = threads()
    with blas_threads(1):
        if count == 1 or _is_member():
            yield lambda function, tasks: [function(task) for task in tasks]
            return
        pool = _pool(count)
        yield lambda function, tasks: _together(pool, count, function, list(tasks))


def _together(
    pool: ThreadPoolExecutor, count: int, function: Callable[[Task], Result], tasks: list[Task]
) -> list[Result]:
    """Results of `function` for each task; this thread takes part, and does all itself where others wake too late."""
    results: dict[int, Result] = {}
    left = iter(range(len(tasks)))

    def work() -> None:
        try:
            for at in left:
                results[at] = function(tasks[at])
        except BaseException:
            for _ in left:  # nobody begins another
                pass
            raise

    others = [pool.submit(work) for _ in range(min(count, len(tasks)) - 1)]
    _here.is_member = True
    try:
        work()
    finally:
        _here.is_member = False
        started = [other for other in others if not other.cancel()]
        wait(started)
    for other in started:
        other.result()
    return [results[at] for at in range(len(tasks))]


@contextmanager
def team(
    most: int, ready: Callable[[int], None], take_part: Callable[[int], None], dismiss: Callable[[], None]
) -> Iterator[None]:
    """A block whose threads stay in compiled code, for phases of microseconds: to wake a thread takes a hundred.

    Args:
        most: How many have something to do.
        ready: Is told how many they are, with this one, before they begin.
        take_part: What the others do, each given its number from 1, until they are dismissed.
        dismiss: Makes them come to an end.
    """
    size = 1 if _is_member() else min(threads(), most)
    others = [threading.Thread(target=take_part, args=(rank,), daemon=True) for rank in range(1, size)]
    with blas_threads(1):
        ready(size)
        try:
            for other in others:
                other.start()
            yield
        finally:
            dismiss()
            for other in others:
                if other.ident is not None:
                    other.join()
