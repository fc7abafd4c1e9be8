"""Damaged, changed and missing files of a run are found; an intact run has no faults."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recctl import artifacts, experiment
from recctl.config import parse_config
from recctl.runs import Run, RunStore, labels, verification
from recctl.runs.verification import verify

CONFIG = """
seed: 3
data: {source: synthetic, implicit: false, synthetic: {n_users: 40, n_items: 50, n_interactions: 700}}
split: {strategy: random, test_size: 0.2, val_size: 0.1}
model: {name: svd, params: {n_factors: 2, n_epochs: 3}}
evaluation: {metrics: [rmse, ndcg, coverage], k_values: [5]}
"""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Run:
    loaded = parse_config(CONFIG, "x.yaml", Path(), checks=experiment.CHECKS)
    run = experiment.train(loaded, RunStore(tmp_path_factory.mktemp("runs")))
    labels.update(run, ["good"], note="the first")
    export = run.path / "exports" / "mine"
    export.mkdir(parents=True)
    (export / "x.txt").write_text("hello")
    sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    (export / "manifest.json").write_text(json.dumps({"files": {"x.txt": {"sha256": sha256}}}))
    return run


def test_intact_run_has_no_faults(sound: Run) -> None:
    assert verify(sound) == []


def text(content: str) -> Callable[[Path], Any]:
    return lambda path: path.write_text(content)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_scores(path: Path) -> None:
    table = pd.read_parquet(path)
    table["ndcg@5"] = table["ndcg@5"] * 0.9
    table.to_parquet(path)


def other_parts(path: Path) -> None:
    run = Run.open(path.parent)
    parts = run.split_parts()
    parts[:3] = 2 - parts[:3]
    run.save_split(parts)


FAULTS: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "config": ("config.yaml", text("a: [1"), "config.yaml"),
    "another config": ("config.yaml", lambda path: path.write_text(path.read_text() + "# mine\n"), "its hash differs"),
    "no config": ("config.yaml", Path.unlink, "missing"),
    "split": ("split.npz", halved, "damaged"),
    "another split": ("split.npz", other_parts, "is not the split that the run was created with"),
    "model": ("models/v1.pkl", flipped, "wrong hash"),
    "half a model": ("models/v1.pkl", halved, "truncated"),
    "no model": ("models/v1.pkl", Path.unlink, "No such file"),
    "checkpoint": ("checkpoints/last.pkl", flipped, "wrong hash"),
    "metrics": ("metrics.json", text('{"test": {"ndcg@5": "high"}}'), "ndcg@5 is 'high', not a number"),
    "torn metrics": ("metrics.json", halved, "damaged"),
    "users": ("per_user.parquet", halved, "damaged"),
    "other users": ("per_user.parquet", other_scores, "the mean of ndcg@5 is"),
    "no users": ("per_user.parquet", Path.unlink, "missing"),
    "no metrics": ("metrics.json", Path.unlink, "missing"),
    "metrics of a part": (
        "metrics.json",
        lambda path: path.write_text(json.dumps({"validation": json.loads(path.read_text())["validation"]})),
        "test: its metrics are missing, but it was evaluated",
    ),
    "no split": ("split.npz", Path.unlink, "missing"),
    "no history": ("history.jsonl", Path.unlink, "missing"),
    "no log": ("log.txt", Path.unlink, "missing"),
    "no manifest": ("exports/mine/manifest.json", Path.unlink, "missing"),
    "history": ("history.jsonl", halved, "is not a complete record of an epoch"),
    "remarks": ("remarks.json", text("[]"), "damaged"),
    "export": ("exports/mine/x.txt", text("hallo"), "its hash differs"),
    "no export": ("exports/mine/x.txt", Path.unlink, "missing"),
    "manifest": ("exports/mine/manifest.json", text("{}"), "damaged"),
}


def test_model_that_cannot_be_loaded_is_a_fault(sound: Run, tmp_path: Path) -> None:
    """The file is whole and has the recorded hash, but its content is not a model."""
    shutil.copytree(sound.path, tmp_path / sound.id)
    run = Run.open(tmp_path / sound.id)
    entry = run.metadata["models"][0]
    content = artifacts.load(run.path / entry["file"], "model")
    content["fitted"]["item_factors"] = content["fitted"]["item_factors"].astype("float64")
    entry["sha256"] = artifacts.save(run.path / entry["file"], "model", content)
    run.metadata["files"] = {}
    run.save_metadata()
    (fault,) = verify(run)
    assert fault.file == entry["file"]
    assert "item_factors has another type than declared (float64)" in fault.problem


def test_model_whose_class_fails_is_a_fault(sound: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise TypeError("no such argument")

    monkeypatch.setattr(verification, "load_model", fail)
    assert [fault.problem for fault in verify(sound)] == ["can't be loaded: TypeError: no such argument"]


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_reported_with_its_file(sound: Run, tmp_path: Path, fault: str) -> None:
    file, harm, problem = FAULTS[fault]
    shutil.copytree(sound.path, tmp_path / sound.id)
    harm(tmp_path / sound.id / file)
    faults = verify(Run.open(tmp_path / sound.id))
    assert faults
    assert all(file.startswith(item.file) for item in faults)
    assert any(problem in item.problem for item in faults)
    assert not any(str(tmp_path) in item.problem for item in faults), "the problem does not repeat the path"


def test_every_file_of_a_complete_run_is_missed(sound: Run, tmp_path: Path) -> None:
    """But for checkpoints, which `runs gc` deletes, and labels, which a run need not have."""
    names = sorted(str(path.relative_to(sound.path)) for path in sound.path.rglob("*") if path.is_file())
    for name in names:
        if name.startswith("checkpoints/") or name in ("remarks.json", "metadata.json"):
            continue
        copy = tmp_path / name.replace("/", "-") / sound.id
        shutil.copytree(sound.path, copy)
        (copy / name).unlink()
        assert name in {fault.file for fault in verify(Run.open(copy))}, name


@pytest.mark.parametrize("command", ["tune", "compare"])
def test_every_file_of_a_search_and_of_a_comparison_is_missed(recctl: Any, workdir: Path, command: str) -> None:
    model = "{name: svd, params: {n_factors: 2, n_epochs: 2}}"
    more = f"tuning: {{n_trials: 2, space: {{lr: [0.01, 0.02]}}}}\nmodel: {model}\n"
    if command == "compare":
        more = f"models: [{model}, {{name: popularity}}]\n"
    text = CONFIG.replace("model: {name: svd, params: {n_factors: 2, n_epochs: 3}}\n", more)
    (workdir / "c.yaml").write_text(text)
    run = Run.open(Path(recctl(command, "c.yaml", "--json").json["path"]))
    assert verify(run) == []
    optional = ("checkpoints", "figures", "trials", "remarks.json", "metadata.json", "study.db-wal", "study.db-shm")
    names = [path.name for path in run.path.iterdir() if path.name not in optional]
    assert ("study.db" if command == "tune" else "comparison.json") in names
    for name in names:
        hidden = workdir / "hidden"
        (run.path / name).rename(hidden)
        assert any(fault.file.startswith(name) for fault in verify(run)), name
        hidden.rename(run.path / name)


def test_interrupted_search_without_its_trials_is_a_fault(recctl: Any, tmp_path: Path) -> None:
    run = Run.create(tmp_path, "tune-x", "tune", {"seed": 1})
    run.save_file("trials.parquet", b"first")
    run.end("interrupted")
    (run.path / "trials.parquet").write_bytes(b"newer than its hash")
    assert verify(run) == []
    (run.path / "trials.parquet").unlink()
    assert verify(run) == [("trials.parquet", "missing")]
