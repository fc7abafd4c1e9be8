from __future__ import annotations

import gzip
import json
import random

import pandas as pd
import pytest

from recctl.data.sources import ReadOptions
from recctl.data.sources.readers import json_lines
from recctl.data.sources.readers.read_file import read_file
from recctl.errors import DataError


@pytest.fixture
def store(write):
    """Write lines of JSON; a dict is written as JSON, text and bytes as they are."""

    def make(*rows, name="a.jsonl", end="\n"):
        lines = [json.dumps(row) if isinstance(row, dict) else row for row in rows]
        encoded = [line if isinstance(line, bytes) else line.encode() for line in lines]
        return write(name, b"".join(line + end.encode() for line in encoded))

    return make


def read(path, **options):
    return read_file(path, ReadOptions(**options))


def line(user, item=1, **values):
    return {"user_id": user, "item_id": item, **values}


ROWS = [line(k % 3, k % 4, note="a, b", rating=k % 5 + 0.5, timestamp=1_577_836_800 + k) for k in range(20)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json", "a.txt"])
def test_keys_are_columns(store, name):
    table = read(store(*ROWS, name=name))
    assert table.provenance["format"] == "json_lines"
    frame = table.frame
    assert [str(t) for t in frame.dtypes] == ["int64", "int64", "float32", "int64"]
    assert frame.to_dict("records") == [{key: row[key] for key in frame} for row in ROWS]


def test_compressed_files_and_other_line_ends_are_read(store, write):
    expected = read(store(*ROWS)).frame
    content = store(*ROWS, end="\r\n").read_bytes()
    assert read(write("a.jsonl.gz", gzip.compress(content.rstrip()))).frame.equals(expected)
    assert read(write("b.jsonl", b"\xef\xbb\xbf" + content)).frame.equals(expected)


def test_what_pandas_writes_is_read_back(tmp_path):
    frame = pd.DataFrame(
        {"user_id": ["a/b", "José", "a/b"], "item_id": ["x, y", "z", '"q"'], "rating": [1.0, 2.5, 4.0]}
    ).assign(timestamp=[1_577_836_800_000, 1_578_182_400_000, 1_578_268_800_000])
    frame.to_json(tmp_path / "pandas.json", orient="records", lines=True)
    found = read(tmp_path / "pandas.json", timestamp_unit="ms").frame
    assert found["user_id"].tolist() == frame["user_id"].tolist()
    assert found["item_id"].tolist() == frame["item_id"].tolist()
    assert found["rating"].tolist() == frame["rating"].tolist()
    assert found["timestamp"].tolist() == [value // 1000 for value in frame["timestamp"]]


def test_escapes_are_decoded(store):
    users = ["\\u00e9", "a\\/b", "\\ud83d\\ude00", "\\\\", '\\"']
    found = read(store(*(f'{{"user_id":"{user}","item_id":1}}' for user in users))).frame
    assert found["user_id"].tolist() == ["é", "a/b", "😀", "\\", '"']


@pytest.mark.parametrize("late", [False, True])
def test_types_are_decided_by_all_values(store, notices, late):
    ints = [line(k) for k in range(2000)] if late else [line(7)]
    frame = read(store(*ints, line("u1"), line(8))).frame
    assert frame["user_id"].tolist()[-3:] == [str(ints[-1]["user_id"]), "u1", "8"]
    assert frame["item_id"].dtype == "int64"
    assert notices == [
        f"a.jsonl: row {len(ints) + 1}: user_id 'u1' is text, other ids are numbers; all are read as text"
    ]


def test_text_of_digits_stays_text(store):
    assert read(store(line("007"), line("7"))).frame["user_id"].tolist() == ["007", "7"]
    assert read(store(line("7"), line("8")), id_type="int").frame["user_id"].tolist() == [7, 8]


def test_whole_floats_are_integers(store):
    path = store('{"user_id":17850.0,"item_id":1}', '{"user_id":2,"item_id":1}', '{"user_id":1e3,"item_id":1}')
    assert read(path).frame["user_id"].tolist() == [17850, 2, 1000]
    assert read(path, id_type="text").frame["user_id"].tolist() == ["17850.0", "2", "1e3"]


@pytest.mark.parametrize(
    ("ratings", "expected"),
    [(["4.5", "3"], [4.5, 3]), ([4, "3.5"], [4, 3.5]), ([True, 3], [1, 3]), ([1, 2.5], [1, 2.5])],
)
def test_ratings_of_any_kind_are_numbers(store, ratings, expected):
    rows = [line(1, rating=rating) for rating in ratings]
    assert read(store(*rows)).frame["rating"].tolist() == expected


@pytest.mark.parametrize("times", [["2020-01-01", "2020-01-02T00:00:00Z"], [1577836800, 1577923200.0]])
def test_timestamps_of_any_kind_become_seconds(store, times):
    rows = [line(1, timestamp=time) for time in times]
    assert read(store(*rows)).frame["timestamp"].tolist() == [1577836800, 1577923200]


def test_keys_are_mapped_and_the_last_of_a_repeated_key_counts(store):
    assert read(store({"who": 1, "what": 2}), columns={"user_id": "who", "item_id": "what"}).frame.values.tolist() == [
        [1, 2]
    ]
    assert read(store('{"user_id":1,"user_id":5,"item_id":2}', line(2))).frame["user_id"].tolist() == [5, 2]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("[1, 2]", "'[1, 2]' is not a JSON object"),
        ("null", "'null' is not a JSON object"),
        ("{'user_id': 1}", "is not JSON"),
        ('{"user_id": 1, "item_id": 2', "is not JSON"),
        ('{"user_id": 1, "item_id": 2} {"user_id": 3, "item_id": 4}', "is not JSON: Extra data"),
        ('{"user_id": 1, "item_id": 2} null', "is not JSON: Extra data"),
        ('{"item_id": 2}', "user_id is missing"),
        ('{"user_id": null, "item_id": 2}', "user_id is missing"),
        ('{"user_id": true, "item_id": 2}', "user_id true is of type bool"),
        ('{"user_id": 1.5, "item_id": 2}', "user_id 1.5 is not a whole number"),
        ('{"user_id": NaN, "item_id": 2}', "user_id NaN is not a whole number"),
        ('{"user_id": 9223372036854775808, "item_id": 2}', "user_id 9223372036854775808 is beyond int64"),
        ('{"user_id": "\\ud800", "item_id": 2}', "user_id is not valid Unicode"),
        (b'{"user_id": "\xff", "item_id": 2}', "user_id is not valid Unicode"),
        ('{"user_id": 1, "item_id": 2, "rating": "x"}', "rating 'x' is not a number"),
        ('{"user_id": 1, "item_id": 2, "rating": NaN}', "rating nan is not a finite number"),
        ('{"user_id": 1, "item_id": 2, "rating": Infinity}', "rating inf is not a finite number"),
        ('{"user_id": 1, "item_id": 2, "rating": null}', "rating is missing"),
        ("[" * 100_000, "is nested too deeply"),
    ],
)
def test_bad_lines_are_named_or_skipped(store, bad, reason):
    has_rating = b"rating" in (bad if isinstance(bad, bytes) else bad.encode())
    good = line(7, rating=3.0) if has_rating else line(7)
    path = store(good, "", bad, good)
    with pytest.raises(DataError) as caught:
        read(path)
    assert f"{caught.value}".startswith("a.jsonl: row 3: ")
    assert reason in str(caught.value)
    table = read(path, bad_rows="skip")
    assert table.frame["user_id"].tolist() == [7, 7]
    assert table.provenance["rows_skipped"] == 1
    assert table.provenance["skipped"][0]["row"] == "a.jsonl: row 3"


