"""Each bad value is named with file, row and value, or skipped and counted."""

from __future__ import annotations

import numpy as np
import pytest

from recctl.data.sources import ReadOptions
from recctl.data.sources.readers.read_file import read_file
from recctl.errors import DataError

HEADER = "user_id,item_id,rating,timestamp\n"
GOOD = "".join(f"{i},{i + 1},3.5,{1_500_000_000 + i}\n" for i in range(48))  # lines 2 to 49
HINT = " (set data.bad_rows: skip to leave out such rows)"
CASES = {
    "5,6,abc,7": "rating 'abc' is not a number",
    "5,6,,7": "rating is missing",
    "5,6,NaN,7": "rating 'NaN' is missing",
    "5,6,inf,7": "rating 'inf' is not a number",
    "5,6,1e60,7": "rating '1e60' is not finite as float32",
    "5,6,4,soon": "timestamp 'soon' is not a number",
    "5,6,4,": "timestamp is missing",
    "5,6,4,-7": "timestamp '-7' is negative",
    "5,6,4,1700000000000": "timestamp '1700000000000' is after the year 2199; if it is in another unit, "
    "set it, e.g. data.timestamp_unit: ms",
    "5,6,4,1e30": "timestamp '1e30' is after the year 2199",
    ",6,4,7": "user_id is missing",
    "5,,4,7": "item_id is missing",
    "nan,6,4,7": "user_id 'nan' is missing",
    "9223372036854775808,6,4,7": "user_id '9223372036854775808' is beyond int64; keep these ids as text "
    "(data.id_type: text)",
    "5,-99999999999999999999999999999999999999999999,4,7": "item_id "
    "'-99999999999999999999999999999999999999999999' is beyond int64; keep these ids as text (data.id_type: text)",
    "5,6": "fields: 2, expected 4: '5,6'",
    "5,6,4,7,8": "fields: 5, expected 4: '5,6,4,7,8'",
    "user_id,item_id,rating,timestamp": "repeats the header",
}


@pytest.mark.parametrize(("line", "reason"), CASES.items())
def test_first_bad_row_is_named_with_its_value(write, line, reason):
    path = write("bad.csv", HEADER + GOOD + line + "\n" + GOOD)
    with pytest.raises(DataError) as caught:
        read_file(path, ReadOptions())
    # A repeated header is bad in two cells; either may be named.
    assert str(caught.value).replace("rating 'rating'", "timestamp 'timestamp'") == f"bad.csv: row 50: {reason}{HINT}"


@pytest.mark.parametrize("line", CASES)
def test_bad_rows_are_skipped_and_counted(write, notices, line):
    path = write("bad.csv", HEADER + GOOD + line + "\n" + GOOD)
    table = read_file(path, ReadOptions(bad_rows="skip"))
    good = read_file(write("good.csv", HEADER + GOOD + GOOD), ReadOptions()).frame
    assert table.frame.equals(good)
    assert (table.frame.dtypes == good.dtypes).all()
    assert (table.provenance["rows_read"], table.provenance["rows_skipped"]) == (96, 1)
    assert [skipped["row"] for skipped in table.provenance["skipped"]] == ["bad.csv: row 50"]
    assert len(notices) == 1
    assert notices[0].startswith("bad.csv: skipped 1 of 97 rows that can't be read; the first: bad.csv: row 50: ")


def test_rows_with_different_problems_are_reported_in_order(write):
    lines = "1,1,x,1\n\n1\n\n1,1,1,x\n,1,1,1\n"
    path = write("bad.csv", HEADER + GOOD + lines)
    with pytest.raises(DataError, match=r"row 50: rating 'x' is not a number; 3 more bad rows \(set data"):
        read_file(path, ReadOptions())
    table = read_file(path, ReadOptions(bad_rows="skip"))
    assert [skipped["row"] for skipped in table.provenance["skipped"]] == [
        f"bad.csv: row {line}" for line in (50, 52, 54, 55)
    ]


def test_many_bad_rows_are_all_counted_and_the_first_ten_described(write):
    text = HEADER + "".join(f"{i},1,{'x' if i % 3 else 4},1\n" for i in range(3000))
    provenance = read_file(write("bad.csv", text), ReadOptions(bad_rows="skip")).provenance
    assert (provenance["rows_read"], provenance["rows_skipped"], len(provenance["skipped"])) == (1000, 2000, 10)
    assert provenance["skipped"][-1]["row"] == "bad.csv: row 16"


