"""The index of a runs directory: it saves reading files, and never changes what is listed."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from recctl.errors import ArtifactError
from recctl.runs import Run, RunStore, index, labels
from recctl.runs.summary import RunSummary, summarize

N_RUNS = 6
N_EDITS = 60
# Changes of files within one tick of the file system's clock are invisible; see `index.is_settled`.
TICK_NS = 15_000_000


@pytest.fixture
def _short_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_SETTLED_NS", TICK_NS)


def write_run(root: Path, number: int, value: float) -> Path:
    """Write the files of a complete run with one figure on validation, as a run of this version has them."""
    directory = root / f"20260101-{number:06d}-ease-x-{number:04x}"
    directory.mkdir(parents=True)
    model = {"version": 1, "file": "models/v1.pkl", "model": "ease", "fitted_on": "train", "sha256": "m"}
    metadata = {
        "status": "complete",
        "kind": "train",
        "created": f"2026-01-01T00:00:{number:02d}.000+00:00",
        "models": [model],
        "data": {"hash": "d", "source": "x"},
        "split": {"hash": "s"},
        "monitor": {"metric": "ndcg@10", "mode": "max"},
        "test_looks": 1,
    }
    (directory / "metadata.json").write_text(json.dumps(metadata))
    (directory / "config.yaml").write_text("seed: 1\n")
    write_value(directory, value)
    return directory


def write_value(directory: Path, value: float) -> None:
    record = {
        "data": {"part": "validation", "data_hash": "d", "split_hash": "s"},
        "model": {"version": 1, "sha256": "m", "fitted_on": "train"},
        "protocol": {"version": 2, "tie_rule": 2, "exclude": "known"},
        "time": "2026-01-01T00:00:00",
        "counts": {},
        "metrics": {"ndcg@10": value},
    }
    (directory / "evaluations.json").write_text(json.dumps({"evaluations": [record]}))
    (directory / "metrics.json").write_text(json.dumps({"validation": {"ndcg@10": value}}))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(N_RUNS):
        write_run(tmp_path / "runs", number, number / 10)
    time.sleep(2 * TICK_NS / 1e9)
    return tmp_path / "runs"


def read_plainly(root: Path) -> tuple[list[RunSummary], dict[str, str]]:
    """What `RunStore.summaries` must return, read from the files alone."""
    runs, problems = RunStore(root).scan()
    return [summarize(run) for run in runs], problems


def count_reads(root: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    opened: list[Any] = []
    original = Run.open
    with monkeypatch.context() as patch:
        patch.setattr(Run, "open", lambda path: (opened.append(path), original(path))[1])
        RunStore(root).summaries()
    return len(opened)


@pytest.mark.usefixtures("_short_ticks")
def test_unchanged_runs_are_read_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert count_reads(root, monkeypatch) == N_RUNS
    assert count_reads(root, monkeypatch) == 0
    labels.update(RunStore(root).runs()[2], add=["good"])
    assert count_reads(root, monkeypatch) == 1
    assert RunStore(root).summaries()[0][2].tags == ["good"]


def test_runs_that_have_just_changed_are_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count_reads(root, monkeypatch)
    assert count_reads(root, monkeypatch) == N_RUNS


# ---- edits of runs


def _any_run(root: Path, rng: random.Random) -> Path:
    return rng.choice([path for path in sorted(root.iterdir()) if path.is_dir()])


def _change_value_keeping_size_and_time(root: Path, rng: random.Random) -> None:
    directory = _any_run(root, rng)
    for name in ("evaluations.json", "metrics.json"):
        path = directory / name
        if path.exists():
            times = os.stat(path)
            path.write_text(path.read_text().replace("0.", "1."))
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _replace_value(root: Path, rng: random.Random) -> None:
    write_value(_any_run(root, rng), rng.random())


def _damage(root: Path, rng: random.Random) -> None:
    name = rng.choice(["metadata.json", "evaluations.json", "metrics.json"])
    (_any_run(root, rng) / name).write_text(rng.choice(["", "{", "[]", '{"status": 1}']))


def _delete_file(root: Path, rng: random.Random) -> None:
    name = rng.choice(["metadata.json", "evaluations.json", "metrics.json", "remarks.json"])
    (_any_run(root, rng) / name).unlink(missing_ok=True)


def _label(root: Path, rng: random.Random) -> None:
    (_any_run(root, rng) / "remarks.json").write_text(json.dumps({"tags": [f"t{rng.randrange(9)}"], "note": ""}))


def _add(root: Path, rng: random.Random) -> None:
    write_run(root, rng.randrange(100, 100_000), rng.random())


def _remove(root: Path, rng: random.Random) -> None:
    shutil.rmtree(_any_run(root, rng))
    _add(root, rng)


def _swap(root: Path, rng: random.Random) -> None:
    first = _any_run(root, rng)
    second = _any_run(root, rng)
    if first != second:
        first.rename(root / "swapped")
        second.rename(first)
        (root / "swapped").rename(second)


def _copy(root: Path, rng: random.Random) -> None:
    shutil.copytree(_any_run(root, rng), root / f"20260102-{rng.randrange(10**6):06d}-ease-x-ffff", dirs_exist_ok=True)


# ---- edits of the index


def _delete_index(root: Path, rng: random.Random) -> None:
    (root / index.FILE_NAME).unlink(missing_ok=True)


def _cut_index(root: Path, rng: random.Random) -> None:
    path = root / index.FILE_NAME
    if path.exists():
        content = path.read_bytes()
        path.write_bytes(content[: rng.randrange(len(content) + 1)])


def _flip_a_byte_of_the_index(root: Path, rng: random.Random) -> None:
    path = root / index.FILE_NAME
    if path.exists() and path.stat().st_size:
        content = bytearray(path.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)


def _forge_values_in_the_index(root: Path, rng: random.Random) -> None:
    path = root / index.FILE_NAME
    if path.exists():
        path.write_bytes(path.read_bytes().replace(b'"ndcg@10":0.', b'"ndcg@10":9.'))


def _take_the_index_of_another_directory(root: Path, rng: random.Random) -> None:
    other = root.parent / f"other-{rng.random()}"
    shutil.copytree(root, other)
    for directory in other.iterdir():
        if directory.is_dir():
            write_value(directory, 0.987)
    time.sleep(2 * TICK_NS / 1e9)
    RunStore(other).summaries()
    if (other / index.FILE_NAME).exists():
        shutil.copy2(other / index.FILE_NAME, root / index.FILE_NAME)
    shutil.rmtree(other)


Edit = Callable[[Path, random.Random], None]
EDITS: tuple[Edit, ...] = (
    _change_value_keeping_size_and_time, _replace_value, _damage, _delete_file, _label, _add, _remove, _swap, _copy,
    _delete_index, _cut_index, _flip_a_byte_of_the_index, _forge_values_in_the_index,
    _take_the_index_of_another_directory,
)  # fmt: skip


@pytest.mark.usefixtures("_short_ticks")
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_listing_with_the_index_equals_reading_the_files_after_any_edits(root: Path, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(N_EDITS):
        edit = rng.choice(EDITS)
        edit(root, rng)
        # With and without the time after which runs are kept in the index.
        if rng.random() < 0.5:
            time.sleep(2 * TICK_NS / 1e9)
        assert RunStore(root).summaries() == read_plainly(root), edit.__name__


@pytest.mark.usefixtures("_short_ticks")
def test_run_whose_files_could_not_be_read_is_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(run: Run) -> None:
        raise ArtifactError(f"{run.path}: permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Run, "current_evaluations", fail)
        summaries, _ = RunStore(root).summaries()
        assert [summary.validation for summary in summaries] == [None] * N_RUNS
    summaries, _ = RunStore(root).summaries()
    assert [summary.validation for summary in summaries] == [number / 10 for number in range(N_RUNS)]


@pytest.mark.usefixtures("_short_ticks")
def test_index_that_cannot_be_written_or_read_changes_nothing(root: Path) -> None:
    (root / index.FILE_NAME).mkdir()
    assert RunStore(root).summaries() == read_plainly(root)
    assert not list(root.glob(".*.tmp"))
    (root / index.FILE_NAME).rmdir()
    (root / index.FILE_NAME).symlink_to(root / index.FILE_NAME)
    assert RunStore(root).summaries() == read_plainly(root)


@pytest.mark.usefixtures("_short_ticks")
def test_index_of_another_version_is_made_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(index, "__version__", "9.9")
        RunStore(root).summaries()
    assert count_reads(root, monkeypatch) == N_RUNS
    assert count_reads(root, monkeypatch) == 0


@pytest.mark.usefixtures("_short_ticks")
def test_programs_that_list_at_the_same_time_find_all_runs(root: Path) -> None:
    expected = read_plainly(root)
    results = []

    def list_often() -> None:
        for _ in range(10):
            (root / index.FILE_NAME).unlink(missing_ok=True)
            results.append(RunStore(root).summaries())

    threads = [Thread(target=list_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 40
    assert RunStore(root).summaries() == expected


@pytest.mark.usefixtures("_short_ticks")
def test_best_and_counts_of_test_evaluations_follow_the_files(root: Path) -> None:
    store = RunStore(root)
    assert store.resolve("best").metadata["created"].endswith(f"{N_RUNS - 1:02d}.000+00:00")
    first = store.runs()[0].path
    write_value(first, 0.95)
    assert store.resolve("best").path == first
    assert store.count_test_evaluations("d", "s") == N_RUNS
    shutil.rmtree(first)
    assert store.count_test_evaluations("d", "s") == N_RUNS - 1


@pytest.mark.usefixtures("_short_ticks")
def test_run_in_the_index_whose_process_has_ended_is_shown_as_died(root: Path) -> None:
    path = RunStore(root).runs()[0].path / "metadata.json"
    process = {"pid": 2**22 + 1, "host": os.uname().nodename, "started": "1"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "running", "process": process}))
    time.sleep(2 * TICK_NS / 1e9)
    for _ in range(2):
        store = RunStore(root)
        summaries, _ = store.summaries()
        assert [store.status(summary) for summary in summaries[:2]] == ["died", "complete"]
