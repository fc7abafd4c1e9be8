"""Notices of the library: warnings in a Python program, unless a listener displays them."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from recctl import InteractionDataset, progress
from recctl.engines import map_threads
from recctl.engines.local import worker_pool
from recctl.errors import RecctlWarning

STEPS = {"user_id": [1, 2], "item_id": [5, 6], "timestamp": [1, 2]}


def test_notice_is_a_warning_that_points_to_the_line_that_called_recctl():
    with pytest.warns(RecctlWarning, match="all timestamps are in 1970") as caught:
        InteractionDataset(pd.DataFrame(STEPS))
    assert [warning.filename for warning in caught] == [__file__]


def test_listener_gets_notices_instead(listener):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        InteractionDataset(pd.DataFrame(STEPS))
    assert len(listener.notices) == 1


def test_silence_drops_notices():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with progress.silence():
            InteractionDataset(pd.DataFrame(STEPS))


def test_repeated_notices_of_a_block_are_displayed_once(listener):
    with progress.without_repeats():
        for message in ("2 users are excluded", "slow", "2 users are excluded"):
            progress.notice(message)
        with progress.task("Fitting", 2) as task:
            task.update(1)
    progress.notice("slow")
    assert listener.notices == ["2 users are excluded", "slow", "slow"]
    assert listener.started == [("Fitting", 2, "")]
    assert listener.n_finished == 1


def test_contexts_of_two_threads_do_not_change_each_other():
    silent = progress.silence()
    also_silent = progress.silence()
    before = progress.current_listener()
    with ThreadPoolExecutor(1) as other:
        silent.__enter__()
        other.submit(also_silent.__enter__).result()
        silent.__exit__(None, None, None)
        assert progress.current_listener() is before
        other.submit(also_silent.__exit__, None, None, None).result()
    assert progress.current_listener() is before


def test_tasks_in_the_thread_pool_report_to_the_listener_of_the_caller(listener, monkeypatch):
    monkeypatch.setenv("RECCTL_THREADS", "2")
    list(map_threads(lambda number: progress.notice(f"task {number}"), range(4)))
    with worker_pool() as map_tasks:
        map_tasks(lambda number: progress.notice(f"task {number}"), range(4, 8))
    assert sorted(listener.notices) == [f"task {number}" for number in range(8)]
