from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recctl.data.sources import ReadOptions
from recctl.data.sources.readers import parquet
from recctl.data.sources.readers.read_file import read_file
from recctl.errors import DataError

WHEN = datetime(2020, 5, 17, 12, 30, tzinfo=UTC)
SECONDS = 1589718600


def read(path, **options):
    return read_file(path, ReadOptions(**options))


@pytest.fixture
def store(tmp_path):
    def make(name="x.parquet", schema=None, **columns):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns, schema=schema), path, row_group_size=1000)
        return path

    return make


def test_columns_are_assigned_and_cast(store):
    n = 5000
    rng = np.random.default_rng(1)
    users, items = rng.integers(0, 99, n), rng.integers(0, 99, n).astype(np.uint16)
    ratings, times = rng.integers(1, 6, n), rng.integers(0, 10**9, n).astype(np.int32)
    frame = read(store(movieId=items, title=["x"] * n, userId=users, score=ratings, ts=times)).frame
    assert frame.columns.tolist() == ["user_id", "item_id", "rating", "timestamp"]
    assert [str(t) for t in frame.dtypes] == ["int64", "int64", "float32", "int64"]
    for got, want in zip(frame.to_numpy().T, (users, items, ratings, times), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_text_ids_of_any_arrow_type_are_read(store, kind):
    frame = read(store(user=pa.array(["ann", "боб", "7"], pa.string()).cast(kind), item=[1, 2, 3])).frame
    assert frame["user_id"].tolist() == ["ann", "боб", "7"]
    assert pd.api.types.is_string_dtype(frame["user_id"])


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (pa.array([WHEN], pa.timestamp("ms")), SECONDS),
        (pa.array([WHEN], pa.timestamp("ns")), SECONDS),
        (pa.array([WHEN], pa.timestamp("s", "Europe/Berlin")), SECONDS),
        (pa.array([WHEN + timedelta(milliseconds=250)], pa.timestamp("us")), SECONDS + 0.25),
        (pa.array([date(2020, 5, 17)], pa.date32()), SECONDS // 86400 * 86400),
        (pa.array([float(SECONDS)]), SECONDS),
        (pa.array([SECONDS + 0.5]), SECONDS + 0.5),
        (pa.array(["2020-05-17T12:30:00"]), SECONDS),
        (pa.array([str(SECONDS)]), SECONDS),
    ],
)
def test_timestamps_of_any_type_become_seconds(store, times, expected):
    got = read(store(user=[1], item=[2], timestamp=times)).frame["timestamp"]
    assert got.tolist() == [expected]
    assert got.dtype == (np.int64 if isinstance(expected, int) else np.float64)


def test_decimal_and_text_ratings_are_converted(store):
    path = store(user=[1, 2], item=[2, 3], rating=[Decimal("4.5"), Decimal("1.0")], time=[5000, 7500])
    frame = read(path, timestamp_unit="ms").frame
    assert frame["timestamp"].tolist() == [5.0, 7.5]
    assert frame["rating"].tolist() == [4.5, 1.0]
    assert read(store(user=[1], item=[2], rating=["3.5"])).frame["rating"].tolist() == [3.5]


def test_id_type_option_sets_the_type(store):
    path = store(user=["1", "2"], item=[3, 4])
    assert read(path, id_type="int").frame["user_id"].tolist() == [1, 2]
    assert read(path, id_type="text").frame["item_id"].tolist() == ["3", "4"]


def test_folder_of_parts_with_hive_partitions_is_read(store, tmp_path):
    for month in (1, 2):
        for part in (0, 1):
            store(
                f"data/month={month}/part-{part}.parquet", user=[10 * month + part], item=[part], rating=[float(month)]
            )
    (tmp_path / "data" / "_SUCCESS").touch()
    store("data/_temporary/part-9.parquet", user=[99], item=[9], rating=[1.0])
    frame = read(tmp_path / "data").frame
    assert frame["user_id"].tolist() == [10, 11, 20, 21]
    # A column that exists only in the folder names can be used like any other.
    by_month = read(tmp_path / "data", columns={"user_id": "user", "item_id": "month"}).frame
    assert by_month["item_id"].tolist() == [1, 1, 2, 2]


