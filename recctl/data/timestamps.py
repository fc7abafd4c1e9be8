"""Timestamps that are written as text of some format, or as calendar numbers such as 20200105."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

SECONDS_OF_1970 = 365 * 24 * 3600

# Format -> the lowest and the highest number that can be a date of that format.
_CALENDAR_RANGES = {
    "%Y": (1900, 2100),
    "%Y%m": (1900_01, 2199_12),
    "%Y%m%d": (1900_01_01, 2199_12_31),
    "%Y%m%d%H": (1900_01_01_00, 2199_12_31_23),
    "%Y%m%d%H%M": (1900_01_01_00_00, 2199_12_31_23_59),
    "%Y%m%d%H%M%S": (1900_01_01_00_00_00, 2199_12_31_23_59_59),
}

# Dates and times of day as spreadsheets, web servers and programs write them, to suggest a format for what is not ISO
# 8601. Of %b and %B, which both read May, the first is suggested.
_DATES = (
    *("%d.%m.%Y", "%d.%m.%y", "%d/%m/%Y", "%d/%m/%y", "%m/%d/%Y", "%m/%d/%y", "%d-%m-%Y", "%m-%d-%Y", "%d-%m-%y"),
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y"),
    *("%B %d, %Y", "%b %d %Y", "%m %d, %Y", "%a, %d %b %Y", "%a %d %b %Y", "%d/%b/%Y"),
)
_TIMES = (
    *("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", "T%H:%M:%S", "T%H%M%S", " %H:%M UTC"),
    *(" %H:%M:%S UTC", " %H:%M:%S.%f UTC", " %H:%M:%S GMT", " %H:%M:%S %z", " %H:%M:%S.%f %z", ", %H:%M", ", %H:%M:%S"),
    *(", %I:%M %p", ", %I:%M:%S %p", ":%H:%M:%S %z", "T%H:%M:%SZ", "%H%M%S", "%H%M"),
)
_OTHER_FORMATS = ("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %z %Y", "%a %b %d %H:%M:%S UTC %Y")
_N_SAMPLED = 1000

# Without a separator, strptime may split 2020115 as it likes.
_ADJACENT_NUMBERS = re.compile(r"%[dmyYHMSIj]%[dmyYHMSIj]")
_ZERO_FRACTION = re.compile(r"^([0-9]+)\.0+$")
_VARIABLE_LENGTHS = re.compile(r"%[fzZ]")


def format_problem(timestamp_format: str) -> str | None:
    """What is wrong with a format for `strptime`; None if nothing is."""
    if "%" not in timestamp_format:
        return "has no directive such as %Y"
    if "%p" in timestamp_format and "%I" not in timestamp_format:
        return "%p (AM or PM) needs %I, the hour from 1 to 12; strptime ignores it beside %H"
    if "%I" in timestamp_format and "%p" not in timestamp_format:
        return "%I is the hour from 1 to 12, which needs %p (AM or PM); the hour from 0 to 23 is %H"
    import pandas as pd

    try:
        _parse_distinct(pd.Series(["-"], dtype="str"), timestamp_format)
    except (ValueError, re.error) as error:  # a repeated directive is a repeated group of a regular expression
        return str(error)
    return None


def parse_with_format(texts: pa.ChunkedArray, timestamp_format: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Parse timestamps of one format; those without a time zone are UTC.

    Args:
        texts: Text without nulls, shape `(n,)`.
        timestamp_format: The format, as for `strptime`.

    Returns:
        Seconds since 1970, int64 or, if any has a fraction, float64; and which texts do not match the format, whose
        seconds are 0.
    """
    # Timestamps repeat, and parsing one takes about a microsecond.
    encoded = texts.dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    distinct = encoded.dictionary.to_pandas()
    datetimes = _parse_distinct(distinct, timestamp_format)
    is_unreadable = datetimes.isna().to_numpy()
    if is_unreadable.any():
        # A program that stores missing values as NaN writes the date 20200105 as 20200105.0.
        distinct = distinct.where(~is_unreadable, distinct.str.replace(_ZERO_FRACTION, r"\1", regex=True))
        datetimes = _parse_distinct(distinct, timestamp_format)
        is_unreadable = datetimes.isna().to_numpy()
    if _ADJACENT_NUMBERS.search(timestamp_format) and not _VARIABLE_LENGTHS.search(timestamp_format):
        written = datetimes.dt.strftime(timestamp_format)
        is_unreadable = is_unreadable | (written.str.len() != distinct.str.len()).to_numpy(dtype=bool)
    seconds = datetimes_to_seconds(datetimes.dt.tz_convert(None).to_numpy(), is_unreadable)
    codes = encoded.indices.to_numpy()
    return seconds[codes], is_unreadable[codes]


