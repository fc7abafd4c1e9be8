"""Columns of a file that nothing reads although they may hold the times of the interactions.

Times are optional, so a file whose column of times has an unknown name (`when`) would be read without them and nobody
would notice. A column without a role may hold times if

- its name has a word for a time, such as `bought_at`; or
- its type in the file is a date or a datetime; or
- all of its first values are dates, or numbers that are the time since 1970 in seconds or a smaller unit, and its name
  has no word of an id.

Dates that describe the item or the user, such as a release or a birth, are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import pyarrow as pa

from recctl import progress
from recctl.data.columns import TIMESTAMP, UnusedColumns
from recctl.data.sources.readers.column_suggestions import (
    column_reference,
    describes_other_time,
    has_id_word,
    has_time_word,
    mapping_hint,
)
from recctl.data.timestamps import suggest_formats

ValueSample = Callable[[Sequence[int]], Mapping[int, Iterable[str]]]
"""Returns the first values of the columns at these positions as text, without missing ones."""

N_SAMPLED = 50
_MAX_LISTED = 5
_ISO_DATE = re.compile(r"(19|20)\d\d-\d\d-\d\d([T ]\d\d(:?\d\d.*)?)?")
_YEAR = re.compile(r"(19|20)\d\d")
_NUMBER = re.compile(r"[0-9]{9,19}(\.[0-9]*)?")
# The years 1990 to 2049 in seconds since 1970: larger and smaller numbers are more often something else.
_EPOCH_SECONDS = (631_152_000, 2_524_608_000)
_UNITS_PER_SECOND = (1, 10**3, 10**6, 10**9)


def find_unused_columns(
    names: Sequence[str] | None,
    n_columns: int,
    mapping: Mapping[str, str | int | None],
    roles: Mapping[str, int],
    source: str,
    sample: ValueSample | None = None,
    types: Sequence[pa.DataType] | None = None,
) -> UnusedColumns | None:
    """List the columns without a role of data that have no timestamps; send a notice if some may hold times.

    Args:
        names: The names of the columns; None if the file has none.
        n_columns: Number of columns.
        mapping: Role -> name or position, as the user configured it.
        roles: Role -> position.
        source: Name of the file, for the notice.
        sample: Reads the first values of columns, if this is cheap.
        types: The types of the columns, if the file has them.

    Returns:
        The columns without a role, those that may hold times first; None if the data have timestamps, or the user
        configured that they have none.
    """
    if TIMESTAMP in roles or TIMESTAMP in mapping:
        return None
    unassigned = [position for position in range(n_columns) if position not in roles.values()]
    times = _time_columns(names, unassigned, sample, types)
    in_order = times + [position for position in unassigned if position not in times]
    references = [column_reference(names, position) if names else position for position in in_order]
    if not times:
        return UnusedColumns(tuple(references), None)
    hint = mapping_hint({**mapping, TIMESTAMP: references[0]})
    if names is not None and isinstance(references[0], int):
        hint += " (its position) and data.header: true"
    listed = ", ".join(str(reference) for reference in references[: min(len(times), _MAX_LISTED)])
    if len(times) == 1:
        progress.notice(
            f"{source}: read without timestamps, although the column {listed} may have them; {hint}, or "
            "{timestamp: null} if it has none"
        )
    else:
        progress.notice(
            f"{source}: read without timestamps, although one of the columns {listed} may have them; {hint} or another "
            "of these, or {timestamp: null} if none has them"
        )
    return UnusedColumns(tuple(references), hint)


def can_be_sampled(arrow_type: pa.DataType) -> bool:
    """Whether values of a type may be times: numbers of at least 32 bits, and text."""
    return bool(
        pa.types.is_string(arrow_type)
        or pa.types.is_large_string(arrow_type)
        or (pa.types.is_integer(arrow_type) and arrow_type.bit_width >= 32)
        or pa.types.is_float64(arrow_type)
    )


def first_texts(column: pa.Array | pa.ChunkedArray) -> list[str]:
    """The first values of a column as text, without missing ones."""
    return [_to_text(value) for value in column[:N_SAMPLED].to_pylist() if value is not None]


def _to_text(value: str | int | float) -> str:
    if isinstance(value, float) and value.is_integer():  # not 1.7e+18
        return str(int(value))
    return str(value)


def hold_times(values: Iterable[str]) -> bool:
    """Whether all of some values, of which there is at least one, are dates or the time since 1970."""
    texts = [value.strip() for value in values]
    if not texts:
        return False
    if all(_NUMBER.fullmatch(text) for text in texts):
        first, last = _EPOCH_SECONDS
        numbers = [float(text) for text in texts]
        return any(all(first * unit <= number < last * unit for number in numbers) for unit in _UNITS_PER_SECOND)
    # A year of four digits rules out version numbers, and most texts before any format is tried.
    if not all(_YEAR.search(text) for text in texts):
        return False
    if all(_ISO_DATE.fullmatch(text) for text in texts):
        return True
    return any("%y" not in each for each in suggest_formats(texts))


def _time_columns(
    names: Sequence[str] | None,
    unassigned: Sequence[int],
    sample: ValueSample | None,
    types: Sequence[pa.DataType] | None,
) -> list[int]:
    """The positions of the columns that may hold times: those with a word for a time in their name first."""
    by_name = []
    by_value = []
    undecided = []
    for position in unassigned:
        name = names[position] if names else ""
        if describes_other_time(name):
            continue
        if has_time_word(name):
            by_name.append(position)
        elif types is not None and (pa.types.is_timestamp(types[position]) or pa.types.is_date(types[position])):
            by_value.append(position)
        elif not has_id_word(name):
            undecided.append(position)
    if undecided and sample is not None:
        by_value += [position for position, values in sample(undecided).items() if hold_times(values)]
    return by_name + sorted(by_value)