def test_values_that_are_not_used_may_be_anything(store):
    rows = [line(1, x="\ud800"), line(2, x={"y": [1]}), b'{"user_id":3,"item_id":1,"x":"\xff"}', line(4, x=None)]
    rows.append('{"user_id":5,"item_id":1,"x":Infinity}')
    assert read(store(*rows)).frame["user_id"].tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("n_before", [0, 1500])
def test_nested_values_are_refused_by_name(store, n_before):
    path = store(*[line(k) for k in range(n_before)], line({"id": 1}))
    with pytest.raises(DataError, match=r"a\.jsonl.*: user_id: \{'id': 1\}: nested values are not read; flatten them"):
        read(path)


def test_nested_ratings_are_left_out_if_ratings_are_not_used(store, notices):
    table = read(store(line(1, rating={"stars": 4})), needs_ratings=False)
    assert list(table.columns) == ["user_id", "item_id"]
    assert notices == ["a.jsonl: rating holds nested values; ratings are not used, so they are left out"]


def test_file_without_objects_is_refused(store, write):
    with pytest.raises(DataError, match="no line is a JSON object; the first: 'hello' is not JSON"):
        read(store("hello"))
    for content in ("", "\n \n"):
        with pytest.raises(DataError, match="the file is empty"):
            read(write("b.jsonl", content))
    with pytest.raises(DataError, match="no user_id column among who, item_id"):
        read(store({"who": 1, "item_id": 2}))


