"""Preambles, headers, delimiters, comments, encodings and decimal commas of text files."""

from __future__ import annotations

import gzip

import pytest

from recctl.data.sources import ReadOptions
from recctl.data.sources.readers.read_file import read_file
from recctl.errors import DataError

RATED = {"user_id": [1, 2, 2], "item_id": [10, 20, 30], "rating": [3.0, 4.0, 5.0]}
BY_POSITION = {"user_id": 0, "item_id": 1, "rating": 2}


def read(path, **options):
    return read_file(path, ReadOptions(**options)).frame


def columns(frame):
    return {name: frame[name].tolist() for name in frame}


def joined(*lines):
    return "\n".join(lines) + "\n"


# Delimiters.


def test_blanks_and_tabs_in_one_row_separate_columns(write):
    rows = [f"{k % 6 + 1} {k % 10 + 10} {k % 5 + 1}\t{1000 + k}" for k in range(30)]
    frame = read(write("a.txt", joined(*rows)))
    assert frame["timestamp"].tolist() == [1000 + k for k in range(30)]
    assert frame["rating"].tolist() == [k % 5 + 1 for k in range(30)]


def test_runs_of_blanks_separate_columns(write):
    lines = ("1   10 \t3", "  2  20   4  ", "2\t 30\t\t5")
    assert columns(read(write("a.txt", joined(*lines)), delimiter="whitespace")) == RATED
    assert columns(read(write("b.txt", joined("user_id   item_id  rating", *lines)))) == RATED


def test_tabs_at_the_end_of_rows_of_numbers_make_no_column(write):
    assert columns(read(write("a.txt", "1\t10\t3\t\n2\t20\t4\t\n2\t30\t5\t\n"))) == RATED
    named = read(write("b.txt", "user\titem\tnote\n1\t10\t\n2\t20\t\n"), extra_columns=["note"])
    assert named["note"].tolist() == ["", ""]


def test_position_beyond_the_columns_is_named(write):
    with pytest.raises(DataError, match=r"data.columns.user_id=5 does not exist"):
        read(write("a.csv", joined("1,2,3", "4,5,6")), columns={"user_id": 5, "item_id": 1})


def test_skipping_more_lines_than_there_are_is_named(write):
    with pytest.raises(DataError, match="no rows below the first 9 lines"):
        read(write("a.csv", joined("user,item", "1,2")), skip_lines=9)


def test_blanks_in_quoted_fields_are_kept_by_the_whitespace_delimiter(write):
    text = joined("user item", '"a  b" x', 'c   "d\te"')
    frame = read(write("a.txt", text), delimiter="whitespace")
    assert columns(frame) == {"user_id": ["a  b", "c"], "item_id": ["x", "d\te"]}


def test_long_delimiter_in_a_quoted_field_is_kept(write):
    frame = read(write("a.txt", joined("user::item", '"a::b"::x', "c::d")))
    assert columns(frame) == {"user_id": ["a::b", "c"], "item_id": ["x", "d"]}


def test_tabs_win_over_blanks_and_commas_in_titles(write):
    rows = [f"{k % 6}\tThe {'very ' * (k % 3)}long title, part {k % 10}\t{k % 5 + 1}" for k in range(60)]
    frame = read(write("a.tsv", joined(*rows)))
    assert frame["item_id"][0] == "The long title, part 0"
    assert frame["user_id"].tolist() == [k % 6 for k in range(60)]


def test_commas_win_over_pipes_in_lists_of_genres(write):
    rows = [f"{k},{k + 10},drama|war|{k % 2}" for k in range(20)]
    frame = read(write("a.csv", joined(*rows)), columns={"user_id": 0, "item_id": 1})
    assert frame["item_id"].tolist() == [k + 10 for k in range(20)]


def test_blanks_in_names_of_a_header_do_not_separate_columns(write):
    path = write("a.csv", "cust id\tprod id\n1\t2\n3\t4\n")
    columns = {"user_id": "cust id", "item_id": "prod id"}
    assert read_file(path, ReadOptions(columns=columns)).frame["item_id"].tolist() == [2, 4]
    with pytest.raises(DataError, match="no user_id and item_id column among cust id, prod id"):
        read_file(path, ReadOptions())


def test_datetimes_do_not_make_a_blank_the_delimiter(write):
    rows = [f"{k},{k + 10},2020-01-0{k + 1} 10:30:00" for k in range(5)]
    assert len(read(write("a.csv", joined("user,item,date", *rows))).columns) == 3