def test_bad_row_far_into_a_large_file_is_named_by_its_line(write):
    blank = np.random.default_rng(3).random(200_000) < 0.1
    lines = [f"{i},{i},1,1\r\n" + "\r\n" * bool(blank[i]) for i in range(200_000)]
    lines[150_000] = "1,1,oops,1\r\n"
    text = HEADER + "".join(lines)
    expected = text[: text.index("oops")].count("\n") + 1
    with pytest.raises(DataError, match=f"row {expected}: rating 'oops'"):
        read_file(write("large.csv", text), ReadOptions())


def test_bad_row_after_multiline_fields_is_named_by_its_line(write):
    text = 'user_id,text,item_id,rating\n1,"a\n\nb",2,3\n\n1,"c\nd",2,oops\n'
    with pytest.raises(DataError, match="row 6: rating 'oops'"):
        read_file(write("a.csv", text), ReadOptions())


def test_bad_row_in_a_file_without_header_is_named_by_its_line(write):
    with pytest.raises(DataError, match="row 3: rating 'x' is not a number"):
        read_file(write("a.dat", "1::2::3::4\n1::2::3::4\n1::2::x::4\n"), ReadOptions())


def test_file_without_a_good_row_is_rejected_even_when_skipping(write):
    with pytest.raises(
        DataError, match=r"a\.csv: none of the 2 rows can be read; the first: a\.csv: row 2: rating 'x'"
    ):
        read_file(write("a.csv", "user,item,rating\n1,2,x\n1,3,y\n"), ReadOptions(bad_rows="skip"))


def test_bad_row_does_not_change_the_type_of_ids(write):
    table = read_file(write("a.csv", HEADER + GOOD + HEADER + GOOD), ReadOptions(bad_rows="skip"))
    assert table.frame["user_id"].dtype == np.int64


def test_id_type_int_rejects_text_ids(write):
    path = write("a.csv", HEADER + GOOD + "abc,2,3,4\n")
    with pytest.raises(DataError, match="row 50: user_id 'abc' is not a whole number"):
        read_file(path, ReadOptions(id_type="int"))


def test_missing_text_id_is_named(write):
    for value in ("", "NA", '""', "null"):
        path = write("a.csv", f"user,item\nann,tea\n{value},tea\n")
        with pytest.raises(DataError, match=r"row 3: user_id ('\w+' )?is missing"):
            read_file(path, ReadOptions())


def test_invalid_dates_are_named(write):
    text = "user,item,date\n1,2,2024-01-01\n1,3,31/12/2024\n1,4,1969-12-31\n1,5,2300-01-01\n"
    with pytest.raises(DataError, match="row 3: timestamp '31/12/2024' is neither a number nor an ISO 8601 date"):
        read_file(write("a.csv", text), ReadOptions())
    reasons = read_file(write("a.csv", text), ReadOptions(bad_rows="skip")).provenance["skipped"]
    assert [r["reason"] for r in reasons[1:]] == [
        "timestamp '1969-12-31' is before 1970",
        "timestamp '2300-01-01' is after the year 2199",
    ]


def test_text_that_is_not_utf8_is_named(write):
    path = write("a.csv", b"user,item\n" + b"1,tea\n" * 20 + b"1,caf\xe9\n" + b"1,tea\n" * 20)
    with pytest.raises(DataError, match=r"a\.csv: row 22: item_id b'caf\\xe9' is not UTF-8; set the encoding"):
        read_file(path, ReadOptions())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("\n \n", "the file is empty"),
        ("\ufeff", "the file is empty"),
        (HEADER, "has a header but no rows"),
        (HEADER.strip(), "has a header but no rows"),
        ("user_id\n1\n2\n", r"no delimiter found in 'user_id' \(tried tab, '::', .*\); set it"),
        (b"\0\1\2", "not UTF-8 text"),
        ("user,item\n1,2\n".encode("utf-16-le"), "not UTF-8 text.* set data.encoding: utf-16-le"),
        ("a,b\nc,d\n", "can't tell whether the first line, 'a, b', is a header; set data.header: true or"),
        ("1 2 3 4\n2 5\n3 7 9\n", "the lines have 2 to 4 numbers; .* data.format: lightgcn .* data.format: sequences"),
        ('user,item\n"' + "x" * 200_000, "row 2: the quoted field that opens here is not closed"),
    ],
)
def test_unreadable_file_is_rejected_with_the_reason(write, content, message):
    with pytest.raises(DataError, match=rf"a\.txt: .*{message}"):
        read_file(write("a.txt", content), ReadOptions())


def test_rows_with_unused_ratings_that_cannot_be_read_decide_the_type_of_ids(write):
    path = write("a.csv", "user_id,item_id,rating\n007,1,good\n7,2,4\n")
    frame = read_file(path, ReadOptions(needs_ratings=False)).frame
    assert frame["user_id"].tolist() == ["007", "7"]
    assert "rating" not in frame
