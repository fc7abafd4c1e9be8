"""The commands of the guides run as they are written, in their order, with real runs in place of RUN."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.experiment import shop
from tests.pages import read_blocks

CONFIG = """\
data: {{source: events.csv}}
split: {{strategy: leave_last, val_size: 1}}
model: {{name: {}}}
evaluation: {{metrics: [ndcg], k_values: [10]}}
"""
COMPARE = """\
data: {source: events.csv}
split: {strategy: leave_last, val_size: 1}
models: [{name: ease}, {recommendations: lists.parquet, name: production}]
evaluation: {metrics: [ndcg], k_values: [10]}
"""
# Gates may fail; that is what they are for.
GATE = "--fail-if-worse"


def recipes(page: str) -> list[str]:
    """The commands of a page, without comments."""
    lines = [line for block in read_blocks(page) if block.language == "sh" for line in block.code.splitlines()]
    return [re.sub(r"\s{2,}#.*", "", line) for line in lines if line.startswith("recctl ")]


@pytest.fixture
def runs(recctl: Any, workdir: Path) -> dict[str, str]:
    """A production model of older data, and two runs of newer data."""
    rows = [(user + 150, item, time) for user, item, time in shop.interactions()]
    older = [row for row in rows if row[2] < 1_700_000_000 + 3600 * 9]
    shop.write(workdir / "events.csv", older)
    for model in ("ease", "popularity"):
        (workdir / f"{model}.yaml").write_text(CONFIG.format(model))
    (workdir / "recctl.yaml").write_text(CONFIG.format("ease"))
    (workdir / "compare.yaml").write_text(COMPARE)
    production = recctl("fit", "popularity.yaml", "--all-data", "--json").json["run_id"]
    assert recctl("runs", "promote", production, "--as", "production").code == 0
    shop.write(workdir / "events.csv", rows)
    (workdir / "archive").mkdir()
    shop.write(workdir / "archive" / "ratings.csv", rows)
    ids = {name: recctl("train", f"{name}.yaml", "--json").json["run_id"] for name in ("ease", "popularity")}
    fresh = shop.without(shop.lists(recctl, ids["ease"], shop.by_user(rows)), shop.by_user(rows))
    new = [(user, items[0]) for user, items in fresh.items()]
    shop.write(workdir / "next-month.csv", new, "user_id,item_id")
    shop.write(workdir / "export.csv", new, "who;what", ";")
    popular = [item for item, _ in Counter(item for _, item, _ in rows).most_common(20)]
    listed = [(user, item, rank) for user in {user for user, _, _ in rows} for rank, item in enumerate(popular, 1)]
    pd.DataFrame(listed, columns=["user_id", "item_id", "rank"]).to_parquet(workdir / "lists.parquet")
    return {
        "RUN_A": ids["ease"],
        "RUN_B": ids["popularity"],
        "BASELINE": ids["popularity"],
        "RUN": ids["ease"],
        "CONFIG": "ease.yaml",
    }


@pytest.mark.parametrize("page", ["guides/comparing.md", "guides/runs.md"])
def test_commands_of_guides_run_as_written(recctl: Any, runs: dict[str, str], page: str) -> None:
    commands = recipes(page)
    assert len(commands) >= 6
    for command in commands:
        if "split.test" in command:  # of a predefined split, which tests/experiment/test_run_config.py has
            continue
        if "--warm-start" in command:
            # By a model that can begin from another one, with held-out interactions that the other one has not seen.
            Path("recctl.yaml").write_text(CONFIG.format("als").replace("leave_last, val_size: 1", "temporal"))
            runs["RUN"] = recctl("train", "recctl.yaml", "--json").json["run_id"]
        words = [runs.get(word, word) for word in shlex.split(command)[1:]]
        done = recctl(*words)
        assert done.code in ((0, 6) if GATE in words else (0,)), f"{command}\n{done.err}"
