"""Splits by dates: where train, validation and test begin and end, for one window of time or for several.

All times are UTC. A day is a day of the calendar: the newest 7 days are the day of the newest interaction and the six
before it, so that boundaries are dates and the windows of a backtest can be named. (The last day counts in full even if
the data end in the middle of it.) Starts are inclusive, ends exclusive:

    train | gap | validation | gap | test | unused

The gap is repeated before validation, because models are chosen there for the conditions of test.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recctl import arguments
from recctl.data import columns
from recctl.data.interactions import Interactions
from recctl.data.splitting.parts import TEST, TRAIN, UNUSED, VALIDATION, PartCodes
from recctl.errors import DataError

SECONDS_PER_DAY = 86_400

Moment = str | float | dt.date
"""A date or date and time, as text or a Python object (UTC unless it has a time zone), or seconds since 1970."""

# Options that give a temporal split by dates instead of fractions.
_TEST_KEYS = ("test_start", "test_days")
_VALIDATION_KEYS = ("val_start", "val_days")
_DATE_KEYS = (*_TEST_KEYS, *_VALIDATION_KEYS, "train_days")
_CALENDAR_NUMBER = re.compile(r"(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])")

# The name of an option, and what is wrong with it.
OptionProblem = tuple[str, str]


@dataclass(frozen=True)
class Window:
    """Where the parts of a split begin and end, in seconds since 1970; starts are inclusive, ends exclusive.

    Attributes:
        train_start: None: train begins with the data.
        train_end: The end of train; the gap, if any, follows.
        validation_start: None: there is no validation part.
        validation_end: None: there is no validation part.
        test_start: The start of test.
        test_end: None: test ends with the data.
    """

    train_start: float | None
    train_end: float
    validation_start: float | None
    validation_end: float | None
    test_start: float
    test_end: float | None

    def parts(self, timestamps: NDArray[Any]) -> PartCodes:
        """The part of each interaction, shape `(n_interactions,)`; the gaps and all outside the window are unused."""
        parts = np.full(len(timestamps), UNUSED, np.uint8)
        intervals: list[tuple[float | None, float | None, int]] = [
            (self.train_start, self.train_end, TRAIN),
            (self.test_start, self.test_end, TEST),
        ]
        if self.validation_start is not None:
            intervals.append((self.validation_start, self.validation_end, VALIDATION))
        for start, end, part in intervals:
            parts[_is_between(timestamps, start, end)] = part
        return parts

    def count_unused(self, timestamps: NDArray[Any]) -> dict[str, int]:
        """Count the interactions that are in no part: in the gaps, before train, and after test."""
        n_gap = _count(_is_between(timestamps, self.train_end, self.validation_start or self.test_start))
        if self.validation_end is not None:
            n_gap += _count(_is_between(timestamps, self.validation_end, self.test_start))
        n_before = 0
        n_after = 0
        if self.train_start is not None:
            n_before = _count(timestamps < self.train_start)
        if self.test_end is not None:
            n_after = _count(timestamps >= self.test_end)
        return {"gap": n_gap, "before_train": n_before, "after_test": n_after}

    def record(self) -> dict[str, str | None]:
        """The boundaries as text, for JSON; a boundary at midnight is a date."""
        return {name: None if value is None else format_time(value) for name, value in vars(self).items()}


def _count(rows: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(rows))


def _is_between(timestamps: NDArray[Any], start: float | None, end: float | None) -> NDArray[np.bool_]:
    if start is None:
        assert end is not None
        return np.asarray(timestamps < end)
    after: NDArray[np.bool_] = timestamps >= start
    return after if end is None else after & (timestamps < end)


# ---- options


def uses_dates(options: Mapping[str, Any]) -> bool:
    """Whether the options of a temporal split say where its parts begin by dates or days, not by fractions."""
    return any(options.get(key) is not None for key in _DATE_KEYS) or bool(options.get("gap_days"))


def has_validation(options: Mapping[str, Any]) -> bool:
    """Whether a split by dates has a validation part."""
    return any(options.get(key) is not None for key in _VALIDATION_KEYS)


def option_problems(strategy: str, options: Mapping[str, Any]) -> Iterator[OptionProblem]:
    """Yield what is wrong with the options of the strategies `temporal` and `rolling`, without looking at data.

    Args:
        strategy: The strategy.
        options: Its options, `test_size` and `val_size` among them.
    """
    given = {key: value for key, value in options.items() if value is not None}
    value_problems = list(_value_problems(given))
    yield from value_problems
    if strategy == "rolling":
        for key, instead in (("test_size", "test_days: 7"), ("val_size", "val_days: 7")):
            if given.get(key):
                yield key, f"{given[key]!r}: the windows of a rolling split are given in days; write {instead} instead"
        return
    if not any(key in given for key in _TEST_KEYS):
        yield from _problems_without_test(given)
        return
    yield from _conflicts_with_sizes(given)
    if "val_start" in given and "val_days" in given:
        yield "val_days", f"{given['val_days']!r}: val_start says where validation begins; remove one of the two"
    elif "val_start" in given and "test_start" in given and not value_problems:
        yield from _order_problems(given)


def _problems_without_test(given: Mapping[str, Any]) -> Iterator[OptionProblem]:
    instead = "replace test_size and val_size by test_days: 7 and val_days: 7, or by test_start and val_start"
    for key in (*_DATE_KEYS, "gap_days"):
        if given.get(key):
            yield key, f"{given[key]!r}: can't be combined with a test part by size; {instead}"


def _conflicts_with_sizes(given: Mapping[str, Any]) -> Iterator[OptionProblem]:
    test_key = next(key for key in _TEST_KEYS if key in given)
    if "test_size" in given:
        yield "test_size", f"{given['test_size']!r}: {test_key} says where test begins; remove one of the two"
    if given.get("val_size"):
        problem = f"{given['val_size']!r}: can't be combined with {test_key}"
        if any(key in given for key in _VALIDATION_KEYS):
            yield "val_size", f"{problem}; remove it"
        else:
            yield "val_size", f"{problem}; write val_days: 7 instead"


def _order_problems(given: Mapping[str, Any]) -> Iterator[OptionProblem]:
    val_start = to_seconds(given["val_start"])
    val_end = to_seconds(given["test_start"]) - given.get("gap_days", 0) * SECONDS_PER_DAY
    if val_start >= val_end:
        earlier = format_time(val_end - 7 * SECONDS_PER_DAY)
        problem = f"{given['val_start']!r}: validation ends at {format_time(val_end)}; write val_start: {earlier}"
        yield "val_start", problem


def _value_problems(given: Mapping[str, Any]) -> Iterator[OptionProblem]:
    for key in ("test_start", "val_start"):
        if key in given and (problem := moment_problem(given[key])):
            yield key, f"{given[key]!r} {problem}"
    least = {"test_days": 1, "val_days": 1, "train_days": 1, "step_days": 1, "n_windows": 1, "gap_days": 0}
    for key, minimum in least.items():
        if key in given and not (arguments.is_whole(given[key]) and given[key] >= minimum):
            yield key, f"{given[key]!r} should be a whole number of at least {minimum}"


def moment_problem(value: Any) -> str | None:
    """What is wrong with a moment, to follow its value in a message; None if nothing is."""
    expected = "should be a date such as 2026-10-01, a moment such as 2026-10-01T06:00+02:00 (UTC without a time zone)"
    if isinstance(value, int) and _CALENDAR_NUMBER.fullmatch(str(value)):
        text = str(value)
        return f"would be seconds since 1970; write {text[:4]}-{text[4:6]}-{text[6:]}"
    try:
        is_finite = not isinstance(value, bool) and math.isfinite(to_seconds(value))
    except (TypeError, ValueError):
        is_finite = False
    return None if is_finite else f"{expected}, or seconds since 1970"


def to_seconds(moment: Moment) -> float:
    """A moment as seconds since 1970.

    Raises:
        ValueError: It is none.
    """
    if isinstance(moment, str):
        moment = dt.datetime.fromisoformat(moment.strip())
    if isinstance(moment, dt.datetime):
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        moment = moment.timestamp()
    elif isinstance(moment, dt.date):
        moment = dt.datetime(moment.year, moment.month, moment.day, tzinfo=dt.UTC).timestamp()
    seconds = float(moment)
    # Whole seconds compare faster with the timestamps of most data, which are integers.
    return int(seconds) if seconds.is_integer() else seconds


def format_time(seconds: float) -> str:
    """Seconds since 1970 as a date, or as date and time if it is not midnight: `2026-10-01`, `2026-10-01T06:30:00Z`."""
    try:
        moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (ValueError, OverflowError, OSError):  # beyond the year 9999: the unit of the timestamps is not seconds
        return f"{seconds:g} seconds since 1970"
    if seconds % SECONDS_PER_DAY == 0:
        return f"{moment:%Y-%m-%d}"
    return moment.replace(tzinfo=None).isoformat() + "Z"


# ---- windows of data


def temporal_window(
    data: Interactions,
    *,
    test_start: Moment | None = None,
    test_days: int | None = None,
    val_start: Moment | None = None,
    val_days: int | None = None,
    gap_days: int = 0,
    train_days: int | None = None,
) -> Window:
    """The window of a temporal split by dates; the options are those of the strategy and have been checked.

    Raises:
        DataError: There are no timestamps, or a boundary lies outside the data.
    """
    first, last = _time_span(data, "temporal")
    test_end: float | None = None
    start: float
    if test_start is None:
        assert test_days is not None
        start = _end_of_day(last) - test_days * SECONDS_PER_DAY
        # Test must begin after this.
        earliest = first + gap_days * SECONDS_PER_DAY
        if val_start is not None:
            earliest = max(earliest, to_seconds(val_start) + gap_days * SECONDS_PER_DAY)
        elif val_days is not None:
            earliest += (val_days + gap_days) * SECONDS_PER_DAY
        n_possible = _days_between(earliest, _end_of_day(last))
        _require_inside("temporal", "test_days", test_days, start, first, last, n_possible)
    else:
        start = to_seconds(test_start)
        _require_inside("temporal", "test_start", test_start, start, first, last)
        if test_days is not None:
            test_end = start + test_days * SECONDS_PER_DAY
    window = _window_before(start, test_end, val_start, val_days, gap_days, train_days)
    if window.validation_start is not None:
        key, value = ("val_days", val_days) if val_start is None else ("val_start", val_start)
        n_possible = 0
        if val_days is not None:
            n_possible = _days_between(first + 2 * gap_days * SECONDS_PER_DAY, start)
        _require_inside("temporal", key, value, window.validation_start, first, last, n_possible)
        if window.validation_end is not None and window.validation_start >= window.validation_end:
            raise DataError(
                f"split temporal: {key}={value}: validation would end at {format_time(window.validation_end)}, before "
                f"it begins; choose an earlier date"
            )
    if window.train_end <= first:
        raise DataError(
            f"split temporal: gap_days={gap_days}: train would end at {format_time(window.train_end)}, but "
            f"{_describe_span(first, last)}; use fewer days"
        )
    return window


def window_after(
    moment: float,
    *,
    val_start: Moment | None = None,
    val_days: int | None = None,
    gap_days: int = 0,
    train_days: int | None = None,
) -> Window:
    """The window whose test part is everything after a moment; there is no gap before test."""
    test_start = float(np.nextafter(moment, np.inf))
    held_out_start = test_start
    validation_start = None
    if val_start is not None:
        validation_start = to_seconds(val_start)
    elif val_days is not None:
        validation_start = float(np.nextafter(moment - val_days * SECONDS_PER_DAY, np.inf))
    train_end = held_out_start
    if validation_start is not None:
        train_end = validation_start - gap_days * SECONDS_PER_DAY
    train_start = None if train_days is None else train_end - train_days * SECONDS_PER_DAY
    validation_end = None if validation_start is None else test_start
    return Window(train_start, train_end, validation_start, validation_end, test_start, None)


def rolling_windows(
    data: Interactions,
    *,
    n_windows: int = 6,
    test_days: int = 7,
    step_days: int | None = None,
    gap_days: int = 0,
    train_days: int | None = None,
    val_days: int | None = None,
) -> list[Window]:
    """The windows of a rolling split, the oldest first; the newest one ends with the day of the newest interaction.

    Raises:
        DataError: There are no timestamps, or the data do not reach back far enough.
    """
    first, last = _time_span(data, "rolling")
    data_end = _end_of_day(last)
    step = (test_days if step_days is None else step_days) * SECONDS_PER_DAY
    windows = []
    for index in range(n_windows):
        test_end = data_end - (n_windows - 1 - index) * step
        test_start = test_end - test_days * SECONDS_PER_DAY
        windows.append(_window_before(test_start, test_end, None, val_days, gap_days, train_days))
    oldest = windows[0]
    if oldest.train_end <= first:
        n_possible = math.ceil((windows[-1].train_end - first) / step)
        fix = f"use split.n_windows: {n_possible}" if n_possible > 0 else "use fewer days"
        raise DataError(
            f"split rolling: n_windows={n_windows}: train of the oldest window would end at "
            f"{format_time(oldest.train_end)}, but {_describe_span(first, last)}; {fix}"
        )
    return windows


def cut(timestamps: NDArray[Any], window: Window, strategy: str) -> PartCodes:
    """The part of each interaction, shape `(n_interactions,)`.

    Raises:
        DataError: A part of the window has no interactions.
    """
    parts = window.parts(timestamps)
    sizes = np.bincount(parts, minlength=TEST + 1)
    required = {"train": TRAIN, "test": TEST}
    if window.validation_start is not None:
        required["validation"] = VALIDATION
    boundaries = window.record()
    for name, part in required.items():
        if not sizes[part]:
            start = boundaries[f"{name}_start"] or format_time(timestamps.min().item())
            end = boundaries[f"{name}_end"] or format_time(timestamps.max().item())
            raise DataError(
                f"split {strategy}: {name} would be from {start} until {end}, where there are no interactions; use "
                f"other dates or more days"
            )
    return parts


def _window_before(
    test_start: float,
    test_end: float | None,
    val_start: Moment | None,
    val_days: int | None,
    gap_days: int,
    train_days: int | None,
) -> Window:
    gap = gap_days * SECONDS_PER_DAY
    validation_start = None
    validation_end = None
    train_end = test_start - gap
    if val_start is not None or val_days is not None:
        validation_end = test_start - gap
        if val_start is not None:
            validation_start = to_seconds(val_start)
        else:
            assert val_days is not None
            validation_start = validation_end - val_days * SECONDS_PER_DAY
        train_end = validation_start - gap
    train_start = None if train_days is None else train_end - train_days * SECONDS_PER_DAY
    return Window(train_start, train_end, validation_start, validation_end, test_start, test_end)


def _time_span(data: Interactions, strategy: str) -> tuple[float, float]:
    if data.timestamps is None:
        alternative = ", or split without dates, e.g. `split: {strategy: random}`"
        raise DataError(f"split {strategy}: {columns.missing_timestamps(data.unused_columns, alternative)}")
    return data.timestamps.min().item(), data.timestamps.max().item()


def _end_of_day(seconds: float) -> int:
    return (math.floor(seconds / SECONDS_PER_DAY) + 1) * SECONDS_PER_DAY


def _start_of_day(seconds: float) -> int:
    return math.floor(seconds / SECONDS_PER_DAY) * SECONDS_PER_DAY


def _days_between(after: float, end: float) -> int:
    """The largest number of days before `end` that begin after a moment."""
    return math.ceil((end - after) / SECONDS_PER_DAY) - 1


def _require_inside(
    strategy: str, key: str, value: Any, boundary: float, first: float, last: float, n_possible: int = 0
) -> None:
    """Check that a boundary leaves interactions before and after it.

    Args:
        strategy: The strategy, for the message.
        key: The option that the boundary comes from.
        value: Its value.
        boundary: The boundary in seconds.
        first: The oldest timestamp.
        last: The newest timestamp.
        n_possible: The largest number of days that the option can have; 0 if there is none, or it is a date.
    """
    if first < boundary <= last:
        return
    part = "validation" if key.startswith("val") else "test"
    # Four fifths of the data are train, if they have so many days.
    example = _end_of_day(first + 0.8 * (last - first))
    fix = "the data are of a single day: use fractions, e.g. test_size: 0.2"
    if first < example <= last:
        fix = f"write a date within the data, e.g. {part.removesuffix('idation')}_start: {format_time(example)}"
    if n_possible > 0:
        fix = f"use at most split.{key}: {n_possible}"
    raise DataError(
        f"split {strategy}: {key}={value}: {part} would begin at {format_time(boundary)}, but "
        f"{_describe_span(first, last)}; {fix}"
    )


def _describe_span(first: float, last: float) -> str:
    first_day = format_time(_start_of_day(first))
    last_day = format_time(_start_of_day(last))
    return f"the data are from {first_day} to {last_day}"
