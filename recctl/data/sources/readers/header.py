"""Deciding whether a table has a header, on which line it is, and which column each of its names belongs to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from recctl.data.columns import ITEM, USER
from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers.column_roles import KNOWN_NAMES, is_known_name, normalize_name
from recctl.data.sources.readers.values import MISSING, NUMBER
from recctl.errors import DataError

_DATE = r"^\s*[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}.*)?\s*$"
# Reports begin with a few lines of text; a header further down is probably a second header.
MAX_LINES_BEFORE_HEADER = 20

Record = Sequence[str]


def is_number_or_date(value: str, decimal: str = ".") -> bool:
    """Whether a cell holds a number or a date as ISO 8601 writes it."""
    if decimal == ",":
        value = value.replace(",", ".", 1)
    return bool(re.match(NUMBER, value) or re.match(_DATE, value))


def most_frequent_width(records: Sequence[Record]) -> tuple[int, float]:
    """The number of fields that most records have, and the share of these records; (0, 0) without records."""
    if not records:
        return 0, 0.0
    width, frequency = Counter(map(len, records)).most_common(1)[0]
    return width, frequency / len(records)


def names_users_and_items(record: Record, options: ReadOptions) -> bool:
    """Whether a record holds the names of a user and an item column, by the user's mapping or well-known."""
    found = []
    for role in (USER, ITEM):
        mapped = options.columns.get(role)
        if isinstance(mapped, int):
            return False
        matches = [i for i, name in enumerate(record) if _is_name_of(name.strip(), role, mapped)]
        found.append(matches)
    return all(found) and len({*found[0], *found[1]}) > 1


def find_header(records: Sequence[Record], options: ReadOptions) -> int | None:
    """The first record that names a user and an item column, unless rows come before it; None if there is none."""
    for number, record in enumerate(records[: MAX_LINES_BEFORE_HEADER + 1]):
        if not names_users_and_items(record, options):
            continue
        rows = [row for row in records[number + 1 :] if len(row) == len(record)]
        if number and (not rows or any(_looks_like_row(before, rows) for before in records[:number])):
            return None
        return number
    return None


def has_header(records: Sequence[Record], options: ReadOptions, source: str) -> bool:
    """Whether the first record names the columns.

    Args:
        records: The first records of the file.
        options: The columns that the user configured: a file whose columns are given by position has no header unless
            its whole first row looks like one.
        source: Name of the file for messages.

    Raises:
        DataError: The first record may be either.
    """
    if options.format == "inter":
        return True
    first = [value.strip() for value in records[0]]
    rows = [[value.strip() for value in row] for row in records[1:] if len(row) == len(first)]
    mapped = [column for column in options.columns.values() if column is not None]
    mapped_names = {column for column in mapped if isinstance(column, str)}
    if names_users_and_items(first, options) or mapped_names.intersection(first):
        return True
    named = first
    if first[0] == "" and len(first) > 1:  # the header of an index
        named = first[1:]
    if any(is_number_or_date(value, options.decimal) or value in MISSING for value in named):
        return False
    has_text_above_numbers = any(
        all(is_number_or_date(row[column], options.decimal) for row in rows) for column in range(len(first)) if rows
    )
    if mapped and not mapped_names:
        return has_text_above_numbers or all(map(is_known_name, named))
    if any(map(is_known_name, named)) or has_text_above_numbers:
        return True
    raise DataError(
        f"{source}: can't tell whether the first line, {', '.join(first)[:60]!r}, is a header; "
        "set data.header: true or data.header: false"
    )


def align_names(
    names: Sequence[str], records: Sequence[Record], source: str, line: int, *, has_row_names: bool
) -> list[str]:
    """One name for each column of the rows, where the header is shorter or longer by one.

    R's `write.table` writes row names without a header for them; other programs end rows or the header with a
    delimiter.

    Args:
        names: The names in the header.
        records: The first rows.
        source: Name of the file for messages.
        line: The line of the header.
        has_row_names: Whether header and rows begin with a quote, as they do in R's files.

    Raises:
        DataError: Header and rows have different numbers of fields.
    """
    width, _ = most_frequent_width(records)
    if not width or width == len(names):
        return list(names)
    rows = [[value.strip() for value in row] for row in records if len(row) == width]
    if width == len(names) - 1 and names[-1] == "":
        return list(names[:-1])
    if width == len(names) + 1:
        if all(row[-1] == "" for row in rows):
            return [*names, ""]
        if has_row_names and _counts_up([row[0] for row in rows]):
            return ["", *names]
    raise DataError(
        f"{source}: row {line}: the header has {len(names)} names, but most rows have {width} fields; correct the "
        "header, or leave it out with data.skip_lines and give data.columns by position, e.g. {user_id: 0, item_id: 1}"
    )


def _counts_up(values: Sequence[str]) -> bool:
    if not all(re.fullmatch("[0-9]+", value) for value in values):
        return False
    numbers = [int(value) for value in values]
    return all(after > before for before, after in pairwise(numbers))


def _is_name_of(name: str, role: str, mapped: str | None) -> bool:
    if mapped is not None:
        return mapped in (name, name.split(":")[0])
    return normalize_name(name) in KNOWN_NAMES[role]


def _looks_like_row(record: Record, rows: Sequence[Record]) -> bool:
    """Whether a record has the same number of fields as the rows, and numbers where all of them have."""
    if len(record) != len(rows[0]):
        return False
    for column, value in enumerate(record):
        has_numbers = all(is_number_or_date(row[column]) for row in rows)
        if has_numbers and not is_number_or_date(value):
            return False
    return True