def test_equally_plausible_delimiters_are_refused_by_name(write):
    with pytest.raises(DataError, match=r"separated by '\|' or ','; set data.delimiter: '\|'"):
        read(write("a.csv", joined("ann,tea|x", "bob,milk|y", "cid,wine|z")))
    text = joined("ann,tea\tx", "bob,milk\ty", "cid,wine\tz")
    frame = read(write("a.tsv", text), header=False)
    assert frame["user_id"].tolist() == ["ann,tea", "bob,milk", "cid,wine"]


def test_text_without_a_delimiter_says_what_was_tried(write):
    with pytest.raises(DataError, match=r"no delimiter found in 'a' \(tried tab, '::', ';', '\|', ',', space\)"):
        read(write("a.csv", joined("a", "b", "c")))


# Headers.


def test_row_with_a_known_word_is_no_header_if_columns_are_given_by_position(write):
    frame = read(write("a.csv", joined("1,time,5", "2,matrix,4", "3,alien,3")), columns=BY_POSITION)
    assert frame["item_id"].tolist() == ["time", "matrix", "alien"]
    frame = read(write("b.csv", joined("ann,time", "bob,matrix")), columns={"user_id": 0, "item_id": 1})
    assert frame["user_id"].tolist() == ["ann", "bob"]


def test_row_with_a_known_word_and_numbers_is_no_header(write):
    assert read(write("a.csv", joined("1,time,5", "2,matrix,4")))["item_id"].tolist() == ["time", "matrix"]


@pytest.mark.parametrize("header", ["customer,title,stars", "who,what,how much", "user_id,item_id,rating"])
def test_header_is_one_if_columns_are_given_by_position(write, header):
    frame = read(write("a.csv", joined(header, "1,matrix,5", "2,alien,4")), columns=BY_POSITION)
    assert frame["item_id"].tolist() == ["matrix", "alien"]


def test_header_of_an_index_column(write):
    text = joined(",user_id,item_id,rating", "0,1,10,3", "1,2,20,4", "2,2,30,5")
    assert columns(read(write("a.csv", text))) == RATED
    with pytest.raises(DataError, match=r"no user_id and item_id column among .*cust, prod"):
        read(write("b.csv", joined(",cust,prod", "0,17,5", "1,17,9")), bad_rows="skip")


def test_row_names_of_r_have_no_name(write):
    text = joined('"user" "item" "rating"', '"1" 1 10 3', '"2" 2 20 4', '"3" 2 30 5')
    assert columns(read(write("a.txt", text))) == RATED


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("id,user_id,item_id,rating", ["1,1,11,1,5", "2,2,12,2,5"]),
        ("user_id,item_id,rating", ["1,10,4,5", "2,20,3,5"]),
        ("user_id, item_id, title, rating", ['1, 10, "a, b", 4', '2, 20, "c, d", 5']),
    ],
)
def test_unquoted_numbers_before_the_columns_of_a_header_are_no_row_names(write, header, rows):
    with pytest.raises(DataError, match=r"a\.csv: row 1: the header has \d names, but most rows have \d fields"):
        read(write("a.csv", joined(header, *rows)))


@pytest.mark.parametrize("row", ["a,x", "1,2"])
def test_header_that_is_repeated_later_is_a_bad_row(write, row):
    path = write("a.csv", joined("user_id,item_id", *[row] * 5000, "user_id,item_id", row))
    with pytest.raises(DataError, match=r"a\.csv: row 5002: repeats the header"):
        read(path)
    assert len(read(path, bad_rows="skip")) == 5001


def test_quotes_that_the_sample_lacks_are_read(write):
    text = joined("user_id,item_id", *["a,x"] * 50_000, '"b, c",y', '"b, c",z')
    frame = read(write("a.csv", text))
    assert len(frame) == 50_002
    assert frame["user_id"].tolist()[-2:] == ["b, c", "b, c"]


@pytest.mark.parametrize(
    ("header", "end"), [("user,item,rating", ","), ("user,item,rating,", ","), ("user,item,rating,", "")]
)
def test_delimiter_at_the_end_of_lines_is_ignored(write, header, end):
    text = joined(header, f"1,10,3{end}", f"2,20,4{end}", f"2,30,5{end}")
    assert columns(read(write("a.csv", text))) == RATED


