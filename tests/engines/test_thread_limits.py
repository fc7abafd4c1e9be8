"""Numbers of threads that are settings of the process, held by several threads of a program."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch

from recctl.engines import blas_threads, torch_threads
from recctl.engines.thread_limits import SharedLimit
from tests.engines.test_local import blas_thread_counts

TIMEOUT = 20


class Setting:
    """A number of threads of the process, as a library has it."""

    def __init__(self) -> None:
        self.value = 8

    def apply(self, count: int) -> Callable[[], None]:
        before = self.value
        self.value = count

        def restore() -> None:
            self.value = before

        return restore


@contextmanager
def another_thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_first_context_to_end_leaves_the_number_to_the_others() -> None:
    setting = Setting()
    limit = SharedLimit()
    first = limit.hold(1, "key", setting.apply)
    second = limit.hold(1, "key", setting.apply)
    with another_thread() as other:
        first.__enter__()
        other.submit(second.__enter__).result(TIMEOUT)
        first.__exit__(None, None, None)
        assert setting.value == 1
        other.submit(second.__exit__, None, None, None).result(TIMEOUT)
    assert setting.value == 8


def test_context_of_another_number_waits_until_the_others_have_ended() -> None:
    setting = Setting()
    limit = SharedLimit()
    seen = []

    def use_two() -> None:
        with limit.hold(2, "key", setting.apply):
            seen.append(setting.value)

    with another_thread() as other:
        with limit.hold(1, "key", setting.apply):
            waiting = other.submit(use_two)
            threading.Event().wait(0.05)
            assert (seen, setting.value, waiting.done()) == ([], 1, False)
        waiting.result(TIMEOUT)
    assert (seen, setting.value) == ([2], 8)


def test_nested_context_and_worker_thread_do_not_wait() -> None:
    setting = Setting()
    limit = SharedLimit()

    def work() -> int:
        with limit.hold(3, "key", setting.apply, may_wait=False):
            return setting.value

    with limit.hold(1, "key", setting.apply):
        with limit.hold(2, "key", setting.apply):
            assert setting.value == 2
        assert setting.value == 1
        with another_thread() as other:
            assert other.submit(work).result(TIMEOUT) == 3
        assert setting.value == 1
    assert setting.value == 8


def test_context_that_cannot_be_entered_does_not_block_others() -> None:
    limit = SharedLimit()
    with pytest.raises(ZeroDivisionError), limit.hold(1, "key", lambda count: 1 / 0):  # type: ignore[arg-type, return-value]
        pass
    setting = Setting()
    with limit.hold(2, "key", setting.apply):
        assert setting.value == 2


def test_overlapping_blas_contexts_of_two_threads_restore_the_number() -> None:
    before = blas_thread_counts()
    first = blas_threads(1)
    second = blas_threads(1)
    with another_thread() as other:
        first.__enter__()
        other.submit(second.__enter__).result(TIMEOUT)
        first.__exit__(None, None, None)
        assert blas_thread_counts() == {1}
        other.submit(second.__exit__, None, None, None).result(TIMEOUT)
    assert blas_thread_counts() == before


def test_overlapping_torch_contexts_of_two_threads_restore_the_number_in_both() -> None:
    before = torch.get_num_threads()
    first = torch_threads(before + 1)
    second = torch_threads(before + 1)
    with another_thread() as other:
        assert other.submit(torch.get_num_threads).result(TIMEOUT) == before
        first.__enter__()
        other.submit(second.__enter__).result(TIMEOUT)
        assert other.submit(torch.get_num_threads).result(TIMEOUT) == before + 1
        first.__exit__(None, None, None)
        assert torch.get_num_threads() == before
        assert other.submit(torch.get_num_threads).result(TIMEOUT) == before + 1
        other.submit(second.__exit__, None, None, None).result(TIMEOUT)
        assert other.submit(torch.get_num_threads).result(TIMEOUT) == before
    with ThreadPoolExecutor(1) as new_thread:
        assert new_thread.submit(torch.get_num_threads).result(TIMEOUT) == before
