"""Titles of the user's own items: from `data.items` to recommendations, similar items, reports and exports."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recctl import experiment
from recctl.runs import Run

N_ITEMS = 24
CONFIG = """\
data: {source: ../events.csv, items: {file: ../catalog/items.csv, id: sku, title: name}}
split: {strategy: leave_last, val_size: 1}
model: {name: ease, params: {l2_reg: 10.0}}
evaluation: {metrics: [ndcg], k_values: [5]}
"""


def title(item: Any) -> str:
    return f"Walnut desk no. {item}"


@pytest.fixture
def project(workdir: Path) -> Path:
    """Interactions, a table of items without the last one, and a config that names both by relative paths."""
    rows = [
        (user, 1 + (3 * user + step * (1 + user % 3)) % N_ITEMS, step) for user in range(1, 41) for step in range(8)
    ]
    lines = "".join(f"{user},{item},{1_700_000_000 + step}\n" for user, item, step in rows)
    (workdir / "events.csv").write_text(f"user_id,item_id,timestamp\n{lines}")
    write_items(workdir, {item: title(item) for item in range(1, N_ITEMS)})
    (workdir / "configs").mkdir()
    (workdir / "configs" / "own.yaml").write_text(CONFIG)
    return workdir


def write_items(folder: Path, titles: dict[Any, str]) -> None:
    (folder / "catalog").mkdir(exist_ok=True)
    lines = "".join(f"{item},{name}\n" for item, name in titles.items())
    (folder / "catalog" / "items.csv").write_text(f"sku,name\n{lines}")


@pytest.fixture
def run(project: Path, recctl: Any) -> Run:
    done = recctl("train", "configs/own.yaml", "--json")
    assert done.code == 0, done.err
    assert f"items.csv: no title for 1 of the {N_ITEMS} items, e.g. {N_ITEMS}" in done.err
    return Run.open(Path(done.json["path"]))


def expected_title(item: int) -> str | None:
    return None if item == N_ITEMS else title(item)


def test_recommend_shows_titles(run, recctl):
    recommended = recctl("recommend", run.id, "1", "2", "-k", "15", "--json").json["recommendations"]
    assert {record["item_id"] for record in recommended} >= {N_ITEMS}
    for record in recommended:
        assert record["title"] == expected_title(record["item_id"])
    # The columns that were there before titles keep their order.
    assert list(recommended[0])[:4] == ["user_id", "item_id", "score", "rank"]
    table = recctl("recommend", run.id, "1", "-k", "3").out.splitlines()
    assert table[0].split() == ["user_id", "item_id", "score", "rank", "title"]
    for line, record in zip(table[1:], recommended, strict=False):
        assert line.rstrip().endswith(record["title"] or "-")
    from_history = recctl("recommend", run.id, "--history", "3,4", "-k", "2", "--json").json["recommendations"]
    assert all(record["title"] == expected_title(record["item_id"]) for record in from_history)


def test_similar_shows_the_similar_items_of_the_model_with_titles(run, recctl):
    found = recctl("similar", run.id, "3", "5", "-k", "4", "--json").json["similar_items"]
    expected = experiment.load_version(run).similar_items([3, 5], k=4)
    assert [(record["item_id"], record["similar_item_id"]) for record in found] == list(
        zip(expected["item_id"].tolist(), expected["similar_item_id"].tolist(), strict=True)
    )
    for record in found:
        assert record["title"] == expected_title(record["item_id"])
        assert record["similar_title"] == expected_title(record["similar_item_id"])
    assert title(3) in recctl("similar", run.id, "3").out


def test_similar_without_titles_has_no_columns_for_them(project, recctl):
    recctl("train", "small.yaml")
    done = recctl("similar", "latest", "1", "-k", "2", "--json")
    assert list(done.json["similar_items"][0]) == ["item_id", "similar_item_id", "score", "rank"]


@pytest.mark.parametrize(("item", "message"), [("99", "99"), ("desk", "are integers")])
def test_similar_refuses_items_that_the_model_does_not_know(run, recctl, item, message):
    done = recctl("similar", run.id, item)
    assert done.code == 3
    assert message in done.err


@pytest.mark.parametrize("file_format", ["parquet", "csv", "jsonl"])
def test_exports_have_titles_after_all_other_columns(run, recctl, tmp_path, file_format):
    read = {"parquet": pd.read_parquet, "csv": pd.read_csv, "jsonl": lambda path: pd.read_json(path, lines=True)}
    for name, columns in {
        "recommendations": {"title": "item_id"},
        "similar-items": {"title": "item_id", "similar_title": "similar_item_id"},
    }.items():
        folder = tmp_path / name
        options = ("--file-format", file_format, "-k", "20", "-o", str(folder))
        done = recctl("export", run.id, "--format", name, *options)
        assert done.code == 0, done.err
        table = read[file_format](folder / f"{name.replace('-', '_')}.{file_format}")
        assert list(table)[-len(columns) :] == list(columns)
        for title_column, id_column in columns.items():
            assert N_ITEMS in set(table[id_column])
            expected = table[id_column].map(expected_title)
            assert table[title_column].where(table[title_column].notna(), None).tolist() == expected.tolist()
        manifest = json.loads((folder / "manifest.json").read_text())
        assert list(manifest["facts"]["columns"])[-len(columns) :] == list(columns)
        assert recctl("export", "--verify", str(folder)).code == 0


def test_exports_without_titles_on_request(run, recctl, tmp_path):
    options = ("--file-format", "csv", "-O", "titles=false", "-o", str(tmp_path / "out"))
    assert recctl("export", run.id, "--format", "recommendations", *options).code == 0
    assert list(pd.read_csv(tmp_path / "out" / "recommendations.csv")) == ["user_id", "item_id", "score", "rank"]


def test_report_shows_titles(run, recctl):
    assert recctl("report", run.id, "-o", "report.html").code == 0
    page = Path("report.html").read_text(encoding="utf-8")
    section = re.search(r"<h2[^>]*>Examples.*", page, re.DOTALL)
    assert section is not None
    names = re.findall(r"Walnut desk no\. \d+|\bitem \d+", section[0])
    assert len(names) > 20
    # Items without a title are shown by id.
    assert {name for name in names if name.startswith("item")} <= {f"item {N_ITEMS}"}


def test_titles_stay_with_a_run_that_moved_and_whose_items_file_is_gone(run, project, recctl):
    shutil.rmtree(project / "catalog")
    moved = Path(shutil.move(run.path, project / "elsewhere" / run.id))
    done = recctl("recommend", run.id, "1", "-k", "1", "--json", "--runs-dir", str(moved.parent))
    (record,) = done.json["recommendations"]
    assert record["title"] == expected_title(record["item_id"])
    assert recctl("runs", "verify", run.id, "--runs-dir", str(moved.parent)).code == 0


def test_items_file_is_found_again_if_it_moved_with_the_runs(run, project, recctl):
    shutil.move(project, project.with_name("copy"))
    moved = project.with_name("copy") / "runs"
    done = recctl("fit", run.id, "--json", "--runs-dir", str(moved))
    assert done.code == 0, done.err
    fitted = Run.open(moved / done.json["run_id"])
    assert fitted.metadata["titles"]["file"] == str(project.with_name("copy") / "catalog" / "items.csv")


def test_run_whose_items_file_is_gone_can_be_fitted_again_without_titles(run, project, recctl):
    shutil.rmtree(project / "catalog")
    failed = recctl("fit", run.id)
    assert failed.code == 3
    assert "data.items: null" in failed.err
    done = recctl("fit", run.id, "--all-data", "--set", "data.items=null", "--json")
    assert done.code == 0, done.err
    assert "title" not in recctl("recommend", done.json["run_id"], "1", "--json").json["recommendations"][0]


@pytest.mark.parametrize("content", [None, b"PAR1 nonsense"])
def test_titles_that_can_not_be_read_are_noted_and_left_out(run, recctl, content):
    if content is None:
        (run.path / "titles.parquet").unlink()
    else:
        (run.path / "titles.parquet").write_bytes(content)
    done = recctl("recommend", run.id, "1", "--json")
    assert done.code == 0
    assert "titles.parquet" in done.err
    assert "title" not in done.json["recommendations"][0]
    report = recctl("report", run.id, "-o", "report.html")
    assert report.code == 0
    assert "titles.parquet" in report.err
    assert "Walnut" not in Path("report.html").read_text(encoding="utf-8")
    assert recctl("runs", "verify", run.id).code == 4


def test_run_records_where_its_titles_came_from(run, project):
    record = run.metadata["titles"]
    assert record["file"] == str(project / "catalog" / "items.csv")
    assert record["items"] == N_ITEMS
    assert record["titles"] == N_ITEMS - 1
    config = run.config_text()
    assert str(project / "catalog" / "items.csv") in config


def test_missing_items_file_fails_before_the_data_are_read(project, recctl):
    (project / "catalog" / "items.csv").rename(project / "catalog" / "item.csv")
    (project / "events.csv").write_text("damaged")
    done = recctl("train", "configs/own.yaml")
    assert done.code == 3
    assert "data.items.file does not exist" in done.err
    assert "did you mean item.csv" in done.err
    assert not Path("runs").exists()


def test_text_ids_of_the_data_decide_how_ids_of_items_are_read(project, recctl):
    events = (project / "events.csv").read_text().splitlines()
    rows = [line.split(",") for line in events[1:]]
    padded = "".join(f"{user},{int(item):03},{time}\n" for user, item, time in rows)
    (project / "events.csv").write_text(f"{events[0]}\n{padded}")
    write_items(project, {f"{item:03}": title(item) for item in range(1, N_ITEMS + 1)})
    recctl("train", "configs/own.yaml")
    (record,) = recctl("recommend", "latest", "1", "-k", "1", "--json").json["recommendations"]
    assert isinstance(record["item_id"], str)
    assert record["title"] == title(int(record["item_id"]))


def test_encoding_of_the_data_applies_to_items(project, recctl):
    (project / "catalog" / "items.csv").write_bytes("sku,name\n1,Café\n2,Crème\n".encode("latin-1"))
    assert recctl("train", "configs/own.yaml", "--set", "data.encoding=latin-1").code == 0
    found = recctl("similar", "latest", "1", "-k", "1", "--json").json["similar_items"]
    assert found[0]["title"] == "Café"


def test_same_column_for_id_and_title_is_a_config_error(project, recctl):
    done = recctl("train", "configs/own.yaml", "--set", "data.items.title=sku")
    assert done.code == 2
    assert "id and title are the same column, 'sku'" in done.err


def test_every_run_of_a_comparison_has_titles(project, recctl):
    config = CONFIG.replace("model: {name: ease", "models: [{name: popularity}, {name: ease").replace(
        "}}\neval", "}}]\neval"
    )
    (project / "configs" / "several.yaml").write_text(config)
    done = recctl("compare", "configs/several.yaml", "--json")
    assert done.code == 0, done.err
    for path in Path("runs").iterdir():
        fitted = Run.open(path)
        if fitted.metadata["models"]:
            assert experiment.run_titles(fitted).of([3]) == [title(3)]
