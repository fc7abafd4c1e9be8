"""No row is lost in quotes: each line is accounted for, or the message names the line where a quoted field opens."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recctl.data.sources import ReadOptions
from recctl.data.sources.readers.read_file import read_file
from recctl.data.sources.readers.text_stream import (
    WHITESPACE,
    AtypicalSampleError,
    RecordChecks,
    RecordLayout,
    RecordStream,
)
from recctl.errors import DataError
from tests.conftest import n_examples

HINT = "if quotes are ordinary characters in this file, set data.quoting: false"


def read(path, **options):
    return read_file(path, ReadOptions(**options)).frame


def stray_quotes(delimiter, opens, closes, n_between=8):
    """50 rows; a field opens on line 12 and closes `n_between` + 1 lines later."""
    rows = [[str(k % 7), str(k % 9), f"film {k}", str(k % 5 + 1)] for k in range(50)]
    rows[10][2] = opens
    rows[11 + n_between][2] = closes
    header = delimiter.join(["user_id", "item_id", "title", "rating"])
    return "\n".join([header, *(delimiter.join(row) for row in rows)]) + "\n"


@pytest.mark.parametrize("delimiter", ["\t", ",", "::", ";"])
@pytest.mark.parametrize("n_between", [0, 1, 8])
@pytest.mark.parametrize(("opens", "closes"), [('"Odd', 'even"'), ('"Odd', '"even"'), ('"Odd', 'an "even" one')])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_stray_quotes_are_refused_with_the_line_where_they_open(write, delimiter, n_between, opens, closes, line_end):
    text = stray_quotes(delimiter, opens, closes, n_between).replace("\n", line_end)
    path = write("titles.csv", text)
    for bad_rows in ("error", "skip"):
        with pytest.raises(DataError) as caught:
            read(path, bad_rows=bad_rows)
        assert str(caught.value) == (
            f"titles.csv: row 12: the quoted field that opens here is still open on line 13, which is a row by itself; "
            f"{HINT}"
        )
    frame = read(path, quoting=False, extra_columns=["title"])
    assert len(frame) == 50
    assert frame["title"].iloc[[10, 11 + n_between]].tolist() == [opens, closes]


@pytest.mark.parametrize("bad_row", ['1,2,"Odd,N/A', '1,2,"Odd,5,6', '1,2,"Odd', '"1,2,x,5', '1,"2,x,5'])
@pytest.mark.parametrize("closes", ['even"', '"even"'])
def test_stray_quotes_in_bad_rows_are_refused(write, bad_row, closes):
    lines = stray_quotes(",", "x", closes).splitlines()
    lines[11] = bad_row
    with pytest.raises(DataError, match="row 12: the quoted field that opens here is still open on line 13"):
        read(write("a.csv", "\n".join(lines)), bad_rows="skip")


def test_text_over_lines_may_be_the_first_column(write):
    rows = "".join(f'"film {k}\nin two lines",{k},{k % 3},{k % 5}\n' for k in range(50))
    frame = read(write("a.csv", f"title,user,item,rating\n{rows}"), extra_columns=["title"])
    assert frame["title"].tolist() == [f"film {k}\nin two lines" for k in range(50)]


def test_stray_quotes_after_a_true_multiline_field_are_refused(write):
    text = stray_quotes(",", '"Odd', 'even"').replace("film 3,", '"film\n3",')
    with pytest.raises(DataError, match=r"row 13: the quoted field .* open on line 14"):
        read(write("a.csv", text))


def test_stray_quotes_after_the_sample_are_refused(write):
    rows = "".join(f"{k % 70},{k % 90},film {k},{k % 5 + 1}\n" for k in range(40_000))
    with pytest.raises(DataError, match=r"row 40003: the quoted field .* open on line 40004"):
        read(write("a.csv", f'user,item,title,rating\n{rows}1,1,x,5\n1,2,"x,5\n1,3,y",4\n{rows}'))


@pytest.mark.parametrize("row", ['1,2,"never closed', '1,2,"', '"1,2,never closed\n'])
def test_quote_that_is_not_closed_is_refused(write, row):
    with pytest.raises(DataError, match=rf"row 3: the quoted field that opens here is not closed; {HINT}"):
        read(write("a.csv", f"user,item,title\n1,1,x\n{row}"))


def test_text_after_the_closing_quote_of_a_multiline_field_is_refused(write):
    text = 'user,item,title\n1,1,"Odd words\nand more of" them\n2,2,x\n'
    with pytest.raises(DataError, match=r"row 2: .* followed by more text after its closing quote on line 3"):
        read(write("a.csv", text))


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_multiline_fields_with_delimiters_and_quotes_are_one_field(write, line_end):
    titles = [f'part {k}, with ""quotes"",{line_end}{line_end}and, lines' for k in range(300)]
    rows = line_end.join(f'{k % 20},{k % 30},"{title}",{k % 5}' for k, title in enumerate(titles))
    frame = read(write("a.csv", f"user,item,title,rating{line_end}{rows}"), extra_columns=["title"])
    assert frame["title"].tolist() == [title.replace('""', '"') for title in titles]
    assert frame["rating"].tolist() == [k % 5 for k in range(300)]


def test_lines_of_a_text_are_no_rows_where_each_row_begins_with_a_quote(write):
    rows = '"u1","i1","Yes, I\nwell, yes, ok"\n"u2","i2","x"\n'
    assert len(read(write("a.csv", f'"user","item","note"\n{rows}'))) == 2


def test_multiline_fields_after_the_sample_are_read(write):
    rows = "".join(f'u{k},i{k},"plain"\n' for k in range(40_000))
    frame = read(write("a.csv", f'user,item,note\n{rows}x,y,"two\nlines"\nz,z,z\n'), extra_columns=["note"])
    assert frame["note"].iloc[-2:].tolist() == ["two\nlines", "z"]
    assert len(frame) == 40_002


def test_quotes_inside_of_unquoted_fields_are_ordinary(write):
    text = 'user,item,size\n1,2,5" TV\n3,4,6" and 7"\n5,6,"8"" TV"\n'
    assert read(write("a.csv", text), extra_columns=["size"])["size"].tolist() == ['5" TV', '6" and 7"', '8" TV']


def test_quotes_escaped_by_backslashes_are_read(write):
    text = 'user,item,note\n1,2,"says \\"yes, no\\" and"\n2,3,"\\"x\\""\n3,4,plain\n'
    frame = read(write("a.csv", text), extra_columns=["note"])
    assert frame["note"].tolist() == ['says "yes, no" and', '"x"', "plain"]
    rows = "".join(f"u{k},i{k},plain\n" for k in range(40_000))
    late = read(write("b.csv", f'user,item,note\n{rows}u,i,"says \\"a, b\\""\n'), extra_columns=["note"])
    assert late["note"].iloc[-1] == 'says "a, b"'


def test_backslash_at_the_end_of_a_quoted_field_is_no_escape(write):
    text = 'user,item,path\n1,2,"C:\\"\n2,3,"D:\\"\n3,4,x\n'
    assert read(write("a.csv", text), extra_columns=["path"])["path"].tolist() == ["C:\\", "D:\\", "x"]


def test_mixture_of_escaped_quotes_and_final_backslashes_is_refused(write):
    text = 'user,item,path\n1,2,"C:\\"\n2,3,"a \\" b"\n3,4,x\n'
    with pytest.raises(DataError, match=r"a\.csv: row \d: the quoted field that opens here"):
        read(write("a.csv", text))


def test_quoting_off_keeps_quotes_in_ids(write):
    frame = read(write("a.tsv", 'user\titem\n1\t"Heroes"\n1\tHeroes\n2\t"Heroes\n'), quoting=False)
    assert frame["item_id"].tolist() == ['"Heroes"', "Heroes", '"Heroes']


def test_record_that_is_too_long_is_refused(write):
    text = 'user,item,note\n1,2,"' + ("word " * 1000 + "\n") * 8000
    with pytest.raises(DataError, match="row 2: the quoted field that opens here is longer than 32 MB"):
        read(write("a.csv", text))


pieces = st.sampled_from(['"', '""', "\n", "\r\n", "\r", ",", "a", "1", " ", "\\", "é", "#", "::"])
texts = st.lists(pieces, max_size=25).map("".join)


def split(text, layout, size):
    stream = RecordStream(io.BytesIO(text.encode()), layout, wanted=range(30))
    prepared = b"".join(iter(lambda: stream.read(size), b"")).decode()
    quoting = csv.QUOTE_NONE if layout.quote is None else csv.QUOTE_MINIMAL
    reader = csv.reader(io.StringIO(prepared, newline=""), delimiter=layout.output_delimiter, quoting=quoting)
    return stream, list(filter(None, reader))


@given(text=texts, size=st.integers(1, 30))
def test_prepared_records_are_those_of_the_csv_module(text, size):
    reader = csv.reader(io.StringIO(text + "\n", newline=""))
    expected = []
    starts = []
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            break
        if record:
            expected.append(record)
            starts.append(line)
    stream, records = split(text, RecordLayout(","), size)
    if stream.is_in_quotes:  # the last record is incomplete
        expected = expected[:-1]
    assert records == expected
    assert stream.n_records == len(expected)
    assert stream.lines == starts[: len(stream.lines)]
    assert len(stream.lines) >= len(expected)


@given(text=texts, size=st.integers(1, 30))
def test_blocks_of_any_size_give_the_same_records(text, size):
    for layout in (
        RecordLayout("::", comment="#"),
        RecordLayout("::", quote=None),
        RecordLayout(WHITESPACE),
        RecordLayout(",", escape="\\", n_skipped_lines=1),
    ):
        if layout.escape and re.search(r"\\(\r|\n|$)", text):
            continue  # an escaped line end is an error, where reading stops
        whole, expected = split(text, layout, 10_000)
        pieced, records = split(text, layout, size)
        assert records == expected
        assert (pieced.n_records, pieced.lines) == (whole.n_records, whole.lines)


@given(text=texts, size=st.integers(1, 30))
def test_ragged_records_are_left_out_and_counted(text, size):
    _, records = split(text, RecordLayout(","), 10_000)
    checks = RecordChecks("x", n_fields=2)
    stream = RecordStream(io.BytesIO(text.encode()), RecordLayout(","), checks)
    try:
        prepared = b"".join(iter(lambda: stream.read(size), b""))
    except (DataError, AtypicalSampleError):
        return
    kept = list(filter(None, csv.reader(io.StringIO(prepared.decode(), newline=""))))
    ragged = [number for number, record in enumerate(records) if len(record) != 2]
    assert kept == [record for record in records if len(record) == 2]
    assert [record.number for record in stream.ragged] == ragged


cells = st.text(st.sampled_from('ab1,"\n\r;\t |\\é #'), max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=n_examples(150), deadline=None)
@given(
    notes=st.lists(cells, min_size=1, max_size=12),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    line_end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_the_csv_module_writes_is_read_or_refused_with_a_line(write, notes, delimiter, quoting, line_end):
    rows = [(k, note, k + 1) for k, note in enumerate(notes)]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, quoting=quoting, lineterminator=line_end)
    writer.writerows([("user_id", "note", "item_id"), *rows])
    try:
        frame = read(write("h.csv", buffer.getvalue()), delimiter=delimiter, extra_columns=["note"])
    except DataError as error:
        assert "h.csv: row " in str(error)  # noqa: PT017 - either is right
        return
    assert list(frame[["user_id", "note", "item_id"]].itertuples(index=False, name=None)) == rows


def test_text_after_the_closing_quote_of_an_id_is_refused(write):
    path = write("a.csv", 'user_id,item_id,title\nab,10,x\n"ab"c,10,"Best" of\n')
    with pytest.raises(DataError, match=r"a\.csv: row 3: .* more text after its closing quote .* data\.quoting: false"):
        read_file(path, ReadOptions())
    assert read_file(path, ReadOptions(quoting=False)).frame["user_id"].tolist() == ["ab", '"ab"c']
    path = write("b.csv", 'user_id,item_id,title\nab,10,x\nabc,10,"Best" of\n')
    assert read_file(path, ReadOptions()).frame["user_id"].tolist() == ["ab", "abc"]
