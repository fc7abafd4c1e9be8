from __future__ import annotations

import pytest

from recctl.data.sources import ReadOptions
from recctl.data.sources.readers.read_file import read_file
from recctl.errors import DataError

TEXT = "1:\n14,3,2005-09-06\n8,5,2005-05-13\n2:\n3:\n14,4,2005-09-05\n"


def read(path, **options):
    return read_file(path, ReadOptions(format="netflix", **options)).frame


def test_each_row_gets_the_item_of_the_line_above(write):
    frame = read(write("a.txt", TEXT))
    assert frame["item_id"].tolist() == [1, 1, 3]
    assert frame["user_id"].tolist() == [14, 8, 14]
    assert frame["rating"].tolist() == [3, 5, 4]
    assert frame["timestamp"].tolist() == [1125964800, 1115942400, 1125878400]


def test_items_with_leading_zeros_are_text(write):
    assert read(write("a.txt", TEXT.replace("3:", "03:")))["item_id"].tolist() == ["1", "1", "03"]


@pytest.mark.parametrize("line", ["14,3", "14,3,2005-09-06,x", "14", "14,good,2005-09-06", ",3,2005-09-06"])
def test_malformed_line_is_rejected_with_its_number_or_skipped(write, line):
    path = write("a.txt", TEXT.replace("8,5,2005-05-13", line))
    with pytest.raises(DataError, match=r"a\.txt: row 3: "):
        read(path)
    assert read(path, bad_rows="skip")["item_id"].tolist() == [1, 3]


def test_file_without_an_item_first_is_rejected(write):
    with pytest.raises(DataError, match=r"a\.txt: row 1: not the line of an item"):
        read(write("a.txt", TEXT.removeprefix("1:\n")))


def test_file_without_rows_is_rejected(write):
    with pytest.raises(DataError, match="no item has a row"):
        read(write("a.txt", "1:\n2:\n"))