def test_header_of_another_width_than_the_rows_is_refused(write):
    text = joined("user,item", "7,10,x,3", "5,20,y,4")
    for bad_rows in ("error", "skip"):
        with pytest.raises(DataError, match=r"a\.csv: row 1: the header has 2 names, but most rows have 4 fields"):
            read(write("a.csv", text), bad_rows=bad_rows)


def test_doubled_names_matter_only_for_roles(write):
    text = joined("user,item,note,note", "1,2,x,y")
    assert columns(read(write("a.csv", text))) == {"user_id": [1], "item_id": [2]}


# What stands before the table.


def test_skip_lines(write):
    text = joined("Export, 2020", "user_id,item_id", "user_id,item_id,rating", "1,10,3", "2,20,4", "2,30,5")
    assert columns(read(write("a.csv", text), skip_lines=2)) == RATED
    with pytest.raises(DataError, match="row 5: rating 'x'"):
        read(write("b.csv", text.replace("2,20,4", "2,20,x")), skip_lines=2)


def test_comments_are_skipped_anywhere_but_in_quoted_fields(write):
    text = joined("% note", "user_id,item_id,rating,text", "1,10,3,x", "%2,9,9,9", '2,20,4,"a', '%b"', "2,30,5,z")
    frame = read(write("a.csv", text), comment="%", extra_columns=["text"])
    assert columns(frame) == RATED | {"text": ["x", "a\n%b", "z"]}
    with pytest.raises(DataError, match="row 7: rating 'q'"):
        read(write("b.csv", text.replace("30,5", "30,q")), comment="%")


@pytest.mark.parametrize("comment", [None, "%"])
def test_comments_at_the_top_are_recognized(write, comment, notices):
    text = joined("% bip weighted", "% 3 2 2", "1 10 3 900", "2 20 4 901", "2 30 5 902")
    frame = read(write("out.ratings", text), comment=comment)
    assert columns(frame) == RATED | {"timestamp": [900, 901, 902]}
    assert ("out.ratings: skipped 2 lines at the top that begin with '%'" in notices) == (comment is None)


@pytest.mark.parametrize("header", ["# user item rating", "#user item rating", "# rating data\n# user item rating"])
def test_last_comment_may_be_the_header(write, header):
    assert columns(read(write("a.txt", joined(header, "1 10 3", "2 20 4", "2 30 5")))) == RATED


def test_ids_that_begin_with_a_mark_are_no_comments(write):
    frame = read(write("a.csv", joined("#tea,1", "#milk,2", "wine,3")))
    assert frame["user_id"].tolist() == ["#tea", "#milk", "wine"]
    frame = read(write("b.csv", joined("# drinks", "#tea,1", "#milk,2", "wine,3")))
    assert frame["user_id"].tolist() == ["#tea", "#milk", "wine"]


@pytest.mark.parametrize("bad_rows", ["error", "skip"])
def test_line_that_names_the_separator(write, bad_rows):
    text = joined("sep=;", "rating;item_id;user_id", "3;10;1", "4;20;2", "5;30;2")
    assert columns(read(write("a.csv", text), bad_rows=bad_rows)) == RATED


@pytest.mark.parametrize("bad_rows", ["error", "skip"])
def test_header_further_down_is_found(write, bad_rows, notices):
    text = joined("Ratings,2020,all", "by,us,for you", "", "rating,item_id,user_id", "3,10,1", "4,20,2", "5,30,2")
    assert columns(read(write("a.csv", text), bad_rows=bad_rows)) == RATED
    assert notices == ["a.csv: skipped 2 lines before the header 'rating, item_id, user_id'"]


@pytest.mark.parametrize("bad_rows", ["error", "skip"])
def test_rows_before_a_header_are_not_skipped(write, bad_rows):
    path = write("a.csv", joined("1,10,3", "2,20,4", "user_id,item_id,rating", "2,30,5"))
    with pytest.raises(
        DataError, match=r"row 3: 'user_id, item_id, rating' looks like a header, .*data.skip_lines: 2 if"
    ):
        read(path, bad_rows=bad_rows)
    assert columns(read(path, bad_rows="skip", header=False)) == RATED
    assert columns(read(path, skip_lines=2)) == {"user_id": [2], "item_id": [30], "rating": [5.0]}
    with pytest.raises(DataError, match=r"row 2: 'user, item' looks like a header"):
        read(write("b.csv", joined("Report,2020", "user,item", "ann,tea")), bad_rows=bad_rows)


@pytest.mark.parametrize("delimiter", ["\n", '"', "\r\n"])
def test_delimiter_that_quotes_or_ends_lines_is_refused(write, delimiter):
    with pytest.raises(DataError, match=r"data.delimiter: .* can't separate fields"):
        read(write("a.csv", joined("user,item", "1,2")), delimiter=delimiter)