def _parse_distinct(texts: pd.Series[Any], timestamp_format: str) -> pd.Series[Any]:
    import pandas as pd

    # pandas also reads the words now and today, whatever the format.
    texts = texts.where(~texts.str.lower().isin(["now", "today"]))
    return pd.to_datetime(texts, format=timestamp_format, utc=True, exact=True, errors="coerce")


def datetimes_to_seconds(datetimes: NDArray[Any], is_unreadable: NDArray[np.bool_]) -> NDArray[Any]:
    """NumPy datetimes as seconds since 1970: int64 or, if any has a fraction, float64; 0 where not readable."""
    exact = np.where(is_unreadable, np.datetime64(0, "s"), datetimes)
    whole = exact.astype("datetime64[s]")
    seconds: NDArray[Any] = whole.astype(np.int64)
    fractions = (exact - whole) / np.timedelta64(1, "s")
    return seconds + fractions if fractions.any() else seconds


def calendar_format(values: NDArray[Any]) -> str | None:
    """The format of numbers that are all dates, such as `%Y%m%d` for 20200105; None if they are not all dates.

    Dates of the years 1900 to 2199 count, and bare years from 1900 to 2100. Costs nothing if the first number is no
    date, as is the case for seconds.
    """
    if not len(values):
        return None
    if not any(first <= values[0] <= last for first, last in _CALENDAR_RANGES.values()):
        return None
    lowest = values.min()
    highest = values.max()
    for timestamp_format, (first, last) in _CALENDAR_RANGES.items():
        if first <= lowest and highest <= last and _are_dates(values, timestamp_format):
            return timestamp_format
    return None


def _are_dates(values: NDArray[Any], timestamp_format: str) -> bool:
    if values.dtype.kind == "f" and np.mod(values, 1).any():
        return False
    numbers = values.astype(np.int64)
    if timestamp_format == "%Y":
        return True
    if timestamp_format == "%Y%m":
        return _are_days(numbers * 100 + 1)
    if timestamp_format == "%Y%m%d":
        return _are_days(numbers)
    if timestamp_format == "%Y%m%d%H%M":
        numbers = numbers * 100
    seconds = numbers % 100
    minutes = numbers // 100 % 100
    hours = numbers // 10_000 % 100
    return bool(((seconds < 60) & (minutes < 60) & (hours < 24)).all()) and _are_days(numbers // 1_000_000)


def _are_days(numbers: NDArray[np.int64]) -> bool:
    """Whether all numbers, written as YYYYMMDD, are days of the calendar."""
    month = numbers // 100 % 100
    day = numbers % 100
    if not ((month >= 1) & (month <= 12) & (day >= 1)).all():
        return False
    first_of_month = ((numbers // 10_000 - 1970) * 12 + month - 1).astype("datetime64[M]")
    n_days = (first_of_month + 1).astype("datetime64[D]") - first_of_month.astype("datetime64[D]")
    return bool((day <= n_days.astype(np.int64)).all())


def suggest_formats(texts: Sequence[str]) -> list[str]:
    """The common formats that read all of these texts.

    Two formats mean that the day or the month may come first: 05/01/2020.
    """
    sample = list(dict.fromkeys(texts))[:_N_SAMPLED]
    if not sample:
        return []
    formats = [date + time for date, time in product(_DATES, _TIMES)]
    formats += _OTHER_FORMATS
    matching = [each for each in formats if _matches(sample[0], each)]
    column = pa.chunked_array([pa.array(sample, pa.large_string())])
    suggestions: list[str] = []
    for each in matching:
        is_same = each.replace("%B", "%b") in suggestions
        if not is_same and not parse_with_format(column, each)[1].any():
            suggestions.append(each)
    return suggestions


def _matches(text: str, timestamp_format: str) -> bool:
    # strptime compiles a regular expression for each format; most are ruled out by their punctuation.
    if any(character not in text for character in re.sub(r"%.", "", timestamp_format)):
        return False
    try:
        year = datetime.strptime(text, timestamp_format).year  # noqa: DTZ007 - only the year is of interest
    except ValueError:
        return False
    return 1970 <= year < 2200
