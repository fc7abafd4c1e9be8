"""Reading a folder or a pattern of files as the parts of one table.

Parts are of one format, and their columns are matched by name. Each part is read on its own by the reader of its
format; what the parts disagree on is decided over all of them. Folders called `key=value` (hive partitions) add a
column `key`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recctl import progress
from recctl.data.columns import COLUMNS, ITEM, RATING, TIMESTAMP, USER, UnusedColumns, format_value
from recctl.data.sources.options import Format, PartialOptions, ReadOptions
from recctl.data.sources.readers import column_roles
from recctl.data.sources.readers.bad_rows.parse import Source, parse_column
from recctl.data.sources.readers.interface import Columns, FileReader, ReadResult
from recctl.data.sources.readers.parts.files import Part, base_of_pattern
from recctl.data.sources.readers.parts.messages import (
    MAX_LISTED,
    PartNotices,
    RecordedNotices,
    collected_notices,
    join_names,
    labelled,
    relabel,
)
from recctl.data.sources.readers.parts.split_names import notice_split
from recctl.data.sources.readers.time_columns import find_unused_columns
from recctl.data.sources.readers.values import downcast_ids
from recctl.engines import map_threads, threads
from recctl.errors import DataError

_TYPED_FORMATS = ("parquet", "arrow")
_FORMATS_WITHOUT_COLUMNS = ("lightgcn", "sequences", "netflix")


@dataclass(frozen=True)
class PartColumns:
    """The columns of a part.

    Attributes:
        names: The names of the columns; None without a header.
        n_columns: The number of columns; 0 if rows are lists.
        has_rows: Whether the part holds any row.
        delimiter: The delimiter of a text file; None in other formats.
        types: The types of the columns, if the format has them.
    """

    names: list[str] | None
    n_columns: int
    has_rows: bool
    delimiter: str | None = None
    types: Sequence[pa.DataType] | None = field(default=None, compare=False)  # parts are unified whatever their types


class _PartOutcome(NamedTuple):
    """What reading a part has led to.

    Attributes:
        result: The result, or why there is none.
        notices: The notices that were sent.
    """

    result: ReadResult | DataError
    notices: list[str]


# What the parts of a table need of the formats.
ColumnReader = Callable[[Path, ReadOptions], PartColumns]


def read_parts(
    path: Path,
    parts: Sequence[Part],
    file_format: Format,
    options: ReadOptions,
    read_columns: ColumnReader,
    read: FileReader,
) -> tuple[ReadResult, list[int]]:
    """Read parts as one table.

    Args:
        path: The folder or pattern.
        parts: The parts, in the order of the rows.
        file_format: Their format.
        options: How to read them.
        read_columns: Returns the columns of a part.
        read: Reads a part.

    Returns:
        The table, and the number of rows read of each part.

    Raises:
        DataError: A part can't be read, or the parts do not fit together.
    """
    if options.user != "column" and file_format in _FORMATS_WITHOUT_COLUMNS and len(parts) > 1:
        raise DataError(
            f"{path.name}: with data.user: {options.user} users are the lines of one file, and this has {len(parts)}; "
            "join the parts first, e.g. by cat, or use one of them"
        )
    notice_split(path, parts)
    table = _Table(path, parts, file_format, options, read_columns, read)
    return table.read(), table.n_rows


class _Table:
    """A table of several parts."""

    def __init__(
        self,
        path: Path,
        parts: Sequence[Part],
        file_format: Format,
        options: ReadOptions,
        read_columns: ColumnReader,
        read: FileReader,
    ) -> None:
        self._path = path
        self._source = path.name
        self._format = file_format
        self._options = options
        self._read_one = read
        self._columns: dict[Part, PartColumns] = {}
        self._all_parts = parts
        for part in parts:
            if part.path.stat().st_size or file_format in _TYPED_FORMATS:
                with labelled(part, self._hint_for_folders):
                    self._columns[part] = self._read_columns(part, read_columns)
        # Parts without rows are common where a job writes one file per worker.
        self._parts = [part for part, columns in self._columns.items() if columns.has_rows]
        if not self._parts:
            raise DataError(f"{self._source}: none of its {len(parts)} files holds a row")
        self._partition_keys = self._find_partition_keys()
        self._unused: UnusedColumns | None = None
        self._part_options, self._partition_columns = self._match_columns()
        self.n_rows: list[int] = []

    def read(self) -> ReadResult:
        """Read and join all parts."""
        with collected_notices(self._source) as listener:
            results = self._read_all(listener)
        n_rows = dict(zip(self._parts, [len(next(iter(result.columns.values()))) for result in results], strict=True))
        joined: Columns = {}
        self._drop_incomplete_ratings(results)
        present = [name for name in self._column_order() if name in results[0].columns]
        for name in present:
            if name in (USER, ITEM):
                self._unify_ids(name, results)
            pieces = [result.columns.pop(name) for result in results]
            joined[name] = _join_values(pieces)
            del pieces
        skipped = [row for result in results for row in result.skipped][:MAX_LISTED]
        n_skipped = sum(result.n_skipped for result in results)
        # Columns are matched here if the parts differ, else by the reader of each part.
        result = ReadResult(joined, n_skipped, skipped, self._unused or results[0].unused)
        self._add_partition_columns(result, n_rows)
        if self._format == "sequences":
            # A user's sequence goes on in the next part.
            from recctl.data.sources.readers.sequences import positions_within_user

            result.columns[TIMESTAMP] = positions_within_user(result.columns[USER])
        self.n_rows = [n_rows.get(part, 0) for part in self._all_parts]
        result.columns = {name: result.columns[name] for name in self._column_order() if name in result.columns}
        return result

    def _read_all(self, listener: PartNotices) -> list[ReadResult]:
        if not self._has_many_small_parts():
            return [self._read_part(part, self._part_options[part], listener) for part in self._parts]
        results = []
        for part, outcome in zip(self._parts, map_threads(self._read_beside_others, self._parts), strict=True):
            # In the order of the parts, as if they were read one after the other.
            listener.label = part.label
            listener.name = part.path.name
            for message in outcome.notices:
                listener.notice(message)
            if isinstance(outcome.result, DataError):
                raise outcome.result
            results.append(outcome.result)
        return results

    def _has_many_small_parts(self) -> bool:
        """Whether threads are used better by a part each than by the columns of one part after the other."""
        if self._format not in _TYPED_FORMATS or len(self._parts) < 2 * threads():
            return False
        sizes = [part.path.stat().st_size for part in self._parts]
        return max(sizes) * threads() <= sum(sizes)

    def _read_beside_others(self, part: Part) -> _PartOutcome:
        notices = RecordedNotices()
        with progress.listening(notices):
            try:
                return _PartOutcome(self._read_part(part, self._part_options[part]), notices.messages)
            except DataError as error:
                return _PartOutcome(error, notices.messages)

    def _drop_incomplete_ratings(self, results: Sequence[ReadResult]) -> None:
        """Leave out ratings, which are not used then, if they could not be read in some part."""
        if all(RATING in result.columns for result in results):
            return
        for result in results:
            result.columns.pop(RATING, None)

    def _column_order(self) -> list[str]:
        return list(dict.fromkeys([*COLUMNS, *self._options.extra_columns]))

    def _read_columns(self, part: Part, read_columns: ColumnReader) -> PartColumns:
        """The columns of a part; the delimiter of the first part is tried first, which is many times as fast."""
        first = next(iter(self._columns.values()), None)
        if first is None or first.names is None or first.delimiter is None or self._options.delimiter is not None:
            return read_columns(part.path, self._options)
        try:
            found = read_columns(part.path, replace(self._options, delimiter=first.delimiter))
        except DataError:
            found = None
        if found is not None and found.names == first.names:
            return found
        return read_columns(part.path, self._options)

    def _read_part(self, part: Part, options: ReadOptions, listener: PartNotices | None = None) -> ReadResult:
        if listener is not None:
            listener.label = part.label
            listener.name = part.path.name
        delimiter = self._columns[part].delimiter
        if delimiter is not None:
            options = replace(options, delimiter=delimiter)
        with labelled(part):
            result = self._read_one(part.path, options)
        result.skipped = [row | {"row": relabel(row["row"], part)} for row in result.skipped]
        return result

    def _hint_for_folders(self) -> str:
        if len(self._all_parts) == 1:
            return ""
        folder = self._path if self._path.is_dir() else base_of_pattern(self._path)
        files = join_names([part.path.relative_to(folder).as_posix() for part in self._all_parts])
        return f"; all files are read as the parts of one table; use one of them instead ({files}), or another pattern"

    # Columns.

    def _find_partition_keys(self) -> list[str]:
        keys = list(dict.fromkeys(key for part in self._parts for key in part.partition))
        for part in self._parts:
            lacking = [key for key in keys if key not in part.partition]
            if lacking:
                raise DataError(f"{part.label}: is in no folder {lacking[0]}=..., as other parts of {self._source} are")
        # A column in the files has the same values, with their types.
        return [key for key in keys if not any(key in (self._columns[part].names or ()) for part in self._parts)]

    def _match_columns(self) -> tuple[dict[Part, ReadOptions], dict[str, str]]:
        """The options to read each part with, and the partition key of each role or extra column that has one."""
        options = self._options
        columns = [self._columns[part] for part in self._parts]
        first = self._parts[0]
        if self._format in _FORMATS_WITHOUT_COLUMNS:
            return dict.fromkeys(self._parts, options), {}
        for part, found in zip(self._parts, columns, strict=True):
            self._require_alike(first, columns[0], part, found)
        is_uniform = all(found == columns[0] for found in columns)
        if is_uniform and not self._partition_keys:
            return dict.fromkeys(self._parts, options), {}
        if columns[0].names is None:
            if self._partition_keys:
                self._require_mapped_partitions()
                return self._match_positions(), self._partition_roles_without_header()
            return dict.fromkeys(self._parts, options), {}
        return self._match_names()

    def _require_alike(self, first: Part, expected: PartColumns, part: Part, found: PartColumns) -> None:
        if (found.names is None) != (expected.names is None):
            without, having = (part, first) if found.names is None else (first, part)
            names = ", ".join((self._columns[having].names or [])[:MAX_LISTED])
            raise DataError(
                f"{without.label}: has no header, {having.label} has one ({names}); if one file was cut into these "
                f"parts, join them again: cat {self._path.name}/* > joined.csv"
            )
        if found.names is None and found.n_columns != expected.n_columns:
            raise DataError(
                f"{part.label}: {found.n_columns} columns, {first.label} has {expected.n_columns}"
                f"{self._hint_for_folders()}"
            )

    def _require_mapped_partitions(self) -> None:
        """Refuse to guess which role a folder's name has among columns without names."""
        for key in self._partition_keys:
            if not column_roles.is_known_name(key) or key in self._options.columns.values():
                continue
            name = column_roles.normalize_name(key)
            role = next(role for role, names in column_roles.KNOWN_NAMES.items() if name in names)
            others = [other for other in (USER, ITEM) if other != role]
            mapping = ", ".join([f"{role}: {key}", *(f"{other}: {i}" for i, other in enumerate(others))])
            raise DataError(
                f"{self._source}: its parts have no header and are in folders {key}=...; name the folder's column and "
                f"the positions of the others: set data.columns: {{{mapping}}}"
            )

    def _partition_roles_without_header(self) -> dict[str, str]:
        """Partition keys of a table without a header: only those that are mapped by name."""
        found = {}
        for role, column in self._options.columns.items():
            if column in self._partition_keys:
                found[role] = str(column)
        return found | {name: name for name in self._options.extra_columns if name in self._partition_keys}

    def _match_positions(self) -> dict[Part, ReadOptions]:
        from_partition = self._partition_roles_without_header()
        mapping: dict[str, str | int | None] = dict(self._options.columns)
        for role in from_partition:
            mapping[role] = None
        extra = [name for name in self._options.extra_columns if name not in from_partition]
        return dict.fromkeys(self._parts, _with_columns(self._options, mapping, extra))

    def _match_names(self) -> tuple[dict[Part, ReadOptions], dict[str, str]]:
        options = self._options
        names_of = {part: list(self._columns[part].names or ()) for part in self._parts}
        mapping = self._name_positions(names_of)
        union = list(dict.fromkeys(name for names in names_of.values() for name in names)) + self._partition_keys
        repeated = [name for name in names_of[self._parts[0]] if names_of[self._parts[0]].count(name) > 1]
        positions = column_roles.roles_from_header(union, mapping, self._source)
        types: dict[str, pa.DataType] = {}
        for part in self._parts:
            types |= dict(zip(names_of[part], self._columns[part].types or (), strict=False))
        self._unused = find_unused_columns(
            union, len(union), mapping, positions, self._source, types=[types.get(name, pa.null()) for name in union]
        )
        role_names = {role: union[position] for role, position in positions.items()}
        partition_columns = {role: name for role, name in role_names.items() if name in self._partition_keys}
        extra = []
        for name in options.extra_columns:
            if name in self._partition_keys:
                partition_columns[name] = name
            elif name not in role_names:
                extra.append(name)
        for role in list(role_names):
            if role in partition_columns:
                continue
            name = role_names[role]
            if name in repeated:
                raise DataError(f"{self._source}: several columns are called {name!r}; rename all but one of them")
            lacking = [part for part in self._parts if name not in names_of[part]]
            if lacking and self._leave_out(role, name, lacking[0], names_of):
                del role_names[role]
        of_files: dict[str, str | int | None] = dict.fromkeys(COLUMNS)
        of_files |= {role: name for role, name in role_names.items() if role not in partition_columns}
        if not any(of_files.values()):
            raise DataError(
                f"{self._source}: the names of folders hold all columns ({', '.join(partition_columns.values())}), and "
                "the files none that is read; set data.columns"
            )
        return dict.fromkeys(self._parts, _with_columns(options, of_files, extra)), partition_columns

    def _name_positions(self, names_of: Mapping[Part, list[str]]) -> dict[str, str | int | None]:
        """The user's mapping, with names instead of positions."""
        mapping: dict[str, str | int | None] = {}
        first = self._parts[0]
        for role, column in self._options.columns.items():
            if not isinstance(column, int):
                mapping[role] = column
                continue
            found = {part: names[column] for part, names in names_of.items() if column < len(names)}
            for part in self._parts:
                if found.get(part) != found.get(first):
                    raise DataError(
                        f"{part.label}: column {column} is {found.get(part)!r}, in {first.label} it is "
                        f"{found.get(first)!r}; name the column instead of its position in data.columns.{role}"
                    )
            mapping[role] = found.get(first, column)
        return mapping

    def _leave_out(self, role: str, name: str, part: Part, names_of: Mapping[Part, list[str]]) -> bool:
        """Whether a column that a part lacks is left out; if not, it is an error."""
        having = next(other for other in self._parts if name in names_of[other])
        problem = f"{part.label}: no column {name!r} for {role}, which {having.label} has"
        if role == RATING and not self._options.needs_ratings:
            progress.notice(f"{problem}; ratings are left out")
            return True
        if role in (RATING, TIMESTAMP):
            raise DataError(f"{problem}; to read all parts without it, set data.columns: {{{role}: null}}")
        raise DataError(f"{problem}{self._hint_for_folders()}")

    # Ids.

    def _unify_ids(self, role: str, results: list[ReadResult]) -> None:
        """Make the ids of all parts int or text."""
        are_text = [not isinstance(result.columns[role], np.ndarray) for result in results]
        if all(are_text) or not any(are_text):
            return
        text_part = self._parts[are_text.index(True)]
        int_part = self._parts[are_text.index(False)]
        problem = f"{role} is text in {text_part.label} and whole numbers in {int_part.label}"
        if self._format in _TYPED_FORMATS or self._options.id_type != "auto":
            raise DataError(f"{self._source}: {problem}; to read both as text, set data.id_type: text")
        for i, part in enumerate(self._parts):
            if are_text[i]:
                continue
            n_rows = len(results[i].columns[role])
            options = replace(self._part_options[part], id_type="text")
            with progress.silence():
                again = self._read_part(part, options)
            if again.n_skipped != results[i].n_skipped or len(again.columns[role]) != n_rows:
                # With text ids, words such as NA are ids, so that the rows are others.
                raise DataError(f"{self._source}: {problem}; set data.id_type: text")
            results[i].columns[role] = again.columns[role]
        progress.notice(f"{self._source}: {problem}; all are read as text")

    # Partitions.

    def _add_partition_columns(self, result: ReadResult, n_rows: dict[Part, int]) -> None:
        """Add the columns that folder names hold; the rows of parts with a bad value are left out."""
        if not self._partition_columns:
            return
        counts = np.array([n_rows[part] for part in self._parts])
        is_good = np.ones(len(self._parts), bool)
        added: Columns = {}
        for name, key in self._partition_columns.items():
            texts = [part.partition[key] for part in self._parts]
            if name in COLUMNS:
                added[name] = self._parse_partition(name, texts, is_good, result, n_rows)
            else:
                added[name] = pa.chunked_array([pa.array([text or "" for text in texts], pa.large_string())])
        if not is_good.any():
            raise DataError(f"{self._source}: no part can be read; the first: {result.skipped[0]['reason']}")
        keep = np.repeat(is_good, counts)
        if not is_good.all():
            result.columns = {name: _select(values, keep) for name, values in result.columns.items()}
            for part, good in zip(self._parts, is_good, strict=True):
                n_rows[part] *= int(good)
        part_of_row = np.repeat(np.arange(len(counts)), counts)[keep]
        for name, values in added.items():
            is_numbers = isinstance(values, np.ndarray)
            result.columns[name] = values[part_of_row] if is_numbers else values.take(pa.array(part_of_row))

    def _parse_partition(
        self,
        role: str,
        texts: list[str | None],
        is_good: NDArray[np.bool_],
        result: ReadResult,
        n_rows: Mapping[Part, int],
    ) -> Any:
        """The values of a role, one for each part; `is_good` is cleared for parts with a bad one."""
        raw = pa.chunked_array([pa.array(texts, pa.large_string())])
        source = Source(self._source, lambda position: self._parts[position].label)
        parsed = parse_column(role, raw, is_good, self._options, source)
        for is_bad, reason in parsed.problems:
            for position in np.flatnonzero(is_bad & is_good):
                part = self._parts[position]
                text = texts[position]
                value = "" if text is None else f" {format_value(text)}"
                self._skip_part(result, part, f"{role}{value} {reason}", n_rows[part])
                is_good[position] = False
        values = parsed.select(role, np.ones(len(texts), bool))
        is_int = role in (USER, ITEM) and isinstance(values, np.ndarray)
        return downcast_ids(values) if is_int else values

    def _skip_part(self, result: ReadResult, part: Part, reason: str, n_rows: int) -> None:
        if self._options.bad_rows == "error":
            raise DataError(f"{part.label}: {reason} (set data.bad_rows: skip to leave out such rows)")
        progress.notice(f"{part.label}: skipped its {n_rows:,} rows: {reason}")
        result.n_skipped += n_rows
        result.skipped = [*result.skipped, {"row": part.label, "reason": reason}][:MAX_LISTED]


