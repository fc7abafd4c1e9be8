"""Imported once by the process that forks the workers of searches; computes nothing, so that it has no threads."""

from __future__ import annotations

import os
from typing import Any

from numba.core.registry import cpu_target

import recctl.evaluation
import recctl.models.bpr
import recctl.models.ease
import recctl.models.svd  # noqa: F401
from recctl.tuning import executors

# What numba does before it reads its first kernel, which takes half a second.
cpu_target.typing_context.refresh()
cpu_target.target_context.refresh()

_run_worker = executors._worker_loop


def run_forked_worker(connection: Any, _: int, setup: Any) -> None:
    """Run a worker. Its parent is this server; that of the product's workers is the search."""
    _run_worker(connection, os.getppid(), setup)
