"""Checks of arguments that are runs; see `recctl.arguments`."""

from __future__ import annotations

from recctl.arguments import of_type
from recctl.runs.directory import Run
from recctl.runs.store import RunStore

a_run = of_type(Run, "a Run, as RunStore().resolve('latest') returns")
a_store = of_type(RunStore, "a RunStore, such as RunStore('runs')")
