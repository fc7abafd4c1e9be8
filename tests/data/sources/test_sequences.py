"""LightGCN's format and sequences: one user per line."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recctl.data.sources import ReadOptions
from recctl.data.sources.readers.read_file import read_file
from recctl.errors import DataError


def read(path, file_format="lightgcn", **options):
    frame = read_file(path, ReadOptions(format=file_format, **options)).frame
    return list(frame.itertuples(index=False, name=None))


def test_each_line_gives_one_row_per_item(write):
    path = write("train.txt", "0 5 6 7\n1 5 \r\n\n2\n3,8,9\n")
    assert read(path) == [(0, 5), (0, 6), (0, 7), (1, 5), (3, 8), (3, 9)]
    assert read_file(path, ReadOptions(format="lightgcn")).frame.dtypes.tolist() == [np.int64, np.int64]


def test_sequence_timestamps_continue_over_several_lines_of_a_user(write):
    path = write("s.txt.gz", gzip.compress(b"4 10 11\n5 10\n4 12"))
    assert read(path, "sequences") == [(4, 10, 0), (4, 11, 1), (5, 10, 0), (4, 12, 2)]


def test_text_ids_are_read_with_a_notice(write, notices):
    assert read(write("s.txt", "ann tea 7\nboß 8 tea\n"), "sequences") == [
        ("ann", "tea", 0),
        ("ann", "7", 1),
        ("boß", "8", 0),
        ("boß", "tea", 1),
    ]
    assert notices == ["s.txt: row 1: item_id 'tea' is text, other ids are whole numbers; all are read as text"]
    assert read(write("s.txt", "ann 7\nbob 8\n")) == [("ann", 7), ("bob", 8)]
    assert read(write("s.txt", "1 7\n"), id_type="text") == [("1", "7")]
    assert read(write("s.txt", "01 7\n")) == [("01", 7)]


def test_bad_ids_are_named_by_line(write):
    path = write("s.txt", "1 2\n\n3 4 99999999999999999999 5\n")
    with pytest.raises(DataError, match=r"s\.txt: row 3: item_id '9{20}' is beyond int64"):
        read(path)
    assert read(path, "sequences", bad_rows="skip") == [(1, 2, 0), (3, 4, 0), (3, 5, 1)]
    with pytest.raises(DataError, match=r"s\.txt: row 2: item_id is missing"):
        read(write("s.txt", "1 2\n3 NaN\n"))
    with pytest.raises(DataError, match=r"s\.txt: row 2: item_id 'x' is not a whole number"):
        read(write("s.txt", "1 2\n3 x\n"), id_type="int")
    with pytest.raises(DataError, match=r"s\.txt: row 2: item_id b'\\xff' is not UTF-8"):
        read(write("s.txt", b"1 2\n3 \xff\n"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("\n \n", "the file is empty"),
        ("1\n2\n", "no line has a user and an item"),
        (b"\0", "UTF-8"),
    ],
)
def test_file_without_interactions_is_rejected(write, content, message):
    with pytest.raises(DataError, match=rf"s\.txt: .*{message}"):
        read(write("s.txt", content))


lines = st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=6), min_size=1, max_size=20)
separator = st.sampled_from([" ", "  ", "\t", ",", ", "])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(lines=lines, separator=separator, line_end=st.sampled_from(["\n", "\r\n", " \n"]))
def test_lists_round_trip(write, lines, separator, line_end):
    path = write("s.txt", line_end.join(separator.join(map(str, line)) for line in lines))
    expected, seen = [], {}
    for line in lines:
        for item in line[1:]:
            expected.append((line[0], item, seen.get(line[0], 0)))
            seen[line[0]] = seen.get(line[0], 0) + 1
    if expected:
        assert read(path, "sequences") == expected
        assert read(path) == [row[:2] for row in expected]
