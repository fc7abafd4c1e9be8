"""Runs: complete files, status, locks and references."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recctl.errors import ArtifactError, ConfigError
from recctl.runs import Run, RunStore
from recctl.runs.evaluations import EvaluationRecord, MeasuredData, MeasuredModel

CONFIG = {"seed": 1, "model": {"name": "ease"}}
PROTOCOL = {"version": 2, "tie_rule": 2, "exclude": "known", "n_candidates": None}


def make(root: Path, label: str = "ease-x") -> Run:
    return Run.create(root, label, "train", CONFIG)


def complete(root: Path, value: float, split: str = "s", mode: str = "max") -> Run:
    run = make(root)
    run.metadata |= {"data": {"hash": "d"}, "split": {"hash": split}, "monitor": {"metric": "ndcg@10", "mode": mode}}
    evaluate(run, "validation", {"ndcg@10": value})
    run.end("complete")
    return run


def evaluate(run: Run, part: str, metrics: dict[str, float], users: dict[str, list[Any]] | None = None) -> None:
    """Store an evaluation of the run's model, which is added if there is none."""
    if not run.metadata["models"]:
        entry = {"version": 1, "file": "models/v1.pkl", "model": "ease", "fitted_on": "train", "sha256": "m"}
        run.metadata["models"].append(entry)
    data = MeasuredData(part, "d", run.metadata.get("split", {}).get("hash"))
    record = EvaluationRecord(data, MeasuredModel(1, "m", "train"), PROTOCOL, "2026-01-01T00:00:00", {}, metrics)
    run.add_evaluation(record, pd.DataFrame(users or {"user_id": [1]}))


def test_new_run_is_running_and_records_environment(tmp_path: Path) -> None:
    run = make(tmp_path / "deep" / "runs")
    again = Run.open(run.path)
    assert again.status == "running"
    assert again.metadata["seed"] == 1
    assert again.metadata["environment"]["packages"]["numpy"] == np.__version__
    assert again.metadata["environment"]["hardware"]["cpus"] == os.cpu_count()
    assert (run.path / "config.yaml").read_text().startswith("seed: 1")


def with_model(root: Path) -> Run:
    """Create a complete run that has a model according to its metadata."""
    run = make(root)
    run.metadata["models"] = [
        {"version": 1, "file": "models/v1.pkl", "model": "ease", "fitted_on": "train", "sha256": ""}
    ]
    run.end("complete")
    return run


def test_latest_is_last_created_within_a_second(tmp_path: Path) -> None:
    created = []
    for _ in range(8):
        created.append(with_model(tmp_path).id)
        assert RunStore(tmp_path).resolve("latest").id == created[-1]
    assert [run.id for run in RunStore(tmp_path).runs()] == created


def test_latest_skips_runs_that_are_not_complete_or_have_no_model(tmp_path: Path, listener: Any) -> None:
    store = RunStore(tmp_path)
    unfinished = make(tmp_path)
    with pytest.raises(ArtifactError, match=f"no run in .* is complete and has a model; the newest is {unfinished.id}"):
        store.resolve("latest")
    meant = with_model(tmp_path)
    comparison = Run.create(tmp_path, "compare-x", "compare", CONFIG)
    comparison.end("complete")
    assert store.resolve("latest").id == meant.id
    assert listener.notices == []
    interrupted = make(tmp_path)
    interrupted.end("interrupted")
    assert store.resolve("latest").id == meant.id
    assert listener.notices == [f"latest is {meant.id}; newer runs are not complete: {interrupted.id} (interrupted)"]
    damaged = with_model(tmp_path)
    (damaged.path / "metadata.json").write_text("{")
    assert store.resolve("latest").id == meant.id


def test_latest_run_to_show_may_have_no_model_if_none_has(tmp_path: Path, listener: Any) -> None:
    store = RunStore(tmp_path)
    make(tmp_path).end("complete")
    failed = make(tmp_path)
    failed.end("failed", "diverged")
    assert store.resolve_to_show("latest").id == failed.id
    assert any("no run in" in notice and "latest is the newest run" in notice for notice in listener.notices)
    meant = with_model(tmp_path)
    make(tmp_path).end("interrupted")
    assert store.resolve_to_show("latest").id == meant.id
    assert store.resolve_to_show(failed.id).id == failed.id


