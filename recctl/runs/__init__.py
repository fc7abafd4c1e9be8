"""Run directories: create, read, verify and remove them."""

from recctl.runs.directory import Run
from recctl.runs.store import RunStore

__all__ = ["Run", "RunStore"]
