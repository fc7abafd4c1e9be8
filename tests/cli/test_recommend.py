"""`recctl recommend`: ids as they are, and ids that the model does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

COLORS = ("amber", "blue", "coral", "grey")
THINGS = ("lamp", "chair", "desk", "rug", "vase", "mug", "bowl", "clock")
NAMES = [f"{color}-{thing}" for color in COLORS for thing in THINGS]


def write_events(path: Path, items: list[Any], first_user: int = 1) -> None:
    """Write events of 40 users with 10 items each, and of user 9000 with two items."""
    rows = [
        (user, items[(3 * user + step * step) % len(items)], 1_700_000_000 + 60 * step)
        for user in range(first_user, first_user + 40)
        for step in range(10)
    ]
    rows += [(9000, items[0], 1_700_000_000), (9000, items[1], 1_700_000_060)]
    path.write_text("user_id,item_id,timestamp\n" + "".join(f"{u},{i},{t}\n" for u, i, t in rows))


@pytest.fixture
def named(recctl: Any, workdir: Path) -> str:
    """A run on items with names, in which users need three interactions."""
    write_events(workdir / "events.csv", NAMES)
    (workdir / "named.yaml").write_text(
        "data: {source: events.csv, min_user_interactions: 3}\nsplit: {val_size: 0.1}\nmodel: {name: ease}\n"
    )
    return str(recctl("train", "named.yaml", "--json").json["run_id"])


def test_ids_and_times_are_printed_without_separators(recctl: Any, workdir: Path) -> None:
    write_events(workdir / "events.csv", list(range(1197, 1237)), first_user=100_001)
    (workdir / "c.yaml").write_text("data: {source: events.csv}\nsplit: {strategy: leave_last}\nmodel: {name: ease}\n")
    recctl("train", "c.yaml")
    printed = recctl("recommend", "latest", "100001", "-k", "50", "--include-seen").out.splitlines()
    ids = [line.split()[:2] for line in printed[1:]]
    assert {user for user, _ in ids} == {"100001"}
    assert {int(item) for _, item in ids} <= set(range(1197, 1237))
    described = recctl("data", "describe", "events.csv").out
    assert "2023-11-14T22:22:20Z" in described
    assert "402" in described


def test_counts_keep_their_separators(recctl: Any, workdir: Path) -> None:
    rows = "".join(f"{user},{item}\n" for user in range(40) for item in range(50))
    (workdir / "events.csv").write_text("user_id,item_id\n" + rows)
    assert "2,000" in recctl("data", "describe", "events.csv").out


def test_unknown_item_of_history_is_reported_with_a_suggestion(recctl: Any, named: str) -> None:
    done = recctl("recommend", named, "--history", "amber-lamp,coral-cheir,blue-desk", "-k", "3", "--json")
    assert done.code == 0
    assert done.json["unknown_items"] == ["coral-cheir"]
    assert len(done.json["recommendations"]) == 3
    assert "coral-cheir (did you mean coral-chair?)" in done.err
    known = recctl("recommend", named, "--history", "amber-lamp,blue-desk", "-k", "3", "--json")
    assert known.json["unknown_items"] == []
    assert known.json["recommendations"] == done.json["recommendations"]
    assert known.err == ""


def test_user_without_the_leading_zeros_of_its_id_is_suggested(recctl: Any, workdir: Path) -> None:
    rows = "".join(f"{user:03},{item:04}\n" for user in range(12) for item in range(user, user + 8))
    (workdir / "shop.csv").write_text("user_id,item_id\n" + rows)
    run = recctl("train", "--set", "data.source=shop.csv", "--set", "model.name=popularity", "--json").json["run_id"]
    failed = recctl("recommend", run, "7")
    assert "user 7 (did you mean 007?)" in failed.err
    assert failed.err.splitlines()[-1] == f"next: recctl recommend {run} 007"


def test_history_without_a_known_item_fails_unless_on_unknown_allows_it(recctl: Any, named: str) -> None:
    failed = recctl("recommend", named, "--history", "mug,coral-cheir")
    assert failed.code == 3
    assert "coral-chair" in failed.err
    assert "--on-unknown popular" in failed.err
    popular = recctl("recommend", named, "--history", "coral-cheir", "--on-unknown", "popular", "--json")
    assert len(popular.json["recommendations"]) == 10
    assert "coral-chair" in popular.err
    skipped = recctl("recommend", named, "--history", "coral-cheir", "--on-unknown", "skip", "--json")
    assert skipped.json["recommendations"] == []


def test_user_below_the_minimum_is_told_so(recctl: Any, named: str) -> None:
    done = recctl("recommend", named, "9000")
    assert done.code == 3
    for fact in ("9000", "data.min_user_interactions: 3", "popular", "skip"):
        assert fact in done.err
    assert len(recctl("recommend", named, "9000", "--on-unknown", "popular", "--json").json["recommendations"]) == 10
    assert recctl("recommend", named, "9000", "--on-unknown", "skip", "--json").json["recommendations"] == []


def test_user_left_out_by_a_step_is_told_so(recctl: Any, workdir: Path) -> None:
    write_events(workdir / "events.csv", NAMES)
    step = "filter_by_interaction_count: {min_user_interactions: 3}"
    (workdir / "c.yaml").write_text(f"data: {{source: events.csv, preprocess: [{step}]}}\nmodel: {{name: ease}}\n")
    recctl("train", "c.yaml")
    done = recctl("recommend", "latest", "9000")
    assert "filter_by_interaction_count of data.preprocess left out 1 of 41 users" in done.err


def test_user_without_training_interactions_is_told_so(recctl: Any, workdir: Path) -> None:
    pairs = [(user, item) for user in range(1, 21) for item in range(10) if item != user % 10]
    rows = "".join(f"{user},{item},{1000 * user + item}\n" for user, item in pairs)
    # One user comes after the other, and then the first four come again: test has all of the last four users.
    rows += "".join(f"{user},{user},99000\n" for user in range(1, 5))
    (workdir / "events.csv").write_text("user_id,item_id,timestamp\n" + rows)
    (workdir / "c.yaml").write_text(
        "data: {source: events.csv}\nsplit: {strategy: temporal, test_size: 40}\nmodel: {name: ease}\n"
    )
    assert recctl("train", "c.yaml").code == 0
    done = recctl("recommend", "latest", "20")
    assert "the split leaves 4 of 20 users without interactions to fit on" in done.err


def test_unknown_user_is_not_blamed_on_settings_that_left_out_nothing(recctl: Any, workdir: Path) -> None:
    write_events(workdir / "events.csv", NAMES)
    (workdir / "c.yaml").write_text("data: {source: events.csv, min_user_interactions: 2}\nmodel: {name: ease}\n")
    recctl("train", "c.yaml")
    done = recctl("recommend", "latest", "77")
    assert "user 77: not among the 41 users (ids 1 to 9000)" in done.err
    assert "min_user_interactions" not in done.err
