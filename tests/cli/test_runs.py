"""`recctl runs`."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from recctl import RunStore, cli
from tests.conftest import SMALL


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the configs and runs of `two`."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "ease.yaml").write_text(SMALL)
    (folder / "svd.yaml").write_text(
        SMALL.replace("name: ease, params: {l2_reg: 50.0}", "name: svd, params: {n_factors: 2, n_epochs: 6}")
        + "training: {early_stopping: {monitor: ndcg@10, patience: 9}}\n"
    )
    with contextlib.chdir(folder):
        for name in ("ease", "svd"):
            assert cli.run(["train", f"{name}.yaml", "-q"]) == 0
    return folder


@pytest.fixture
def two(trained: Path, workdir: Path) -> list[str]:
    """Copy an EASE run and an SVD run with early stopping; return their ids."""
    shutil.copytree(trained, workdir, dirs_exist_ok=True)
    return [run.id for run in RunStore(workdir / "runs").runs()]


def ids(done: Any) -> list[str]:
    return [row["run_id"] for row in done.json["runs"]]


def test_runs_are_filtered_and_sorted(recctl: Any, two: list[str]) -> None:
    ease, svd = two
    assert ids(recctl("runs", "list", "--json")) == two
    assert ids(recctl("runs", "list", "--json", "--reverse")) == [svd, ease]
    assert ids(recctl("runs", "list", "--json", "--sort", "ndcg@10")) == [svd, ease]
    assert ids(recctl("runs", "list", "--json", "--sort", "ndcg@10", "--last", "1")) == [ease]
    assert ids(recctl("runs", "list", "--json", "--model", "svd")) == [svd]
    assert ids(recctl("runs", "list", "--json", "--kind", "tune")) == []
    assert ids(recctl("runs", "list", "--json", "--data", "synthetic", "--status", "complete")) == two
    value = recctl("runs", "show", ease, "--json").json["metrics"]["validation"]["ndcg@10"]
    assert ids(recctl("runs", "list", "--json", "--where", f"ndcg@10>={value}", "--where", "recall@5>0")) == [ease]
    wrong = recctl("runs", "list", "--sort", "ndgc@10")
    assert (wrong.code, "did you mean ndcg@10?" in wrong.err) == (2, True)
    wrong = recctl("runs", "list", "--where", "ndcg@10")
    assert (wrong.code, "--where 'ndcg@10': must be METRIC>=NUMBER" in wrong.err) == (2, True)


def test_alias_resolves_to_run_and_rolls_back(recctl: Any, two: list[str]) -> None:
    ease, svd = two
    assert recctl("runs", "promote", ease, "--as", "production").out == f"production: {ease}\n"
    assert recctl("recommend", "production", "3", "--json").json["run_id"] == ease
    moved = recctl("runs", "promote", "latest", "--as", "production", "--json").json
    assert (moved["run_id"], moved["previous"]) == (svd, ease)
    assert recctl("runs", "show", "production", "--json").json["names"] == ["production"]
    assert "production" in recctl("runs", "list").out
    worse = recctl("compare", "production", ease, "--fail-if-worse")
    assert worse.code == 6
    assert recctl("compare", ease, "production", "--fail-if-worse").code == 0
    kept = recctl("runs", "rm", svd, "--yes")
    assert (kept.code, "is production" in kept.err) == (2, True)
    assert recctl("runs", "rollback", "production", "--json").json["run_id"] == ease
    history = recctl("runs", "names", "production", "--json").json["names"]
    assert [(move["action"], move["run"]) for move in history] == [
        ("promote", ease),
        ("promote", svd),
        ("rollback", ease),
    ]
    nowhere = recctl("runs", "rollback", "production")
    assert (nowhere.code, "is the first run it pointed to" in nowhere.err) == (4, True)
    misspelled = recctl("runs", "names", "prodution").err.splitlines()
    assert misspelled == [
        "error: prodution: no such alias; did you mean production?",
        "next: recctl runs names production",
    ]


def test_only_intact_runs_can_be_promoted(recctl: Any, two: list[str], workdir: Path) -> None:
    model = workdir / "runs" / two[0] / "models" / "v1.pkl"
    content = bytearray(model.read_bytes())
    content[-20] ^= 1
    model.write_bytes(content)
    refused = recctl("runs", "promote", two[0], "--as", "production")
    assert (refused.code, "wrong hash" in refused.err) == (4, True)
    (workdir / "split.yaml").write_text(SMALL)
    split = recctl("split", "split.yaml", "--json").json["run_id"]
    refused = recctl("runs", "promote", split, "--as", "production")
    assert (refused.code, "has no model" in refused.err) == (4, True)
    assert recctl("runs", "names", "--json").json["names"] == []


def test_show_prints_tags_note_and_learning_curves(recctl: Any, two: list[str]) -> None:
    recctl("runs", "tag", two[1], "baseline", "v2")
    recctl("runs", "tag", two[1], "v2", "--remove")
    recctl("runs", "note", two[1], "slow [but] sure")
    shown = recctl("runs", "show", two[1])
    assert "baseline" in shown.out
    assert "v2" not in shown.out
    assert "slow [but] sure" in shown.out
    assert "\nloss\n" in shown.out
    assert "\nndcg@10 on validation\n" in shown.out
    assert shown.out.rstrip().endswith("epoch 6")
    assert ids(recctl("runs", "list", "--tag", "baseline", "--json")) == [two[1]]
    assert "epoch" not in recctl("runs", "show", two[0]).out


def test_compare_shows_runs_side_by_side(recctl: Any, two: list[str]) -> None:
    differences = recctl("runs", "compare", *two, "--json").json["differences"]
    assert differences["model.name"] == ["ease", "svd"]
    assert differences["model.params.l2_reg"] == [50.0, None]
    assert "data.source" not in differences
    assert "split hash" not in differences
    assert all(isinstance(value, float) for value in differences["test ndcg@10"])
    assert recctl("runs", "compare", two[0]).code == 2


def test_verify_finds_damage(recctl: Any, two: list[str], workdir: Path) -> None:
    assert "2 runs: all files are intact" in recctl("runs", "verify").out
    (workdir / "runs" / two[1] / "metrics.json").write_text("{")
    (workdir / "runs" / two[0] / "metadata.json").write_text("{")
    found = recctl("runs", "verify", "--json")
    assert found.code == 4
    faults = json.loads(found.out[: found.out.index("\n}\n") + 2])["faults"]
    assert {(fault["run_id"], fault["file"]) for fault in faults} == {
        (two[0], "metadata.json"),
        (two[1], "metrics.json"),
    }
    assert recctl("runs", "verify", two[1]).code == 4


def test_gc_asks_reports_and_deletes(recctl: Any, two: list[str], workdir: Path) -> None:
    assert recctl("runs", "gc").out.endswith("nothing to delete\n")
    garbage = recctl("runs", "gc", "--checkpoints", "--dry-run", "--json").json
    assert [found["path"] for found in garbage["found"]] == [f"{two[1]}/checkpoints"]
    assert garbage["bytes"] > 0
    checkpoints = workdir / "runs" / two[1] / "checkpoints"
    assert checkpoints.exists()
    asked = recctl("runs", "gc", "--checkpoints")
    assert (asked.code, "use --yes" in asked.err) == (2, True)
    assert "deleted 1 item" in recctl("runs", "gc", "--checkpoints", "--yes").out
    assert not checkpoints.exists()
    assert recctl("runs", "verify").code == 0


def test_gc_with_keep_needs_no_confirmation_in_a_script(recctl: Any, two: list[str]) -> None:
    assert recctl("runs", "promote", two[0], "--as", "production").code == 0
    newest = recctl("train", "ease.yaml", "--json").json["run_id"]
    assert (
        recctl("runs", "gc", "--keep", "1", "--dry-run", "--json").json["found"][0]["why"] == "not among the 1 newest"
    )
    done = recctl("runs", "gc", "--keep", "1")
    assert done.code == 0, done.err
    assert ids(recctl("runs", "list", "--json")) == [two[0], newest]
    assert recctl("runs", "gc", "--keep", "0").code == 2


def test_list_and_rm_of_a_run_without_metadata(recctl: Any, two: list[str], workdir: Path) -> None:
    (workdir / "runs" / two[0] / "metadata.json").unlink()
    (workdir / "runs" / two[1] / "metadata.json").write_text("{")
    listed = recctl("runs", "list")
    assert f"not listed: {two[0]}: metadata.json: missing; restore it, or delete it" in listed.err
    assert f"not listed: {two[1]}: metadata.json: damaged" in listed.err
    assert recctl("runs", "list", "--json").json["damaged"] == two
    faults = recctl("runs", "verify", "--json")
    assert faults.code == 4
    assert two[0] in faults.out
    assert "metadata.json: missing" in recctl("runs", "show", two[0]).err
    assert recctl("runs", "rm", two[0], two[1], "--yes", "--json").json["removed"] == two
    assert recctl("runs", "list", "--json").json["damaged"] == []
