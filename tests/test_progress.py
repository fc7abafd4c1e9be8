"""Notices and progress of the library: warnings in a Python program, and no progress unless it is requested."""

from __future__ import annotations

import io
import re
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

import recctl
from recctl import EASERecommender, InteractionDataset, SVDRecommender, progress
from recctl.cli import terminal as terminal_module
from recctl.engines import map_threads
from recctl.engines.local import worker_pool
from recctl.errors import RecctlWarning
from recctl.progress.display import NotebookListener
from recctl.progress.notebook import is_started_by_notebook

TABLE = pd.DataFrame({"user_id": [1, 1, 2, 2, 3], "item_id": [5, 6, 5, 7, 6], "rating": [5.0, 3.0, 4.0, 1.0, 2.0]})
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


@pytest.fixture
def shown() -> Iterator[None]:
    """End every display that a test has started."""
    yield
    progress.hide()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_fit_shows_no_progress_unless_it_is_requested(capsys):
    EASERecommender().fit(TABLE)
    assert capsys.readouterr() == ("", "")


def test_progress_shown_until_hidden_leaves_one_line_for_each_fit(capsys, shown):
    progress.show()
    EASERecommender().fit(TABLE)
    EASERecommender().fit(TABLE)
    progress.hide()
    EASERecommender().fit(TABLE)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(re.fullmatch(r"Fitting ease: \d+\.\d s", line) for line in lines)


def test_progress_shown_in_a_block_ends_with_it(capsys, shown):
    with recctl.progress.show():
        SVDRecommender(n_epochs=3).fit(TABLE)
    SVDRecommender(n_epochs=3).fit(TABLE)
    assert re.fullmatch(r"Fitting svd: 3 epochs, loss=[\d.]+, \d+\.\d s\n", capsys.readouterr().err)


def test_result_of_training_that_stopped_early_has_both_numbers_of_epochs(capsys, shown):
    with progress.show():
        SVDRecommender(n_epochs=30).fit(TABLE, callbacks=[lambda model, values: values["epoch"] == 4])
    assert "Fitting svd: 4 of 30 epochs, " in capsys.readouterr().err


def test_blocks_of_two_threads_end_in_any_order(capsys, shown):
    first = progress.show()
    second = progress.show()
    first.__exit__(None, None, None)
    with progress.task("Fitting"):
        pass
    second.__exit__(None, None, None)
    with progress.task("Saving"):
        pass
    assert re.fullmatch(r"Fitting: \d+\.\d s\n", capsys.readouterr().err)


def test_notices_stay_warnings_while_progress_is_shown(shown):
    with progress.show(), pytest.warns(RecctlWarning, match="all timestamps are in 1970") as caught:
        InteractionDataset(pd.DataFrame(STEPS))
    assert [warning.filename for warning in caught] == [__file__]


def test_steps_are_displayed_by_a_listener(listener):
    progress.step("fitting ease")
    with progress.without_repeats():
        progress.step("fitting ease")
    assert listener.notices == ["fitting ease", "fitting ease"]


def test_steps_are_no_warnings_in_a_program():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        progress.step("fitting ease")
        with progress.without_repeats():
            progress.step("fitting ease")


def test_progress_shown_on_a_terminal_removes_its_bars_and_leaves_the_result(monkeypatch, shown):
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress.show(), progress.task("Fitting"), progress.task("Training", 2, "epochs") as task:
        task.update(2, loss=0.5)
    written = terminal.getvalue()
    assert "Training" in written  # the bar
    assert re.search(r"\x1b\[\?25h\r?Fitting: 2 epochs, loss=0\.5, \d+\.\d s\n$", written)  # after the cursor is back


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"JPY_PARENT_PID": "1"}, True),
        # VS Code starts kernels itself; these are set by ipykernel.
        ({"PAGER": "cat", "GIT_PAGER": "cat", "TERM": "xterm-color"}, True),
        ({"PAGER": "cat", "GIT_PAGER": "cat", "TERM": "xterm-256color"}, False),
        ({"PAGER": "less", "TERM": "xterm-color"}, False),
        ({}, False),
    ],
)
def test_command_of_a_notebook_is_recognized_by_its_environment(variables, expected, monkeypatch):
    for name in ("JPY_PARENT_PID", "PAGER", "GIT_PAGER", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_started_by_notebook() is expected


def test_command_of_a_notebook_shows_no_bars_on_its_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm-color")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with terminal_module.bars(), progress.task("Fitting"):
        terminal_module.info("saved")
    animated = sys.stderr.getvalue()
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    with terminal_module.bars(), progress.task("Fitting"):
        terminal_module.info("saved")
    assert "Fitting" in animated
    assert sys.stderr.getvalue() == "saved\n"


def test_notebook_ignores_what_a_thread_reports_of_an_ended_task(monkeypatch):
    listener = NotebookListener()
    lines = []
    monkeypatch.setattr(listener, "_show", lines.append)
    task = listener.start("Compiling kernels", 3, "kernels")
    listener.finish(task)
    n_lines = len(lines)
    task.update(2)
    assert len(lines) == n_lines