def test_parquet_is_detected_from_the_content(store):
    assert len(read(store("no-suffix", user=[1], item=[2])).frame) == 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user": [1, None], "item": [1, 2]}, r"x\.parquet: row 2: user_id is missing"),
        ({"user": ["a", ""], "item": [1, 2]}, r"x\.parquet: row 2: user_id is missing"),
        ({"user": [1, 2], "item": [1, 2], "rating": [1.0, np.nan]}, "row 2: rating nan is not a finite number"),
        ({"user": [1, 2], "item": [1, 2], "rating": ["1", "x"]}, "row 2: rating 'x' is not a number"),
        ({"user": [1, 2], "item": [1, 2], "time": [1, -2]}, "row 2: timestamp -2 is negative"),
        ({"user": [1, 2], "item": [1, 2], "time": [1.0, np.inf]}, "row 2: timestamp inf is not a finite number"),
        (
            {"user": [1, 2], "item": [1, 2], "time": [WHEN, WHEN.replace(year=1969)]},
            "row 2: timestamp 1969-05-17 12:30:00.* is before 1970",
        ),
        ({"user": [1, 2], "item": [1, 2], "time": [1, 10**12]}, "row 2: timestamp 1000000000000 is after"),
        (
            {"user": pa.array([1, 2**63], pa.uint64()), "item": [1, 2]},
            "row 2: user_id 9223372036854775808 is beyond int64",
        ),
        ({"user": [1.0, 2.5], "item": [1, 2]}, r"row 2: user_id 2\.5 is not a whole number"),
        (
            {"user": [1.0, 2.0**53 + 2], "item": [1, 2]},
            r"row 2: user_id 9007199254740994\.0 is not a whole number up to",
        ),
        (
            {"user": pa.array(np.array([1, 2**24 + 2], np.float32)), "item": [1, 2]},
            r"row 2: user_id 16777218\.0 is not",
        ),
        ({"user": [1.0, np.nan], "item": [1, 2]}, "row 2: user_id .*is missing"),
        ({"user": pa.array([1, None], pa.float64()), "item": [1, 2]}, "row 2: user_id is missing"),
        ({"user": [Decimal("1.0"), Decimal("2.5")], "item": [1, 2]}, r"row 2: user_id 2\.5 is not a whole number"),
        ({"user": [Decimal(1), Decimal(2**63)], "item": [1, 2]}, r"row 2: user_id 9223372036854775808 is .* int64"),
        ({"user": [b"a", b"\xff"], "item": [1, 2]}, r"row 2: user_id b'\\xff' is not UTF-8 text"),
        ({"user": pa.array([b"a", b"b"], pa.binary(1)), "item": [1, 2]}, r"user_id is of type fixed_size_binary\[1\]"),
        ({"user": [date(2020, 5, 17)], "item": [1]}, r"user_id is of type date32"),
        ({"user": [1], "item": [1], "time": [timedelta(seconds=1)]}, "timestamp is of type duration.* points in time"),
        ({"user": [1], "item": [1], "time": [WHEN.time()]}, "timestamp is of type time64.* points in time"),
        ({"user": [1, 2], "item": [1, 2], "rating": pa.nulls(2)}, "row 1: rating is missing"),
        ({"user": [True, False], "item": [1, 2]}, "user_id is of type bool"),
        ({"user": [[1], [2]], "item": [1, 2]}, "user_id is of type list"),
        ({"user": [1, 2], "item": [1, 2], "rating": [[1], [2]]}, "rating is of type list.* must hold numbers"),
        ({"user": [1, 2], "item": [1, 2], "time": [[1], [2]]}, "timestamp is of type list.* must hold numbers"),
        ({"who": [1], "item": [1]}, r"no user_id column among who, item"),
        ({"user": pa.array([], pa.int64()), "item": pa.array([], pa.int64())}, r"x\.parquet: the file holds no rows"),
    ],
)
def test_bad_column_or_value_is_named(store, columns, message):
    with pytest.raises(DataError, match=message):
        read(store(**columns))


def test_more_rows_than_fit_in_memory_are_rejected(store, monkeypatch):
    path = store(user=np.arange(10_000), item=np.arange(10_000))
    monkeypatch.setenv("RECCTL_MEMORY", "79000")
    with pytest.raises(DataError, match=r"x\.parquet: 10,000 rows need more than 80.0 kB of memory, 79.0 kB are"):
        read(path)
    monkeypatch.setenv("RECCTL_MEMORY", "80000")
    assert len(read(path).frame) == 10_000


def test_row_groups_with_a_wrong_row_count_are_rejected():
    corpus = Path(__file__).parents[2] / "fuzz" / "corpus" / "parquet"
    with pytest.raises(DataError, match="announces 2 rows and holds 33406514814"):
        read(corpus / "too-many-rows.parquet")
    with pytest.raises(DataError, match="announces 3 rows and holds 0"):
        read(corpus / "fewer-values.parquet")


