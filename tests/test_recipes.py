"""The commands of the guides run as they are written, in their order, with real runs in place of RUN."""

from __future__ import annotations

import ast
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest

from recctl import InteractionDataset, PopularityRecommender
from recctl.data.synthetic import generate
from tests.experiment import shop
from tests.pages import DOCS, read_blocks

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


def run_python(page: str, namespace: dict[str, Any]) -> None:
    """Run the Python code of a page."""
    blocks = [block for block in read_blocks(page) if block.language == "python"]
    assert blocks
    for block in blocks:
        exec(compile("\n" * block.line + block.code, page, "exec"), namespace)


def test_python_of_guide_of_runs_loads_the_production_model(runs: dict[str, str]) -> None:
    namespace: dict[str, Any] = {}
    run_python("guides/runs.md", namespace)
    assert namespace["model"].name == "popularity"


def test_python_of_guide_of_data_reads_named_columns(workdir: Path) -> None:
    Path("ratings.csv").write_text("customer,item_id\n007,1\n7,2\n,3\n")
    namespace: dict[str, Any] = {}
    run_python("guides/data.md", namespace)
    assert sorted(namespace["dataset"].data["user_id"]) == ["007", "7"]


def test_python_of_guide_of_comparing_makes_tables_of_lists(workdir: Path) -> None:
    class Tensor(np.ndarray):
        def cpu(self) -> Any:
            return self

    class Dataset:
        def id2token(self, field: str, ids: Any) -> Any:
            assert field == "item_id"
            return np.char.add("i", np.asarray(ids).astype(str))

    ids = np.array([[0, 1], [1, 2]]).view(Tensor)
    scores = np.array([[0.9, 0.8], [0.7, 0.6]]).view(Tensor)
    item_ids = np.array(["a", "b", "c"])
    names = {"users": ["u", "v"], "k": 2, "ids": ids, "scores": scores, "item_ids": item_ids, "dataset": Dataset()}
    [block] = [block for block in read_blocks("guides/comparing.md") if block.language == "python"]
    expressions = ast.parse(block.code).body
    tables = [eval(ast.unparse(line), {"pd": pd, "np": np, **names}) for line in expressions]
    assert [list(table["item_id"]) for table in tables] == [["i0", "i1", "i1", "i2"], ["a", "b", "b", "c"]]
    for table in tables:
        assert list(table["user_id"]) == ["u", "u", "v", "v"]
        assert list(table["score"]) == [0.9, 0.8, 0.7, 0.6]


def test_python_of_guide_of_segments_measures_new_users(workdir: Path) -> None:
    train, test = InteractionDataset(generate(120, 60, 2500, seed=1)).split(test_size=0.2)
    model = PopularityRecommender().fit(train)
    known_ids = test.user_vocabulary.ids[:30]
    namespace: dict[str, Any] = {"np": np, "test": test, "model": model, "known_ids": known_ids}
    run_python("guides/segments.md", namespace)
    assert len(namespace["result"].segments["new"]) > 50


def test_python_of_guide_of_tuning_reads_the_study(recctl: Any, workdir: Path) -> None:
    words = ["--set", "model.name=ease", "--trials", "2", "--json"]
    search = recctl("tune", "small.yaml", *words).json
    code = next(block.code for block in read_blocks("guides/tuning.md") if block.language == "python")
    code = code.replace("runs/RUN", search["path"])
    namespace: dict[str, Any] = {"optuna": optuna}
    exec(compile(code, "guides/tuning.md", "exec"), namespace)
    assert len(namespace["study"].trials) == 2


def test_python_of_guide_of_notebooks_shows_progress(workdir: Path) -> None:
    run_python("guides/notebooks.md", {"table": generate(120, 60, 2500, seed=1)})


def test_exit_codes_of_reference_are_those_of_the_errors() -> None:
    run_python("reference/exit-codes.md", {})


def test_documented_keys_of_json_output_exist(recctl: Any, runs: dict[str, str]) -> None:
    text = (DOCS / "reference" / "json-output.md").read_text().partition("## Keys by command")[2]
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", text, flags=re.MULTILINE)
    documented = {command: set(re.findall(r"`(\w+)`", keys)) for command, keys in rows}
    run = runs["RUN_A"]
    user = recctl("export", run, "--format", "recommendations", "--json").json
    assert documented["`export`"] <= user.keys()
    calls = {
        "`train`, `split`, `fit`, `tune`, `compare`": ("train", "ease.yaml"),
        "`split`, also": ("split", "ease.yaml"),
        "`compare`, also": ("compare", "compare.yaml"),
        "`evaluate`": ("evaluate", run),
        "`recommend`": ("recommend", run, "151"),
        "`report`": ("report", run, "--format", "md"),
        "`diagnose`": ("diagnose", run),
        "`export --list`": ("export", "--list"),
        "`estimate`": ("estimate", "ease.yaml"),
        "`runs list`": ("runs", "list"),
        "`runs compare`": ("runs", "compare", run, run),
        "`runs names`": ("runs", "names"),
        "`runs tag`": ("runs", "tag", run, "good"),
        "`runs note`": ("runs", "note", run, "text"),
        "`runs gc`": ("runs", "gc", "--dry-run"),
        "`models`": ("models",),
        "`runs show`": ("runs", "show", run),
        "`runs verify`": ("runs", "verify", run),
        "`models NAME`": ("models", "ease"),
        "`data describe`": ("data", "describe", "events.csv"),
        "`data list`": ("data", "list"),
        "`config init`, `config copy NAME`": ("config", "copy", "als"),
        "`config copy --list`": ("config", "copy", "--list"),
        "`config validate`": ("config", "validate", "ease.yaml"),
    }
    entry_keys = {"title", "user_id", "item_id", "score", "rank", "train"}
    for command, words in calls.items():
        document = recctl(*words, "--json").json
        assert documented[command] - entry_keys <= document.keys(), command