@pytest.mark.parametrize("field", ["real", "integer"])
def test_matrix_market(write, field):
    text = joined(
        f"%%MatrixMarket matrix coordinate {field} general", "% note", "2 30 3", "1 10 3", "2  20 4", "2 30 5"
    )
    assert columns(read(write("a.mtx", text))) == RATED
    pattern = joined("%%MatrixMarket matrix coordinate pattern general", "3 30 2", "1 10", "2 20")
    assert columns(read(write("b.mtx", pattern))) == {"user_id": [1, 2], "item_id": [10, 20]}


def test_matrix_market_file_with_another_number_of_entries_is_refused(write):
    head = "%%MatrixMarket matrix coordinate integer general"
    for last in ("2 30 5", "2 30 x"):  # for the fast and the slow path
        with pytest.raises(DataError, match=r"a\.mtx: has 2 entries, but its size line says 3"):
            read(write("a.mtx", joined(head, "2 30 3", "1 10 3", last)))


def test_skipping_is_not_advised_for_the_first_row_of_a_file_without_a_header(write):
    text = joined("1,one,2", "1,5,3", "2,6,4")
    with pytest.raises(
        DataError, match=r"row 1: .* \(if it is a header, set data.header: true; .* data.skip_lines: 1\)"
    ):
        read(write("a.csv", text), id_type="int")
    with pytest.raises(DataError, match=r"row 2: .* \(set data.bad_rows: skip"):
        read(write("b.csv", joined("1,5,3", "1,x,3", "2,6,4")), id_type="int")


@pytest.mark.parametrize("kind", ["array real general", "coordinate real symmetric", "coordinate complex general"])
def test_matrix_market_of_another_kind_is_refused(write, kind):
    with pytest.raises(DataError, match=f"Matrix Market file of kind 'matrix {kind}' can't be read"):
        read(write("a.mtx", joined(f"%%MatrixMarket matrix {kind}", "2 2 1", "1 1 5")))


def test_arff(write):
    head = ("% note", "@RELATION ratings", "", "@ATTRIBUTE 'user id' NUMERIC", "@attribute item_id numeric")
    text = joined(*head, "@attribute rating real", "@DATA", "1,10,3", "% note", "2,20,4", "2,30,5")
    assert columns(read(write("a.arff", text))) == RATED
    quoted = joined(*head, "@data", "'007','a, b'", "'7',c")
    assert columns(read(write("q.arff", quoted))) == {"user_id": ["007", "7"], "item_id": ["a, b", "c"]}
    with pytest.raises(DataError, match=r"row 7: sparse ARFF"):
        read(write("b.arff", joined(*head, "@data", "{0 1, 1 10}")))


@pytest.mark.parametrize(
    ("text", "format_name"),
    [
        ('{"user_id": 1, "item_id": 2}\n', "JSON"),
        ('[{"user_id": 1, "item_id": 2}]\n', "JSON"),
        ("[\n  1, 2\n]\n", "JSON"),
        ("<!DOCTYPE html><html><body>user,item</body></html>\n", "HTML"),
        ("\x01\x02\x03\x04\x05\x06" * 40, "binary"),
    ],
)
def test_other_formats_are_never_read_as_tables(write, text, format_name):
    from recctl.data.sources.readers.csv import read_delimited

    with pytest.raises(DataError, match=format_name):
        read_delimited(write("a.csv", text), ReadOptions())


# Encodings and numbers.