def test_implausible_row_count_for_the_file_size_is_rejected(store, monkeypatch):
    n = 1_000_000
    path = store(user=np.zeros(n, int), item=np.zeros(n, int))
    assert len(read(path).frame) == n
    monkeypatch.setattr(parquet, "_MAX_ROWS_PER_BYTE", n // path.stat().st_size)
    with pytest.raises(DataError, match=rf"x\.parquet: can't be read: the file announces {n} rows in \d+ bytes"):
        read(path)


def test_damaged_column_statistics_are_rejected():
    """pyarrow aborts the process if these statistics are accessed."""
    corpus = Path(__file__).parents[2] / "fuzz" / "corpus" / "parquet"
    with pytest.raises(DataError, match=r"histogram\.parquet: can't be read: .*histogram"):
        read(corpus / "histogram.parquet")


@pytest.mark.parametrize("last", [2**31 - 1, 2**31, -(2**31), -(2**31) - 1])
@pytest.mark.parametrize("statistics", [True, False])
def test_ids_are_int32_if_all_fit(tmp_path, last, statistics):
    users = np.r_[np.arange(4999), last]
    path = tmp_path / "x.parquet"
    table = pa.table({"user": users, "item": users[::-1]})
    pq.write_table(table, path, row_group_size=1000, write_statistics=statistics)
    columns = read(path).columns
    assert columns["user_id"].dtype == (np.int32 if -(2**31) <= last < 2**31 else np.int64)
    np.testing.assert_array_equal(columns["user_id"], users)
    np.testing.assert_array_equal(columns["item_id"], users[::-1])


def test_empty_row_groups_are_ignored(tmp_path):
    path = tmp_path / "x.parquet"
    table = pa.table({"user": [1, 2], "item": [3, 4]})
    with pq.ParquetWriter(path, table.schema) as writer:
        for part in (table[:0], table[:1], table[:0], table[1:]):
            writer.write_table(part)
    columns = read(path).columns
    assert columns["user_id"].dtype == np.int32
    assert columns["item_id"].tolist() == [3, 4]


def test_text_ids_of_digits_stay_text(store):
    assert read(store(user=["1", "2"], item=["7", "8"])).frame["user_id"].tolist() == ["1", "2"]
    slow = read(store(user=["1", None, "2"], item=["7", "8", "9"]), bad_rows="skip").frame
    assert slow["user_id"].tolist() == ["1", "2"]
    assert slow["item_id"].tolist() == ["7", "9"]


def test_frame_is_writable(store):
    frame = read(store(user=[1, 2], item=[3, 4], rating=np.array([1, 2], np.float32), time=[5, 6])).frame
    frame.loc[0, ["user_id", "item_id", "timestamp"]] = 9
    frame.loc[1, "rating"] = 0.5
    assert frame.to_numpy().tolist() == [[9, 9, 1, 9], [2, 4, 0.5, 6]]


@pytest.mark.parametrize("n_threads", [1, 2, 7])
def test_result_does_not_depend_on_the_number_of_threads(store, monkeypatch, n_threads):
    monkeypatch.setenv("RECCTL_THREADS", str(n_threads))
    n = 10_500  # eleven row groups
    rng = np.random.default_rng(2)
    columns = {
        "user": [f"u{user}" for user in rng.integers(0, 9, n)],
        "item": rng.integers(0, 9, n),
        "rating": rng.random(n),
        "time": rng.integers(0, 10**9, n),
    }
    frame = read(store(**columns), timestamp_unit="ms").frame
    assert frame["user_id"].tolist() == columns["user"]
    np.testing.assert_array_equal(frame["item_id"], columns["item"])
    np.testing.assert_array_equal(frame["rating"], columns["rating"].astype(np.float32))
    np.testing.assert_allclose(frame["timestamp"], columns["time"] / 1000, rtol=1e-15)
    with pytest.raises(DataError, match=r"x\.parquet: row 10123: timestamp -1 is negative"):
        read(store(**(columns | {"time": np.where(np.arange(n) == 10_122, -1, columns["time"])})))


def test_bad_rows_are_skipped(store, notices):
    table = read(store(user=[1, None, 3, 4], item=["a", "b", None, "d"], time=[WHEN] * 4), bad_rows="skip")
    assert table.frame["user_id"].tolist() == [1, 4]
    assert table.frame["timestamp"].tolist() == [SECONDS] * 2
    assert table.provenance["rows_skipped"] == 2
    assert len(notices) == 1


def test_bad_row_in_a_folder_is_named_by_its_part(store, tmp_path):
    store("data/a.parquet", user=[1, 2], item=[1, 2])
    store("data/b.parquet", user=[1, 2, None], item=[1, 2, 3])
    with pytest.raises(DataError, match=r"b\.parquet: row 3: user_id is missing"):
        read(tmp_path / "data")


def test_truncated_or_foreign_file_is_rejected(store, write, tmp_path):
    path = store(user=np.arange(5000), item=np.arange(5000))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"x\.parquet: can't be read: .*truncated or damaged"):
        read(path)
    with pytest.raises(DataError, match=r"y\.parquet: can't be read"):
        read(write("y.parquet", "user,item\n1,2\n"))
    store("data/a.parquet", user=[1, 2], item=[1, 2])
    store("data/b.parquet", user=["x", "y"], item=[1, 2])
    with pytest.raises(DataError, match=r"user_id is text in data/b\.parquet and whole numbers in data/a\.parquet"):
        read(tmp_path / "data")


