"""Threads of Arrow hold no Python object when a reader returns: at the end of a program they would abort it."""

import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pyarrow.csv as pacsv
import pytest

from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers import arrow_threads
from recctl.data.sources.readers.arrow_threads import ReleasedByArrow
from recctl.data.sources.readers.read_file import read_file
from recctl.data.titles import ItemTitles
from recctl.data.vocabulary import Vocabulary
from recctl.errors import DataError

_COUNT_NEW_THREADS = """
import os, sys
from pathlib import Path
from recctl.data.titles import ItemTitles

content = Path(sys.argv[1]).read_bytes()
before = set(os.listdir("/proc/self/task"))
assert len(ItemTitles.from_parquet(content)) == 2
print(len(set(os.listdir("/proc/self/task")) - before))
"""


@pytest.fixture
def max_seconds(monkeypatch):
    """The time that a reader waits if its stream is never released, long enough for a loaded machine."""
    monkeypatch.setattr(arrow_threads, "_MAX_SECONDS", 60.0)
    return 60.0


@pytest.fixture
def lent(monkeypatch):
    """References to the streams that Arrow reads; a thread keeps each one for a while after the table is returned."""
    read_csv = pacsv.read_csv
    references = []

    def read_and_keep(stream, **options):
        references.append(weakref.ref(stream))
        keeper = threading.Thread(target=lambda kept: time.sleep(0.2), args=(stream,))
        try:
            return read_csv(stream, **options)
        finally:
            keeper.start()
            del keeper

    monkeypatch.setattr(pacsv, "read_csv", read_and_keep)
    return references


def test_reading_a_csv_file_returns_when_no_thread_holds_the_stream(tmp_path, lent, max_seconds):
    path = tmp_path / "events.csv"
    path.write_text("user_id,item_id\n1,2\n3,4\n")
    begin = time.monotonic()

    read_file(path, ReadOptions())

    assert time.monotonic() - begin < max_seconds

    assert lent
    assert all(reference() is None for reference in lent)


def test_an_error_in_a_csv_file_is_raised_without_waiting_for_itself(tmp_path, lent, max_seconds):
    path = tmp_path / "events.csv"
    path.write_text("user_id,item_id\n" + 100_000 * "1,2\n" + '1,"2\n')
    begin = time.monotonic()

    with pytest.raises(DataError) as caught:
        read_file(path, ReadOptions())

    assert caught.value.__traceback__ is not None
    assert lent
    assert all(reference() is None for reference in lent)
    assert time.monotonic() - begin < max_seconds


def test_reading_sequences_does_not_wait_for_the_table(tmp_path, max_seconds):
    path = tmp_path / "train.txt"
    path.write_text("0 1 2\n1 2 3\n")
    begin = time.monotonic()

    read_file(path, ReadOptions(format="lightgcn"))

    assert time.monotonic() - begin < max_seconds


def test_the_end_of_the_context_waits_for_the_release():
    with ReleasedByArrow() as release:
        reference = weakref.ref(keep_in_thread(release.of(np.zeros(3))))
        assert reference() is not None

    assert reference() is None


def keep_in_thread(array):
    threading.Thread(target=lambda kept: time.sleep(0.2), args=(array,)).start()
    return array


@pytest.mark.skipif(sys.platform != "linux", reason="/proc lists the threads")
def test_titles_are_read_without_threads_of_arrow(tmp_path):
    path = tmp_path / "titles.parquet"
    path.write_bytes(ItemTitles(Vocabulary(np.array([1, 2])), np.array(["One", "Two"], object)).to_parquet())

    command = [sys.executable, "-c", _COUNT_NEW_THREADS, str(path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "0\n"
