"""A delimited text file with what is known of it, and the call of Arrow that parses its records."""

from __future__ import annotations

import codecs
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.csv as pacsv

from recctl.data.columns import ITEM, USER
from recctl.data.sources.readers.arrow_threads import ReleasedByArrow
from recctl.data.sources.readers.compression import ReadableStream
from recctl.data.sources.readers.csv_dialect import CsvDialect
from recctl.data.sources.readers.text_stream import AtypicalSampleError
from recctl.errors import DataError
from recctl.kernels import text_records

# Arrow can't parse a record that is longer than this; reading larger blocks takes more memory.
_MULTILINE_BLOCK_BYTES = 1 << 25
# The characters of numbers and dates, as `text_records` knows them.
_NUMBER_OR_DATE = re.compile(r"[ +,\-./:ETeZ0-9]*[0-9][ +,\-./:ETeZ0-9]*")


class CsvFile(NamedTuple):
    """A file with what is known of it before it is read.

    Attributes:
        path: The file.
        dialect: How it is written.
        encoding: Its encoding.
        decimal: The decimal separator.
        roles: Role -> position of its column.
        extra: Name -> position of each column without a role that is read.
    """

    path: Path
    dialect: CsvDialect
    encoding: str
    decimal: str
    roles: dict[str, int]
    extra: dict[str, int]

    @property
    def name(self) -> str:
        """The name of the file, for messages."""
        return self.path.name

    def adapted_to(self, atypical: AtypicalSampleError) -> CsvFile:
        """The file with the dialect that it turned out to have."""
        dialect = self.dialect
        dialect = replace(
            dialect,
            layout=replace(dialect.layout, escape=atypical.escape or dialect.layout.escape),
            multiline=dialect.multiline or atypical.multiline,
            quoted=True,
        )
        return self._replace(dialect=dialect)

    def column_names(self) -> list[str]:
        """One name per field: the roles, the extra columns, and placeholders for fields that are not read."""
        used = self.roles | self.extra
        names = [f"_{position}" for position in range(self.dialect.n_fields)]
        while set(names) & set(used):
            names = [f"_{name}" for name in names]
        for name, position in used.items():
            names[position] = name
        return names

    def column_shapes(self) -> list[int]:
        """How the values of each column look, so that a row inside a quoted field is noticed."""
        shapes = [text_records.ANY_TEXT] * self.dialect.n_fields
        for role, position in self.roles.items():
            sample = self.dialect.sample_values(position)
            if not sample:
                continue
            if all(_NUMBER_OR_DATE.fullmatch(value) for value in sample):
                is_id = role in (USER, ITEM)
                shapes[position] = text_records.NUMERIC if is_id else text_records.NUMERIC_OR_EMPTY
            elif not any(re.search(r"[ \t]", value) for value in sample):
                shapes[position] = text_records.WITHOUT_BLANKS
        for role in (USER, ITEM):
            if role in self.roles:
                shapes[self.roles[role]] |= text_records.ID
        if self.dialect.begins_quoted:
            shapes[0] |= text_records.QUOTED
        return shapes

    def require_all_records(self, n_records: int) -> None:
        """Check the number of records against the one that the preamble states."""
        expected = self.dialect.n_records
        if expected is not None and n_records != expected:
            raise DataError(f"{self.name}: has {n_records:,} entries, but its size line says {expected:,} (truncated?)")


class _KeepsFirstMark(io.RawIOBase):
    """Passes records on to Arrow, which drops a byte order mark at the beginning: it is a part of the first field."""

    def __init__(self, stream: ReadableStream) -> None:
        self._stream = stream
        self._is_first = True

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Read about `size` bytes."""
        block = self._stream.read(size)
        if self._is_first and block.startswith(codecs.BOM_UTF8):
            block = codecs.BOM_UTF8 + block
        self._is_first = False
        return block


def parse_records(
    stream: ReadableStream,
    file: CsvFile,
    types: dict[str, pa.DataType],
    missing: list[str],
    *,
    is_slow: bool = False,
) -> pa.Table:
    """Parse the columns of `types` with Arrow.

    Args:
        stream: A `RecordStream` of the file, or one that passes it through.
        file: The file.
        types: The type of each column of a role, and of each extra column.
        missing: The texts that mean that a value is missing.
        is_slow: Whether to accept records as long as a `RecordStream` does, at the cost of time and memory.

    Raises:
        pyarrow.ArrowInvalid: A value is not of its type, a record has a wrong number of fields, or there is no record.
    """
    layout = file.dialect.layout
    # Arrow then reads larger blocks and looks for quotes before it splits them.
    multiline = layout.quote is not None and (file.dialect.multiline or is_slow)
    read_options = pacsv.ReadOptions(column_names=file.column_names())
    if multiline and is_slow:
        read_options.block_size = _MULTILINE_BLOCK_BYTES
    with ReleasedByArrow() as release:
        return pacsv.read_csv(
            release.of(_KeepsFirstMark(stream)),
            read_options=read_options,
            parse_options=pacsv.ParseOptions(
                delimiter=layout.output_delimiter,
                # Looking for quotes takes Arrow some time, even if there are none.
                quote_char=(layout.quote or False) if file.dialect.quoted or is_slow else False,
                escape_char=layout.escape or False,
                newlines_in_values=multiline,
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=missing,
                # In extra columns, these are texts like any other.
                strings_can_be_null=not file.extra,
                decimal_point=file.decimal,
            ),
        )