def test_empty_folder_is_rejected(tmp_path):
    (tmp_path / "empty").mkdir()
    for file_format in ("auto", "parquet"):
        with pytest.raises(DataError, match="empty: the folder holds no files"):
            read(tmp_path / "empty", format=file_format)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pa.array([Decimal(1), Decimal(2)], pa.decimal128(38, 0)), [1, 2]),
        (pa.array([Decimal(1), Decimal(2)], pa.decimal256(60, 2)), [1, 2]),
        (pa.array([17850.0, -2.0]), [17850, -2]),
        (pa.array([17850.0, 2.0], pa.float32()), [17850, 2]),
        (pa.array(np.array([7, 8], np.float16)), [7, 8]),
        (pa.array([1, 2], pa.uint8()), [1, 2]),
        (pa.array([1, 2], pa.uint64()), [1, 2]),
        (pa.array([1, 2]).dictionary_encode(), [1, 2]),
        (pa.array([b"a", b"7"]), ["a", "7"]),
        (pa.array([" a", "a "]), ["a", "a"]),
        (
            pa.ExtensionArray.from_storage(pa.uuid(), pa.array([UUID(int=1).bytes, UUID(int=2).bytes], pa.binary(16))),
            [str(UUID(int=1)), str(UUID(int=2))],
        ),
    ],
)
def test_ids_of_any_type_become_int_or_text(store, ids, expected):
    path = store(user=ids, item=[1, 2])
    assert read(path).frame["user_id"].tolist() == expected
    assert read(path, id_type="text").frame["user_id"].tolist() == [str(value) for value in expected]
    slow = store(user=pa.concat_arrays([ids, pa.nulls(1, ids.type)]), item=[1, 2, 3])
    assert read(slow, bad_rows="skip").frame["user_id"].tolist() == expected


def test_booleans_are_ratings_of_0_and_1(store):
    path = store(user=[1, 2, 3], item=[1, 2, 3], liked=[True, False, True])
    assert read(path, columns={"rating": "liked"}).frame["rating"].tolist() == [1, 0, 1]
    path = store(user=[1, 2], item=[1, 2], liked=[True, None])
    table = read(path, columns={"rating": "liked"}, bad_rows="skip")
    assert table.frame["rating"].tolist() == [1]


def test_ratings_that_are_no_numbers_are_left_out_if_ratings_are_not_used(store, notices):
    for ratings in ([[1], [2]], ["good", "bad"], [date(2020, 5, 17)] * 2):
        table = read(store(user=[1, 2], item=[1, 2], rating=ratings), needs_ratings=False)
        assert list(table.columns) == ["user_id", "item_id"]
    assert len(notices) == 3
    assert all("left out" in notice for notice in notices)


def test_decimal_timestamps_become_seconds(store):
    path = store(user=[1, 2], item=[1, 2], time=[Decimal("1.5"), Decimal("3.0")])
    assert read(path).frame["timestamp"].tolist() == [1.5, 3]


def test_columns_of_the_same_name_are_read_by_position(tmp_path):
    names = ["user_id", "item_id", "rating", "rating"]
    pq.write_table(pa.table([[1], [2], [3.0], [4.0]], names=names), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="several columns may be rating"):
        read(tmp_path / "x.parquet")
    for position in (2, 3):
        frame = read(tmp_path / "x.parquet", columns={"rating": position}).frame
        assert frame["rating"].tolist() == [position + 1]


def test_extra_columns_are_text(store):
    path = store(user=[1, None], item=[1, 2], event=["view", None], n=[1.5, 2.0], when=[WHEN, WHEN])
    frame = read(path, extra_columns=("event", "n"), bad_rows="skip").frame
    assert frame.to_dict("list") == {"user_id": [1], "item_id": [1], "event": ["view"], "n": ["1.5"]}
    with pytest.raises(DataError, match=r"x\.parquet: no column 'evnt'; did you mean event?"):
        read(path, extra_columns=("evnt",))
