"""`recctl export` as a script sees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recctl import RunStore, experiment
from recctl.export import format_names


@pytest.fixture
def run(recctl: Any) -> Any:
    assert recctl("train", "small.yaml", "-q").code == 0
    return RunStore(Path("runs")).resolve("latest")


def test_command_exports_recommendations_of_a_run(recctl: Any, run: Any) -> None:
    model = experiment.load_version(run)
    outcome = recctl("export", "latest", "--format", "recommendations", "-k", "3", "--file-format", "csv")
    assert outcome.code == 0
    folder = run.path / "exports" / "recommendations"
    users = len(model.user_vocabulary)
    assert outcome.out.startswith(f"{folder}: users {users}, rows {3 * users}, users_with_fewer_than_k 0, ")
    assert "; 1 file, " in outcome.out
    expected = model.recommend(model.user_vocabulary.ids, k=3)
    pd.testing.assert_frame_equal(pd.read_csv(folder / "recommendations.csv"), expected, check_dtype=False)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["run_id"] == run.id
    assert manifest["model"]["sha256"] == run.model_entry()["sha256"]
    assert manifest["data_hash"] == run.metadata["data"]["hash"]
    verified = recctl("export", "--verify", str(folder))
    assert (verified.code, verified.out) == (0, f"{folder}: intact: recommendations of {run.id}\n")
    (folder / "recommendations.csv").write_text("")
    damaged = recctl("export", "--verify", str(folder))
    assert damaged.code == 4
    assert "recommendations.csv: changed or damaged" in damaged.err


def test_options_can_be_flags(recctl: Any, run: Any) -> None:
    model = experiment.load_version(run)
    users, items = model.user_vocabulary.ids[:4].tolist(), model.item_vocabulary.ids.tolist()
    Path("users.txt").write_text("".join(f"{user}\n" for user in [*users, 10**9]))
    pd.DataFrame({"item_id": items[:30]}).to_csv("allowed.csv", index=False)
    Path("blocked.txt").write_text(f"{items[0]}\n")
    flags = ["--users", "users.txt", "--allow", "allowed.csv", "--block", "blocked.txt", "--include-seen"]
    command = ["export", run.id, "-f", "recommendations", "-o", "out", *flags, "--on-unknown", "skip", "-O", "k=7"]
    outcome = recctl(*command, "--json")
    assert outcome.code == 0
    assert outcome.json["manifest"]["options"]["k"] == 7
    assert outcome.json["manifest"]["options"]["users"]["file"] == "users.txt"
    assert (outcome.json["status"], outcome.json["path"], outcome.json["run_id"]) == ("exported", "out", run.id)
    table = pd.read_parquet("out/recommendations.parquet")
    assert table.user_id.unique().tolist() == users
    assert set(table.item_id) <= set(items[1:30])
    assert recctl(*command).code == 2
    assert recctl(*command, "--force").code == 0


def test_command_recommends_for_histories_of_unknown_users(recctl: Any, run: Any) -> None:
    items = experiment.load_version(run).item_vocabulary.ids
    pd.DataFrame({"user_id": ["new", "new", "other"], "item_id": items[[1, 2, 3]]}).to_csv("h.csv", index=False)
    assert recctl("export", "latest", "-f", "recommendations", "--histories", "h.csv", "-o", "out").code == 0
    assert pd.read_parquet("out/recommendations.parquet").user_id.unique().tolist() == ["new", "other"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-f", "recommendation"], "unknown export format 'recommendation'; did you mean recommendations?"),
        (["-f", "similar-items", "--include-seen"], "export format similar-items: unknown option include_seen"),
        (["-f", "similar-items", "--users", "x"], "export format similar-items: unknown option users"),
        (["-f", "safetensors", "-k", "3"], "export format safetensors: unknown option k; it takes no options"),
        (["-f", "recommendations", "-k", "0"], "k: 0: should be greater than or equal to 1"),
        (["-f", "recommendations", "-O", "k=some"], "k: 'some': should be a valid integer"),
        (["-f", "recommendations", "-O", "k"], "--option 'k': must be KEY=VALUE"),
        (["-f", "recommendations", "--file-format", "xlsx"], "file_format: 'xlsx': should be 'parquet', 'csv' or"),
        (["-f", "embeddings"], "ease has no embeddings"),
        ([], "RUN and --format are required"),
    ],
)
def test_invalid_arguments_are_refused(recctl: Any, run: Any, arguments: list[str], message: str) -> None:
    outcome = recctl("export", "latest", *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert not (run.path / "exports").exists()


def test_version_selects_the_model_of_a_run(recctl: Any, run: Any) -> None:
    outcome = recctl("export", "latest", "-f", "safetensors", "--model-version", "9")
    assert outcome.code == 4
    assert "has no model v9" in outcome.err
    assert recctl("export", "nothing", "-f", "safetensors").code == 4


@pytest.mark.parametrize("asked", [["--list"], ["formats"]])
def test_formats_are_listed_with_their_options(recctl: Any, asked: list[str]) -> None:
    outcome = recctl("export", *asked)
    assert outcome.code == 0
    for name in format_names():
        assert name in outcome.out
    assert "parquet, csv or jsonl." in outcome.out
    listed = recctl("export", *asked, "--json").json["formats"]
    assert [each["name"] for each in listed] == format_names()
