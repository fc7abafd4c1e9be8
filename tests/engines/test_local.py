"""Threads: counts, limits of BLAS, and maps over tasks."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import scipy.linalg  # noqa: F401 - a BLAS to limit
from threadpoolctl import threadpool_info

from recctl.engines import blas_threads, local, map_threads, set_threads, threads
from recctl.engines.local import worker_pool
from recctl.errors import ConfigError


@pytest.fixture(autouse=True)
def no_thread_settings(monkeypatch):
    monkeypatch.setattr(local, "_threads", None)
    monkeypatch.delenv("RECCTL_THREADS", raising=False)


def blas_thread_counts():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_thread_count_is_set_or_from_environment_or_all_processors(monkeypatch):
    assert threads() >= 1
    monkeypatch.setenv("RECCTL_THREADS", "7")
    assert threads() == 7
    set_threads(3)
    assert threads() == 3


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_invalid_environment_variable_is_refused(monkeypatch, value):
    monkeypatch.setenv("RECCTL_THREADS", value)
    with pytest.raises(ConfigError, match=f"RECCTL_THREADS='{value}': must be a whole number of at least 1"):
        threads()


def test_set_threads_refuses_zero():
    with pytest.raises(ConfigError, match="threads=0: must be at least 1"):
        set_threads(0)


def test_blas_threads_limits_blas_inside_the_context(monkeypatch):
    monkeypatch.setenv("RECCTL_THREADS", "2")
    before = blas_thread_counts()
    with blas_threads():
        assert blas_thread_counts() == {2}
        with blas_threads(1):
            assert blas_thread_counts() == {1}
    assert blas_thread_counts() == before


@pytest.mark.parametrize("count", [1, 2, 5])
def test_map_threads_returns_results_in_task_order(count):
    set_threads(count)

    def slow_first(task):
        time.sleep(0.002 * (5 - task % 5))
        return task

    assert list(map_threads(slow_first, range(30))) == list(range(30))
    assert list(map_threads(slow_first, [])) == []


def test_map_threads_uses_all_threads_with_one_blas_thread_each():
    set_threads(3)
    barrier = threading.Barrier(3, timeout=10)

    def wait(_):
        barrier.wait()  # passes only if three tasks are in progress
        return blas_thread_counts()

    before = blas_thread_counts()
    assert list(map_threads(wait, range(3))) == [{1}] * 3
    assert blas_thread_counts() == before


def test_map_threads_starts_few_tasks_ahead():
    set_threads(2)
    started = []
    results = map_threads(started.append, range(1000))
    next(results)
    assert len(started) <= 5
    results.close()
    time.sleep(0.02)
    assert len(started) <= 5


@pytest.mark.parametrize("count", [1, 2])
def test_exception_ends_map_threads(count):
    set_threads(count)
    done = []

    def fail(task):
        if task == 3:
            raise ValueError("task 3")
        done.append(task)

    with pytest.raises(ValueError, match="task 3"):
        list(map_threads(fail, range(1000)))
    assert len(done) < 10


def test_map_threads_releases_consumed_results():
    set_threads(2)
    alive = []

    class Result(np.ndarray):
        def __del__(self):
            alive.remove(id(self))

    def make(_):
        result = np.zeros(10).view(Result)
        alive.append(id(result))
        return result

    assert all(len(alive) <= 7 for _ in map_threads(make, range(200)))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_worker_pool_serves_many_phases_and_survives_an_exception(count):
    set_threads(count)
    with worker_pool() as map_tasks:
        for phase in range(20):
            assert map_tasks(lambda task: (task, blas_thread_counts()), range(phase)) == [
                (task, {1}) for task in range(phase)
            ]
        with pytest.raises(ZeroDivisionError):
            map_tasks(lambda task: 1 / task, [2, 1, 0, 1])
        assert map_tasks(abs, [-1]) == [1]


def test_worker_pool_uses_the_calling_thread_and_starts_nothing_after_an_exception():
    set_threads(2)
    barrier = threading.Barrier(2, timeout=10)
    started = []

    def fail_first(task):
        started.append(task)
        if task < 2:
            barrier.wait()  # passes only if two tasks are in progress
        if task == 0:
            raise ZeroDivisionError
        time.sleep(0.05)

    with worker_pool() as map_tasks:
        workers = map_tasks(lambda _: (barrier.wait(), threading.current_thread())[1], range(2))
        assert threading.current_thread() in workers
        assert len(set(workers)) == 2
        with pytest.raises(ZeroDivisionError):
            map_tasks(fail_first, range(50))
    assert len(started) <= 3


def test_map_threads_inside_worker_pool_runs_in_the_same_thread():
    set_threads(2)
    with worker_pool() as map_tasks:
        names = map_tasks(lambda _: set(map_threads(lambda _: threading.current_thread().name, range(5))), range(4))
    assert all(len(inner) == 1 for inner in names)
    assert len(set(map_threads(lambda _: time.sleep(0.01) or threading.current_thread(), range(8)))) == 2


def test_nested_map_threads_runs_in_the_same_thread():
    set_threads(2)
    names = map_threads(lambda _: list(map_threads(lambda _: threading.current_thread().name, range(5))), range(4))
    assert all(len(set(inner)) == 1 for inner in names)


def test_threads_persist_until_the_count_changes():
    set_threads(2)

    def names():
        return set(map_threads(lambda _: time.sleep(0.01) or threading.current_thread(), range(8)))

    first = names()
    assert names() == first
    assert len(first) == 2
    set_threads(3)
    assert not names() & first
    for thread in first:
        thread.join(10)
        assert not thread.is_alive()


def test_map_threads_waits_for_running_tasks_after_an_exception():
    set_threads(2)
    finished = []

    def work(task):
        if task == 0:
            raise ZeroDivisionError
        time.sleep(0.1)
        finished.append(task)

    with pytest.raises(ZeroDivisionError):
        list(map_threads(work, range(100)))
    count = len(finished)
    time.sleep(0.3)
    assert len(finished) == count


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_has_its_own_threads():
    set_threads(2)
    assert list(map_threads(abs, [-1, -2, -3])) == [1, 2, 3]
    child = os.fork()
    if child == 0:
        os._exit(0 if list(map_threads(abs, [-1, -2, -3])) == [1, 2, 3] else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(("settings", "expected"), [({}, "16"), ({"OPENBLAS_THREAD_TIMEOUT": "20"}, "20")])
def test_openblas_thread_timeout_is_set_unless_given(settings, expected):
    environ = {name: value for name, value in os.environ.items() if name != "OPENBLAS_THREAD_TIMEOUT"} | settings
    code = "import sys, os, recctl; assert 'numpy' not in sys.modules; print(os.environ['OPENBLAS_THREAD_TIMEOUT'])"
    out = subprocess.run([sys.executable, "-c", code], env=environ, check=True, capture_output=True, text=True)
    assert out.stdout.strip() == expected
