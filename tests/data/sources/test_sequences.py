"""LightGCN's format and sequences: one user per line."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recctl.data.sources import ReadOptions
from recctl.data.sources.readers.read_file import read_file
from recctl.errors import ConfigError, DataError
from tests.conftest import n_examples


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
    with pytest.raises(DataError, match=r"s\.txt: row 2: item_id 'NaN' is missing"):
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


def test_leading_zeros_and_hexadecimal_make_ids_text_wherever_they_are(write, notices):
    many = "".join(f"{user} {user % 50} 1234567\n" for user in range(30_000))
    for odd in ("007", "0x10"):
        rows = read(write("s.txt", f"{many}7 {odd}\n{many}"))
        assert rows[60_000] == (7, odd)
        assert rows[0] == (0, "0")
        assert f"s.txt: row 30001: item_id '{odd}' is text" in notices[-1]
        with pytest.raises(DataError, match=f"row 30001: item_id '{odd}' "):
            read(write("s.txt", f"{many}7 {odd}\n"), id_type="int")
    assert read(write("s.txt", "1 17850.0 3\n")) == [(1, 17850), (1, 3)]
    assert read(write("s.txt", "NA nan\n"), id_type="text") == [("NA", "nan")]


def test_user_is_the_number_of_the_line(write):
    path = write("s.txt", "5 6\n\n7\n5 8\n")
    assert read(path, user="line") == [(1, 5), (1, 6), (3, 7), (4, 5), (4, 8)]
    assert read(path, "sequences", user="line")[-1] == (4, 8, 1)
    assert read(path, user="line", id_type="text")[0] == ("1", "5")
    path = write("s.txt", "# lists\nof items\n# of users\na b\n# late\na c\n")
    assert read(path, user="line", comment="#", skip_lines=2) == [(1, "a"), (1, "b"), (2, "a"), (2, "c")]


def test_user_is_the_number_of_a_line_that_begins_with_a_count(write):
    path = write("s.txt", "2 5 6\n0\n1 7\n")
    assert read(path, user="counted_line") == [(1, 5), (1, 6), (3, 7)]
    assert read(write("s.txt", "2 a b\n1 c\n"), user="counted_line") == [(1, "a"), (1, "b"), (2, "c")]
    with pytest.raises(DataError, match=r"row 3: begins with 2, which is not the number of the 1 items that follow"):
        read(write("s.txt", "2 5 6\n0\n2 7\n"), user="counted_line")


def test_lists_that_do_not_begin_with_a_user_are_pointed_out(write, notices):
    read(write("counts.txt", "2 5 6\n1 5\n3 5 6 7\n"))
    read(write("counts.txt", "2 5 6\n1 5\n3 5 6 7\n"), user="line")
    assert notices == 2 * [
        "counts.txt: each line begins with the number of its items; if this is meant, set data.user: counted_line"
    ]
    notices.clear()
    read(write("items.txt", "5 5 6\n5 9\n6 9 7\n"))
    assert len(notices) == 1
    assert notices[0].startswith("items.txt: 1 of 3 lines begin with a user that has an earlier line, and continue it")
    assert notices[0].endswith("set data.user: line")
    read(write("items.txt", "5 5 6\n5 9\n6 9 7\n"), user="line")
    assert len(notices) == 1
    with pytest.raises(ConfigError, match=r"user: line is not for the format csv; set data.format: sequences"):
        ReadOptions(format="csv", user="line")


def test_encoding_delimiter_and_line_ends_of_lists(write):
    assert read(write("s.txt", "josé 1\n".encode("latin-1")), encoding="latin-1") == [("josé", 1)]
    assert read(write("s.txt", "1 2\r3 4\r")) == [(1, 2), (3, 4)]
    assert read(write("s.txt", "1;2;3\n4;5\n"), delimiter=";") == [(1, 2), (1, 3), (4, 5)]
    with pytest.raises(DataError, match=r"s\.txt: row 2: is not ascii \(data.encoding\)"):
        read(write("s.txt", "1 2\nß 1\n"), encoding="ascii")


lines = st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=6), min_size=1, max_size=20)
separator = st.sampled_from([" ", "  ", "\t", ",", ", "])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=n_examples(60))
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


def test_control_characters_are_part_of_a_word(write):
    frame = read_file(write("a.txt", "u 2\x1f3 4\n"), ReadOptions(format="lightgcn")).frame
    assert frame["item_id"].tolist() == ["2\x1f3", "4"]
