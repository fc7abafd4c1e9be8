"""What can be deleted from a directory of runs without losing a result."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from recctl.runs import labels
from recctl.runs.directory import Run
from recctl.runs.store import REMOVED, RunStore

# Files under way have names of their own until they are whole; one of this age belongs to a process that died.
_SECONDS_UNDER_WAY = 3600


class Garbage(NamedTuple):
    """A file, a folder or a whole run that nobody needs."""

    path: Path
    size: int
    reason: str
    run: Run | None


def find_garbage(store: RunStore, older_than: timedelta, checkpoints: bool = False) -> list[Garbage]:
    """What is left of deletions and of processes that died, and runs that came to nothing.

    Args:
        store: The runs.
        older_than: Runs that failed, died or were interrupted are kept for so long: they may be gone on with.
        checkpoints: Whether checkpoints of complete runs count; those can't be gone on with.

    Returns:
        What `collect` takes away. Runs with a tag, and those a name points to or would go back to, are never in it.
    """
    found = [
        Garbage(path, size_of(path), "left of a deletion", None) for path in sorted(store.root.glob(f"{REMOVED}*"))
    ]
    found += [
        Garbage(path, size_of(path), "left half-written", None)
        for path in sorted([*store.root.glob("**/.*.tmp"), *store.root.glob("**/.*.old")])
        if time.time() - path.stat().st_mtime > _SECONDS_UNDER_WAY
    ]
    named = set(_named(store))
    for run in store.runs():
        if run.id in named or labels.read(run).tags:
            continue
        if run.status in ("failed", "died", "interrupted") and _age(run) > older_than:
            found.append(Garbage(run.path, size_of(run.path), run.status, run))
        elif run.status == "complete" and checkpoints and (run.path / "checkpoints").is_dir():
            path = run.path / "checkpoints"
            found.append(Garbage(path, size_of(path), "checkpoints of a complete run", None))
    return found


def delete(store: RunStore, found: list[Garbage]) -> None:
    """Delete what was found."""
    for path, _, _, run in found:
        if run is not None:
            store.remove(run)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    paths = path.rglob("*") if path.is_dir() else [path]
    return sum(found.lstat().st_size for found in paths if not found.is_dir())


def _named(store: RunStore) -> Iterator[str]:
    for name in store.aliases.all():
        for move in (store.aliases.current(name), store.aliases.previous(name)):
            if move is not None:
                yield move.run


def _age(run: Run) -> timedelta:
    return datetime.now(UTC) - datetime.fromisoformat(run.metadata.get("finished") or run.metadata["created"])
