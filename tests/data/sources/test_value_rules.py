"""The rules for ids, ratings and timestamps: fast and row-by-row reading agree with a plain implementation of them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recctl.data.columns import LATEST_TIMESTAMP
from recctl.data.sources import ReadOptions
from recctl.data.sources.readers import csv as csv_reader
from recctl.data.sources.readers import sequences
from recctl.data.sources.readers.read_file import read_file
from recctl.errors import DataError
from tests.conftest import n_examples

BAD = "refused"
MISSING = {"", "NA", "N/A", "#N/A", "NaN", "nan", "-nan", "null", "NULL", "<NA>", "\\N"}

PLAIN_INTEGERS = ["0", "1", "-1", "42", "100", "9999999999", "-20"]
OTHER_INTEGERS = ["17850.0", "3.00", "-5.0", "-0", "-0.0", " 7", "8 ", "\t9", "10\u00a0", "\u300011"]
NO_INTEGERS = [
    *("007", "-007", "00", "0x1F", "0X1f", "-0x1", "0xFFFFFFFFFFFFFFFF", " 0x1", "+7", "1_000", "٣", "７", "−7", "ⅷ"),
    *("1e3", "5.", "5.5", ".5", "1.0e0", "inf", "Infinity", "-", "--5", "u1", " u1 ", "u 1", "a\u3000", "0b1", "0o7"),
    *('7"', "'7'", "ann", "7.0.0", "\ufeff7", "١٢", "NA7", "1,000", "7;8", "é"),
]
BEYOND_INT64 = ["9223372036854775808", "-9223372036854775809", "9223372036854775808.0", "9" * 50]
LARGEST = ["9223372036854775807", "-9223372036854775808", "9223372036854775807.0"]
ABSENT = ["", " ", "NA", "nan", "null", "\\N", " NA", "\u3000"]
# The sample from which types are guessed has 200 rows, and at most 256 KiB.
N_ROWS = [1, 3, 10, 250, 250, 250, 250, 250, 30_000]


def expected_ids(values: list[str], id_type: str) -> Any:
    """The ids of a column by the rule, or BAD."""
    stripped = [value.strip() for value in values]
    missing = {""} if id_type == "text" else MISSING
    if any(value in missing for value in stripped):
        return BAD
    if id_type == "text":
        return stripped
    if not all(re.fullmatch(r"-?(0|[1-9][0-9]*)(\.0+)?", value) for value in stripped):
        return stripped if id_type == "auto" else BAD
    numbers = [int(value.split(".")[0]) for value in stripped]
    return numbers if all(-(2**63) <= number < 2**63 for number in numbers) else BAD


def expected_ratings(values: list[str]) -> Any:
    if not all(is_number(value.strip()) for value in values):
        return BAD
    with np.errstate(over="ignore"):
        numbers = np.array([float(value) for value in values]).astype(np.float32)
    return numbers.tolist() if np.isfinite(numbers).all() else BAD


def expected_timestamps(values: list[str], unit: str) -> Any:
    stripped = [value.strip() for value in values]
    n_numbers = sum(map(is_number, stripped))
    if n_numbers not in (0, len(values)):
        return BAD
    try:
        seconds = [seconds_of(value, {"s": 1, "ms": 1000}[unit]) for value in stripped]
    except ValueError:
        return BAD
    return seconds if all(0 <= second <= LATEST_TIMESTAMP for second in seconds) else BAD


@cache
def seconds_of(value: str, units_per_second: int) -> float:
    if is_number(value):
        return float(value) / units_per_second
    if not re.match("[0-9]{4}-", value):
        raise ValueError(value)
    moment = datetime.fromisoformat(value)
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


def is_number(value: str) -> bool:
    return re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", value) is not None


def read_column(path: Path, role: str, **options: Any) -> Any:
    try:
        return read_file(path, ReadOptions(**options)).frame[role].tolist()
    except DataError:
        return BAD


def read_both_ways(path: Path, role: str, **options: Any) -> tuple[Any, Any]:
    """The column as read, and as read row by row."""
    fast = read_column(path, role, **options)

    def fail(*_: Any) -> Any:
        raise pa.ArrowInvalid("row by row")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_reader, "_read_typed", fail)
        patch.setattr(sequences, "_read_words", only_bytes(sequences._read_words))
        slow = read_column(path, role, **options)
    return fast, slow


def only_bytes(read_words: Callable[..., Any]) -> Callable[..., Any]:
    def read(words: bytes, arrow_type: pa.DataType) -> Any:
        if arrow_type != pa.binary():
            raise pa.ArrowInvalid("row by row")
        return read_words(words, arrow_type)

    return read


@st.composite
def columns(draw: st.DrawFn, usual: list[list[str]], odd: list[str]) -> list[str]:
    """A column that repeats usual values, with an odd one at any place."""
    values = draw(st.lists(st.sampled_from(draw(st.sampled_from(usual))), min_size=1, max_size=5))
    n_rows = draw(st.sampled_from(N_ROWS))
    column = (values * (n_rows // len(values) + 1))[:n_rows]
    for value in draw(st.lists(st.sampled_from(odd), max_size=2)):
        column[draw(st.sampled_from([0, n_rows // 2, n_rows - 1]))] = value
    return column


def write_csv(path: Path, role: str, column: list[str], delimiter: str = ",", quoting: Any = csv.QUOTE_MINIMAL) -> Path:
    text = io.StringIO()
    other = "item_id" if role == "user_id" else "user_id"
    names = [other, role] if other == "user_id" else [role, other]
    if role in ("rating", "timestamp"):
        names = ["user_id", "item_id", role]
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator="\n")
    writer.writerow(names)
    position = names.index(role)
    for value in column:
        row = ["5"] * len(names)
        row[position] = value
        writer.writerow(row)
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


ids = columns(
    [PLAIN_INTEGERS, PLAIN_INTEGERS, OTHER_INTEGERS, NO_INTEGERS, ["u1", "u2", "NA", "null"]],
    PLAIN_INTEGERS + OTHER_INTEGERS + NO_INTEGERS + BEYOND_INT64 + LARGEST + ABSENT,
)
with_fixtures = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=n_examples(60))


@with_fixtures
@given(
    column=ids,
    role=st.sampled_from(["user_id", "item_id"]),
    id_type=st.sampled_from(["auto", "auto", "int", "text"]),
    delimiter=st.sampled_from([",", ";", "\t"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_ids_of_csv_files(tmp_path, column, role, id_type, delimiter, quoting):
    path = write_csv(tmp_path / "ids.csv", role, column, delimiter, quoting)
    fast, slow = read_both_ways(path, role, id_type=id_type, delimiter=delimiter, header=True)
    expected = expected_ids(column, id_type)
    assert fast == expected
    assert slow == expected


def test_mark_at_the_beginning_of_the_first_id_is_kept(tmp_path):
    path = write_csv(tmp_path / "ids.csv", "user_id", ["\ufeff7", "8"], ",", csv.QUOTE_MINIMAL)
    fast, slow = read_both_ways(path, "user_id", header=True)
    assert fast == slow == ["\ufeff7", "8"]


words = [
    value
    for value in PLAIN_INTEGERS + OTHER_INTEGERS + NO_INTEGERS + BEYOND_INT64 + LARGEST + ["NA", "nan", "null"]
    if not re.search(r"[ ,\t]", value)
]


@with_fixtures
@given(column=columns([PLAIN_INTEGERS, PLAIN_INTEGERS, words], words), id_type=st.sampled_from(["auto", "int", "text"]))
def test_ids_of_sequences(tmp_path, column, id_type):
    path = tmp_path / "ids.txt"
    path.write_text("".join(f"5 {value}\n" for value in column), encoding="utf-8")
    fast, slow = read_both_ways(path, "item_id", id_type=id_type, format="lightgcn")
    expected = expected_ids(column, id_type)
    assert fast == expected
    assert slow == expected


NUMBERS = ["1", "2.5", "-3", "0", "+4", "5.", ".5", "1e2", "1E-2", "007", " 3", "4 "]
NO_NUMBERS = ["1e60", "inf", "-inf", "nan", "NaN", "nan(1)", "0x10", "1_0", "", "x", "1,5", "٣", "1e", "--1", "+-1"]


@with_fixtures
@given(column=columns([["1", "2", "5"], ["3.5", "4.5"], NUMBERS], NUMBERS + NO_NUMBERS))
def test_ratings_of_csv_files(tmp_path, column):
    path = write_csv(tmp_path / "ratings.csv", "rating", column)
    expected = expected_ratings(column)
    assert read_both_ways(path, "rating") == (expected, expected)


SECONDS = ["1577836800", "1600000000", "1650000000"]
OTHER_SECONDS = ["1577836800.5", "1.6e9", "+1577836800", "01577836800", " 1577836800", "1577836800.", "0"]
DATES = [
    *("2020-01-01", "2020-01-01T10:30:00", "2020-02-29 10:30", "2020-01-01T10:30:00Z", "2020-01-01T10:30:00+02:00"),
    *("2020-01-01T10:30:00.25", "2199-12-31", "1970-01-01", " 2020-01-01"),
]
NO_TIMES = ["0x5e0be100", "-5", "nan", "", "soon", "now", "today", "2020-02-30", "31/12/2020", "9" * 20, "1969-12-31"]


@with_fixtures
@given(
    column=columns([SECONDS, OTHER_SECONDS, DATES[:1], DATES[1:3], DATES], SECONDS + OTHER_SECONDS + DATES + NO_TIMES),
    unit=st.sampled_from(["s", "ms"]),
)
def test_timestamps_of_csv_files(tmp_path, column, unit):
    path = write_csv(tmp_path / "times.csv", "timestamp", column)
    fast, slow = read_both_ways(path, "timestamp", timestamp_unit=unit)
    expected = expected_timestamps(column, unit)
    assert fast == slow
    assert fast == expected if expected == BAD or fast == BAD else fast == pytest.approx(expected, abs=1e-6)


FORMATTED = ["05.01.2020 10:30", "6.1.2020 00:00", " 31.12.2019 23:59 "]
NO_FORMATTED = ["2020-01-05", "32.01.2020 10:30", "05.01.2020", "today", "", "05.01.1969 10:30", "05.01.20 10:30"]


@cache
def seconds_of_format(value: str) -> int:
    moment = datetime.strptime(value.strip(), "%d.%m.%Y %H:%M").replace(tzinfo=UTC)
    return int(moment.timestamp())


@with_fixtures
@given(column=columns([FORMATTED], FORMATTED + NO_FORMATTED))
def test_timestamps_of_a_format(tmp_path, column):
    path = write_csv(tmp_path / "times.csv", "timestamp", column)
    expected: Any = []
    try:
        expected = [seconds_of_format(value) for value in column]
    except ValueError:
        expected = BAD
    if expected != BAD and min(expected) < 0:
        expected = BAD
    options = {"timestamp_format": "%d.%m.%Y %H:%M"}
    assert read_both_ways(path, "timestamp", **options) == (expected, expected)


@pytest.mark.parametrize("n_characters", range(1, 17))
def test_odd_id_at_any_offset_from_the_end_of_a_block_is_found(tmp_path, n_characters):
    # Arrow reads blocks of 1 MiB, which end in any place of a row of 16 bytes.
    path = tmp_path / "late.csv"
    n_before = (1 << 20) // 16 - 1
    row = "123456789,12345\n"
    path.write_text(f"u,i\n{'1' * n_characters},1\n{row * n_before}007,1\n{row * 9}", encoding="utf-8")
    options = ReadOptions(columns={"user_id": "u", "item_id": "i"})
    assert "007" in set(read_file(path, options).frame["user_id"])
