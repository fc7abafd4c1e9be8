"""Exports of models that do not know all that their users have, recounted from the exported table in plain Python."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recctl.export import _held_out

CONFIG = """data: {source: d.csv}
split: {strategy: random, test_size: 0.3, val_size: 0.2}
model: {name: ease, params: {l2_reg: 20.0}}
evaluation: {metrics: [recall], k_values: [10]}
"""
Pair = tuple[int, int]


def pairs_of(seed: int = 3) -> list[Pair]:
    draw = random.Random(seed)
    pairs: dict[Pair, None] = {}
    while len(pairs) < 900:
        pairs[(draw.randrange(60), min(int(draw.expovariate(0.08)), 49))] = None
    return list(pairs)


def write(path: Path, pairs: list[Pair]) -> None:
    lines = [f"user-{user},item-{item}\n" for user, item in pairs]
    path.write_text("user_id,item_id\n" + "".join(lines))


@pytest.fixture
def folder(workdir: Path) -> Path:
    # The first lines repeat, as real sources do: a pair is one pair, however often it occurs.
    write(workdir / "d.csv", [*pairs_of(), *pairs_of()[:20]])
    (workdir / "c.yaml").write_text(CONFIG)
    return workdir


def export(recctl: Any, run: str, *options: str) -> tuple[Any, set[Pair]]:
    outcome = recctl(
        "export", run, "-f", "recommendations", "-o", "out", "--force", "--file-format", "csv", "--json", *options
    )
    assert outcome.code == 0, outcome.err
    table = pd.read_csv("out/recommendations.csv")
    users = [int(user.removeprefix("user-")) for user in table.user_id]
    items = [int(item.removeprefix("item-")) for item in table.item_id]
    return outcome, set(zip(users, items, strict=True))


@pytest.mark.parametrize(("options", "fitted_on"), [([], "train"), (["--refit"], r"train+validation")])
def test_pairs_that_users_already_have_are_counted(
    recctl: Any, folder: Path, options: list[str], fitted_on: str
) -> None:
    run = recctl("train", "c.yaml", *options, "--json", "-q").json["run_id"]
    outcome, exported = export(recctl, run, "-k", "7")
    own = len(exported & set(pairs_of()))
    assert own > 0
    assert outcome.json["manifest"]["facts"]["held_out_pairs"] == own
    assert f"{own} of {len(exported)} exported pairs ({own / len(exported):.1%})" in outcome.err
    assert f"the model was fitted on {fitted_on} alone" in outcome.err
    assert f"recctl fit {run} --all-data" in outcome.err
    assert ("training.refit=true" in outcome.err) == (fitted_on == "train")


def test_selected_users_are_counted_alone(recctl: Any, folder: Path) -> None:
    run = recctl("train", "c.yaml", "--json", "-q").json["run_id"]
    Path("users.txt").write_text("user-3\nnobody\nuser-1\n")
    outcome, exported = export(recctl, run, "--users", "users.txt", "--on-unknown", "skip")
    assert {user for user, _ in exported} == {1, 3}
    assert outcome.json["manifest"]["facts"]["held_out_pairs"] == len(exported & set(pairs_of()))
    Path("users.txt").write_text("user-3\n98\n")
    popular = recctl(
        *("export", run, "-f", "recommendations", "-o", "p", "--users", "users.txt", "--on-unknown", "popular"),
        "--json",
    )
    table = pd.read_parquet("p/recommendations.parquet")
    own = {(f"user-{user}", f"item-{item}") for user, item in pairs_of()}
    found = own & set(zip(table.user_id, table.item_id, strict=True))
    assert popular.json["manifest"]["facts"]["held_out_pairs"] == len(found)


def test_model_of_all_data_recommends_nothing_that_users_have(recctl: Any, folder: Path) -> None:
    run = recctl("fit", "c.yaml", "--all-data", "--json", "-q").json["run_id"]
    write(folder / "d.csv", pairs_of(4))  # nothing is read
    outcome, exported = export(recctl, run)
    assert not exported & set(pairs_of())
    assert outcome.json["manifest"]["facts"]["held_out_pairs"] == 0
    assert "held-out" not in outcome.err


def test_changed_data_cannot_be_counted(recctl: Any, folder: Path) -> None:
    run = recctl("train", "c.yaml", "--json", "-q").json["run_id"]
    write(folder / "d.csv", pairs_of(4))
    outcome, _ = export(recctl, run)
    assert outcome.json["manifest"]["facts"]["held_out_pairs"] is None
    assert "held-out items that users already have can be among the recommendations" in outcome.err
    assert "the data have changed since the run was created" in outcome.err
    assert f"recctl fit {run} --all-data" in outcome.err
    (folder / "d.csv").unlink()
    assert "d.csv: does not exist any more" in export(recctl, run)[0].err


def test_data_that_take_long_to_read_are_not_read(recctl: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = recctl("train", "c.yaml", "--json", "-q").json["run_id"]
    monkeypatch.setattr(_held_out, "_MAX_SECONDS_TO_READ", 0.0)
    monkeypatch.setattr(_held_out, "read_dataset", lambda _: pytest.fail("read"))
    outcome, _ = export(recctl, run)
    assert "can be among the recommendations" in outcome.err
    assert "reading the data takes 0 s" in outcome.err
    monkeypatch.setattr(_held_out, "_MAX_SECONDS_TO_READ", 100.0)
    monkeypatch.setattr(_held_out, "_BYTES_PER_INTERACTION", 1 << 50)
    assert "of memory" in export(recctl, run)[0].err


def test_asking_for_seen_items_or_other_users_counts_nothing(recctl: Any, folder: Path) -> None:
    run = recctl("train", "c.yaml", "--json", "-q").json["run_id"]
    outcome, _ = export(recctl, run, "--include-seen")
    assert outcome.json["manifest"]["facts"]["held_out_pairs"] is None
    assert "held-out" not in outcome.err
    pd.DataFrame({"user_id": ["user-1"], "item_id": ["item-2"]}).to_csv("h.csv", index=False)
    assert "held-out" not in export(recctl, run, "--histories", "h.csv")[0].err


def test_data_that_moved_are_counted_where_set_says(recctl: Any, folder: Path) -> None:
    assert recctl("train", "c.yaml").code == 0
    export = ("export", "latest", "--format", "recommendations", "--json")
    before = recctl(*export).json["manifest"]["facts"]["held_out_pairs"]
    (folder / "d.csv").rename(folder / "moved.csv")
    gone = recctl(*export, "--force")
    assert (gone.code, gone.json["manifest"]["facts"]["held_out_pairs"]) == (0, None)
    assert "say where it is: --set data.source=FILE" in gone.err
    found = recctl(*export, "--force", "--set", "data.source=moved.csv")
    assert found.json["manifest"]["facts"]["held_out_pairs"] == before > 0
    refused = recctl(*export, "--force", "--set", "model.name=als")
    assert (refused.code, "can't be changed" in refused.err) == (2, True)
