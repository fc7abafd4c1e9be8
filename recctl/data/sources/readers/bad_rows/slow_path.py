"""The slow path of the readers: parse every cell of every column, so that each bad row is found and named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recctl import progress
from recctl.data import text_ids
from recctl.data.columns import COLUMNS, ITEM, RATING, TIMESTAMP, USER, format_value
from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers.bad_rows.parse import ParsedColumn, Source, parse_column
from recctl.data.sources.readers.bad_rows.rows import BadRows
from recctl.data.sources.readers.interface import ReadResult, RowLabeler
from recctl.data.sources.readers.timestamp_checks import check_timestamps

_DECODED_ROWS = 1 << 16  # rows to decode at once
_NOT_UTF8 = "is not UTF-8; set the encoding of the file, e.g. data.encoding: latin-1"


def parse_rows(
    raw_columns: Mapping[str, pa.ChunkedArray],
    row_numbers: NDArray[np.int64],
    bad_rows: BadRows,
    options: ReadOptions,
    source: str,
    label_rows: RowLabeler,
    extra_columns: Mapping[str, pa.ChunkedArray] | None = None,
) -> ReadResult:
    """Parse raw columns; rows with a cell that can't be parsed are rejected or skipped.

    Args:
        raw_columns: Each role's cells, shape `(n,)`: typed, text, or bytes that should be UTF-8. Columns with another
            name than that of a role are text that is not parsed.
        row_numbers: The number of each row in the source, counted from 0, ascending, shape `(n,)`.
        bad_rows: Bad rows that are already known; they are not in `raw_columns`. Those found here are added.
        options: How to parse, and what to do with bad rows.
        source: Name of the file for messages.
        label_rows: Turns row numbers into locations.
        extra_columns: Columns without a role, as text of shape `(n,)`; they are returned for the good rows.

    Raises:
        DataError: There are bad rows and bad rows are errors, or no row is good.
    """
    n_rows = len(row_numbers) + bad_rows.count
    is_good = np.ones(len(row_numbers), bool)
    parsed: dict[str, ParsedColumn] = {}

    def label_cell(position: int) -> str:
        return label_rows([int(row_numbers[position])])[0]

    # Ids come last, so that rows already known to be bad (a repeated header, say) don't decide the type of the ids.
    cells: dict[str, pa.ChunkedArray] = {}
    decides_type = is_good
    for role in sorted(raw_columns, key=lambda role: role not in (RATING, TIMESTAMP)):
        raw = raw_columns[role]
        cells[role], is_broken = _decode_utf8(raw)
        broken = np.flatnonzero(is_broken & is_good)
        is_good[broken] = False
        bad_rows.add(row_numbers[broken], partial(_describe_cell, role, raw, broken, _NOT_UTF8))
        if role in COLUMNS:
            cell_source = Source(source, label_cell)
            parsed[role] = parse_column(role, cells[role], decides_type, _column_options(raw, options), cell_source)
        else:
            parsed[role] = ParsedColumn(pc.fill_null(cells[role], ""))
        if role == RATING and not options.needs_ratings:
            continue  # such rows are kept, so their ids decide the type, too
        for is_bad, reason in parsed[role].problems:
            positions = np.flatnonzero(is_bad & is_good)
            is_good[positions] = False
            bad_rows.add(row_numbers[positions], partial(_describe_cell, role, cells[role], positions, reason))
        decides_type = decides_type & is_good
    if RATING in parsed and not options.needs_ratings:
        _drop_unreadable_ratings(parsed, cells[RATING], is_good, label_cell)
    skipped = bad_rows.resolve(n_rows, options, source, label_rows)
    columns = {role: parsed[role].select(role, is_good) for role in raw_columns if role in parsed}
    good_rows = np.flatnonzero(is_good)
    if TIMESTAMP in parsed and parsed[TIMESTAMP].is_count:
        check_timestamps(columns[TIMESTAMP], options, source, lambda: label_cell(good_rows[0]))
    for role in (USER, ITEM):
        if _may_mix_types(role, raw_columns, options):
            notice_text_among_integers(role, columns[role], lambda position: label_cell(good_rows[position]))
    columns |= {name: column.filter(pa.array(is_good)) for name, column in (extra_columns or {}).items()}
    return ReadResult(columns, bad_rows.count, skipped)


def notice_text_among_integers(role: str, ids: Any, label_cell: Callable[[int], str]) -> None:
    """Send a notice that a column of ids is text because of a few of its values.

    Args:
        role: `user_id` or `item_id`.
        ids: The ids, without surrounding white space.
        label_cell: Returns the location of an id, given its position.
    """
    if isinstance(ids, np.ndarray):
        return
    position = text_ids.first_text_among_integers(ids)
    if position is not None:
        value = format_value(ids[position].as_py())
        progress.notice(
            f"{label_cell(position)}: {role} {value} is text, other ids are whole numbers; all are read as text"
        )


def _may_mix_types(role: str, raw_columns: Mapping[str, pa.ChunkedArray], options: ReadOptions) -> bool:
    """Whether there is a column of this role whose values decide its type."""
    return role in raw_columns and _column_options(raw_columns[role], options).id_type == "auto"


def _any_problem(column: ParsedColumn) -> NDArray[np.bool_]:
    return np.asarray(np.any([is_bad for is_bad, _ in column.problems], axis=0), bool)


def _drop_unreadable_ratings(
    parsed: dict[str, ParsedColumn],
    raw: pa.ChunkedArray,
    is_good: NDArray[np.bool_],
    label_cell: Callable[[int], str],
) -> None:
    """Leave out a column of ratings, which are not used, if a good row has none that can be read; send a notice."""
    is_unreadable = _any_problem(parsed[RATING]) & is_good
    if not is_unreadable.any():
        return
    position = int(np.argmax(is_unreadable))
    reason = next(reason for is_bad, reason in parsed[RATING].problems if is_bad[position])
    description = _describe_cell(RATING, raw, np.array([position]), reason, 0)
    progress.notice(f"{label_cell(position)}: {description}; ratings are not used, so the column is left out")
    del parsed[RATING]


def _column_options(raw_column: pa.ChunkedArray, options: ReadOptions) -> ReadOptions:
    """The options for a column: text in a typed file (Parquet) stays text even if it looks like numbers."""
    is_typed = not pa.types.is_binary(raw_column.type)
    if is_typed and options.id_type == "auto" and not pa.types.is_integer(raw_column.type):
        return replace(options, id_type="text")
    return options


def _decode_utf8(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, NDArray[np.bool_]]:
    """A column of bytes as text, and which cells are not UTF-8; other columns are returned unchanged."""
    is_broken = np.zeros(len(column), bool)
    if not pa.types.is_binary(column.type):
        return column, is_broken
    pieces = []
    for begin in range(0, len(column), _DECODED_ROWS):
        piece = column[begin : begin + _DECODED_ROWS]
        try:
            pieces += piece.cast(pa.large_string()).chunks
        except pa.ArrowInvalid:  # Arrow does not say which
            cells = piece.to_pylist()
            texts = [None if cell is None else cell.decode(errors="replace") for cell in cells]
            encoded = [None if text is None else text.encode() for text in texts]
            is_broken[begin : begin + len(cells)] = [cell != again for cell, again in zip(cells, encoded, strict=True)]
            pieces.append(pa.array(texts, pa.large_string()))
    return pa.chunked_array(pieces, pa.large_string()), is_broken


def _describe_cell(role: str, column: pa.ChunkedArray, positions: NDArray[np.int64], reason: str, i: int) -> str:
    try:
        value = column[int(positions[i])].as_py()
    except (OverflowError, ValueError):  # Python has no such time: databases have years beyond 9999, and infinity
        value = None
    if value is None or value == "":
        return f"{role} {reason}"
    return f"{role} {format_value(value)} {reason}"
