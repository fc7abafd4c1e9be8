"""Timestamps of files: formats, dates that are numbers, and the year 1970."""

from __future__ import annotations

import pytest

from recctl.data.sources import ReadOptions
from recctl.data.sources.readers.read_file import read_file
from recctl.errors import ConfigError, DataError

HEADER = "user_id,item_id,date\n"
NEW_YEAR = 1_577_836_800  # 2020-01-01T00:00:00Z


def read(path, **options):
    return read_file(path, ReadOptions(**options)).frame["timestamp"].tolist()


def rows(*values):
    return HEADER + "".join(f"{user},10,{value}\n" for user, value in enumerate(values))


@pytest.mark.parametrize(
    ("values", "timestamp_format"),
    [
        (["20200105", "20200106"], "%Y%m%d"),
        (["20200105.0", "20200106"], "%Y%m%d"),
        (["2019", "2020"], "%Y"),
        (["202001", "202002"], "%Y%m"),
        (["202001051030", "202001060000"], "%Y%m%d%H%M"),
        (["20200105103000", "20200106000000"], "%Y%m%d%H%M%S"),
        (["31.12.2019", "01.01.2020"], "%d.%m.%Y"),
        (["2020-01-05 10:30:00 UTC", "2020-01-05 10:31:00 UTC"], "%Y-%m-%d %H:%M:%S UTC"),
    ],
)
def test_error_for_dates_suggests_a_format_that_reads_them(write, values, timestamp_format):
    path = write("a.csv", rows(*values))
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).startswith("a.csv: row 2: timestamp ")
    assert values[0].removesuffix(".0") in str(caught.value)
    assert f'set data.timestamp_format: "{timestamp_format}"' in str(caught.value)
    assert len(read(path, timestamp_format=timestamp_format)) == 2


def test_day_and_month_that_may_be_either_are_both_suggested(write):
    with pytest.raises(DataError, match=r'"%d/%m/%Y" or .*"%m/%d/%Y": the day or the month may come first'):
        read(write("a.csv", rows("05/01/2020", "06/01/2020")))


def test_value_that_does_not_match_the_format_is_a_bad_row(write, notices):
    path = write("a.csv", rows("01.01.2020", "soon", "02.01.2020"))
    with pytest.raises(DataError, match=r"row 3: timestamp 'soon' is not of the format '%d\.%m\.%Y'"):
        read(path, timestamp_format="%d.%m.%Y")
    assert read(path, timestamp_format="%d.%m.%Y", bad_rows="skip") == [NEW_YEAR, NEW_YEAR + 86_400]


def test_format_that_matches_nothing_is_one_error(write):
    path = write("a.csv", rows("31.12.2019", "01.01.2020"))
    for bad_rows in ("error", "skip"):
        with pytest.raises(DataError) as caught:
            read(path, timestamp_format="%Y/%m/%d", bad_rows=bad_rows)
        assert str(caught.value) == (
            "a.csv: row 2: timestamp '31.12.2019' is not of the format '%Y/%m/%d' (data.timestamp_format), nor is any "
            'other; set data.timestamp_format: "%d.%m.%Y"'
        )


def test_calendar_numbers_in_another_unit_or_in_part_are_numbers(write):
    assert read(write("a.csv", rows("20200105", "20200199"))) == [20200105, 20200199]
    assert read(write("a.csv", rows("20200105", "20200106")), timestamp_unit="ms") == [20200.105, 20200.106]


def test_year_1970_sends_a_notice(write, notices):
    assert read(write("a.csv", rows("3", "1", "2"))) == [3, 1, 2]
    assert len(notices) == 1
    assert "all timestamps are in 1970" in notices[0]
    assert "data.timestamp_unit" in notices[0]
    read(write("a.csv", rows("1970-01-01", "1970-02-01")))
    read(write("a.csv", rows("31536000", "1")))
    read(write("s.txt", "1 10 20 30\n"), format="sequences")
    assert len(notices) == 1


def test_invalid_format_is_a_config_error():
    with pytest.raises(ConfigError, match=r"timestamp_format: 'DD.MM.YYYY': has no directive such as %Y"):
        ReadOptions(timestamp_format="DD.MM.YYYY")


def test_ratings_that_are_not_used_may_be_unreadable(write, notices):
    path = write("a.csv", "user_id,item_id,rating\n1,10,4\n2,20,good\n")
    table = read_file(path, ReadOptions(needs_ratings=False))
    assert table.frame.to_dict("list") == {"user_id": [1, 2], "item_id": [10, 20]}
    assert notices == ["a.csv: row 3: rating 'good' is not a number; ratings are not used, so the column is left out"]
    path = write("a.csv", "user_id,item_id,rating\n" + 50 * "1,10,4\n" + "user_id,item_id,rating\n2,20,5\n")
    table = read_file(path, ReadOptions(needs_ratings=False, bad_rows="skip"))
    assert table.frame.iloc[-2:].to_dict("list") == {"user_id": [1, 2], "item_id": [10, 20], "rating": [4.0, 5.0]}
