"""Reading whole columns with a look at every cell, so that each bad row is found and can be named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recctl import progress
from recctl.data.columns import RATING, TIMESTAMP
from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers.bad_rows.parse import parse
from recctl.data.sources.readers.bad_rows.rows import BadRows, shown
from recctl.errors import DataError

Columns = dict[str, Any]
Skipped = dict[str, Any]


def read_carefully(
    raw: Mapping[str, pa.ChunkedArray],
    rows: NDArray[np.int64],
    faults: BadRows,
    options: ReadOptions,
    place: str,
    label: Callable[[Sequence[int]], list[str]],
) -> tuple[Columns, Skipped]:
    """The good rows of `raw`, and what was left out.

    Args:
        raw: Each role's cells, shape `(n,)`: typed, text, or bytes that should be UTF-8.
        rows: The number of each row in the source, ascending, shape `(n,)`.
        faults: Bad rows found before, none of them in `raw`.
        options: What to do with bad rows, among others.
        place: The source's name.
        label: Where rows of these numbers are, for a person.

    Raises:
        DataError: There are bad rows and these are errors, or no row is good.
    """
    total = len(rows) + faults.count
    good = np.ones(len(rows), bool)
    cells = {}
    # Ids come last: a row that is bad anyway, such as a second header, does not decide which type they have.
    for role in sorted(raw, key=lambda role: role not in (RATING, TIMESTAMP)):
        column = _decoded(role, raw[role], rows, label)
        typed = column is raw[role] and options.id_type == "auto" and not pa.types.is_integer(column.type)
        # What a typed file has as text is meant as text, though it may look like numbers.
        told = replace(options, id_type="text") if typed else options
        cells[role] = parse(role, column, good, told, place)
        for mask, why in cells[role].faults:
            new = np.flatnonzero(mask & good)
            good[new] = False
            faults.add(rows[new], partial(_describe, role, column, new, why))
    first = faults.settle(total, options, place, label)
    for role, read in cells.items():
        if read.first_text is not None:
            where, value = label([int(rows[read.first_text])])[0], shown(read.values[read.first_text].as_py())
            progress.notice(f"{where}: {role} {value} is text, other ids are whole numbers; all are read as text")
    columns = {role: cells[role].kept(role, good) for role in raw}
    return columns, {"rows_skipped": faults.count, "skipped": first} if faults.count else {}


def _decoded(
    role: str, column: pa.ChunkedArray, rows: NDArray[np.int64], label: Callable[[Sequence[int]], list[str]]
) -> pa.ChunkedArray:
    """The column, bytes made text."""
    if not pa.types.is_binary(column.type):
        return column
    try:
        return column.cast(pa.large_string())
    except pa.ArrowInvalid:
        low, high = 0, len(column)  # the first bad value is in low:high
        while high - low > 1:
            middle = (low + high) // 2
            try:
                column[low:middle].cast(pa.large_string())
                low = middle
            except pa.ArrowInvalid:
                high = middle
        where, value = label([int(rows[low])])[0], shown(column[low].as_py())
        raise DataError(f"{where}: {role} {value} is not UTF-8; save the file as UTF-8 text") from None


def _describe(role: str, column: pa.ChunkedArray, rows: NDArray[np.int64], why: str, i: int) -> str:
    value = column[int(rows[i])].as_py()
    return f"{role} {why}" if value is None else f"{role} {shown(value)} {why}"
