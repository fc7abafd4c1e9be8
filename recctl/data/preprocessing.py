"""Preparing interactions: functions of a table to a new table; the one given is never changed."""

from __future__ import annotations

import datetime as dt
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from recctl.data import columns
from recctl.data.arguments import checked
from recctl.data.matrix import Int32Array
from recctl.data.vocabulary import Vocabulary
from recctl.errors import ConfigError, DataError
from recctl.kernels import group_by
from recctl.rng import stream
from recctl.suggest import did_you_mean

Count = Annotated[int, Field(ge=0)]


@checked
def filter_by_interaction_count(
    df: pd.DataFrame, min_user_interactions: Count = 5, min_item_interactions: Count = 0
) -> pd.DataFrame:
    """Keep users and items with enough interactions, repeated until both hold (the k-core).

    Rows are counted, so that a repeated pair counts as often as it stands there.

    Args:
        df: Columns `user_id` and `item_id`.
        min_user_interactions: Least rows of a user.
        min_item_interactions: Least rows of an item.
    """
    users, n_users = _codes(df, columns.USER)
    items, n_items = _codes(df, columns.ITEM)
    return df[group_by.core(users, items, n_users, n_items, min_user_interactions, min_item_interactions)]


@checked
def binarize_implicit_feedback(df: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Keep interactions rated `threshold` or better; what is left has rating 1.

    Args:
        df: Column `rating`.
        threshold: Least rating that counts as liking.
    """
    return df[_ratings(df) >= threshold].assign(**{columns.RATING: np.float32(1)})


@checked
def normalize_ratings(df: pd.DataFrame, method: Literal["minmax", "zscore", "user_mean"] = "minmax") -> pd.DataFrame:
    """Bring ratings to a common scale.

    - `minmax`: (r - min) / (max - min), from 0 to 1
    - `zscore`: (r - mean) / std, the standard deviation being that of the population
    - `user_mean`: r - mean of the user's ratings

    The first two are 0 where all ratings are equal.

    Args:
        df: Column `rating`, for `user_mean` also `user_id`.
        method: The formula.
    """
    ratings = _ratings(df).astype(np.float64)
    offset: Any = 0.0
    scale = 1.0
    if method == "user_mean":
        users, n_users = _codes(df, columns.USER)
        offset = (np.bincount(users, ratings, n_users) / np.bincount(users, minlength=n_users))[users]
    elif len(ratings) and ratings.min() < ratings.max():
        minmax = method == "minmax"
        offset = ratings.min() if minmax else ratings.mean()
        scale = ratings.max() - offset if minmax else ratings.std()
    elif len(ratings):
        offset = ratings[0]
    return df.assign(**{columns.RATING: ((ratings - offset) / scale).astype(np.float32)})


@checked
def drop_duplicates(df: pd.DataFrame, keep: Literal["last", "first", "sum", "mean"] = "last") -> pd.DataFrame:
    """Keep one interaction of each pair of user and item.

    Which is first and last goes by timestamp where there is one, else, and among equal moments, by the order of rows.

    Args:
        df: Columns `user_id` and `item_id`; for `sum` and `mean` also `rating`.
        keep: The one to keep; with `sum` and `mean` the last, with the sum or mean of the pair's ratings.
    """
    users, _ = _codes(df, columns.USER)
    items, n_items = _codes(df, columns.ITEM)
    order = group_by.ascending(_timestamps(df)) if columns.TIMESTAMP in df.columns else None
    rows, begins = group_by.pairs(users, items, n_items, order)
    lengths = np.diff(begins, append=len(rows))
    kept = rows[begins if keep == "first" else begins + lengths - 1]
    mask = np.zeros(len(df), bool)
    mask[kept] = True
    if keep in ("first", "last"):
        return df[mask]
    ratings = _ratings(df).astype(np.float64)
    totals = np.add.reduceat(ratings[rows], begins) if len(rows) else ratings
    ratings[kept] = totals if keep == "sum" else totals / lengths
    return df[mask].assign(**{columns.RATING: ratings[mask].astype(np.float32)})


@checked
def sample_interactions(
    df: pd.DataFrame,
    fraction: Annotated[float, Field(gt=0, le=1)] | None = None,
    n: Annotated[int, Field(ge=1)] | None = None,
    by: Literal["interactions", "users"] = "interactions",
    seed: int = 42,
) -> pd.DataFrame:
    """Draw some interactions, or some users with all of theirs, at random; rows stay in their order.

    Args:
        df: Any columns; for users, `user_id`.
        fraction: How much to keep, above 0 and at most 1.
        n: How many to keep; either this or `fraction` is given.
        by: What is counted and drawn.
        seed: Seed of the draw.
    """
    if (fraction is None) == (n is None):
        raise ConfigError("sample_interactions: give either fraction or n")
    codes, total = _codes(df, columns.USER) if by == "users" else (np.arange(len(df)), len(df))
    wanted = int((fraction or 0) * total + 0.5) if n is None else n
    if wanted > total:
        raise DataError(f"sample_interactions: n={n}: there are {total:,} {by}")
    drawn = np.zeros(total, bool)
    drawn[stream(seed, "sample").permutation(total)[:wanted]] = True
    return df[drawn[codes]]


@checked
def select_time_window(
    df: pd.DataFrame, start: str | float | dt.date | None = None, end: str | float | dt.date | None = None
) -> pd.DataFrame:
    """Keep interactions from `start` on and before `end`.

    Args:
        df: Column `timestamp`.
        start: A date (2020-01-31, or with a time; UTC unless it has a zone) or seconds since 1970; None for no limit.
        end: The same; itself left out.
    """
    first = -np.inf if start is None else _moment("start", start)
    after = np.inf if end is None else _moment("end", end)
    if first >= after:
        raise ConfigError(f"select_time_window: start={start} is not before end={end}")
    timestamps = _timestamps(df)
    return df[(timestamps >= first) & (timestamps < after)]


def _codes(df: pd.DataFrame, name: str) -> tuple[Int32Array, int]:
    columns.require_columns(df, name)
    vocabulary, codes = Vocabulary.encode(columns.ids_of(df[name], name))
    return codes, len(vocabulary)


def _ratings(df: pd.DataFrame) -> NDArray[np.float32]:
    columns.require_columns(df, columns.RATING)
    return columns.ratings_of(df[columns.RATING])


def _timestamps(df: pd.DataFrame) -> NDArray[Any]:
    columns.require_columns(df, columns.TIMESTAMP)
    return columns.timestamps_of(df[columns.TIMESTAMP])


def _moment(name: str, value: str | float | dt.date) -> float:
    """Seconds since 1970 of a date or of a number."""
    try:
        if isinstance(value, str | dt.date):
            moment = pd.Timestamp(value)
            value = (moment.tz_localize("UTC") if moment.tz is None else moment).timestamp()
        if np.isfinite(value):
            return value
    except (ValueError, AttributeError):  # no date, or the "not a time" that pandas makes of some text
        pass
    raise ConfigError(f"select_time_window: {name}={value!r}: must be a date such as 2020-01-31, or seconds since 1970")


STEPS: dict[str, Callable[..., pd.DataFrame]] = {
    step.__name__: step
    for step in (
        filter_by_interaction_count,
        binarize_implicit_feedback,
        normalize_ratings,
        drop_duplicates,
        sample_interactions,
        select_time_window,
    )
}


@dataclass(frozen=True)
class Counts:
    """How much a table holds."""

    rows: int
    users: int
    items: int

    @classmethod
    def of(cls, df: pd.DataFrame) -> Counts:
        """Count a table's rows, users and items."""
        return cls(len(df), _codes(df, columns.USER)[1], _codes(df, columns.ITEM)[1])

    def __str__(self) -> str:
        return f"{self.rows:,} interactions of {self.users:,} users with {self.items:,} items"


@dataclass(frozen=True)
class StepReport:
    """What one step did.

    Attributes:
        name: The step, one of `STEPS`.
        params: What it was given; its other parameters had their defaults.
        before: The table it was given.
        after: The table it made.
    """

    name: str
    params: dict[str, Any]
    before: Counts
    after: Counts


def apply_steps(
    df: pd.DataFrame, steps: Sequence[tuple[str, Mapping[str, Any]]], seed: int = 42
) -> tuple[pd.DataFrame, list[StepReport]]:
    """Run steps one after the other.

    Args:
        df: Columns `user_id`, `item_id` and what the steps need.
        steps: Names of `STEPS`, each with its parameters.
        seed: A step that draws gets a seed of its own made from this one, unless it is given one.

    Raises:
        ConfigError: A step or parameter that does not exist; all such problems at once, before any step has run.
        DataError: A step can't run on the data, or leaves nothing of it.
    """
    problems = [problem for name, params in steps for problem in _problems(name, params)]
    if problems:
        raise ConfigError(*problems)
    reports = []
    counts = Counts.of(df)
    for place, (name, given) in enumerate(steps):
        params = dict(given)
        if "seed" in inspect.signature(STEPS[name]).parameters:
            params.setdefault("seed", int(stream(seed, "preprocessing", place).integers(2**31)))
        df = STEPS[name](df, **params)
        before, counts = counts, Counts.of(df)
        if not counts.rows:
            told = ", ".join(f"{key}={value}" for key, value in given.items())
            raise DataError(f"{name}({told}) leaves nothing of {before}; make it less strict")
        reports.append(StepReport(name, params, before, counts))
    return df, reports


def _problems(name: str, params: Mapping[str, Any]) -> list[str]:
    if name not in STEPS:
        return [f"preprocessing step {name!r}: unknown{did_you_mean(name, STEPS)}"]
    known = dict(list(inspect.signature(STEPS[name]).parameters.items())[1:])
    missing = [key for key, value in known.items() if value.default is value.empty and key not in params]
    return [f"{name}: {key}: unknown parameter{did_you_mean(key, known)}" for key in params if key not in known] + [
        f"{name}: {key}: must be given" for key in missing
    ]
