"""Runs: directories that can be trusted, compared and repeated."""

from recctl.runs.directory import Run
from recctl.runs.store import RunStore

__all__ = ["Run", "RunStore"]