def _with_columns(
    options: ReadOptions, columns: Mapping[str, str | int | None], extra_columns: Sequence[str]
) -> ReadOptions:
    values = {name: getattr(options, name) for name in options.__dataclass_fields__}
    # Users or items may be in the name of the folder.
    return PartialOptions(**(values | {"columns": dict(columns), "extra_columns": tuple(extra_columns)}))


def _select(values: Any, keep: NDArray[np.bool_]) -> Any:
    return values[keep] if isinstance(values, np.ndarray) else values.filter(pa.array(keep))


def _join_values(pieces: list[Any]) -> Any:
    """The values of all parts in one column."""
    if len(pieces) == 1:
        return pieces[0]
    if isinstance(pieces[0], np.ndarray):
        return _concatenate(pieces)
    if any(pa.types.is_dictionary(piece.type) for piece in pieces):
        encoded_type = pa.dictionary(pa.int32(), pa.large_string())
        pieces = [_encode(piece).cast(encoded_type) for piece in pieces]
    else:
        pieces = [piece.cast(pa.large_string()) for piece in pieces]
    return pa.chunked_array([chunk for piece in pieces for chunk in _chunks(piece)], pieces[0].type)


def _concatenate(pieces: list[NDArray[Any]]) -> NDArray[Any]:
    """As `np.concatenate`, on all threads: most of the time goes into touching the new memory."""
    ends = np.cumsum([len(piece) for piece in pieces])
    joined = np.empty(ends[-1], np.result_type(*pieces))

    def copy(position: int) -> None:
        piece = pieces[position]
        joined[ends[position] - len(piece) : ends[position]] = piece

    for _ in map_threads(copy, range(len(pieces))):
        pass
    return joined


def _encode(column: Any) -> Any:
    return column if pa.types.is_dictionary(column.type) else column.cast(pa.large_string()).dictionary_encode()


def _chunks(column: Any) -> list[pa.Array]:
    return list(column.chunks) if isinstance(column, pa.ChunkedArray) else [column]
