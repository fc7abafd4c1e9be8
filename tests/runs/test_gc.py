"""Clean-up removes unneeded files only."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from recctl.errors import ConfigError
from recctl.runs import Run, RunStore, labels
from recctl.runs.directory import Status
from recctl.runs.gc import delete, find_garbage, size_of


def make(root: Path, status: Status, days_old: int = 30) -> Run:
    run = Run.create(root, "ease-x", "train", {"seed": 1})
    run.end(status)
    run.metadata["finished"] = f"{2026 - days_old // 365:04d}-01-{1 + days_old % 28:02d}T00:00:00+00:00"
    run.save_metadata()
    return run


def paths(store: RunStore, days: float = 7, checkpoints: bool = False) -> set[str]:
    return {str(item.path.relative_to(store.root)) for item in find_garbage(store, timedelta(days=days), checkpoints)}


def test_old_runs_that_ended_early_are_garbage_and_others_are_kept(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    complete, failed, interrupted, tagged, named, before = (
        make(tmp_path, status)  # type: ignore[arg-type]
        for status in ("complete", "failed", "interrupted", "failed", "failed", "failed")
    )
    fresh = make(tmp_path, "failed")
    fresh.end("failed")
    labels.update(tagged, ["keep"])
    store.aliases.promote("production", before.id)
    store.aliases.promote("production", named.id)
    assert paths(store) == {failed.id, interrupted.id}
    assert fresh.id in paths(store, days=0)
    assert complete.id not in paths(store, days=0)
    garbage = find_garbage(store, timedelta(days=7))
    assert {item.path: item.size for item in garbage}[failed.path] == size_of(failed.path) > 100
    delete(store, garbage)
    assert set(store.ids()) == {run.id for run in (complete, tagged, named, before, fresh)}
    assert paths(store) == set()


def test_leftovers_of_crashes_are_garbage(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    run = make(tmp_path, "complete")
    (tmp_path / ".removed-old").mkdir()
    (tmp_path / ".removed-old" / "metadata.json").write_text("{}")
    old, young = run.path / "models" / ".0123.tmp", run.path / ".4567.tmp"
    old.parent.mkdir()
    for path in (old, young):
        path.write_bytes(b"half")
    replaced = run.path / "exports" / ".89ab.old"  # an export that was being replaced
    replaced.mkdir(parents=True)
    for path in (old, replaced):
        os.utime(path, (0, time.time() - 7200))
    assert paths(store) == {".removed-old", f"{run.id}/models/.0123.tmp", f"{run.id}/exports/.89ab.old"}
    delete(store, find_garbage(store, timedelta(days=7)))
    assert not old.exists()
    assert young.exists(), "somebody may be writing it"
    assert store.ids() == [run.id]


def test_checkpoints_of_complete_runs_are_garbage_on_request(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    complete, interrupted = make(tmp_path, "complete"), make(tmp_path, "interrupted", 0)
    interrupted.end("interrupted")
    for run in (complete, interrupted):
        (run.path / "checkpoints").mkdir()
        (run.path / "checkpoints" / "last.pkl").write_bytes(b"12345")
    assert paths(store) == set()
    assert paths(store, checkpoints=True) == {f"{complete.id}/checkpoints"}
    (item,) = find_garbage(store, timedelta(days=7), checkpoints=True)
    assert item.size == 5
    delete(store, [item])
    assert (interrupted.path / "checkpoints" / "last.pkl").exists()
    assert store.resolve(complete.id).status == "complete"


def test_promoted_and_running_runs_are_not_removed(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    run = make(tmp_path, "complete")
    store.aliases.promote("production", run.id)
    with pytest.raises(ConfigError, match=f"{run.id}: is production; promote another run or roll back first"):
        store.remove(run)
    running = Run.create(tmp_path, "ease-x", "train", {"seed": 1})
    with pytest.raises(ConfigError, match="another process is working on it"):
        store.remove(running)
    assert set(store.ids()) == {run.id, running.id}


def test_keep_deletes_all_but_the_newest_complete_runs_and_never_labeled_ones(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    named, before, tagged, old, older, newest, last = (make(tmp_path, "complete") for _ in range(7))
    in_order = [run.id for run in store.runs()]
    assert in_order == [run.id for run in (named, before, tagged, old, older, newest, last)]
    interrupted = make(tmp_path, "interrupted")
    interrupted.end("interrupted")
    labels.update(tagged, ["paper"])
    store.aliases.promote("production", before.id)
    store.aliases.promote("production", named.id)
    (old.path / "checkpoints").mkdir()

    def found(keep: int | None) -> set[str]:
        return {item.path.name for item in find_garbage(store, timedelta(days=7), checkpoints=False, keep=keep)}

    assert found(None) == set()
    assert found(2) == {old.id, older.id}
    assert found(1) == {old.id, older.id, newest.id}
    # More than there are.
    assert found(7) == found(8) == found(100) == set()
    delete(store, find_garbage(store, timedelta(days=7), keep=2))
    assert set(store.ids()) == {run.id for run in (named, before, tagged, newest, last, interrupted)}


def test_runs_of_a_tagged_comparison_are_kept(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    compared, other = make(tmp_path, "complete"), make(tmp_path, "complete")
    records = [{"label": "a", "run_id": compared.id}, {"label": "b", "run_id": None}]
    comparison = Run.create(tmp_path, "compare-x", "compare", {"seed": 1}, extra_metadata={"compared": records})
    comparison.end("complete")
    make(tmp_path, "complete")
    labels.update(comparison, ["paper"])
    assert {item.path.name for item in find_garbage(store, timedelta(days=7), keep=1)} == {other.id}


def test_runs_of_a_comparison_that_goes_on_are_kept(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    compared = make(tmp_path, "complete")
    records = [{"label": "a", "run_id": compared.id}, {"label": "b", "run_id": None}]
    comparison = Run.create(tmp_path, "compare-x", "compare", {"seed": 1}, extra_metadata={"compared": records})
    make(tmp_path, "complete")
    assert find_garbage(store, timedelta(days=7), keep=1) == []
    comparison.end("interrupted")  # it can be resumed
    assert find_garbage(store, timedelta(days=7), keep=1) == []
    comparison.end("complete")
    assert {item.path.name for item in find_garbage(store, timedelta(days=7), keep=1)} == {compared.id, comparison.id}


def test_run_whose_creation_was_killed_is_garbage_after_an_hour(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    complete = make(tmp_path, "complete")
    killed, young = tmp_path / "20260101-000000-ease-x-00ff", tmp_path / "20260101-000000-ease-x-00fe"
    for directory in (killed, young):
        directory.mkdir()
        (directory / "config.yaml").write_text("seed: 1\n")
    os.utime(killed, (0, time.time() - 7200))
    assert paths(store) == {killed.name}
    delete(store, find_garbage(store, timedelta(days=7)))
    assert store.ids() == [complete.id]
    assert young.exists()


def test_what_other_processes_delete_or_promote_in_the_meantime_is_skipped(tmp_path: Path, listener: Any) -> None:
    store = RunStore(tmp_path)
    deleted, promoted, resumed, garbage, _ = (make(tmp_path, "complete") for _ in range(5))
    found = find_garbage(store, timedelta(days=7), keep=1)
    assert [item.path for item in found] == [run.path for run in (deleted, promoted, resumed, garbage)]
    store.remove(deleted)
    store.aliases.promote("production", promoted.id)
    resumed.begin()
    delete(store, found)
    assert not garbage.path.exists()
    assert [notice.split()[:2] for notice in listener.notices] == [
        ["kept:", f"{promoted.id}:"],
        ["kept:", f"{resumed.id}:"],
    ]
