"""Tables of items: reading their ids and titles, and matching these to the items of a data set."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recctl.data.sources.tables import find_table, read_titles
from recctl.data.titles import ItemTitles, match_titles
from recctl.data.vocabulary import Vocabulary
from recctl.errors import DataError

EXPECTED = {1: "Oak table", 7: "Chair, folding", 17: 'Lamp "Ida"'}


@pytest.fixture
def titles_of(tmp_path: Path) -> Any:
    """`titles_of(content, known, name=...)`: the titles of known ids in a table of items, and the notes."""

    def read(content: str | bytes | pd.DataFrame, known: list[Any], name: str = "items.csv", **options: Any) -> Any:
        path = tmp_path / name
        if isinstance(content, pd.DataFrame):
            content.to_parquet(path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        columns = {"id_column": "sku", "title_column": "name"} | options
        ids, titles = read_titles(path, **columns)
        matched = match_titles(vocabulary(known), ids, titles, name)
        found = dict(zip(matched.titles.vocabulary.ids.tolist(), matched.titles.titles, strict=True))
        return found, matched.notes

    return read


def vocabulary(ids: list[Any]) -> Vocabulary:
    return Vocabulary(np.array(sorted(ids), object if isinstance(ids[0], str) else np.int64))


LAYOUTS: dict[str, tuple[str | bytes, dict[str, Any]]] = {
    "items.csv": ('sku,name\n1,Oak table\n7,"Chair, folding"\n17,"Lamp ""Ida"""\n', {}),
    "semicolons.csv": ('sku;price;name\n1;9,90;Oak table\n7;1,00;Chair, folding\n17;2,50;"Lamp ""Ida"""\n', {}),
    "items.tsv": (
        'sku\tname\n1\tOak table\n7\tChair, folding\n17\tLamp "Ida"\n',
        {"quoting": False},
    ),
    "pipes.txt": (
        '1|Oak table|x\n7|Chair, folding|y\n17|Lamp "Ida"|z\n',
        {"id_column": 0, "title_column": 1, "quoting": False},
    ),
    "recbole.item": (
        'item_id:token\tname:token_seq\n1\tOak table\n7\tChair, folding\n17\tLamp "Ida"\n',
        {"id_column": "item_id", "quoting": False},
    ),
    "preamble.csv": (
        'Catalog of May\nsku,name\n1,Oak table\n7,"Chair, folding"\n17,"Lamp ""Ida"""\n',
        {"skip_lines": 1},
    ),
    "items.jsonl": (
        (
            '{"sku": 1, "name": "Oak table"}\n{"name": "Chair, folding", "sku": "7"}\n'
            '{"sku": 17, "name": "Lamp \\"Ida\\"", "tags": ["a"]}\n'
        ),
        {},
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_titles_are_read_from_every_format(titles_of, name):
    content, options = LAYOUTS[name]
    assert titles_of(content, [1, 7, 17], name, **options) == (EXPECTED, [])


@pytest.mark.parametrize("ids", [[1, 7, 17], [1.0, 7.0, 17.0], ["1", "7", "17"]])
def test_typed_ids_of_parquet_match_integers(titles_of, ids):
    table = pd.DataFrame({"sku": ids, "name": EXPECTED.values()})
    assert titles_of(table, [1, 7, 17], "items.parquet") == (EXPECTED, [])


def test_titles_are_read_from_a_folder_of_parts(tmp_path):
    folder = tmp_path / "catalog"
    folder.mkdir()
    (folder / "a.csv").write_text("sku,name\n1,Oak table\n")
    (folder / "b.csv").write_text("name,sku\nLamp,17\n")
    ids, titles = read_titles(folder, "sku", "name")
    assert dict(zip(ids.to_pylist(), titles.to_pylist(), strict=True)) == {"1": "Oak table", "17": "Lamp"}


def test_titles_are_read_in_their_encoding(titles_of):
    content = "sku,name\n1,Café\n".encode("latin-1")
    assert titles_of(content, [1], encoding="latin-1")[0] == {1: "Café"}
    with pytest.raises(DataError, match=r"items\.csv: row 2: name .*data\.items\.encoding: latin-1"):
        titles_of(content, [1])


# ---- matching of ids


@pytest.mark.parametrize(
    ("id_in_table", "known", "matches"),
    [
        ("7", 7, True),
        (" 7 ", 7, True),
        ("7.0", 7, True),
        ("7.00", 7, True),
        ("007", 7, False),
        ("+7", 7, False),
        ("7.5", 7, False),
        ("7e0", 7, False),
        ("-7", -7, True),
        ("9223372036854775807", 9223372036854775807, True),
        ("9223372036854775808", 9223372036854775807, False),
        ("007", "007", True),
        ("7", "007", False),
        ("7", "7", True),
        ("7.0", "7", False),
        ("NA", "NA", True),
    ],
)
def test_ids_match_by_the_type_of_the_data(titles_of, id_in_table, known, matches):
    # The row of an item that nobody has interacted with must not decide the type of the others.
    found, _ = titles_of(f"sku,name\nX-1,Never sold\n{id_in_table},Oak table\n", [known])
    assert found == ({known: "Oak table"} if matches else {})


def test_items_without_title_are_counted_and_named(titles_of):
    found, notes = titles_of("sku,name\n1,Oak table\n2,Chair\n3,\n7,  \n", [1, 2, 3, 7])
    assert found == {1: "Oak table", 2: "Chair"}
    assert notes == ["items.csv: no title for 2 of the 4 items, e.g. 3, 7"]
    # The ids may be those of another column.
    _, notes = titles_of("sku,name\n1,Oak table\n2,\n", [1, 2, 3, 7])
    assert notes == ["items.csv: no title for 3 of the 4 items, e.g. 2, 3, 7; check data.items.id"]


def test_last_of_several_titles_is_used_and_noted(titles_of):
    content = "sku,name\n1,Old table\n7,Chair\n7,Chair\n1,\n1,Oak table\n99,a\n99,b\n"
    found, notes = titles_of(content, [1, 7])
    assert found == {1: "Oak table", 7: "Chair"}
    (note,) = notes
    assert "1 item has several titles" in note
    assert note.endswith("e.g. 1")


def test_table_of_other_ids_is_noted_with_an_example_of_each(titles_of):
    found, notes = titles_of("sku,name\nA1,Oak table\n", [1, 7])
    assert found == {}
    (note,) = notes
    assert "'A1' there, 1 in the data" in note
    assert "data.items.id" in note


def test_titles_are_shown_on_one_line(titles_of):
    content = 'sku,name\n1,"Oak\n  table\t\x1b[31m"\n7,Chair\n17,Lamp\n'
    assert titles_of(content, [1, 7, 17])[0][1] == "Oak table [31m"


# ---- errors


@pytest.mark.parametrize(
    ("content", "options", "facts"),
    [
        ("sku,nam\n1,Oak\n7,b\n", {}, ["items.csv: data.items.title: no column 'name'", "did you mean nam"]),
        ("skuu,name\n1,Oak\n7,b\n", {}, ["items.csv: data.items.id: no column 'sku'", "did you mean skuu"]),
        ("1,Oak\n7,Chair\n", {}, ["no header", "data.items.header: true", "data.items.id: 0"]),
        ("1,Oak\n7,Chair\n", {"id_column": 5, "title_column": 1}, ["data.items.id=5 does not exist"]),
        ("sku,name\n1,Oak\n,Chair\n7,Lamp\n", {}, ["items.csv: row 3", "data.items.bad_rows: skip"]),
        ("sku,name\n1,Oak\n7,Chair\n8,a\n9,b\n10,c\n3,Lamp,x\n", {}, ["row 7: fields: 3", "data.items.bad_rows: skip"]),
        ("sku,name,sku\n1,Oak,1\n7,Chair,7\n", {}, ["2 columns are called 'sku'", "set data.items.id: 0"]),
        ("sku,name\n", {}, ["items.csv: the file has a header but no rows"]),
        ("", {}, ["items.csv: the file is empty"]),
    ],
)
def test_errors_name_the_place_and_the_keys_of_items(titles_of, content, options, facts):
    with pytest.raises(DataError) as caught:
        titles_of(content, [1, 7], **options)
    message = str(caught.value)
    assert all(fact in message for fact in facts), message
    keys = re.findall(r"\bdata\.\w+", message)
    assert set(keys) <= {"data.items"}, "keys of the interactions do not apply to items"


def test_bad_rows_are_left_out_if_skipped(titles_of):
    found, _ = titles_of("sku,name\n1,Oak table\n,Chair\n17,Lamp\n", [1, 17], bad_rows="skip")
    assert found == {1: "Oak table", 17: "Lamp"}


def test_missing_file_is_an_error_with_a_suggestion(tmp_path):
    (tmp_path / "items.csv").touch()
    with pytest.raises(DataError, match=r"item\.csv: data\.items\.file .*did you mean items\.csv.*data\.items: null"):
        find_table("items", "item.csv", tmp_path)


# ---- storing


@pytest.mark.parametrize("ids", [[1, 7], ["007", "7"]])
def test_titles_are_the_same_after_storing(ids):
    titles = ItemTitles(vocabulary(ids), np.array(["Oak 桌子", "Chair"], object))
    again = ItemTitles.from_parquet(titles.to_parquet())
    assert again.of([*ids, "unknown"]) == ["Oak 桌子", "Chair", None]
    assert again.vocabulary.is_text == titles.vocabulary.is_text


def test_no_titles_have_no_title_of_any_item():
    assert len(ItemTitles.none()) == 0
    assert ItemTitles.none().of([1, "a"]) == [None, None]
    assert ItemTitles.from_parquet(ItemTitles.none().to_parquet()).of([1]) == [None]
