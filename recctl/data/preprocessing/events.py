"""Steps that use a column of the source besides those of the roles: rows by value, and weights of events."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from recctl import progress
from recctl.arguments import checked
from recctl.data import columns, frames
from recctl.data.frames import Frame
from recctl.data.preprocessing import table_arrays
from recctl.errors import DataError
from recctl.suggest import did_you_mean


@dataclass(frozen=True)
class SourceColumn:
    """Marks a parameter of a step that names a column of the source, which is then read for the step."""


# A name, or in a file without a header the position from 0.
ColumnName = Annotated[Annotated[str, Field(min_length=1)] | Annotated[int, Field(ge=0)], SourceColumn()]
Value = str | int | float | bool | None
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]

# Numbers as they are written without leading zeros: 01 is another value than 1.
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_FLAGS = {"true": True, "false": False}

_MAX_LISTED = 10
# Similar names are looked for among this many values.
_MAX_COMPARED = 1000


@checked
def select_rows(df: Frame, column: ColumnName, values: Annotated[list[Value], Field(min_length=1)]) -> pd.DataFrame:
    """Keep the rows that have one of these values in a column, for example one kind of event.

    Values are compared as they are written in the file, without surrounding whitespace: `1` is `1` and `1.0` but not
    `01`, `true` is also `True`, and null is an empty field. Text is compared with upper and lower case.

    Args:
        df: The column.
        column: A column of the source, by its name in the file, or by its position from 0 if the file has no header.
            `user_id`, `item_id`, `rating` and `timestamp` are the columns with these roles, whatever the file calls
            them.
        values: The values to keep.
    """
    df = frames.to_pandas(df, "df")
    distinct = _DistinctValues.of(df, column, "select_rows")
    is_kept = np.zeros(len(distinct.labels) + 1, bool)  # the last entry serves code -1, which no row has
    for value in values:
        is_kept[distinct.find(value)] = True
    distinct.report_absent(values)
    return df[is_kept[distinct.codes]]


@checked
def weight_events(
    df: Frame, column: ColumnName, weights: Annotated[dict[Value, Weight], Field(min_length=1)]
) -> pd.DataFrame:
    """Set the rating of each row to the weight of its event; rows of events with weight 0 are left out.

    The weight is the rating of implicit feedback: models that use weights do so unless `data.implicit` is true. Events
    are compared as in `select_rows`. To add up the weights of a pair, use `drop_duplicates` with `keep: sum` next;
    without it the latest event of a pair counts.

    Args:
        df: The column.
        column: The column of events, as in `select_rows`.
        weights: The weight of each event that occurs, at least 0.
    """
    df = frames.to_pandas(df, "df")
    distinct = _DistinctValues.of(df, column, "weight_events")
    weight_of = np.full(len(distinct.labels) + 1, np.nan)
    for event, weight in weights.items():
        weight_of[distinct.find(event)] = weight
    distinct.report_absent(weights)
    row_weights = weight_of[distinct.codes]
    if np.isnan(row_weights).any():
        raise DataError(distinct.unweighted_message(np.isnan(weight_of[:-1])))
    if columns.RATING in df.columns and column != columns.RATING:
        progress.notice(f"weight_events: the weights of {column!r} replace the ratings")
    has_weight = row_weights > 0
    return table_arrays.with_ratings(df[has_weight], row_weights[has_weight])


class _Form(NamedTuple):
    """A value in the forms it is compared by.

    Attributes:
        text: As text, without surrounding whitespace; empty if it is missing.
        number: As a number, if it is one.
        flag: As true or false, if it is one of these.
    """

    text: str
    number: Decimal | None
    flag: bool | None


@dataclass(frozen=True)
class _DistinctValues:
    """The distinct values of a column.

    Attributes:
        step: Name of the step, for messages.
        column: Name of the column.
        codes: The position in `labels` of the value of each row, `(n_rows,)`.
        labels: The distinct values as text.
        by_text: Positions by text.
        by_number: Positions by number.
        by_flag: Positions by true or false.
    """

    step: str
    column: str
    codes: NDArray[np.int64]
    labels: list[str]
    by_text: dict[str, list[int]]
    by_number: dict[Decimal, list[int]]
    by_flag: dict[bool, list[int]]

    @classmethod
    def of(cls, df: pd.DataFrame, column: str | int, step: str) -> _DistinctValues:
        """Collect the distinct values of a column.

        Raises:
            DataError: There is no such column, or there are several.
        """
        found = _find_column(df, column, step)
        codes, values = pd.factorize(found, use_na_sentinel=False)
        distinct = cls(step, str(column), np.asarray(codes, np.int64), [], {}, {}, {})
        for position, value in enumerate(values):
            form = _form(value)
            distinct.labels.append(form.text)
            distinct.by_text.setdefault(form.text, []).append(position)
            if form.number is not None:
                distinct.by_number.setdefault(form.number, []).append(position)
            if form.flag is not None:
                distinct.by_flag.setdefault(form.flag, []).append(position)
        return distinct

    def find(self, value: Value) -> list[int]:
        """The positions of the distinct values that equal a value of a config."""
        form = _form(value)
        if not isinstance(value, str):
            if form.flag is not None:
                return self.by_flag.get(form.flag, [])
            if form.number is not None:
                return self.by_number.get(form.number, [])
            return self.by_text.get(form.text, [])
        if form.text in self.by_text:
            return self.by_text[form.text]
        # Keys of a YAML mapping are always text: `1` may be the number, and `true` the truth value.
        if form.flag is not None:
            return self.by_flag.get(form.flag, [])
        if form.number is not None:
            return self.by_number.get(form.number, [])
        return []

    def report_absent(self, values: Iterable[Value]) -> None:
        """Notice the values that no row has."""
        for value in values:
            if not self.labels or self.find(value):
                continue
            counts = np.bincount(self.codes, minlength=len(self.labels))
            most_frequent = np.argsort(-counts, kind="stable")[:_MAX_COMPARED].tolist()
            known = [_quote(self.labels[position]) for position in most_frequent]
            text = _quote(_form(value).text)
            progress.notice(f"{self.step}: no row has {text} in column {self.column!r}{did_you_mean(text, known)}")

    def unweighted_message(self, is_unweighted: NDArray[np.bool_]) -> str:
        """The message about events without a weight, with how often each occurs."""
        counts = np.bincount(self.codes, minlength=len(self.labels))
        counts[~is_unweighted] = 0
        n_events = int(np.count_nonzero(counts))
        most_frequent = np.argsort(-counts, kind="stable")[: min(n_events, _MAX_LISTED)].tolist()
        listed = ", ".join(f"{_quote(self.labels[position])} ({counts[position]:,}x)" for position in most_frequent)
        if n_events > _MAX_LISTED:
            listed += f" and {n_events - _MAX_LISTED:,} more"
        return (
            f"weight_events: no weight for the events {listed} of column {self.column!r}; add them to weights (0 leaves"
            " out their rows), or select the other events with select_rows before"
        )


def _find_column(df: pd.DataFrame, column: str | int, step: str) -> pd.Series[Any]:
    # A position is the name of a column of a file without a header.
    name = column if column in df.columns else str(column)
    if name not in df.columns:
        known = [str(known) for known in df.columns]
        raise DataError(f"{step}: no column {column!r}{did_you_mean(str(column), known)}")
    found = df[name]
    if isinstance(found, pd.DataFrame):
        raise DataError(f"{step}: more than one column is called {column!r}")
    return found


def _form(value: Any) -> _Form:
    if isinstance(value, bool | np.bool_):
        flag = bool(value)
        return _Form("true" if flag else "false", None, flag)
    if isinstance(value, int | np.integer):
        return _Form(str(value), Decimal(int(value)), None)
    if isinstance(value, float | np.floating | Decimal) and np.isfinite(float(value)):
        number = Decimal(str(value))
        text = str(int(value)) if value == int(value) else str(value)
        return _Form(text, number, None)
    if not isinstance(value, str):
        return _Form("" if pd.isna(value) else str(value), None, None)
    text = value.strip()
    is_number = _NUMBER.fullmatch(text) is not None
    return _Form(text, Decimal(text) if is_number else None, _FLAGS.get(text.lower()))


def _quote(text: str) -> str:
    return text or "(empty)"
