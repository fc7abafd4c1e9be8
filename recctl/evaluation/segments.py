"""Segments: groups of users, items or interactions for which metrics are computed separately.

A segment of users averages the values of its users. A segment of items or interactions restricts the relevant items:
rankings and candidates stay those of the whole, and users without relevant items in the segment are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recctl.config.segments import SegmentSpec
from recctl.data.labels import Labels
from recctl.data.vocabulary import Vocabulary
from recctl.errors import ConfigError, DataError
from recctl.evaluation.paired_comparison import compare_paired
from recctl.evaluation.significance import N_RESAMPLES

if TYPE_CHECKING:
    import pandas as pd

    from recctl.data.dataset import InteractionDataset

# Quantiles of activity and popularity unless others are given.
DEFAULT_QUANTILES = 5
NO_ROW = "(no row)"
EMPTY = "(empty)"
# A column with more distinct values is not a division into groups that a reader could compare.
_MAX_VALUES = 50
_MAX_INTEGERS = 20
_MAX_FRACTIONS = 10
# Of each segment in every evaluation: 10,000, as in comparisons, would take several times as long as the rankings.
_N_RESAMPLES = 2_000


@dataclass(frozen=True, eq=False)
class Segment:
    """A group of users, items or interactions of the measured data.

    Attributes:
        key: Its name, such as `new_users` or `country=DE`.
        unit: What is grouped.
        members: Whether each belongs to it, shape `(n,)`: users and items by their codes in the measured data,
            interactions by their rows, of which the latest of a repeated pair counts.
        range: The numbers of a quantile, such as `3-11`; None for others.
        definition: The options that it was made by, as plain values.
    """

    key: str
    unit: Literal["users", "items", "interactions"]
    members: NDArray[np.bool_]
    range: str | None = None
    definition: dict[str, Any] = field(default_factory=dict)


def require_members(segments: Sequence[Segment], measured: InteractionDataset) -> None:
    """Check that segments have distinct keys, and say of every user, item or interaction whether it is a member.

    Raises:
        ConfigError: Two have the same key, or one is of other data.
    """
    sizes = {"users": measured.n_users, "items": measured.n_items, "interactions": len(measured)}
    keys: set[str] = set()
    for segment in segments:
        if segment.key in keys:
            raise ConfigError(f"segments: two are called {segment.key!r}; give one of them another key")
        keys.add(segment.key)
        if len(segment.members) != sizes[segment.unit]:
            raise ConfigError(
                f"segments: {segment.key!r} is of {len(segment.members):,} {segment.unit}, but test has "
                f"{sizes[segment.unit]:,}"
            )


# ---- ranges of numbers


class Bins:
    """Ranges of numbers, each from its lower end to below the next.

    Args:
        values: The numbers to divide, shape `(n,)`.
        cuts: The lower ends of all ranges but the first; None: quantiles.
        quantiles: Number of ranges that contain about equally many values each. Equal values share a range, so that
            there may be fewer.
    """

    def __init__(
        self, values: NDArray[Any], cuts: Sequence[float] | None = None, quantiles: int = DEFAULT_QUANTILES
    ) -> None:
        self._cuts = cuts
        self._is_integer = bool(np.all(values == np.floor(values)))
        if cuts is not None:
            self._is_integer = self._is_integer and all(float(cut).is_integer() for cut in cuts)
            self._lower_ends: NDArray[Any] = np.array([-np.inf, *cuts])
            return
        levels = np.arange(quantiles) / quantiles
        self._lower_ends = np.unique(np.quantile(values, levels, method="inverted_cdf"))
        self._largest = values.max()

    def __len__(self) -> int:
        return len(self._lower_ends)

    def assign(self, values: NDArray[Any]) -> NDArray[np.intp]:
        """The number of the range of each value."""
        # Without the first end: values below it belong to the first range.
        return np.searchsorted(self._lower_ends[1:], values, side="right")

    @property
    def ranges(self) -> list[str]:
        """The ranges, such as `12-15`; of cuts the first and the last are open, such as `<5` and `>=20`."""
        if self._cuts is None:
            inner = self._inner_ranges(self._lower_ends)
            return [*inner, self._between(self._lower_ends[-1], self._largest)]
        cuts = np.array(self._cuts)
        return [f"<{_number(cuts[0])}", *self._inner_ranges(cuts), f">={_number(cuts[-1])}"]

    def _inner_ranges(self, ends: NDArray[Any]) -> list[str]:
        ranges = []
        for lower_end, next_end in pairwise(ends):
            upper_end = next_end - 1 if self._is_integer else next_end
            ranges.append(self._between(lower_end, upper_end))
        return ranges

    @staticmethod
    def _between(lower_end: float, upper_end: float) -> str:
        if lower_end == upper_end:
            return _number(lower_end)
        return f"{_number(lower_end)}-{_number(upper_end)}"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:.6g}"


# ---- making segments


@dataclass(frozen=True, eq=False)
class FittedCounts:
    """How many interactions of each user and item models were fitted on.

    Attributes:
        users: User ids.
        by_user: Number of interactions of each, shape `(n_users,)`.
        items: Item ids.
        by_item: Number of interactions of each, shape `(n_items,)`.
    """

    users: Vocabulary
    by_user: NDArray[np.int64]
    items: Vocabulary
    by_item: NDArray[np.int64]

    def of_users(self, users: Vocabulary) -> NDArray[np.int64]:
        """The number of interactions of each user of other data; 0 for those that are not known."""
        return np.append(self.by_user, 0)[self.users.codes(users.ids)]

    def of_items(self, items: Vocabulary) -> NDArray[np.int64]:
        """The number of interactions of each item of other data; 0 for those that are not known."""
        return np.append(self.by_item, 0)[self.items.codes(items.ids)]


class SegmentMaker:
    """Makes the segments of measured data.

    Args:
        measured: The measured interactions; `history` counts as activity of users that models were not fitted on.
        fitted: What models were fitted on.
        user_labels: By column of the table of users, a label for each user of `measured`.
        item_labels: By column of the table of items, a label for each item of `measured`.
    """

    def __init__(
        self,
        measured: InteractionDataset,
        fitted: FittedCounts,
        user_labels: Mapping[str, Labels],
        item_labels: Mapping[str, Labels],
    ) -> None:
        self._measured = measured
        self._fitted = fitted
        self._user_labels = user_labels
        self._item_labels = item_labels

    def make(self, spec: SegmentSpec) -> list[Segment]:
        """Make the segments of an entry of the config.

        Raises:
            DataError: A column does not divide into groups.
        """
        if spec.by == "new_users":
            is_new = self._fitted.of_users(self._measured.user_vocabulary) == 0
            return _new_and_known("users", is_new, spec)
        if spec.by == "new_items":
            is_new = self._fitted.of_items(self._measured.item_vocabulary) == 0
            return _new_and_known("items", is_new, spec)
        if spec.by == "activity":
            return self._by_number(spec, "users", self._activity(), self._activity())
        if spec.by == "popularity":
            popularity = self._fitted.of_items(self._measured.item_vocabulary)
            # Segments of about equally many interactions, and not items: most items have few.
            return self._by_number(spec, "items", popularity, popularity[self._measured.items])
        column = str(spec.column)
        if spec.by == "users":
            return _by_labels(spec, "users", self._user_labels[column])
        if spec.by == "items":
            return _by_labels(spec, "items", self._item_labels[column])
        return _by_labels(spec, "interactions", interaction_labels(self._measured, spec))

    def _activity(self) -> NDArray[np.int64]:
        users = self._measured.user_vocabulary
        activity = self._fitted.of_users(users)
        history = self._measured.history
        if history is not None:
            in_history = np.bincount(history.users, minlength=history.n_users)
            activity = activity + np.append(in_history, 0)[history.user_vocabulary.codes(users.ids)]
        return activity

    def _by_number(
        self, spec: SegmentSpec, unit: Literal["users", "items"], numbers: NDArray[Any], divided: NDArray[Any]
    ) -> list[Segment]:
        bins = Bins(divided, spec.cuts, spec.quantiles or DEFAULT_QUANTILES)
        assigned = bins.assign(numbers)
        return [
            Segment(f"{spec.label}={name}", unit, assigned == number, number_range, spec.to_json())
            for number, (name, number_range) in enumerate(_names(bins, spec))
        ]


def _new_and_known(unit: Literal["users", "items"], is_new: NDArray[np.bool_], spec: SegmentSpec) -> list[Segment]:
    definition = spec.to_json()
    return [
        Segment(f"new_{unit}", unit, is_new, definition=definition),
        Segment(f"known_{unit}", unit, ~is_new, definition=definition),
    ]


def _names(bins: Bins, spec: SegmentSpec) -> Iterator[tuple[str, str | None]]:
    """Yield the name and the range of each bin: quantiles are numbered, because their ranges differ with the data."""
    for number, number_range in enumerate(bins.ranges, 1):
        if spec.cuts is not None:
            yield number_range, None
        else:
            yield f"q{number}", number_range


def interaction_labels(dataset: InteractionDataset, spec: SegmentSpec) -> Labels:
    """The labels of the interactions of a data set.

    Raises:
        DataError: It has no such column.
    """
    if spec.column == "rating" and dataset.ratings is not None:
        return Labels.encode(dataset.ratings)
    if spec.column not in dataset.labels:
        raise DataError(f"evaluation.segments: {spec}: the interactions have no column {spec.column!r}")
    return dataset.labels[str(spec.column)]


class _Group(NamedTuple):
    name: str
    range: str | None
    holds: NDArray[np.bool_]  # for each value of the labels; the last entry is for rows without a label


def _by_labels(spec: SegmentSpec, unit: Literal["users", "items", "interactions"], labels: Labels) -> list[Segment]:
    return [
        Segment(f"{spec.label}={group.name}", unit, group.holds[labels.codes], group.range, spec.to_json())
        for group in _groups(spec, labels)
    ]


def require_groups(spec: SegmentSpec, labels: Labels) -> None:
    """Check that labels divide into groups, which needs no measured data.

    Raises:
        DataError: They do not; says what to write instead.
    """
    list(_groups(spec, labels))


def _groups(spec: SegmentSpec, labels: Labels) -> Iterator[_Group]:
    values = labels.values
    if spec.cuts is not None or spec.quantiles is not None:
        yield from _number_groups(spec, labels)
    else:
        parts = [_parts(value, spec.separator) for value in values]
        distinct = sorted({part for value_parts in parts for part in value_parts}, key=_sort_key)
        _require_few(spec, distinct)
        for name in distinct:
            yield _Group(name, None, np.array([name in value_parts for value_parts in parts] + [False]))
    occurs = np.bincount(labels.codes + 1, minlength=len(values) + 1) > 0
    if "" in values and occurs[values.index("") + 1]:
        yield _Group(EMPTY, None, np.array([value == "" for value in values] + [False]))
    if occurs[0]:
        yield _Group(NO_ROW, None, np.array([False] * len(values) + [True]))


def _parts(value: str, separator: str | None) -> list[str]:
    parts = [value] if separator is None else [part.strip() for part in value.split(separator)]
    return [part for part in parts if part]


def _number_groups(spec: SegmentSpec, labels: Labels) -> Iterator[_Group]:
    texts = [value for value in labels.values if value]
    numbers = [_to_number(text) for text in texts]
    for text, number in zip(texts, numbers, strict=True):
        if number is None:
            raise DataError(
                f"evaluation.segments: {spec}: {text!r} is not a number, so cuts and quantiles do not apply"
            )
    by_value = np.array([np.nan if not value else float(value) for value in labels.values])
    of_rows = by_value[labels.codes[labels.codes >= 0]]
    of_rows = of_rows[~np.isnan(of_rows)]
    if not len(of_rows):
        return
    bins = Bins(of_rows, spec.cuts, spec.quantiles or DEFAULT_QUANTILES)
    assigned = np.where(np.isnan(by_value), -1, bins.assign(by_value))
    for number, (name, number_range) in enumerate(_names(bins, spec)):
        yield _Group(name, number_range, np.append(assigned == number, False))


def _require_few(spec: SegmentSpec, distinct: Sequence[str]) -> None:
    numbers = [_to_number(text) for text in distinct]
    limit = _MAX_VALUES
    if distinct and all(number is not None for number in numbers):
        has_fractions = any(number is not None and not number.is_integer() for number in numbers)
        limit = _MAX_FRACTIONS if has_fractions else _MAX_INTEGERS
    if len(distinct) <= limit:
        return
    message = f"evaluation.segments: {spec}: {len(distinct):,} distinct values, such as {', '.join(distinct[:3])}"
    if limit == _MAX_VALUES:
        raise DataError(
            f"{message}; at most {limit} make segments: choose a column with fewer{_separator_hint(distinct)}"
        )
    middle = sorted(number for number in numbers if number is not None)[len(numbers) // 2]
    options = f"column: {spec.column}, cuts: [{_number(middle)}]"
    raise DataError(
        f"{message}; numbers need cuts or quantiles: write {{{spec.by}: {{{options}}}}} or "
        f"{{{spec.by}: {{column: {spec.column}, quantiles: 4}}}}"
    )


def _separator_hint(distinct: Sequence[str]) -> str:
    for separator in ("|", ";", ","):
        if sum(separator in value for value in distinct) > len(distinct) / 2:
            return f", or split its fields by separator: '{separator}'"
    return ""


def _to_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _sort_key(text: str) -> tuple[bool, float, str]:
    number = _to_number(text)
    return number is None, number or 0.0, text


# ---- figures


def segment_records(
    segments: Sequence[Segment], tables: Mapping[str, pd.DataFrame], seed: int, n_resamples: int = _N_RESAMPLES
) -> dict[str, dict[str, Any]]:
    """The number of users and the metrics with 95 % intervals of each segment, as plain values by key.

    Args:
        segments: The segments.
        tables: Their values by user, as `Evaluation.segments`.
        seed: Seed of the bootstrap.
        n_resamples: Number of resamples.
    """
    records = {}
    for segment in segments:
        table = tables.get(segment.key)
        n_users = 0 if table is None else len(table)
        metrics = {} if table is None or not n_users else interval_records(table, seed, n_resamples)
        record: dict[str, Any] = {"n_users": n_users, "metrics": metrics, "definition": segment.definition}
        if segment.range is not None:
            record["range"] = segment.range
        records[segment.key] = record
    return records


def interval_records(table: pd.DataFrame, seed: int, n_resamples: int = N_RESAMPLES) -> dict[str, dict[str, Any]]:
    """The mean over users of each metric, and the ends of its 95 % interval; None for a single user.

    Args:
        table: The values by user, as `Evaluation.per_user`.
        seed: Seed of the bootstrap, as of comparisons: equal figures have equal intervals.
        n_resamples: Number of resamples.
    """
    result = compare_paired({"model": table}, "model", seed=seed, n_resamples=n_resamples)
    records = {}
    for metric_key, estimates in result.estimates.items():
        estimate = estimates["model"]
        records[metric_key] = {
            "value": estimate.value,
            "low": None if math.isnan(estimate.low) else estimate.low,
            "high": None if math.isnan(estimate.high) else estimate.high,
        }
    return records
