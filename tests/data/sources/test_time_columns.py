from __future__ import annotations

import datetime as dt

import pandas as pd
import pyarrow as pa
import pytest

from recctl import InteractionDataset
from recctl.data.sources import ReadOptions, read_source
from recctl.data.sources.readers.column_roles import roles_from_header
from recctl.data.sources.readers.read_file import read_file
from recctl.data.sources.readers.time_columns import find_unused_columns, hold_times
from recctl.errors import DataError

_SECONDS = [1_600_000_000 + 86_400 * i for i in range(20)]
_DATES = [dt.datetime.fromtimestamp(seconds, dt.UTC).replace(tzinfo=None) for seconds in _SECONDS]


def _unused(names, mapping):
    roles = roles_from_header(names, mapping, "f.csv")
    return find_unused_columns(names, len(names), mapping, roles, "f.csv")


def _table(when):
    n = len(when)
    return pd.DataFrame({"user_id": range(n), "item_id": range(n), "title": ["Heat (1995)"] * n, "when": when})


def _write(table, path):
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    elif path.suffix == ".jsonl":
        table.to_json(path, orient="records", lines=True)
    elif path.suffix == ".feather":
        table.to_feather(path)
    elif path.suffix == ".arrow":
        arrow_table = pa.Table.from_pandas(table, preserve_index=False)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, arrow_table.schema) as writer:
            writer.write_table(arrow_table)
    else:
        table.to_parquet(path)


def test_unused_column_of_times_is_reported(listener):
    names = ["customer_id", "product_id", "bought_at"]
    assert _unused(names, {}).names == ("bought_at",)
    (notice,) = listener.notices
    assert notice.startswith("f.csv: read without timestamps, although the column bought_at may have them; ")
    assert notice.endswith("; set data.columns: {timestamp: bought_at}, or {timestamp: null} if it has none")


def test_several_unused_columns_of_times_are_all_named(listener):
    unused = _unused(["user_id", "item_id", "price", "bought_at", "changed_at"], {})
    assert unused.names == ("bought_at", "changed_at", "price")
    (notice,) = listener.notices
    assert "one of the columns bought_at, changed_at may have them; set data.columns: {timestamp: bought_at}" in notice


@pytest.mark.parametrize(
    ("names", "mapping"),
    [
        (["user_id", "item_id", "bought_at"], {"timestamp": None}),
        (["user_id", "item_id", "bought_at", "timestamp"], {}),
        (["user_id", "item_id", "created_at", "updated_at"], {}),  # the first one has a well-known name
        (["user_id", "item_id", "price"], {}),
        (["user_id", "item_id", "release_date", "birth_date"], {}),
    ],
)
def test_columns_that_are_no_times_of_interactions_are_not_reported(listener, names, mapping):
    _unused(names, mapping)
    assert listener.notices == []


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "feather", "arrow"])
@pytest.mark.parametrize(
    "when",
    [_SECONDS, [1000 * s for s in _SECONDS], [s + 0.5 for s in _SECONDS], [f"{d:%d.%m.%Y %H:%M}" for d in _DATES]],
    ids=["seconds", "milliseconds", "fractions", "dates"],
)
def test_column_whose_values_are_times_is_reported_whatever_its_name(listener, tmp_path, suffix, when):
    path = tmp_path / f"f.{suffix}"
    _write(_table(when), path)
    table = read_file(path, ReadOptions())
    assert [notice.split("; ")[0] for notice in listener.notices] == [
        f"f.{suffix}: read without timestamps, although the column when may have them"
    ]
    assert table.unused.names == ("when", "title")


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
@pytest.mark.parametrize("to_type", [lambda d: d, lambda d: d.date()], ids=["datetime", "date"])
def test_column_of_a_type_for_times_is_reported(listener, tmp_path, suffix, to_type):
    path = tmp_path / f"f.{suffix}"
    # Without a value that could be looked at.
    _write(_table([None] * 30 + [to_type(date) for date in _DATES]), path)
    read_file(path, ReadOptions())
    assert "the column when may have them" in listener.notices[0]


