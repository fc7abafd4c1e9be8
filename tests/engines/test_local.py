import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import scipy.linalg  # noqa: F401 - a BLAS to limit
from threadpoolctl import threadpool_info

from recctl.engines import blas_threads, local, map_threads, set_threads, team, threads
from recctl.engines.local import crew
from recctl.errors import ConfigError


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    monkeypatch.setattr(local, "_threads", None)
    monkeypatch.delenv("RECCTL_THREADS", raising=False)


def blas():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_threads_are_set_or_given_or_all(monkeypatch):
    assert threads() >= 1
    monkeypatch.setenv("RECCTL_THREADS", "7")
    assert threads() == 7
    set_threads(3)
    assert threads() == 3


@pytest.mark.parametrize("given", ["0", "-1", "two", "1.5"])
def test_a_count_that_is_none_is_refused(monkeypatch, given):
    monkeypatch.setenv("RECCTL_THREADS", given)
    with pytest.raises(ConfigError, match=f"RECCTL_THREADS='{given}': must be a whole number of at least 1"):
        threads()


def test_fewer_than_one_thread_is_refused():
    with pytest.raises(ConfigError, match="threads=0: must be at least 1"):
        set_threads(0)


def test_blas_computes_on_as_many_threads_inside_the_block(monkeypatch):
    monkeypatch.setenv("RECCTL_THREADS", "2")
    before = blas()
    with blas_threads():
        assert blas() == {2}
        with blas_threads(1):
            assert blas() == {1}
    assert blas() == before


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_come_in_the_order_of_the_tasks(count):
    set_threads(count)

    def slow_first(task):
        time.sleep(0.002 * (5 - task % 5))
        return task

    assert list(map_threads(slow_first, range(30))) == list(range(30))
    assert list(map_threads(slow_first, [])) == []


def test_tasks_are_spread_over_the_threads_with_one_blas_thread_each():
    set_threads(3)
    together = threading.Barrier(3, timeout=10)

    def wait(_):
        together.wait()  # passes only if three tasks are under way
        return blas()

    before = blas()
    assert list(map_threads(wait, range(3))) == [{1}] * 3
    assert blas() == before


def test_only_a_few_tasks_are_under_way_at_a_time():
    set_threads(2)
    started = []
    results = map_threads(started.append, range(1000))
    next(results)
    assert len(started) <= 5
    results.close()
    time.sleep(0.02)
    assert len(started) <= 5


@pytest.mark.parametrize("count", [1, 2])
def test_an_exception_ends_the_map(count):
    set_threads(count)
    done = []

    def fail(task):
        if task == 3:
            raise ValueError("task 3")
        done.append(task)

    with pytest.raises(ValueError, match="task 3"):
        list(map_threads(fail, range(1000)))
    assert len(done) < 10


def test_memory_of_used_results_is_given_back():
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
def test_a_crew_stays_for_many_phases_and_an_exception_ends_it(count):
    set_threads(count)
    with crew() as each:
        for phase in range(20):
            assert each(lambda task: (task, blas()), range(phase)) == [(task, {1}) for task in range(phase)]
        with pytest.raises(ZeroDivisionError):
            each(lambda task: 1 / task, [2, 1, 0, 1])
        assert each(abs, [-1]) == [1]


def test_a_crew_takes_along_who_asks_and_lets_nobody_begin_after_an_exception():
    set_threads(2)
    together, begun = threading.Barrier(2, timeout=10), []

    def fail_first(task):
        begun.append(task)
        if task < 2:
            together.wait()  # passes only if two tasks are under way
        if task == 0:
            raise ZeroDivisionError
        time.sleep(0.05)

    with crew() as each:
        names = each(lambda _: (together.wait(), threading.current_thread())[1], range(2))
        assert threading.current_thread() in names
        assert len(set(names)) == 2
        with pytest.raises(ZeroDivisionError):
            each(fail_first, range(50))
    assert len(begun) <= 3


def test_a_map_in_a_crew_computes_where_it_is():
    set_threads(2)
    with crew() as each:
        names = each(lambda _: set(map_threads(lambda _: threading.current_thread().name, range(5))), range(4))
    assert all(len(inner) == 1 for inner in names)
    assert len(set(map_threads(lambda _: time.sleep(0.01) or threading.current_thread(), range(8)))) == 2


@pytest.mark.parametrize(("most", "size"), [(1, 1), (2, 2), (9, 3)])
def test_a_team_is_told_how_many_it_is_and_is_dismissed(most, size):
    set_threads(3)
    dismissed, told, took_part = threading.Event(), [], []

    def take_part(rank):
        took_part.append((rank, blas()))
        dismissed.wait(timeout=10)

    with pytest.raises(ZeroDivisionError), team(most, told.append, take_part, dismissed.set):
        1 / (told != [size])
    assert sorted(took_part) == [(rank, {1}) for rank in range(1, size)]
    assert not [thread for thread in threading.enumerate() if "take_part" in thread.name]


def test_a_team_in_a_map_is_one_alone():
    set_threads(2)

    def sizes(_):
        told = []
        with team(5, told.append, lambda rank: None, lambda: None):
            return told

    assert list(map_threads(sizes, range(3))) == [[1]] * 3


def test_a_map_inside_a_map_computes_where_it_is():
    set_threads(2)
    names = map_threads(lambda _: list(map_threads(lambda _: threading.current_thread().name, range(5))), range(4))
    assert all(len(set(inner)) == 1 for inner in names)


def test_threads_stay_for_the_next_map_and_go_with_another_count():
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


def test_an_exception_waits_for_what_is_under_way():
    set_threads(2)
    ended = []

    def work(task):
        if task == 0:
            raise ZeroDivisionError
        time.sleep(0.1)
        ended.append(task)

    with pytest.raises(ZeroDivisionError):
        list(map_threads(work, range(100)))
    count = len(ended)
    time.sleep(0.3)
    assert len(ended) == count


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a child is forked")
def test_a_forked_child_has_threads_of_its_own():
    set_threads(2)
    assert list(map_threads(abs, [-1, -2, -3])) == [1, 2, 3]
    child = os.fork()
    if child == 0:
        os._exit(0 if list(map_threads(abs, [-1, -2, -3])) == [1, 2, 3] else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(("given", "found"), [({}, "16"), ({"OPENBLAS_THREAD_TIMEOUT": "20"}, "20")])
def test_threads_of_openblas_sleep_soon_unless_told_otherwise(given, found):
    environ = {name: value for name, value in os.environ.items() if name != "OPENBLAS_THREAD_TIMEOUT"} | given
    code = "import sys, os, recctl; assert 'numpy' not in sys.modules; print(os.environ['OPENBLAS_THREAD_TIMEOUT'])"
    out = subprocess.run([sys.executable, "-c", code], env=environ, check=True, capture_output=True, text=True)
    assert out.stdout.strip() == found
