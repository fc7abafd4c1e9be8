"""Checks of whole columns of timestamps: dates read as numbers of seconds are refused, the year 1970 is pointed out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from recctl import progress
from recctl.data.columns import format_value
from recctl.data.sources.options import ReadOptions
from recctl.data.timestamps import SECONDS_OF_1970, calendar_format, suggest_formats
from recctl.errors import DataError

ISO_DATE = "an ISO 8601 date such as 2024-05-31T18:30:00"


def check_timestamps(
    timestamps: NDArray[Any], options: ReadOptions, source: str, label_first_row: Callable[[], str]
) -> None:
    """Check a column of timestamps that the file holds as numbers; not for datetimes.

    Args:
        timestamps: Seconds since 1970.
        options: `timestamp_unit` is the unit in which the file has them.
        source: Name of the file for messages.
        label_first_row: Returns the location of the first timestamp.

    Raises:
        DataError: All timestamps are dates such as 20200105, or years.
    """
    if not len(timestamps):
        return
    if options.timestamp_unit == "s":
        reject_calendar_numbers(timestamps, label_first_row)
    # The first one nearly always decides, and a maximum over all would cost another pass.
    if timestamps[0] < SECONDS_OF_1970 and timestamps.max() < SECONDS_OF_1970:
        progress.notice(
            f"{source}: all timestamps are in 1970, if they are in the unit data.timestamp_unit: "
            f"{options.timestamp_unit}; if it is another one, set it. Small step numbers can stay as they are"
        )


def reject_calendar_numbers(values: NDArray[Any], label_first_row: Callable[[], str]) -> None:
    """Raise if all numbers are dates such as 20200105, or years.

    Args:
        values: The numbers as they stand in the file.
        label_first_row: Returns the location of the first one.

    Raises:
        DataError: They are.
    """
    timestamp_format = calendar_format(values)
    if timestamp_format:
        raise DataError(
            f"{label_first_row()}: timestamp {int(values[0])} looks like a date, as all others do, not like seconds "
            f"since 1970; {format_hint([timestamp_format])} (or data.timestamp_unit: ms, if these are step numbers)"
        )


def unreadable_dates_error(location: str, texts: list[str]) -> DataError:
    """The error for a file in which no timestamp is a number or an ISO 8601 date.

    Args:
        location: The location of the first timestamp.
        texts: The first timestamps; a format that reads all of them is suggested.
    """
    formats = suggest_formats(texts)
    hint = format_hint(formats) if formats else 'set data.timestamp_format, e.g. "%d.%m.%Y %H:%M"'
    return DataError(
        f"{location}: timestamp {format_value(texts[0])} is neither a number nor {ISO_DATE}, nor is any other; {hint} "
        "(or leave out the column: data.columns: {timestamp: null})"
    )


def format_hint(formats: list[str]) -> str:
    """The YAML that sets the format of timestamps."""
    hint = f"set {_setting(formats[0])}"
    if len(formats) == 1:
        return hint
    return f"{hint} or {_setting(formats[1])}: the day or the month may come first"


def wrong_format_error(location: str, value: Any, timestamp_format: str) -> DataError:
    """The error for a file in which no timestamp has the specified format."""
    formats = suggest_formats([str(value)])
    hint = f"; {format_hint(formats)}" if formats else ""
    return DataError(
        f"{location}: timestamp {format_value(value)} is not of the format {format_value(timestamp_format)} "
        f"(data.timestamp_format), nor is any other{hint}"
    )


def _setting(timestamp_format: str) -> str:
    return f'data.timestamp_format: "{timestamp_format}"'
