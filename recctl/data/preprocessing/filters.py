"""Steps that select rows: by the number of interactions, and by time."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from recctl.arguments import checked
from recctl.data import columns, frames
from recctl.data.frames import Frame
from recctl.data.preprocessing import table_arrays
from recctl.errors import ConfigError
from recctl.kernels import group_by

Count = Annotated[int, Field(ge=0)]


@checked
def filter_by_interaction_count(
    df: Frame, min_user_interactions: Count = 5, min_item_interactions: Count = 0
) -> pd.DataFrame:
    """Keep users and items with enough interactions, repeatedly until both conditions hold (k-core).

    Rows are counted, so a repeated pair counts as often as it occurs.

    Args:
        df: Columns `user_id` and `item_id`.
        min_user_interactions: Minimum number of rows of a user.
        min_item_interactions: Minimum number of rows of an item.
    """
    df = frames.to_pandas(df, "df")
    users, n_users = table_arrays.id_codes(df, columns.USER)
    items, n_items = table_arrays.id_codes(df, columns.ITEM)
    return df[group_by.k_core(users, items, n_users, n_items, min_user_interactions, min_item_interactions)]


@checked
def select_time_window(
    df: Frame, start: str | float | dt.date | None = None, end: str | float | dt.date | None = None
) -> pd.DataFrame:
    """Keep interactions from `start` (inclusive) to `end` (exclusive).

    Args:
        df: Column `timestamp`.
        start: A date (2020-01-31, or with a time; UTC unless it has a time zone) or seconds since 1970; None for no
            limit.
        end: In the same formats.
    """
    df = frames.to_pandas(df, "df")
    first, last = time_window(start, end)
    timestamps = table_arrays.timestamps(df)
    return df[(timestamps >= first) & (timestamps < last)]


def time_window(
    start: str | float | dt.date | None = None, end: str | float | dt.date | None = None
) -> tuple[float, float]:
    """The start and the end of a time window in seconds since 1970; infinite where it has no limit.

    Raises:
        ConfigError: One is not a time, or the start is not before the end.
    """
    first = -np.inf if start is None else _to_seconds("start", start)
    last = np.inf if end is None else _to_seconds("end", end)
    if first >= last:
        raise ConfigError(f"select_time_window: start={start} is not before end={end}")
    return first, last


def _to_seconds(name: str, value: str | float | dt.date) -> float:
    """A date or a number as seconds since 1970."""
    try:
        if isinstance(value, str | dt.date):
            timestamp = pd.Timestamp(value)
            if timestamp.tz is None:
                timestamp = timestamp.tz_localize("UTC")
            value = timestamp.timestamp()
        if np.isfinite(value):
            return value
    except (ValueError, AttributeError):  # not a date; or NaT, which pandas returns for "nat" and ""
        pass
    raise ConfigError(f"select_time_window: {name}={value!r}: must be a date such as 2020-01-31, or seconds since 1970")
