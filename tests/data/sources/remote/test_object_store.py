"""Sources in an object store: files, folders and patterns of S3."""

from __future__ import annotations

import io
import traceback
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recctl.data.sources import ReadOptions, read_source
from recctl.data.sources.remote import files
from recctl.data.sources.tables import find_table, read_titles
from recctl.errors import ConfigError, DataError
from tests.conftest import skip_without
from tests.data.sources.remote.servers import Store, s3_server

skip_without("fsspec", "pip install 'recctl[remote]'")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An S3 server with a bucket whose name is in a variable."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter7766")
    monkeypatch.setenv("SHOP_BUCKET", "shopbucket77")
    with s3_server() as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL", store.url)
        yield store


def _frame(n_rows: int = 300) -> pd.DataFrame:
    rows = np.arange(n_rows)
    return pd.DataFrame({"user_id": rows % 37, "item_id": rows % 11, "timestamp": 1_600_000_000 + rows})


def _parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, compression=None, row_group_size=20_000)
    return buffer.getvalue()


def test_parts_of_a_hive_folder_are_read_as_one_table(store: Store) -> None:
    frame = _frame()
    for day in (10, 2, 1):
        store.objects[f"shopbucket77/events/day={day}/part-0.parquet"] = _parquet(frame[frame["item_id"] == day])
    store.objects["shopbucket77/events/_SUCCESS"] = b""
    store.objects["shopbucket77/other/x.csv"] = b"1,2\n"
    table = read_source("s3://${SHOP_BUCKET}/events", ReadOptions(extra_columns=("day",)))
    # In the order of local folders: 1, 2, 10.
    expected = [item for day in (1, 2, 10) for item in frame["item_id"] if item == day]
    assert table.frame["item_id"].tolist() == expected
    assert table.frame["day"].tolist() == [str(item) for item in expected]
    assert table.provenance["source"] == "s3://${SHOP_BUCKET}/events"
    assert "shopbucket77" not in str(table.provenance)


@pytest.mark.parametrize("pattern", ["day=*/*.csv", "day=[12]/part.csv", "**/*.csv", "day=?/"])
def test_pattern_selects_the_files_that_it_matches(store: Store, pattern: str) -> None:
    for day in (1, 2):
        store.objects[f"shopbucket77/events/day={day}/part.csv"] = f"user_id,item_id\n{day},5\n".encode()
    store.objects["shopbucket77/events/day=1/notes.txt"] = b"" if pattern.endswith("/") else b"no table"
    table = read_source(f"s3://shopbucket77/events/{pattern}")
    assert sorted(table.frame["user_id"]) == [1, 2]


def test_compressed_file_is_read_by_its_name_and_content(store: Store) -> None:
    buffer = io.BytesIO()
    _frame().to_csv(buffer, index=False, compression="gzip")
    store.objects["shopbucket77/a b/events.csv.gz"] = buffer.getvalue()
    assert read_source("s3://shopbucket77/a b/events.csv.gz").frame.equals(_frame())


def test_of_a_large_parquet_file_only_the_columns_that_are_needed_are_downloaded(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_HASHED_BYTES", 1000)
    frame = _frame(50_000)
    # Bytes that no code makes smaller.
    frame["payload"] = [
        row.tobytes().hex() for row in np.random.default_rng(1).integers(0, 255, (50_000, 40), np.uint8)
    ]
    frame["channel"] = ["web", "app"] * 25_000
    content = _parquet(frame)
    store.objects["shopbucket77/events.parquet"] = content
    table = read_source("s3://shopbucket77/events.parquet", ReadOptions(extra_columns=("channel",)))
    assert table.frame.equals(frame.drop(columns="payload"))
    assert store.sent_bytes < len(content) / 4


def test_file_that_is_too_large_is_refused_before_it_is_downloaded(store: Store) -> None:
    store.objects["shopbucket77/events.csv"] = b"1,2\n" * 1000
    with pytest.raises(DataError, match=r"holds more than 1e-06 GB"):
        read_source("s3://shopbucket77/events.csv", ReadOptions(max_download_gb=1e-6))
    assert store.sent_bytes == 0


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("s3://${SHOP_BUCKET}/nothing.csv", r"s3://\$\{SHOP_BUCKET\}/nothing.csv: does not exist"),
        ("s3://${SHOP_BUCKET}/nothing/*.csv", "no file matches the pattern"),
    ],
)
def test_missing_object_is_an_error_that_shows_the_template(store: Store, url: str, problem: str) -> None:
    store.objects["shopbucket77/events.csv"] = b"1,2\n"
    with pytest.raises(DataError, match=problem) as raised:
        read_source(url)
    assert "shopbucket77" not in str(raised.value)


