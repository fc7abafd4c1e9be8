"""Reading CSV, TSV and their kin.

Arrow parses typed columns on all threads. Only where that fails, or gives a value that may not be, the file is read
again as text to find out which rows are bad.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from recctl import progress
from recctl.data.columns import RATING, TIMESTAMP
from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers import column_roles
from recctl.data.sources.readers.bad_rows.line_numbers import count_lines, label_records
from recctl.data.sources.readers.bad_rows.parse import as_array, in_seconds, is_fit, is_text, narrow, per_second
from recctl.data.sources.readers.bad_rows.rows import BadRows, shown
from recctl.data.sources.readers.bad_rows.slow_path import Columns, Skipped, read_carefully
from recctl.data.sources.readers.compression import UNIT_SEPARATOR, Counted, Translated, opened
from recctl.data.sources.readers.csv_dialect import INTEGER, LEADING_ZERO, MISSING, NUMBER, Layout, sniff
from recctl.errors import DataError

# Digits of an id, with which it may be beyond int32.
_LONG = 10


def read_delimited(path: Path, options: ReadOptions) -> tuple[Columns, Skipped]:
    """Each role's column (NumPy arrays, or Arrow text for ids that are text), and what was left out.

    Raises:
        DataError: The file, a column or a row can't be read; the message names it.
    """
    place = path.name
    with opened(path) as stream:
        layout = sniff(stream, options, place)
    if layout.names is None:
        roles = column_roles.place_columns(layout.n_fields, options.columns, place)
        if not options.columns:
            progress.notice(f"{place}: no header; its columns are taken as {', '.join(roles)}")
    else:
        roles = column_roles.find_columns(layout.names, options.columns, place)
    if not layout.records:
        raise DataError(f"{place}: has a header but no rows")
    types = {role: _guess(role, layout.values(at), options) for role, at in roles.items()}
    try:
        columns = _columns(_fast(path, layout, roles, types), layout, options)
    except pa.ArrowInvalid:
        columns = None
    return _carefully(path, layout, roles, options) if columns is None else (columns, {})


def _fast(path: Path, layout: Layout, roles: dict[str, int], types: dict[str, pa.DataType]) -> pa.Table:
    """The columns of the roles in these types; ids in 32 bits, where the first ones are short and all fit."""
    ids = {role for role, kind in types.items() if kind == pa.int64() and role != TIMESTAMP}
    short = {role for role in ids if all(len(value) < _LONG for value in layout.values(roles[role]))}
    if short:
        # If the reason was another one, the second attempt fails too.
        with suppress(pa.ArrowInvalid):
            return _arrow(path, layout, roles, types | dict.fromkeys(short, pa.int32()))
    return _arrow(path, layout, roles, types)


def _guess(role: str, values: Sequence[str], options: ReadOptions) -> pa.DataType:
    """The type that most of the first values have."""
    whole = sum(bool(re.match(INTEGER, v)) for v in values)
    if role == RATING:
        return pa.float32()
    if role == TIMESTAMP:
        if 2 * whole > len(values):
            return pa.int64()
        if 2 * sum(bool(re.match(NUMBER, v)) for v in values) > len(values):
            return pa.float64()
        zoned = 2 * sum(bool(re.search(r"(Z|[+-]\d\d:?\d\d)$", v)) and len(v) > 12 for v in values) > len(values)
        return pa.timestamp("ns", "UTC" if zoned else None)
    if options.id_type != "auto":
        return pa.int64() if options.id_type == "int" else pa.large_string()
    if any(re.match(LEADING_ZERO, v) for v in values):
        return pa.large_string()
    # Floats too: they fail as ints, and are then refused by name.
    numbers = sum(bool(re.match(NUMBER, v)) for v in values)
    return pa.int64() if 2 * numbers > len(values) else pa.large_string()


def _arrow(
    path: Path, layout: Layout, roles: dict[str, int], types: dict[str, pa.DataType], bad_line: Any = None
) -> pa.Table:
    """The columns of the roles.

    With `bad_line` it is told of each line of a wrong number of fields (which takes one thread), and quoted fields may
    go over any lines.
    """
    names = [f"_{i}" for i in range(layout.n_fields)]
    for role, at in roles.items():
        names[at] = role
    several, careful = len(layout.delimiter) > 1, bad_line is not None
    with opened(path) as stream:
        source = counted = Counted(stream) if layout.quoted and not layout.multiline and not careful else None
        source = source or stream
        table = pacsv.read_csv(
            Translated(source, layout.delimiter) if several else source,
            read_options=pacsv.ReadOptions(column_names=names, skip_rows=layout.skip, use_threads=not careful),
            parse_options=pacsv.ParseOptions(
                delimiter=UNIT_SEPARATOR if several else layout.delimiter,
                # A quote that turns up later makes the fast reading fail, instead of swallowing lines unseen.
                quote_char='"' if layout.quoted or careful else False,
                newlines_in_values=layout.multiline or careful,
                invalid_row_handler=bad_line,
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=types,
                include_columns=list(roles),
                null_values=MISSING,
                strings_can_be_null=True,
            ),
        )
    # The last line may end without a line end.
    if counted and not 0 <= len(table) + layout.skip - counted.newlines <= 1:
        raise pa.ArrowInvalid("quoted fields go over lines where none was seen to")
    return table


def _columns(table: pa.Table, layout: Layout, options: ReadOptions) -> Columns | None:
    """The columns in their final types, or None where a value is not as it must be."""
    if not len(table) or any(column.null_count for column in table.columns):
        return None
    names, arrow = table.column_names, table.columns
    del table
    columns: Columns = {}
    for role in names:
        column = None  # so that the memory of the last one is free before the next one is copied
        pa.default_memory_pool().release_unused()
        column = arrow.pop(0)
        if is_text(column.type):
            if not layout.quoted and pc.any(pc.starts_with(column, '"')).as_py():
                return None
            columns[role] = column
            continue
        values, unit = as_array(column), per_second(column.type, options)
        if not is_fit(role, values, unit):
            return None
        if role == TIMESTAMP:
            columns[role] = in_seconds(values, unit)
        else:
            columns[role] = values if role == RATING else narrow(values)
    return columns


@contextmanager
def _quiet(handler: Callable[[Any], str]) -> Iterator[None]:
    """Let a line that is no UTF-8 text fail the reading, and no more: pyarrow prints why it can't tell `handler`."""
    before = sys.unraisablehook

    def hook(failed: Any) -> None:
        if failed.object is not handler:
            before(failed)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _carefully(path: Path, layout: Layout, roles: dict[str, int], options: ReadOptions) -> tuple[Columns, Skipped]:
    place, ragged = path.name, []

    def bad_line(row: Any) -> str:
        ragged.append((row.number - 1 - layout.skip, row.actual_columns, row.text))
        return "skip"

    try:
        with _quiet(bad_line):
            table = _arrow(path, layout, roles, dict.fromkeys(roles, pa.binary()), bad_line)
    except pa.ArrowInvalid as error:
        raise DataError(f"{place}: {str(error).splitlines()[0]}") from error
    if not len(table) and not ragged:
        raise DataError(f"{place}: has a header but no rows")
    faults = BadRows()
    records = np.array([record for record, *_ in ragged], np.int64)
    faults.add(
        records,
        lambda i: f"fields: {ragged[i][1]}, expected {layout.n_fields}: {shown(ragged[i][2])}",
    )
    rows = np.delete(np.arange(len(table) + len(ragged)), records)
    label = partial(label_records, path, layout)
    if not layout.multiline and (n_lines := count_lines(path, layout)) > len(rows) + len(ragged):
        progress.notice(
            f"{place}: {len(rows) + len(ragged):,} rows on {n_lines:,} lines; if no quoted field is meant to go over "
            "several lines, a quote is not closed and rows are lost in it"
        )
    return read_carefully({role: table[role] for role in roles}, rows, faults, options, place, label)
