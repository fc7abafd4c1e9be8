from __future__ import annotations

import gzip

import pyarrow as pa
import pyarrow.feather
import pytest

from recctl.data.sources import ReadOptions
from recctl.data.sources.readers.read_file import read_file
from recctl.errors import DataError

TABLE = pa.table(
    {
        "title": ["x", "y", "z"],
        "user_id": pa.array(["ann", "боб", "ann"]).dictionary_encode(),
        "item_id": [1, 2, 3],
        "rating": [1.0, 2.0, 4.5],
        "timestamp": pa.array([5000, 6000, 7000], pa.timestamp("ms")),
    }
)


def read(path, **options):
    return read_file(path, ReadOptions(**options))


@pytest.fixture
def store(tmp_path):
    def make(table, name="x.arrow"):
        path = tmp_path / name
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
        return path

    return make


@pytest.mark.parametrize("kind", ["file", "stream", "feather", "lz4", "gzip", "no suffix"])
def test_files_and_streams_are_read(store, tmp_path, kind):
    path = store(TABLE)
    if kind == "stream":
        path = tmp_path / "x.arrows"
        with pa.ipc.new_stream(path, TABLE.schema) as writer:
            writer.write_table(TABLE, max_chunksize=2)
    elif kind in ("feather", "lz4"):
        path = tmp_path / "x.feather"
        pyarrow.feather.write_feather(TABLE, path, compression="lz4" if kind == "lz4" else "uncompressed")
    elif kind == "gzip":
        path = tmp_path / "x.arrow.gz"
        path.write_bytes(gzip.compress(store(TABLE).read_bytes()))
    elif kind == "no suffix":
        path = store(TABLE, "table")
    table = read(path)
    assert table.provenance["format"] == "arrow"
    assert table.frame.to_dict("list") == {
        "user_id": ["ann", "боб", "ann"],
        "item_id": [1, 2, 3],
        "rating": [1.0, 2.0, 4.5],
        "timestamp": [5, 6, 7],
    }


def test_extra_columns_are_text(store):
    frame = read(store(TABLE), extra_columns=("title",)).frame
    assert frame["title"].tolist() == ["x", "y", "z"]
    with pytest.raises(DataError, match=r"x\.arrow: no column 'titel'; did you mean title?"):
        read(store(TABLE), extra_columns=("titel",))


def test_bad_rows_are_named_or_skipped(store):
    path = store(pa.table({"user_id": ["a", None, "b"], "item_id": [1, 2, 3], "event": ["x", "y", "z"]}))
    with pytest.raises(DataError, match=r"x\.arrow: row 2: user_id is missing"):
        read(path)
    frame = read(path, bad_rows="skip", extra_columns=("event",)).frame
    assert frame.to_dict("list") == {"user_id": ["a", "b"], "item_id": [1, 3], "event": ["x", "z"]}


def test_damaged_and_empty_files_are_refused(store, write, tmp_path):
    content = store(TABLE).read_bytes()
    with pytest.raises(DataError, match=r"y\.arrow: can't be read: .*truncated or damaged"):
        read(write("y.arrow", content[:-50]))
    with pytest.raises(DataError, match=r"z\.arrow: can't be read"):
        read(write("z.arrow", "user_id,item_id\n1,2\n"))
    with pytest.raises(DataError, match="holds no rows"):
        read(store(TABLE[:0]))


def test_text_with_damaged_offsets_is_refused(store, write):
    table = pa.table({"user_id": ["abcd", "efgh"], "item_id": [1, 2]})
    content = bytearray(store(table).read_bytes())
    offsets = content.find((4).to_bytes(4, "little") + (8).to_bytes(4, "little"))
    content[offsets : offsets + 4] = (1 << 30).to_bytes(4, "little")
    with pytest.raises(DataError, match="can't be read"):
        read(write("damaged.arrow", bytes(content)))
