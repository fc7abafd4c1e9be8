from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import zipfile
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recctl.data.sources import ReadOptions
from recctl.data.sources.readers.read_file import read_file
from recctl.errors import DataError
from tests.conftest import n_examples

TEXT = "userId,movieId,rating,timestamp\n1,10,4.5,1500001000\n2,20,3,1500002000\n1,30,0.5,1500003000\n"
EXPECTED = {
    "user_id": [1, 2, 1],
    "item_id": [10, 20, 30],
    "rating": [4.5, 3.0, 0.5],
    "timestamp": [1500001000, 1500002000, 1500003000],
}


def read(path, **options):
    return read_file(path, ReadOptions(**options)).frame


def columns(frame):
    return {name: frame[name].tolist() for name in frame}


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_csv_columns_have_the_documented_types(write):
    frame = read(write("a.csv", TEXT))
    assert columns(frame) == EXPECTED
    assert [str(t) for t in frame.dtypes] == ["int64", "int64", "float32", "int64"]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|", "::", " ", "~~~"])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_delimiter_and_header_are_sniffed(write, notices, delimiter, header, line_end):
    lines = TEXT.splitlines()[0 if header else 1 :]
    path = write("a.dat", line_end.join(line.replace(",", delimiter) for line in lines))
    options = {"delimiter": delimiter} if delimiter == "~~~" else {}
    assert columns(read(path, **options)) == EXPECTED
    assert len(notices) == (0 if header else 1)


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.csv.gz", gzip.compress),
        ("a.csv.bz2", bz2.compress),
        ("a.csv.xz", lzma.compress),
        ("a.csv.zst", lambda b: pa.compress(b, "zstd", asbytes=True)),
        ("a.csv.zip", lambda b: zipped({"a.csv": b})),
        ("a.zip", lambda b: zipped({"whatever.csv": b})),
        ("a.zip", lambda b: zipped({"ml/movies.csv": "x", "ml/ratings.csv": b})),
        ("a.csv.zip", lambda b: zipped({"a.csv": b, "b.csv": "x"})),
        ("a.csv.zip", lambda b: zipped({"a.csv": b, "__MACOSX/a.csv": "\0", ".hidden": "x"})),
        ("named-plainly.csv", gzip.compress),
        ("multi.csv.gz", lambda b: gzip.compress(b[:40]) + gzip.compress(b[40:])),
    ],
)
def test_compression_is_detected_from_the_content(write, name, pack):
    assert columns(read(write(name, pack(TEXT.encode())))) == EXPECTED


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, lambda b: zipped({"a.csv": b})])
def test_truncated_compressed_file_is_rejected(write, pack):
    rng = np.random.default_rng(0)
    text = "user,item\n" + "".join(f"{u},{i}\n" for u, i in rng.integers(0, 10**9, (50_000, 2)))
    packed = pack(text.encode())
    path = write("cut.csv.gz", packed[: len(packed) * 2 // 3])
    with pytest.raises(DataError, match=r"cut\.csv\.gz: can't be read: .*truncated or damaged"):
        read(path)


def test_encrypted_or_ambiguous_zip_is_rejected(write):
    with pytest.raises(DataError, match=r"two\.zip: the archive holds x\.csv, y\.csv, not one table"):
        read(write("two.zip", zipped({"x.csv": TEXT, "y.csv": TEXT})))
    with pytest.raises(DataError, match="holds nothing"):
        read(write("none.zip", zipped({"folder/": ""})))
    flagged = bytearray(zipped({"a.csv": TEXT}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        flagged[flagged.index(signature) + offset] |= 1
    with pytest.raises(DataError, match="encrypted"):
        read(write("secret.zip", bytes(flagged)))


def test_bom_quotes_and_blank_lines_are_ignored(write):
    header = '"userId","movieId","rating","timestamp"'
    text = f'\ufeff\n{header}\n\n"1","10","4.5","1500001000"\n2,20,3,1500002000\n\n1,30,0.5,1500003000\n\n'
    assert columns(read(write("a.csv", text))) == EXPECTED


def test_quotes_that_start_after_the_sample_are_read(write):
    plain = "user,item\n" + "".join(f"u{i},i{i}\n" for i in range(40_000))
    frame = read(write("late.csv", plain + '"u,x","say ""hi"""\n'))
    assert frame.iloc[-1].tolist() == ["u,x", 'say "hi"']
    assert len(frame) == 40_001
    assert frame.iloc[0].tolist() == ["u0", "i0"]


def test_multiline_fields_are_read(write, notices):
    rows = "".join(f'{i},"line\n\nof {i}",{i % 5}\n' for i in range(30_000))
    assert read(write("reviews.csv", f"user_id,text,item_id\n{rows}"))["item_id"].tolist() == [
        i % 5 for i in range(30_000)
    ]
    assert notices == []


@pytest.mark.parametrize("n_rows", [20, 30_000])  # in the sample, and after it
def test_unclosed_quote_is_named_by_its_line(write, n_rows):
    rows = "".join(f"{i},{i},t{i}\n" for i in range(n_rows))
    path = write("open.csv", f'user,item,title\n{rows}1,2,"foo\n{rows}')
    with pytest.raises(DataError, match=rf"row {n_rows + 2}: the quoted field .* is still open on line {n_rows + 3},"):
        read(path)
    assert len(read(path, quoting=False)) == 2 * n_rows + 1


@pytest.mark.parametrize("encoded", ["привет,фильм", "用户,🎬", "Ünal,naïve"])
def test_unicode_ids(write, encoded):
    frame = read(write("a.csv", f"user,item\n{encoded}\n"))
    assert frame.iloc[0].tolist() == encoded.split(",")
    assert pd.api.types.is_string_dtype(frame["user_id"])


def test_ids_with_leading_zeros_stay_text(write):
    frame = read(write("a.csv", "user,item\n007,1\n7,2\n"))
    assert columns(frame) == {"user_id": ["007", "7"], "item_id": [1, 2]}


def test_id_type_option_sets_the_type(write):
    path = write("a.csv", "user,item\n7,1\n8,99999999999999999999\n")
    assert columns(read(path, id_type="text")) == {"user_id": ["7", "8"], "item_id": ["1", "99999999999999999999"]}
    with pytest.raises(DataError, match=r"row 2: user_id '007' has a leading zero; .* \(data.id_type: text\)"):
        read(write("b.csv", "user,item\n007,1\n"), id_type="int")


def test_largest_int64_ids_are_exact(write):
    frame = read(write("a.csv", f"user,item\n{2**63 - 1},{-(2**63)}\n"))
    assert frame.iloc[0].tolist() == [2**63 - 1, -(2**63)]


def test_mixed_ids_become_text_with_a_notice(write, notices):
    path = write("a.csv", "user,item\n" + "".join(f"{i},1\n" for i in range(30_000)) + "abc,2\n")
    frame = read(path)
    assert frame["user_id"].iloc[[0, -1]].tolist() == ["0", "abc"]
    assert frame["item_id"].dtype == np.int64
    assert notices == ["a.csv: row 30002: user_id 'abc' is text, other ids are whole numbers; all are read as text"]


@pytest.mark.parametrize(
    ("unit", "values", "expected"),
    [
        ("s", ["5", "6"], [5, 6]),
        ("s", ["5.0", "6.0"], [5, 6]),
        ("s", ["5.25", "6"], [5.25, 6.0]),
        ("s", ["1e3", "7.5"], [1000.0, 7.5]),
        ("ms", ["5000", "6000"], [5, 6]),
        ("ms", ["5500", "6000"], [5.5, 6.0]),
        ("us", ["5000000", "0"], [5, 0]),
        ("ns", ["5000000000", "0"], [5, 0]),
        ("ms", ["5000.0", "6000.0"], [5, 6]),
    ],
)
def test_numeric_timestamps_are_converted_from_their_unit(write, unit, values, expected):
    rows = "".join(f"1,{i},{value}\n" for i, value in enumerate(values))
    got = read(write("a.csv", f"user,item,time\n{rows}"), timestamp_unit=unit)["timestamp"]
    assert got.tolist() == expected
    assert got.dtype == (np.int64 if all(isinstance(e, int) for e in expected) else np.float64)


@pytest.mark.parametrize(
    "dates",
    [
        ["2013-01-02", "2024-05-31"],
        ["2013-01-02 03:04:05", "2013-01-02T03:04:06"],
        ["2013-01-02T03:04:05.250", "2013-01-02T03:04:06"],
        ["2013-01-02T03:04:05Z", "2013-01-02T03:04:05+02:00"],
        ["2013-01-02T03:04:05Z", "2013-01-02 03:04:05"],  # mixed: only the slow path reads it
    ],
)
def test_dates_become_seconds(write, dates):
    rows = "".join(f"1,{i},{date}\n" for i, date in enumerate(dates))
    got = read(write("a.csv", f"user,item,date\n{rows}"))["timestamp"].tolist()
    parsed = [datetime.fromisoformat(date) for date in dates]
    assert got == [(d if d.tzinfo else d.replace(tzinfo=UTC)).timestamp() for d in parsed]


def test_recbole_column_types_in_names_are_ignored(write):
    text = "item_id:token\tuser_id:token\tscore:float\ttimestamp:float\n242\t196\t3\t881250949\n"
    frame = read(write("x.inter", text))
    assert columns(frame) == {"user_id": [196], "item_id": [242], "rating": [3.0], "timestamp": [881250949]}
    assert frame["timestamp"].dtype == np.int64
    assert read(write("x.txt", text), format="inter").equals(frame)


def test_tsv_format_sets_the_delimiter(write):
    path = write("a.txt", "user\titem\nx,1\ty,2\n")
    assert columns(read(path, format="tsv")) == {"user_id": ["x,1"], "item_id": ["y,2"]}


cell = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n\ufeff", exclude_categories=("Cs",)), min_size=1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=n_examples(60), deadline=None)
@given(rows=st.lists(st.tuples(cell, cell), min_size=1, max_size=20), delimiter=st.sampled_from(",;\t|"))
def test_output_of_the_csv_module_round_trips(write, rows, delimiter):
    missing = {"", "NA", "N/A", "#N/A", "NaN", "nan", "-nan", "null", "NULL", "<NA>", "\\N"}
    rows = [(f"u{user}", f"i{item}") for user, item in rows if not {user, item} & missing]
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter).writerows([("user_id", "item_id"), *rows])
    if not rows:
        return
    frame = read(write("h.csv", buffer.getvalue()), delimiter=delimiter)
    assert list(frame.itertuples(index=False, name=None)) == [(user.strip(), item.strip()) for user, item in rows]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=n_examples(40), deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(-(2**63), 2**63 - 1),
            st.integers(-(2**63), 2**63 - 1),
            st.floats(width=32, allow_nan=False, allow_infinity=False),
            st.integers(31_536_000, 7_258_118_400),  # smaller numbers may be dates such as 20200105
        ),
        min_size=1,
        max_size=30,
    )
)
def test_numbers_round_trip_exactly(write, rows):
    lines = "".join(f"{u},{i},{r!r},{t}\n" for u, i, r, t in rows)
    frame = read(write("n.csv", f"user_id,item_id,rating,timestamp\n{lines}"))
    assert frame["user_id"].tolist() == [row[0] for row in rows]
    assert frame["item_id"].tolist() == [row[1] for row in rows]
    assert frame["rating"].tolist() == [row[2] for row in rows]
    assert frame["timestamp"].tolist() == [row[3] for row in rows]


def test_id_beyond_int32_after_the_sample_widens_its_column(tmp_path):
    path = tmp_path / "ratings.csv"
    rows = [(number, number % 7) for number in range(300_000)] + [(2**31, 3), (-(2**40), 4)]
    path.write_text("user,item\n" + "".join(f"{user},{item}\n" for user, item in rows))
    columns = read_file(path, ReadOptions()).columns
    assert (columns["user_id"].dtype, columns["item_id"].dtype) == (np.int64, np.int32)
    assert columns["user_id"][-3:].tolist() == [299_999, 2**31, -(2**40)]
    path.write_text(path.read_text() + "7,x\n")
    with pytest.raises(DataError, match=r"row 300004: item_id 'x' is not a whole number"):
        read_file(path, ReadOptions(id_type="int"))