def test_extra_columns_are_text(store):
    path = store(line(1, event="view", n=1), line(2, event=None, n=2), line(3, n=3))
    frame = read(path, extra_columns=("event", "n")).frame
    assert frame["event"].tolist() == ["view", "", ""]
    assert frame["n"].tolist() == ["1", "2", "3"]
    with pytest.raises(DataError, match=r"no column 'evnt'; did you mean event\?"):
        read(path, extra_columns=("evnt",))


def test_other_encodings_are_read(write):
    path = write("a.jsonl", '{"user_id":"José","item_id":1}\n'.encode("latin-1"))
    assert read(path, encoding="latin-1").frame["user_id"].tolist() == ["José"]


def _random_value(rng):
    return rng.choice([1, 2, -3, 0, 17.0, "a", "7", " b ", "", None, "é", 2**40, "NA"])


@pytest.mark.parametrize("seed", range(40))
def test_fast_and_slow_blocks_agree(store, monkeypatch, seed):
    """Reading line by line and reading with Arrow give the same table or the same error, at any block size."""
    rng = random.Random(seed)
    users = [1, 2, 3] if seed % 2 else [f"u{k}" for k in range(3)]
    rows = [line(rng.choice(users), k % 5, rating=rng.choice([1, 2.5, 3])) for k in range(60)]
    for _ in range(rng.randrange(3)):
        rows[rng.randrange(len(rows))] = line(_random_value(rng), rng.choice([1, 2]), rating=rng.choice([1, "2", None]))
    path = store(*rows)

    def outcome():
        try:
            table = read(path, bad_rows="skip" if seed % 3 else "error")
        except DataError as error:
            return str(error)
        return table.frame.to_dict("list"), table.provenance

    usual = outcome()
    monkeypatch.setattr(json_lines, "_BLOCK_BYTES", 256)
    small_blocks = outcome()
    monkeypatch.setattr(json_lines, "_parse_typed", lambda *args: None)
    assert small_blocks == usual
    assert outcome() == usual


def test_key_of_a_role_that_the_first_rows_lack_is_refused(write):
    row = '{"user_id": 1, "item_id": 1}\n'
    path = write("a.jsonl", row * 1500 + '{"user_id": 2, "item_id": 2, "star_rating": 4}\n')
    with pytest.raises(
        DataError, match=r"a\.jsonl: row 1501: has 'star_rating', .* set data\.columns: \{rating: null\}"
    ):
        read_file(path, ReadOptions())
    assert len(read_file(path, ReadOptions(columns={"rating": None})).frame) == 1501
    nested = write("b.jsonl", row * 1500 + '{"user_id": 2, "item_id": 2, "more": {"rating": 4}}\n')
    assert list(read_file(nested, ReadOptions()).frame) == ["user_id", "item_id"]
