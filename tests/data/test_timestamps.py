"""Dates written as text of some format or as numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from recctl.data.timestamps import calendar_format, format_problem, parse_with_format, suggest_formats

NEW_YEAR = 1_577_836_800  # 2020-01-01T00:00:00Z


def parse(timestamp_format, *texts):
    """The seconds of each text; None for those that do not match the format."""
    column = pa.chunked_array([pa.array(texts, pa.large_string())])
    seconds, is_unreadable = parse_with_format(column, timestamp_format)
    return [None if bad else second for second, bad in zip(seconds.tolist(), is_unreadable, strict=True)]


@pytest.mark.parametrize(
    ("timestamp_format", "texts", "seconds"),
    [
        ("%d.%m.%Y %H:%M", ["01.01.2020 00:00", "1.1.2020 00:01"], [0, 60]),
        ("%Y%m%d", ["20200101", "20200101.0", "202011", "2020111", "2020-01-01"], [0, 0, None, None, None]),
        ("%Y", ["2020", "2020.0", "20"], [0, 0, None]),
        ("%Y-%m-%d %H:%M:%S UTC", ["2020-01-01 00:00:05 UTC"], [5]),
        ("%Y-%m-%dT%H:%M:%S.%f%z", ["2020-01-01T01:00:00.5+01:00", "2020-01-01T00:00:00.25Z"], [0.5, 0.25]),
        ("%Y-%m-%d", ["now", "today", "", "2020-02-30"], [None, None, None, None]),
        ("%d/%m/%y", ["01/01/20", "01/01/2020"], [0, None]),
    ],
)
def test_texts_of_a_format_are_parsed_as_utc(timestamp_format, texts, seconds):
    assert parse(timestamp_format, *texts) == [None if s is None else NEW_YEAR + s for s in seconds]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([2019, 2020], "%Y"),
        ([201912, 202001], "%Y%m"),
        ([20191231, 20200229], "%Y%m%d"),
        ([202001012359], "%Y%m%d%H%M"),
        ([20200101235959], "%Y%m%d%H%M%S"),
        ([2019.0], "%Y"),
        ([20190229], None),
        ([201913, 201901], None),
        ([202001012360], None),
        ([2019.5], None),
        ([1, 2, 3], None),
        ([NEW_YEAR], None),
        ([1899], None),
        ([], None),
    ],
)
def test_numbers_that_are_all_dates_are_recognized(values, expected):
    assert calendar_format(np.array(values)) == expected


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["05.01.2020"], ["%d.%m.%Y"]),
        (["31/12/2019", "01/02/2020"], ["%d/%m/%Y"]),
        (["12/31/2019", "01/02/2020"], ["%m/%d/%Y"]),
        (["05/01/2020 10:30"], ["%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"]),
        (["2009-10-01 07:45:12 UTC"], ["%Y-%m-%d %H:%M:%S UTC"]),
        (["May 5, 2020"], ["%b %d, %Y"]),
        (["Thu Apr 06 15:24:15 +0000 2017"], ["%a %b %d %H:%M:%S %z %Y"]),
        (["1/5/2020, 10:30:00 AM"], ["%d/%m/%Y, %I:%M:%S %p", "%m/%d/%Y, %I:%M:%S %p"]),
        (["05.01.2020", "soon"], []),
        (["yesterday"], []),
        ([], []),
    ],
)
def test_formats_that_read_all_texts_are_suggested(texts, expected):
    assert suggest_formats(texts) == expected


def test_format_without_directives_or_with_unknown_ones_is_refused():
    assert format_problem("%Y-%m-%dT%H:%M:%S.%f%z") is None
    assert format_problem("ISO8601") == "has no directive such as %Y"
    assert format_problem("%d/%m/%Y %I:%M %p") is None
    assert "needs %I" in format_problem("%d/%m/%Y %H:%M %p")
    assert "needs %p" in format_problem("%d/%m/%Y %I:%M")
    assert "bad directive" in str(format_problem("%Y-%q"))
    assert "stray" in str(format_problem("%Y%"))
