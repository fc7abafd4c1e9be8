"""Checks of arguments that are runs; see `recctl.arguments`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recctl.arguments import many, of_type
from recctl.runs.directory import Run
from recctl.runs.store import RunStore

a_run = of_type(Run, "a Run, as RunStore().resolve('latest') returns")
a_store = of_type(RunStore, "a RunStore, such as RunStore('runs')")


def some_runs(where: str, name: str, value: Any) -> list[Run | str]:
    """Return one or more runs or references as a list; see `RunStore.resolve`.

    Raises:
        ConfigError: Something in it is neither a run nor a text.
    """
    if isinstance(value, Run | str):
        value = [value]
    listed: list[Run | str] = many(of_type((Run, str), "a Run, or the id or alias of one"), "['latest']")(
        where, name, value
    )
    return listed


def opened(runs: Run | str | Sequence[Run | str]) -> list[Run]:
    """Return runs as a list. References are resolved in the default runs directory."""
    listed = [runs] if isinstance(runs, Run | str) else runs
    store = RunStore()
    return [store.resolve(run) if isinstance(run, str) else run for run in listed]
