"""What makes tests of searches fast."""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
from collections.abc import Iterator

import alembic.util
import pytest

from recctl.tuning import executors
from tests.tuning import worker_server


@pytest.fixture(autouse=True, scope="package")
def _migrations_are_loaded_once() -> Iterator[None]:
    """Optuna loads the scripts of all migrations several times for every database, half of the time to open it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alembic.util, "load_python_file", functools.cache(alembic.util.load_python_file))
        yield


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the workers of searches from a process that has imported everything, which saves seconds for each.

    For tests of what workers do; tests of killed searches start new processes, as the product does.
    """
    if sys.platform != "linux" or os.environ.get("RECCTL_NEW_PROCESSES"):
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([worker_server.__name__])
    monkeypatch.setattr(executors.multiprocessing, "get_context", lambda _method: context)
    monkeypatch.setattr(executors, "_worker_loop", worker_server.run_forked_worker)
