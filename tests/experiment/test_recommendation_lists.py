"""Files of recommendation lists that were made elsewhere: formats, ids and errors."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recctl.config import LoadedConfig
from recctl.config.loading import parse_config
from recctl.errors import ConfigError, DataError
from recctl.evaluation import GivenLists
from recctl.experiment.config_checks import CHECKS
from recctl.experiment.data import Prepared, prepare
from recctl.experiment.recommendation_lists import read_lists

# User 1 has 007 in train and 11 in test, user 2 the other way round.
TEXT = "user_id,item_id\nu1,007\nu2,11\nu1,11\nu2,007\nu1,12\nu2,13\n"
INTEGERS = "user_id,item_id\n1,7\n2,11\n1,11\n2,7\n1,12\n2,13\n"


def load(entry: str, data: str = "data.csv") -> LoadedConfig:
    text = f"""\
data: {{source: {data}}}
split: {{strategy: leave_last}}
evaluation: {{metrics: [ndcg], k_values: [2]}}
models: [{entry}]
"""
    return parse_config(text, "lists.yaml", Path(), (), CHECKS)


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def call(file: str, interactions: str = TEXT, columns: str = "{}") -> GivenLists:
        Path("data.csv").write_text(interactions)
        loaded = load(f"{{recommendations: {file}, columns: {columns}}}")
        prepared: Prepared = prepare(loaded)
        lists, _ = read_lists(loaded, prepared, "test")
        return lists

    return call


def listed(lists: GivenLists) -> dict[Any, list[Any]]:
    """The items of each user, in order."""
    return {
        user: lists.item_vocabulary.ids[lists.lists.columns[begin:end]].tolist()
        for user, begin, end in zip(
            lists.list_users.ids.tolist(), lists.lists.starts, lists.lists.starts[1:], strict=False
        )
    }


def test_csv_tsv_json_lines_and_parquet_give_the_same_lists(read: Any) -> None:
    table = pd.DataFrame(
        {"user_id": ["u2", "u1", "u1", "u1"], "item_id": ["12", "12", "007", "13"], "rank": [0, 2, 0, 1]}
    )
    table.to_csv("lists.csv", index=False)
    table.to_csv("lists.tsv", index=False, sep="\t")
    table.to_csv("lists.csv.gz", index=False)
    table.to_json("lists.jsonl", orient="records", lines=True)
    with gzip.open("zipped.jsonl.gz", "wt") as file:
        file.write(Path("lists.jsonl").read_text())
    table.to_parquet("lists.parquet")
    for name in ("lists.csv", "lists.tsv", "lists.csv.gz", "lists.jsonl", "zipped.jsonl.gz", "lists.parquet"):
        assert listed(read(name)) == {"u1": ["007", "13", "12"], "u2": ["12"]}, name


def test_type_of_ids_follows_the_data(read: Any) -> None:
    Path("lists.csv").write_text("user_id,item_id,rank\n1,007,1\n1,12,2\n2,12,1\n")
    assert listed(read("lists.csv", INTEGERS.replace("1,7\n", "1,007\n", 1).replace("2,7", "2,007"))) == {
        1: ["007", "12"],
        2: ["12"],
    }
    Path("lists.csv").write_text("user_id,item_id,rank\n1,7,1\n1,12,2\n")
    assert listed(read("lists.csv", INTEGERS)) == {1: [7, 12]}
    Path("lists.parquet").unlink(missing_ok=True)
    pd.DataFrame({"user_id": [1, 1], "item_id": [12, 7], "score": [0.5, 1.5]}).to_parquet("lists.parquet")
    assert listed(read("lists.parquet", INTEGERS)) == {1: [7, 12]}


def test_scores_that_differ_in_float64_only_are_no_ties(read: Any) -> None:
    items = [f"i{place:02}" for place in range(30)]
    scores = [1 + place * 1e-12 for place in range(30)]
    pd.DataFrame({"user_id": "u1", "item_id": items, "score": scores}).to_csv("lists.csv", index=False)
    assert listed(read("lists.csv"))["u1"] == items[::-1]


def test_lists_of_rectools_are_read(read: Any) -> None:
    # A frame of Columns.User, Columns.Item, Columns.Score and Columns.Rank, ranks from 1.
    frame = pd.DataFrame(
        {"user_id": ["u1", "u1", "u2"], "item_id": ["13", "12", "12"], "score": [2.5, 1.25, 0.5], "rank": [1, 2, 1]}
    )
    frame.to_csv("rectools.csv", index=False)
    assert listed(read("rectools.csv")) == {"u1": ["13", "12"], "u2": ["12"]}


def test_lists_of_recbole_are_read(read: Any) -> None:
    # `full_sort_topk` gives scores and internal ids, `dataset.id2token` the tokens, which are text; its atomic files
    # have types in the header.
    scores = np.array([[3.0, 1.0], [2.0, 0.5]], np.float32)
    tokens = np.array([["13", "12"], ["12", "11"]])
    frame = pd.DataFrame(
        {"user_id:token": np.repeat(["1", "2"], 2), "item_id:token": tokens.ravel(), "score:float": scores.ravel()}
    )
    frame.to_csv("recbole.tsv", sep="\t", index=False)
    assert listed(read("recbole.tsv", INTEGERS)) == {1: [13, 12], 2: [12, 11]}


def test_lists_of_implicit_are_read(read: Any) -> None:
    # `model.recommend(users, user_items, N)` gives two arrays; filtered items have the lowest float32.
    ids = np.array([[12, 13, 7], [12, 11, 7]])
    lowest = np.finfo(np.float32).min
    scores = np.array([[0.25, 0.5, lowest], [0.5, 0.25, lowest]], np.float32)
    frame = pd.DataFrame({"user": np.repeat([1, 2], 3), "item": ids.ravel(), "score": scores.ravel()})
    frame.to_parquet("implicit.parquet")
    assert listed(read("implicit.parquet", INTEGERS)) == {1: [13, 12, 7], 2: [12, 11, 7]}


def test_columns_are_found_by_the_mapping_and_by_that_of_the_data(read: Any) -> None:
    Path("named.csv").write_text("sku,customer,place\n13,u1,2\n12,u1,1\n")
    columns = "{user_id: customer, item_id: sku, rank: place}"
    assert listed(read("named.csv", columns=columns)) == {"u1": ["12", "13"]}
    Path("plain.csv").write_text("u1,13,2\nu1,12,1\n")
    assert listed(read("plain.csv", columns="{user_id: 0, item_id: 1, rank: 2}")) == {"u1": ["12", "13"]}
    with pytest.raises(DataError, match=r"no column item_id, rank or score among sku, customer, place"):
        read("named.csv")
    with pytest.raises(DataError, match=r"has no header; name the columns by position"):
        read("plain.csv")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("u1,12,1\nu1,13,nan\n", r"lists.csv: row 3: rank: 'nan' is not a whole number"),
        ("u1,12,1\n\nu1,13,1.5\n", r"lists.csv: row 4: rank: '1.5' is not a whole number"),
        ("u1,12,1\nu2,12,1\nu1,12,2\n", r"lists.csv: row 4: user u1 has item 12 twice"),
        ("u1,12,1\nu1,13,1\n", r"lists.csv: row 3: rank 1 is given twice"),
        ("u1,12,-1\n", r"lists.csv: row 2: rank: '-1' is not"),
        ("u1,,1\n", r"lists.csv: row 2: item_id"),
    ],
)
def test_row_that_can_not_be_read_is_named_by_its_line(read: Any, rows: str, message: str) -> None:
    Path("lists.csv").write_text("user_id,item_id,rank\n" + rows)
    with pytest.raises(DataError, match=message):
        read("lists.csv")


def test_score_that_is_not_a_number_is_refused(read: Any) -> None:
    pd.DataFrame({"user_id": ["u1", "u1"], "item_id": ["12", "13"], "score": [1.0, np.nan]}).to_parquet("lists.parquet")
    with pytest.raises(DataError, match=r"lists.parquet: row 2: score"):
        read("lists.parquet")


def test_cutoff_beyond_the_longest_list_is_refused_with_what_to_set(read: Any) -> None:
    Path("lists.csv").write_text("user_id,item_id,rank\nu1,12,1\nu2,12,1\n")
    with pytest.raises(ConfigError, match=r"lists.csv: evaluation.k_values: 2: .* set evaluation.k_values: \[1\]"):
        read("lists.csv")


def test_config_refuses_what_lists_do_not_have() -> None:
    with pytest.raises(ConfigError, match=r"not fitted; remove params") as refused:
        load("{recommendations: lists.csv, params: {l2_reg: 1}}")
    assert refused.value.problems[0].startswith("lists.yaml:4: models.0:")
    text = """\
evaluation: {metrics: [ndcg, auc, rmse], n_candidates: 50}
models: [{name: svd}, {recommendations: lists.csv}]
data: {implicit: false}
"""
    with pytest.raises(ConfigError) as refused:
        parse_config(text, "lists.yaml", Path(), (), CHECKS)
    assert refused.value.problems[0].startswith("lists.yaml:1: evaluation.metrics: auc, rmse need a score")
    assert refused.value.problems[1].startswith("lists.yaml:1: evaluation.n_candidates: 50: sampled candidates")
