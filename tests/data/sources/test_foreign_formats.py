from __future__ import annotations

import gzip
import io
import pickle
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recctl.data.sources import ReadOptions
from recctl.data.sources.readers.read_file import read_file
from recctl.errors import DataError


def archive(**members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, text in members.items():
            file.writestr(name, text)
    return content.getvalue()


def npz():
    content = io.BytesIO()
    np.savez(content, users=np.arange(3))
    return content.getvalue()


WORKBOOK = archive(**{"[Content_Types].xml": "x", "xl/workbook.xml": "x", "xl/worksheets/sheet1.xml": "x"})
SPREADSHEET = archive(mimetype="application/vnd.oasis.opendocument.spreadsheet", **{"content.xml": "x"})
TAR = b"ratings.csv".ljust(257, b"\0") + b"ustar\x0000" + b"\0" * 200


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.xlsx", WORKBOOK, "is an Excel workbook; export the sheet with the interactions as CSV"),
        ("r.zip", WORKBOOK, "is an Excel workbook"),
        ("r.ods", SPREADSHEET, "is an OpenDocument spreadsheet; export"),
        ("r.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 more", "is an old Excel .* export its table as CSV"),
        ("r.db", b"SQLite format 3\0 more", "is an SQLite database; query it with data.source.sql"),
        ("r.h5", b"\x89HDF\r\n\x1a\n more", "is an HDF5 file; read it with Python"),
        ("r.npy", b"\x93NUMPY\x01\x00", "is a NumPy array"),
        ("r.npz", npz(), "is an archive of NumPy arrays"),
        ("r.pkl", pickle.dumps({"a": 1}), "is a pickle"),
        ("r.pkl.gz", gzip.compress(pickle.dumps({"a": 1}), mtime=0), "is a pickle"),
        ("r.orc", b"ORC\x00\x01", "is an ORC file"),
        ("r.avro", b"Obj\x01\x04", "is an Avro file"),
        ("r.pdf", b"%PDF-1.7\n", "is a PDF document"),
        ("r.tar", TAR, "is a tar archive; unpack it"),
        ("r.tar.gz", gzip.compress(TAR, mtime=0), "is a tar archive; unpack it"),
        ("r.7z", b"7z\xbc\xaf\x27\x1c", "is a 7z archive"),
        ("r.rar", b"Rar!\x1a\x07\x00", "is a RAR archive"),
        ("r.csv", "\n<!DOCTYPE html>\n<html>", "is an HTML page"),
        ("r.csv", "<html lang='en'><body>404</body></html>", "is an HTML page"),
        ("r.xml", "<?xml version='1.0'?><rows/>", "is an XML file; export its table as CSV"),
        ("r.json", '[{"user_id": 1, "item_id": 2}]', r"is a JSON array; .* jq -c '\.\[\]' r.json > rows.jsonl"),
        ("r.txt", '[\n {"user_id": 1, "item_id": 2}\n]', "is a JSON array"),
        ("r.jsonl", "[[1, 2]]", "is a JSON array"),
        ("r.json", '{\n "user_id": 1,\n "item_id": 2\n}', "is a JSON document over several lines"),
        ("r.csv", '{"a"},b\n1,2\n', "is a JSON document over several lines"),
        ("r.json", "user_id,item_id\n1,2\n", "is not JSON with one object a line; .* set data.format, e.g. csv"),
        ("r.json", "{u'user_id': u'a', 'item_id': 1}\n", "is written as Python dictionaries"),
    ],
)
def test_other_formats_are_refused_with_what_to_do(write, name, content, message):
    with pytest.raises(DataError, match=f"^{name}: {message}") as caught:
        read_file(write(name, content), ReadOptions())
    if name.startswith("r.xlsx"):
        assert "unpack" not in str(caught.value)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_archive_of_one_table_of_any_format_is_read(write, kind):
    content = {"csv": "user_id,item_id\n1,2\n", "jsonl": '{"user_id": 1, "item_id": 2}\n'}.get(kind)
    if content is None:
        buffer = io.BytesIO()
        pq.write_table(pa.table({"user_id": [1], "item_id": [2]}), buffer)
        content = buffer.getvalue()
    path = write("r.zip", archive(**{f"r.{kind}": content}))
    assert read_file(path, ReadOptions()).frame.to_numpy().tolist() == [[1, 2]]


def test_format_that_is_set_is_not_detected(write):
    path = write("r.json", "user_id,item_id\n1,2\n")
    assert len(read_file(path, ReadOptions(format="csv")).frame) == 1
