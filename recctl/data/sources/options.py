"""What a user may say about a file, and what reading one gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import pyarrow as pa

from recctl.data.columns import COLUMNS
from recctl.errors import ConfigError
from recctl.suggest import did_you_mean

Format = Literal["auto", "csv", "tsv", "parquet", "inter", "lightgcn", "sequences"]
TimestampUnit = Literal["s", "ms", "us", "ns"]
BadRows = Literal["error", "skip"]
IdType = Literal["auto", "int", "text"]

_CHOICES = {"format": Format, "timestamp_unit": TimestampUnit, "bad_rows": BadRows, "id_type": IdType}


@dataclass(frozen=True)
class ReadOptions:
    """How to read a file. The defaults find out by themselves what can be found out.

    Attributes:
        format: `auto` goes by the name and the content. `inter` is RecBole's; `lightgcn` is `user item item ...`, one
            user a line; `sequences` is the same with the items in time order, so that timestamps are 0, 1, 2, ...
            within each user.
        columns: Which column is which, e.g. `{"user_id": "customer"}`: a name of the header, or a position from 0.
            Columns that are not mapped are found by well-known names, or where there is no header by their place:
            user_id, item_id, rating, timestamp.
        delimiter: What separates fields, of any length; sniffed when None.
        header: Whether the first line names the columns; sniffed when None.
        timestamp_unit: The unit of timestamps that are numbers. Datetimes without a zone are taken as UTC.
        bad_rows: `error` refuses a file with a row that can't be read; `skip` leaves such rows out and counts them.
        id_type: `int` or `text` ids; `auto` takes ints where all ids of a column are whole numbers without leading
            zeros, else text.

    Raises:
        ConfigError: A value that is none of the choices, or a column map that makes no sense.
    """

    format: Format = "auto"
    columns: Mapping[str, str | int] = field(default_factory=dict)
    delimiter: str | None = None
    header: bool | None = None
    timestamp_unit: TimestampUnit = "s"
    bad_rows: BadRows = "error"
    id_type: IdType = "auto"

    def __post_init__(self) -> None:
        problems = []
        for name, choices in _CHOICES.items():
            value, allowed = getattr(self, name), get_args(choices)
            if value not in allowed:
                problems.append(f"{name}: unknown value {value!r}{did_you_mean(str(value), allowed)}")
        for role, column in self.columns.items():
            if role not in COLUMNS:
                problems.append(f"columns: unknown column {role!r}{did_you_mean(str(role), COLUMNS)}")
            elif not (column if isinstance(column, str) else type(column) is int and column >= 0):
                problems.append(f"columns.{role}: {column!r} is neither a column's name nor its position from 0")
        if self.delimiter == "":
            problems.append("delimiter: '' separates nothing; leave it out to have it sniffed")
        if problems:
            raise ConfigError(*problems)

    def changed(self) -> list[str]:
        """The names of the options that differ from the defaults."""
        default = ReadOptions()
        return [f.name for f in fields(self) if getattr(self, f.name) != getattr(default, f.name)]


@dataclass(frozen=True, eq=False)
class SourceTable:
    """Interactions as read.

    Attributes:
        columns: `user_id`, `item_id`, and where the source has them `rating` and `timestamp`, in the order of the file.
            Ids are int64, int32 where they all fit, or Arrow text, as it is or dictionary-encoded; ratings float32;
            timestamps seconds since 1970: int64, or float64 where some are fractions.
        provenance: Where the rows came from, in plain JSON values: what was read, `rows_read`, `rows_skipped`, the
            first skipped rows with the reason of each, and checksums.
    """

    columns: dict[str, Any]
    provenance: dict[str, Any]

    @classmethod
    def of(cls, frame: pd.DataFrame, provenance: dict[str, Any]) -> SourceTable:
        """What some other program read."""
        return cls({role: frame[role] for role in COLUMNS if role in frame}, provenance)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The columns as a table, ids int64 or text."""
        roles = [role for role in COLUMNS if role in self.columns]
        return pd.DataFrame({role: _as_column(self.columns[role]) for role in roles}, copy=False)


def _as_column(values: Any) -> Any:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return (values.cast(pa.large_string()) if pa.types.is_dictionary(values.type) else values).to_pandas()
    return values.astype(np.int64) if values.dtype == np.int32 else values
