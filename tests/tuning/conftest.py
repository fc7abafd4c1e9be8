"""What makes tests of searches fast."""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
from types import ModuleType

import alembic.util
import pytest

from recctl.tuning import executors
from tests.tuning import worker_server

_load_python_file = alembic.util.load_python_file
_load_python_file_once = functools.cache(_load_python_file)


def _load_script_once(folder: str, name: str) -> ModuleType:
    """Load a script of a migration at its first use; `env.py` is the program that migrates, and runs each time."""
    load = _load_python_file if name == "env.py" else _load_python_file_once
    return load(folder, name)


@pytest.fixture(autouse=True)
def _migrations_are_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna loads the scripts of all migrations several times for every database, half of the time to open it."""
    monkeypatch.setattr(alembic.util, "load_python_file", _load_script_once)


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
