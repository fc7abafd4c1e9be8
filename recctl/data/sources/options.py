"""How a file is to be read (`ReadOptions`), and the table that reading it returns (`SourceTable`)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import pyarrow as pa

from recctl.data.columns import COLUMNS, ITEM, USER, UnusedColumns
from recctl.data.timestamps import format_problem
from recctl.engines import map_threads
from recctl.errors import ConfigError, DataError
from recctl.suggest import did_you_mean

Format = Literal["auto", "csv", "tsv", "parquet", "arrow", "json_lines", "inter", "lightgcn", "sequences", "netflix"]
UserLocation = Literal["column", "line", "counted_line"]
TimestampUnit = Literal["s", "ms", "us", "ns"]
BadRowPolicy = Literal["error", "skip"]
IdType = Literal["auto", "int", "text"]

_CHOICES = {
    "format": Format,
    "user": UserLocation,
    "timestamp_unit": TimestampUnit,
    "bad_rows": BadRowPolicy,
    "id_type": IdType,
}

_CHECKSUM = re.compile("(sha256|sha512|md5):[0-9a-f]+")

# The formats with one user per line.
FORMATS_OF_LINES = ("lightgcn", "sequences")


@dataclass(frozen=True)
class Query:
    """A query of a database, as a source of interactions.

    Attributes:
        sql: A single query. It must have ORDER BY if it returns no timestamps: row order is time order then.
        url: `postgresql://...`, `sqlite:///FILE` or `duckdb:///FILE`; `${NAME}` is replaced from the environment.
    """

    sql: str
    url: str


@dataclass(frozen=True)
class ReadOptions:
    """How to read a file. The defaults detect everything that can be detected.

    Attributes:
        format: `auto` detects the format from the file name and the content. `json_lines` has one JSON object per line;
            `arrow` is Arrow IPC, also called Feather; `inter` is RecBole's format; `lightgcn` has one user per line,
            `user item item ...`; `sequences` is the same with the items in time order, so that timestamps are 0, 1, 2,
            ... within each user; `netflix` has blocks of one item each: a line `item:`, then rows `user,rating,date`.
        columns: The file's column for each role, e.g. `{"user_id": "customer"}`: a name from the header, or a position
            counted from 0. None leaves out an optional column of that role. Roles that are not mapped are found by
            well-known column names or, in a file without a header, by position: user_id, item_id, rating, timestamp.
        extra_columns: Columns to read besides those of the roles, as text, for preprocessing steps. In a file without a
            header their names are the positions from 0: `("3",)`.
        delimiter: The field separator, of any length, or `whitespace` for runs of spaces and tabs; detected if None.
        quoting: Whether fields may be quoted by `"`; if False, quotes are ordinary characters.
        encoding: The encoding of a text file, by the name that Python has for it.
        decimal: The decimal separator of ratings and timestamps, `.` or `,`.
        header: Whether the first line names the columns; detected if None.
        skip_lines: Number of lines to skip at the beginning of a text file.
        comment: Skip the lines of a text file that begin with this; None for no comments.
        user: Where the user is in the formats `lightgcn` and `sequences`: `column`: each line begins with its user;
            `line`: each line is a user, numbered from 1, and holds only items; `counted_line`: the same, but each line
            begins with the number of its items.
        timestamp_unit: The unit of numeric timestamps. Datetimes without a time zone are read as UTC.
        timestamp_format: The format of timestamps for `strptime`, e.g. `%d.%m.%Y %H:%M`; None for numbers and ISO 8601.
        bad_rows: `error` rejects a file with a row that can't be read; `skip` leaves out such rows and counts them.
        id_type: `int` or `text`; `auto` reads a column of ids as int if every id is an integer without leading zeros, a
            plus sign or 0x, or such an integer followed by .0, else as text.
        needs_ratings: Whether ratings are used. If not, a column of ratings that can't be read is left out with a
            notice.
        checksum: The expected checksum of a single file, e.g. `sha256:9f86d0...`; None for no check.
        max_download_gb: Maximum size in GB of what is downloaded from URLs or fetched from a database.

    Raises:
        ConfigError: A value is not one of the choices, or a column mapping is invalid.
    """

    format: Format = "auto"
    columns: Mapping[str, str | int | None] = field(default_factory=dict)
    extra_columns: Sequence[str] = ()
    delimiter: str | None = None
    quoting: bool = True
    encoding: str = "utf-8"
    decimal: str = "."
    header: bool | None = None
    skip_lines: int = 0
    comment: str | None = None
    user: UserLocation = "column"
    timestamp_unit: TimestampUnit = "s"
    timestamp_format: str | None = None
    bad_rows: BadRowPolicy = "error"
    id_type: IdType = "auto"
    needs_ratings: bool = True
    checksum: str | None = None
    max_download_gb: float = 50

    def __post_init__(self) -> None:
        problems = self._choice_problems() + self._column_problems()
        problems += self._text_problems() + self._checksum_problems()
        if problems:
            raise ConfigError(*problems)

    def _choice_problems(self) -> list[str]:
        problems = []
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            allowed = get_args(choices)
            if value not in allowed:
                problems.append(f"{name}: unknown value {value!r}{did_you_mean(str(value), allowed)}")
        return problems

    def _checksum_problems(self) -> list[str]:
        if self.checksum is None or _CHECKSUM.fullmatch(self.checksum):
            return []
        return [f"checksum: {self.checksum!r} is not of the form sha256:9f86d0..."]

    def _text_problems(self) -> list[str]:
        problems = []
        if self.delimiter == "":
            problems.append("delimiter: '' is empty; leave it out to detect the delimiter")
        try:
            b"a".decode(self.encoding)
        except UnicodeError:
            pass  # no text in this encoding
        except LookupError:  # also for those that are no encodings of text, such as base64
            problems.append(f"encoding: {self.encoding!r} is unknown; use e.g. utf-8, latin-1, cp1252 or utf-16")
        if self.decimal not in (".", ","):
            problems.append(f"decimal: {self.decimal!r} is neither '.' nor ','")
        if self.skip_lines < 0:
            problems.append(f"skip_lines: {self.skip_lines} is negative")
        if self.timestamp_format is not None:
            problem = format_problem(self.timestamp_format)
            if problem:
                problems.append(f"timestamp_format: {self.timestamp_format!r}: {problem}")
        if self.user != "column" and self.format not in FORMATS_OF_LINES:
            problems.append(
                f"user: {self.user} is not for the format {self.format}; set data.format: sequences or lightgcn too"
            )
        if self.comment == "":
            problems.append("comment: '' is empty; leave it out if there are no comments")
        return problems

    def _column_problems(self) -> list[str]:
        problems = []
        for role, column in self.columns.items():
            is_name = isinstance(column, str) and column != ""
            is_position = type(column) is int and column >= 0  # type(): a bool is no position
            if role not in COLUMNS:
                problems.append(f"columns: unknown column {role!r}{did_you_mean(str(role), COLUMNS)}")
            elif column is None:
                if role in (USER, ITEM):
                    problems.append(f"columns.{role}: null; only rating and timestamp can be left out")
            elif not is_name and not is_position:
                problems.append(f"columns.{role}: {column!r} is neither a column name nor a position counted from 0")
        return problems

    def non_default(self) -> list[str]:
        """The names of the options that differ from the defaults."""
        default = ReadOptions()
        names = [option.name for option in fields(self)]
        return [name for name in names if getattr(self, name) != getattr(default, name)]


class PartialOptions(ReadOptions):
    """Options for a table that may have no users or no items: a part of a source, or a table of items."""

    def _column_problems(self) -> list[str]:
        return []


@dataclass(frozen=True, eq=False)
class SourceTable:
    """Interactions as read from a source.

    Attributes:
        columns: `user_id`, `item_id` and, if the source has them, `rating` and `timestamp`, rows in the order of the
            file. Ids are int64, int32 if all of them fit, or Arrow text, plain or dictionary-encoded; ratings are
            float32; timestamps are seconds since 1970, int64 or, if any has a fraction, float64. The extra columns
            that `ReadOptions` names follow, each under its own name as Arrow text without nulls: an empty field is "".
        provenance: Where the rows came from, as plain JSON values: the file, `rows_read`, `rows_skipped`, the first
            skipped rows with the reason for each, and checksums.
        unused: The columns without a role, if the source has no timestamps and its other columns are known.
    """

    columns: dict[str, Any]
    provenance: dict[str, Any]
    unused: UnusedColumns | None = None

    @classmethod
    def from_frame(
        cls, frame: pd.DataFrame, provenance: dict[str, Any], extra_columns: Sequence[str] = ()
    ) -> SourceTable:
        """Wrap a table that was read or generated elsewhere; other columns are left out.

        Raises:
            DataError: An extra column is missing.
        """
        missing = [name for name in extra_columns if name not in frame]
        if missing:
            existing = [str(name) for name in frame.columns]
            raise DataError(f"{provenance['source']}: no column {missing[0]!r}{did_you_mean(missing[0], existing)}")
        names = [*(role for role in COLUMNS if role in frame), *extra_columns]
        return cls({name: frame[name] for name in names}, provenance)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The columns as a pandas table, those of the roles first; ids are int64 or text, extra columns are text."""
        names = [role for role in COLUMNS if role in self.columns]
        names += [name for name in self.columns if name not in COLUMNS]
        # On all threads: decoding text and widening ids takes a fifth of the time of reading them.
        converted = map_threads(_to_pandas, [self.columns[name] for name in names])
        return pd.DataFrame(dict(zip(names, converted, strict=True)), copy=False)


def _to_pandas(values: Any) -> Any:
    """A column as pandas holds it: ids become int64 or text."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        if pa.types.is_dictionary(values.type):
            values = values.cast(pa.large_string())
        return values.to_pandas()
    if values.dtype == np.int32:
        return values.astype(np.int64)
    return values