def test_bad_row_is_named_by_its_file_without_the_value_of_a_variable(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_FOLDER", "privatefolder")
    store.objects["shopbucket77/privatefolder/a.csv"] = b"user_id,item_id,rating\n1,2,3\n1,3,x\n"
    with pytest.raises(DataError, match=r"a.csv.*x.*is not a number") as raised:
        read_source("s3://shopbucket77/${SHOP_FOLDER}")
    assert "privatefolder" not in str(raised.value)


def test_value_of_a_variable_is_in_no_name_of_a_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_NAME", "privatename")
    for number in (1, 2):
        store.objects[f"shopbucket77/privatename-{number}/a.csv"] = b"user_id,item_id\n1,2\n"
    store.objects["shopbucket77/privatename.csv"] = b"user_id,item_id\n1,2\n"
    table = read_source("s3://shopbucket77/${SHOP_NAME}-*/a.csv")
    names = [part["file"].partition("/")[2] for part in table.provenance["files"]]
    assert names == ["${SHOP_NAME}-1/a.csv", "${SHOP_NAME}-2/a.csv"]
    store.objects["shopbucket77/privatename-1/a.csv"] += b"1,\n"
    with pytest.raises(DataError, match="item_id") as raised:
        read_source("s3://shopbucket77/${SHOP_NAME}-*/a.csv")
    assert "privatename" not in "".join(traceback.format_exception(raised.value))
    assert find_table("items", "s3://shopbucket77/${SHOP_NAME}.csv", Path()).name == "source.csv"


def test_object_that_is_replaced_while_it_is_read_is_an_error(store: Store) -> None:
    store.objects["shopbucket77/events.csv"] = b"user_id,item_id\n1,2\n"

    def replace() -> None:
        store.objects["shopbucket77/events.csv"] = b"user_id,item_id\n3,4\n"
        store.modified = "Thu, 01 Jan 2026 00:00:09 GMT"

    store.on_get = replace
    with pytest.raises(DataError, match=r"events.csv: was changed while it was read; try again"):
        read_source("s3://shopbucket77/events.csv")
    assert read_source("s3://shopbucket77/events.csv").frame["user_id"].tolist() == [3]


def test_delta_lake_table_in_a_store_is_refused_without_downloading_its_log(store: Store) -> None:
    store.objects["shopbucket77/events/_delta_log/0.json"] = b"{}"
    store.objects["shopbucket77/events/part-0.parquet"] = _parquet(_frame(5))
    with pytest.raises(DataError, match="is a Delta Lake table"):
        read_source("s3://shopbucket77/events")
    assert not [path for _, path, _ in store.requests if "0.json" in path]


def test_table_of_items_is_copied_once(store: Store, tmp_path: Path) -> None:
    store.objects["shopbucket77/items.csv"] = b"sku,name\n5,five\n"
    paths = {find_table("items", "s3://${SHOP_BUCKET}/items.csv", tmp_path) for _ in range(2)}
    ids, titles = read_titles(paths.pop(), "sku", "name")
    assert (ids.to_pylist(), titles.to_pylist()) == (["5"], ["five"])
    assert not paths
    assert len([method for method, path, _ in store.requests if method == "GET" and "items.csv" in path]) == 1


def test_protocol_without_its_package_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match=r"foo:// is unknown; use s3://, gs://, https://"):
        read_source("foo://bucket/events.csv")
