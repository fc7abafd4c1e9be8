"""Garbage collection: what can be deleted from a runs directory without losing a result."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from recctl import progress
from recctl.errors import ArtifactError, ConfigError
from recctl.runs import labels, layout
from recctl.runs.directory import Run
from recctl.runs.store import REMOVED, RunStore

# A temporary file of this age was left by a process that died.
_TEMPORARY_SECONDS = 3600
_ENDED_EARLY = ("failed", "died", "interrupted")


class Garbage(NamedTuple):
    """A file, a folder or a run that is no longer needed.

    Attributes:
        path: The file or folder.
        size: In bytes.
        reason: Why it is not needed.
        run: The run, if all of it is garbage.
    """

    path: Path
    size: int
    reason: str
    run: Run | None


def find_garbage(
    store: RunStore, older_than: timedelta, checkpoints: bool = False, keep: int | None = None
) -> list[Garbage]:
    """Find leftovers of deletions and of processes that died, and runs that ended early.

    Args:
        store: The runs directory.
        older_than: Younger runs that failed, died or were interrupted are kept, because they can be resumed.
        checkpoints: Include checkpoints of complete runs, which can't be resumed.
        keep: Include complete runs except so many of the newest; None: include none.

    Returns:
        What `delete` deletes. Tagged runs, runs that an alias points to or would be rolled back to, and the runs of a
        comparison that is tagged or not complete are never included.
    """
    garbage = _leftovers(store)
    runs = store.runs()
    complete_ids = [run.id for run in runs if run.status == "complete"]
    superfluous_ids = set() if keep is None else set(complete_ids[:-keep])
    protected_ids = _protected_ids(store, runs)
    for run in runs:
        if run.id in protected_ids:
            continue
        checkpoint_folder = run.path / layout.CHECKPOINTS
        if run.id in superfluous_ids:
            garbage.append(_garbage(run.path, f"not among the {keep} newest", run))
        elif run.status in _ENDED_EARLY and _age(run) > older_than:
            garbage.append(_garbage(run.path, run.status, run))
        elif run.status == "complete" and checkpoints and checkpoint_folder.is_dir():
            garbage.append(_garbage(checkpoint_folder, "checkpoints of a complete run"))
    return garbage


def delete(store: RunStore, garbage: list[Garbage]) -> None:
    """Delete what `find_garbage` found.

    What another process has deleted, promoted or resumed in the meantime is skipped, the latter two with a notice.
    """
    for garbage_item in garbage:
        try:
            _delete_item(store, garbage_item)
        except (FileNotFoundError, ArtifactError):
            continue
        except ConfigError as error:
            progress.notice(f"kept: {error}")


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    file_paths = path.rglob("*") if path.is_dir() else [path]
    return sum(file_path.lstat().st_size for file_path in file_paths if not file_path.is_dir())


def _garbage(path: Path, reason: str, run: Run | None = None) -> Garbage:
    return Garbage(path, size_of(path), reason, run)


def _delete_item(store: RunStore, garbage_item: Garbage) -> None:
    if garbage_item.run is not None:
        store.remove(Run.open(garbage_item.path))
    elif garbage_item.path.is_dir():
        shutil.rmtree(garbage_item.path)
    else:
        garbage_item.path.unlink()


def _leftovers(store: RunStore) -> list[Garbage]:
    """Find what processes left that were killed while they deleted a run, created one, or wrote a file."""
    garbage = [
        _garbage(leftover_path, "incomplete deletion") for leftover_path in sorted(store.root.glob(f"{REMOVED}*"))
    ]
    garbage += [
        _garbage(directory, "incomplete creation") for directory in store.incomplete() if _is_abandoned(directory)
    ]
    temporary = [*store.root.glob("**/.*.tmp"), *store.root.glob("**/.*.old")]
    garbage += [
        _garbage(leftover_path, "incomplete file")
        for leftover_path in sorted(temporary)
        if _is_abandoned(leftover_path)
    ]
    return garbage


def _is_abandoned(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > _TEMPORARY_SECONDS


def _protected_ids(store: RunStore, runs: list[Run]) -> set[str]:
    """Return the ids of the runs that must stay."""
    protected_ids = set()
    for alias_name in store.aliases.all():
        for move in (store.aliases.current(alias_name), store.aliases.previous(alias_name)):
            if move is not None:
                protected_ids.add(move.run)
    for run in runs:
        is_tagged = bool(labels.read(run).tags)
        if is_tagged:
            protected_ids.add(run.id)
        # A comparison that goes on or can be resumed needs its runs, and so does the report of a tagged one.
        if is_tagged or run.status != "complete":
            protected_ids.update(record["run_id"] for record in run.metadata.get("compared", []) if record["run_id"])
    return protected_ids


def _age(run: Run) -> timedelta:
    end_time = run.metadata.get("finished") or run.metadata["created"]
    return datetime.now(UTC) - datetime.fromisoformat(end_time)