def test_column_of_a_type_for_times_is_reported_in_a_folder_of_unequal_parts(listener, tmp_path):
    folder = tmp_path / "events"
    for day in (1, 2):
        (folder / f"day={day}").mkdir(parents=True)
        _write(_table(_DATES), folder / f"day={day}" / "part.parquet")
    table = read_file(folder, ReadOptions())
    (notice,) = [notice for notice in listener.notices if "timestamps" in notice]
    assert "the column when may have them; set data.columns: {timestamp: when}" in notice
    assert table.unused.names == ("when", "title", "day")


def test_column_of_times_without_a_name_is_reported_by_position(listener, tmp_path):
    path = tmp_path / "f.csv"
    _table(_SECONDS).to_csv(path, index=False, header=False)
    read_file(path, ReadOptions(columns={"user_id": 0, "item_id": 1}, header=False))
    assert "the column 3 may have them; set data.columns: {user_id: 0, item_id: 1, timestamp: 3}" in listener.notices[0]


@pytest.mark.parametrize(
    "values",
    [
        ["1600000000", "1600000000000"],  # of no single unit
        ["1600000000", "12"],
        ["12", "40"],
        ["2019", "2020"],
        ["Heat (1995)", "Se7en (1995)"],
        ["1.2.03", "1.3.01"],
        ["3600000000"],
        ["2020-05-01", "unknown 2020"],
        [],
    ],
)
def test_values_that_are_not_all_times_are_no_times(values):
    assert not hold_times(values)


@pytest.mark.parametrize(
    "values", [["2020-05-01", "2020-05-01T12:00:00Z"], ["20200501", "20201231"], ["May 01, 2020"], ["978300760.0"]]
)
def test_dates_and_seconds_are_times(values):
    assert hold_times(values)


def test_numbers_of_an_id_column_are_no_times(listener, tmp_path):
    path = tmp_path / "f.csv"
    _table(_SECONDS).rename(columns={"when": "order_id"}).to_csv(path, index=False)
    read_file(path, ReadOptions())
    assert listener.notices == []


def test_damaged_column_that_is_not_needed_does_not_keep_a_file_from_being_read(listener, tmp_path):
    path = tmp_path / "f.parquet"
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.Table.from_pandas(_table(_SECONDS)), path, compression="none", use_dictionary=False)
    offset = pq.ParquetFile(path).metadata.row_group(0).column(3).data_page_offset
    content = bytearray(path.read_bytes())
    content[offset : offset + 20] = b"\xff" * 20
    path.write_bytes(bytes(content))
    assert len(read_file(path, ReadOptions())) == len(_SECONDS)


@pytest.mark.parametrize(
    "split",
    ["{strategy: temporal}", "{strategy: temporal, test_days: 3}", "{strategy: rolling, n_windows: 2, test_days: 2}"],
)
def test_split_that_needs_times_names_the_unused_columns(recctl, workdir, split):
    _table(_SECONDS).to_csv(workdir / "f.csv", index=False)
    (workdir / "c.yaml").write_text(f"data: {{source: f.csv}}\nmodel: {{name: popularity}}\nsplit: {split}\n")
    done = recctl("split", "c.yaml")
    assert done.code == 3
    assert "no column timestamp; not used: when, title; set data.columns: {timestamp: when}, or" in done.err


def test_leave_last_without_times_names_the_unused_columns(recctl, workdir):
    _table(_SECONDS).assign(user_id=[i % 4 for i in range(20)]).to_csv(workdir / "f.csv", index=False)
    (workdir / "c.yaml").write_text("data: {source: f.csv}\nmodel: {name: popularity}\nsplit: {strategy: leave_last}\n")
    done = recctl("split", "c.yaml")
    assert done.code == 0
    assert "the order of rows is taken as the order of time; not used: when, title; " in done.err


def test_table_in_python_with_another_name_of_times_names_the_unused_columns():
    dataset = InteractionDataset(_table(_SECONDS))
    with pytest.raises(DataError, match="not used: title, when; rename the column of times to timestamp"):
        dataset.split(strategy="temporal")


def test_notice_in_python_names_the_argument(tmp_path):
    path = tmp_path / "f.csv"
    _table(_SECONDS).to_csv(path, index=False)
    with pytest.warns(match=r"the column when may have them; .*columns={'timestamp': 'when'}"):
        read_source(path)