def test_latest_run_to_resume_is_the_newest_of_its_kind_whatever_its_status(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    interrupted = make(tmp_path)
    interrupted.end("interrupted")
    comparison = Run.create(tmp_path, "compare-x", "compare", CONFIG)
    assert store.resolve_to_resume("latest", ("train", "fit")).id == interrupted.id
    assert store.resolve_to_resume("latest", ("compare",)).id == comparison.id
    assert store.resolve_to_resume(comparison.id, ("train",)).id == comparison.id
    with pytest.raises(ArtifactError, match="no runs of tune"):
        store.resolve_to_resume("latest", ("tune",))


def test_store_takes_its_directory_as_text(tmp_path: Path) -> None:
    run = with_model(tmp_path)
    store = RunStore(str(tmp_path))
    assert store.ids() == [run.id]
    assert store.resolve("latest").path == run.path
    store.aliases.promote("production", run.id)
    assert store.resolve("production").id == run.id
    assert Run.open(str(run.path)).metadata == run.metadata


def test_failed_run_records_its_error(tmp_path: Path) -> None:
    run = make(tmp_path)
    run.end("failed", "why")
    assert Run.open(run.path).status == "failed"
    assert Run.open(run.path).metadata["error"] == "why"


@pytest.mark.skipif(os.name != "posix", reason="the Ctrl-C of POSIX")
def test_ctrl_c_while_writing_split_raises_keyboard_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(sink: io.BytesIO, **arrays: Any) -> None:
        with zipfile.ZipFile(sink, "w") as archive:
            handle = archive.open("parts.npy", "w")
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
            handle.close()

    run = make(tmp_path)
    monkeypatch.setattr(np, "savez_compressed", interrupted)
    # Libraries used by other tests of this process may have replaced the handler.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run.save_split(np.zeros(5, np.uint8))
    finally:
        signal.signal(signal.SIGINT, handler)
    assert not (run.path / "split.npz").exists()


def test_processes_exclude_each_other_from_a_run(tmp_path: Path) -> None:
    run = make(tmp_path)
    first, second = Run.open(run.path), Run.open(run.path)
    with pytest.raises(ConfigError, match="another process is working on it"):
        first.begin()
    run.end("interrupted")
    with pytest.raises(ConfigError, match="another process has changed it in the meantime"):
        second.begin()
    with Run.open(run.path).exclusive():
        pass
    third = Run.open(run.path)
    third.begin()
    with pytest.raises(ConfigError, match="another process is working on it"), Run.open(run.path).exclusive():
        pass
    third.end("complete")


def test_exclusive_reads_changes_of_other_processes(tmp_path: Path) -> None:
    created = make(tmp_path)
    created.end("complete")
    first, second = (Run.open(created.path) for _ in range(2))
    for run, name in ((first, "a"), (second, "b")):
        with run.exclusive():
            run.metadata["timings"][name] = 1.0
            run.save_metadata()
    assert set(Run.open(first.path).metadata["timings"]) == {"a", "b"}


def test_failed_creation_leaves_no_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device.*config\.yaml"):
        make(tmp_path)
    assert not list(tmp_path.iterdir())


def test_figures_of_one_model_are_merged_and_must_be_finite(tmp_path: Path) -> None:
    run = make(tmp_path)
    assert run.metrics() == {}
    evaluate(run, "validation", {"ndcg@10": 0.25, "recall@5": 0.5})
    evaluate(run, "test", {"ndcg@10": 0.125})
    evaluate(run, "validation", {"ndcg@10": 0.75})
    stored = json.loads((run.path / "metrics.json").read_text())
    assert stored == {"validation": {"ndcg@10": 0.75, "recall@5": 0.5}, "test": {"ndcg@10": 0.125}}
    assert run.metrics() == stored
    with pytest.raises(ValueError, match="not JSON compliant"):
        evaluate(run, "test", {"x": float("nan")})
    assert json.loads((run.path / "metrics.json").read_text()) == stored


def test_per_user_metrics_of_one_part_do_not_change_others(tmp_path: Path) -> None:
    run = make(tmp_path)
    evaluate(run, "validation", {}, {"user_id": [1, 2], "ndcg@10": [0.5, 0.25]})
    evaluate(run, "test", {}, {"user_id": [1], "ndcg@10": [1.0]})
    evaluate(run, "validation", {}, {"user_id": [3], "ndcg@10": [0.75]})
    assert run.per_user("test").to_dict("list") == {"user_id": [1], "ndcg@10": [1.0]}
    assert run.per_user("validation").to_dict("list") == {"user_id": [3], "ndcg@10": [0.75]}


def test_per_user_metrics_of_same_users_are_merged(tmp_path: Path) -> None:
    run = make(tmp_path)
    evaluate(run, "test", {}, {"user_id": [1, 2], "ndcg@10": [0.5, 0.25]})
    evaluate(run, "test", {}, {"user_id": [2, 1], "mrr@10": [1.0, 0.5]})
    table = run.per_user("test").set_index("user_id")
    assert table["ndcg@10"].to_dict() == {1: 0.5, 2: 0.25}
    assert table["mrr@10"].to_dict() == {1: 0.5, 2: 1.0}
    evaluate(run, "test", {}, {"user_id": [3], "mrr@10": [0.75]})
    assert "ndcg@10" not in run.per_user("test"), "the users differ"


def test_split_is_stored_and_damage_is_reported(tmp_path: Path) -> None:
    run = make(tmp_path)
    parts = np.arange(100, dtype=np.uint8) % 3
    run.save_split(parts)
    np.testing.assert_array_equal(run.split_parts(), parts)
    (run.path / "split.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(ArtifactError, match=r"split\.npz: damaged"):
        run.split_parts()
    (run.path / "split.npz").unlink()
    with pytest.raises(ArtifactError, match=r"split\.npz: missing"):
        run.split_parts()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"run_id": "x"}', "\x00\x01"])
def test_run_with_damaged_metadata_is_not_listed(tmp_path: Path, text: str) -> None:
    run = make(tmp_path)
    (run.path / "metadata.json").write_text(text)
    store = RunStore(tmp_path)
    with pytest.raises(ArtifactError, match=r"metadata\.json: damaged"):
        store.resolve(run.id)
    assert list(store.runs()) == []
    runs, problems = store.scan()
    assert (runs, list(problems)) == ([], [run.id])
    assert problems[run.id].startswith("damaged: ")


def test_run_that_lost_its_metadata_is_reported_and_can_be_removed(tmp_path: Path) -> None:
    run, kept = with_model(tmp_path), with_model(tmp_path)
    run.log("complete")
    (run.path / "metadata.json").unlink()
    store = RunStore(tmp_path)
    runs, problems = store.scan()
    assert [run.id for run in runs] == [kept.id]
    assert problems == {run.id: f"missing; restore it, or delete it with `recctl runs rm {run.id}`"}
    with pytest.raises(ArtifactError, match=r"metadata\.json: missing"):
        store.resolve(run.id)
    store.aliases.promote("production", run.id)
    with pytest.raises(ConfigError, match="is production"):
        store.remove_damaged(run.id)
    store.aliases.promote("production", kept.id)
    store.remove_damaged(run.id)
    assert store.scan()[1] == {}


def test_folders_that_are_no_runs_are_not_reported(tmp_path: Path) -> None:
    for name in ("notes", "20260101-000000-ease-x-00ff"):  # somebody's folder, and a run that is being created
        (tmp_path / name).mkdir()
    (tmp_path / "notes" / "metrics.json").write_text("{}")
    (tmp_path / "20260101-000000-ease-x-00ff" / "config.yaml").write_text("seed: 1\n")
    assert RunStore(tmp_path).scan() == ([], {})
    assert RunStore(tmp_path).ids() == []


def test_references_are_resolved(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    with pytest.raises(ArtifactError, match="has no runs yet"):
        store.resolve("latest")
    for name in ("20260101-000000-ease-x-0001", "20260101-000001-als-x-0002", "20260101-000001-als-x-0003"):
        run = with_model(tmp_path)
        run.path.rename(tmp_path / name)
    assert store.ids()[0] == "20260101-000000-ease-x-0001"
    assert store.resolve("latest").id == "20260101-000001-als-x-0003"
    assert store.resolve("20260101-000000").id == "20260101-000000-ease-x-0001"
    assert store.resolve("20260101-000001-als-x-0002").id == "20260101-000001-als-x-0002"
    assert store.resolve(str(tmp_path / "20260101-000001-als-x-0002")).id == "20260101-000001-als-x-0002"
    with pytest.raises(ArtifactError, match="several ids begin with this"):
        store.resolve("20260101")
    with pytest.raises(ArtifactError, match="did you mean latest"):
        store.resolve("lastest")
    with pytest.raises(ArtifactError, match="not found in"):
        store.resolve("")


def test_best_needs_comparable_runs(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    with pytest.raises(ArtifactError, match="no complete run"):
        store.resolve("best")
    complete(tmp_path, 0.3)
    good = complete(tmp_path, 0.5)
    make(tmp_path)  # still running: not considered
    assert store.resolve("best").id == good.id
    complete(tmp_path, 0.9, split="another")
    with pytest.raises(ArtifactError, match="can't be compared"):
        store.resolve("best")


def test_best_is_lowest_for_minimized_metric(tmp_path: Path) -> None:
    low = complete(tmp_path, 0.3, mode="min")
    complete(tmp_path, 0.5, mode="min")
    assert RunStore(tmp_path).resolve("best").id == low.id


def test_test_evaluations_are_counted_for_same_data_and_split(tmp_path: Path) -> None:
    for split, n_evaluations in (("a", 1), ("a", 2), ("b", 5)):
        run = make(tmp_path)
        run.metadata |= {"data": {"hash": "d"}, "split": {"hash": split}, "test_looks": n_evaluations}
        run.save_metadata()
    assert RunStore(tmp_path).count_test_evaluations("d", "a") == 3


def test_removed_run_is_deleted(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    run, kept = make(tmp_path), make(tmp_path)
    run.end("complete")
    store.remove(run)
    assert store.ids() == [kept.id]
    assert [path.name for path in tmp_path.iterdir()] == [kept.id]


def test_runs_directory_is_read_from_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert RunStore().root == Path("runs")
    monkeypatch.setenv("RECCTL_RUNS_DIR", str(tmp_path))
    assert RunStore().root == tmp_path
