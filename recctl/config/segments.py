"""Entries of `evaluation.segments`: their short and long forms, and their meaning."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard, get_args

from recctl.suggest import did_you_mean

SegmentBy = Literal["activity", "popularity", "new_users", "new_items", "users", "items", "interactions"]

_NAMES = get_args(SegmentBy)
# Those that say which column of which table divides users, items or interactions.
_OF_COLUMNS = ("users", "items", "interactions")
_WITHOUT_OPTIONS = ("new_users", "new_items")
_OPTIONS_OF_COUNTS = ("cuts", "quantiles")
_OPTIONS_OF_COLUMNS = ("column", "cuts", "quantiles", "separator", "label")


@dataclass(frozen=True)
class SegmentSpec:
    """An entry of `evaluation.segments`, which divides users, items or interactions into segments.

    Attributes:
        by: What divides them.
        column: The column of `users`, `items` and `interactions`; None for the others.
        cuts: Numbers at which a segment begins; None: not divided by cuts.
        quantiles: Number of segments of about equal size; None: not divided by quantiles.
        separator: What separates the values of a field that holds several; None: each field is one value.
        label: What the keys of the segments begin with, such as `country` in `country=DE`.
    """

    by: SegmentBy
    column: str | None = None
    cuts: tuple[float, ...] | None = None
    quantiles: int | None = None
    separator: str | None = None
    label: str = ""

    @property
    def is_of_items(self) -> bool:
        """Whether relevant items are divided, and not users."""
        return self.by not in ("activity", "new_users", "users")

    @property
    def key_beginnings(self) -> list[str]:
        """What the keys of the segments are, or what they begin with if it ends in `=`."""
        if self.by in _WITHOUT_OPTIONS:
            return [self.by, self.by.replace("new", "known")]
        return [f"{self.label}="]

    def __str__(self) -> str:
        return self.by if self.column is None else f"{{{self.by}: {self.column}}}"

    def to_json(self) -> dict[str, Any]:
        """Return the options that are set, as plain values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items() if value}


def parse_segment(entry: Any) -> SegmentSpec:
    """Read an entry of `evaluation.segments`.

    Its forms are `activity`, `{activity: {cuts: [5, 20]}}`, `{users: country}`, `{users: {column: age, cuts: [30]}}`.

    Raises:
        ValueError: It is none; says why, with a suggestion.
    """
    if isinstance(entry, str):
        name = entry
        options = None
    elif isinstance(entry, dict) and len(entry) == 1:
        name, options = next(iter(entry.items()))
    else:
        raise ValueError(
            f"{entry!r} should be one name, such as new_users, or one name with options, such as {{users: country}} or "
            "{activity: {cuts: [5, 20]}}"
        )
    if not _is_name(name):
        raise ValueError(f"unknown segments {name!r}{did_you_mean(str(name), _NAMES)}; choose from {', '.join(_NAMES)}")
    if name in _WITHOUT_OPTIONS:
        if options is not None:
            raise ValueError(f"{name} has no options; write {name}")
        return SegmentSpec(name, label=name)
    if name in _OF_COLUMNS:
        return _parse_column(name, options)
    # A list is short for cuts.
    given = {"cuts": options} if isinstance(options, list) else options
    given = _require_options(name, given, _OPTIONS_OF_COUNTS)
    cuts, quantiles = _parse_ranges(name, given)
    return SegmentSpec(name, cuts=cuts, quantiles=quantiles, label=name)


def _parse_column(name: SegmentBy, options: Any) -> SegmentSpec:
    given = {"column": options} if _is_column(options) else options
    given = _require_options(name, given, _OPTIONS_OF_COLUMNS)
    column = given.get("column")
    if not _is_column(column):
        raise ValueError(f"{name} needs the name of a column; write {{{name}: country}} or {{{name}: {{column: age}}}}")
    cuts, quantiles = _parse_ranges(name, given)
    separator = given.get("separator")
    if separator is not None and (not isinstance(separator, str) or not separator):
        raise ValueError(f"{name}.separator: {separator!r} should be text, such as '|'")
    if separator is not None and (cuts is not None or quantiles is not None):
        raise ValueError(f"{name}: a field of several values can't be divided by cuts or quantiles; leave one out")
    label = given.get("label", str(column))
    if not isinstance(label, str) or not label or "=" in label or "]" in label:
        raise ValueError(f"{name}.label: {label!r} should be text without = and ]")
    return SegmentSpec(name, str(column), cuts, quantiles, separator, label)


def _is_name(name: Any) -> TypeGuard[SegmentBy]:
    return name in _NAMES


def _is_column(value: Any) -> bool:
    is_position = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return is_position or (isinstance(value, str) and bool(value))


def _require_options(name: str, options: Any, known: tuple[str, ...]) -> dict[str, Any]:
    if options is None:
        return {}
    if not isinstance(options, dict):
        raise ValueError(f"{name}: {options!r} should be options, such as {{{name}: {{cuts: [5, 20]}}}}")
    for key in options:
        if key not in known:
            raise ValueError(f"{name}: unknown option {key!r}{did_you_mean(str(key), known)}")
    return {key: value for key, value in options.items() if value is not None}


def _parse_ranges(name: str, options: dict[str, Any]) -> tuple[tuple[float, ...] | None, int | None]:
    cuts = options.get("cuts")
    quantiles = options.get("quantiles")
    if cuts is not None and quantiles is not None:
        raise ValueError(f"{name}: cuts and quantiles exclude each other; leave one out")
    if quantiles is not None and (not isinstance(quantiles, int) or isinstance(quantiles, bool) or quantiles < 2):
        raise ValueError(f"{name}.quantiles: {quantiles!r} should be a whole number of at least 2")
    if cuts is None:
        return None, quantiles
    is_list_of_numbers = isinstance(cuts, list) and cuts and all(map(_is_number, cuts))
    if not is_list_of_numbers or sorted(set(cuts)) != cuts:
        raise ValueError(f"{name}.cuts: {cuts!r} should be a list of increasing numbers, such as [5, 20]")
    return tuple(cuts), None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