NAMES = "user_id,item_id\nAnn,1\nJosé,2\nBob,1\nAnn,3\n"


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-32"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_text_of_another_encoding_is_read(write, encoding, pack):
    frame = read(write("a.csv", pack(NAMES.encode(encoding))), encoding=encoding)
    assert frame["user_id"].tolist() == ["Ann", "José", "Bob", "Ann"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_mark_tells_the_encoding(write, encoding):
    assert read(write("a.csv", NAMES.encode(encoding)))["user_id"].tolist() == ["Ann", "José", "Bob", "Ann"]


def test_rows_that_are_not_utf8_are_bad_rows(write):
    path = write("a.csv", NAMES.encode("latin-1"))
    with pytest.raises(DataError, match=r"row 3: user_id b'Jos\\xe9' is not UTF-8; .* data.encoding: latin-1"):
        read(path)
    table = read_file(path, ReadOptions(bad_rows="skip"))
    assert table.frame["user_id"].tolist() == ["Ann", "Bob", "Ann"]
    assert table.provenance["rows_skipped"] == 1


def test_ragged_rows_that_are_not_utf8_are_bad_rows(write):
    path = write("a.csv", NAMES.replace("José,2", "José,2,3").encode("latin-1"))
    with pytest.raises(DataError, match=r"row 3: fields: 3, expected 2: 'Jos"):
        read(path)
    assert read(path, bad_rows="skip")["user_id"].tolist() == ["Ann", "Bob", "Ann"]


def test_invalid_utf8_in_columns_that_are_not_read_is_no_problem(write):
    path = write("a.csv", "user,item,note\n1,2,é\n2,3,x\n".encode("latin-1"))
    assert len(read(path)) == 2
    with pytest.raises(DataError, match="row 2: note b'"):
        read(path, extra_columns=["note"])


def test_byte_that_the_encoding_does_not_have_is_named_by_its_line(write):
    path = write("a.csv", NAMES.encode("latin-1") + b"\x81,5\n")
    with pytest.raises(DataError, match=r"a\.csv: row 6: the bytes b'\\x81' are not cp1252"):
        read(path, encoding="cp1252")


def test_decimal_commas(write):
    text = joined("userId;movieId;rating;timestamp", "1;31;2,5;1000", "2;10;4;1001,5", "1;10;0,5;1002")
    frame = read(write("a.csv", text), decimal=",")
    assert frame["rating"].tolist() == [2.5, 4.0, 0.5]
    assert frame["timestamp"].tolist() == [1000.0, 1001.5, 1002.0]
    # The slow path reads the same.
    bad = write("b.csv", text + "1;11;2.5;1003\n")
    assert read(bad, decimal=",", bad_rows="skip").equals(frame)
    with pytest.raises(DataError, match=r"row 5: rating '2.5' is not a number"):
        read(bad, decimal=",")


def test_quoted_decimal_commas_between_commas(write):
    text = joined("user,item,rating", '1,10,"3,5"', '2,20,"4,0"')
    assert read(write("a.csv", text), decimal=",", delimiter=",")["rating"].tolist() == [3.5, 4.0]


# Extra columns.


@pytest.mark.parametrize("row", ["", "bad,x\n"])  # for the fast and the slow path
def test_extra_columns_are_text(write, row):
    text = "user,event,item\n1,view,5\n2,,6\n" + '3,"",7\n4,NA,8\n' + row
    frame = read(write("a.csv", text), extra_columns=["event"], bad_rows="skip", id_type="int")
    assert frame["event"].tolist() == ["view", "", "", "NA"]
    assert list(frame) == ["user_id", "item_id", "event"]
    assert frame["user_id"].tolist() == [1, 2, 3, 4]


def test_missing_text_ids_are_found_beside_extra_columns(write):
    with pytest.raises(DataError, match="row 3: user_id 'NA' is missing"):
        read(write("a.csv", joined("user,event,item", "ann,view,5", "NA,view,6")), extra_columns=["event"])


def test_extra_column_that_does_not_exist(write):
    path = write("a.csv", joined("user,event,item", "1,view,5"))
    with pytest.raises(DataError, match=r"a\.csv: no column 'evnt'; did you mean event\?"):
        read(path, extra_columns=["evnt"])
    with pytest.raises(DataError, match="the column 'user' is read as user_id; use the name user_id"):
        read(path, extra_columns=["user"])
    headerless = write("b.csv", joined("1,5,3,4", "2,6,3,4"))
    with pytest.raises(DataError, match="no column 'event': the file has no header; name columns by position, 0 to 3"):
        read(headerless, extra_columns=["event"])
    assert read(headerless, columns={"user_id": 0, "item_id": 1}, extra_columns=["2"])["2"].tolist() == ["3", "3"]


@pytest.mark.parametrize(
    ("text", "options", "hint"),
    [
        ("user~item\na~x\nb~y\n", {}, "data.delimiter: '~'"),
        ("user\x01item\na\x01x\nb\x01y\n", {}, r'data.delimiter: "\u0001"'),
        ("1,10\n2,20\n", {"decimal": ","}, "data.delimiter: ','"),
    ],
)
def test_delimiter_that_is_not_tried_is_suggested(write, text, options, hint):
    path = write("a.csv", text)
    with pytest.raises(DataError) as caught:
        read(path, **options)
    assert str(caught.value).endswith(hint)
