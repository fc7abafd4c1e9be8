"""Tables that are written and read in pieces: Parquet, CSV, or JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from recctl.data.titles import ItemTitles
from recctl.data.vocabulary import Vocabulary
from recctl.errors import ArtifactError

FileFormat = Literal["parquet", "csv", "jsonl"]
Write = Callable[[pa.Table], None]

# Rows per write: Parquet row groups should be large, text may be written in smaller pieces.
_ROWS_PER_WRITE = {"parquet": 1 << 17, "csv": 1 << 14, "jsonl": 1 << 14}
_BYTES_PER_READ = 1 << 22
# Characters that JSON escapes: quote, backslash and control characters.
_ESCAPED = r'["\\\x00-\x1f]'


def columns_of(schema: Any) -> dict[str, str]:
    """Column types of a schema, for the manifest."""
    return {schema_field.name: str(schema_field.type) for schema_field in schema}


def schema_of(manifest: Mapping[str, Any]) -> Any:
    """The schema of the table that a manifest describes.

    Raises:
        ArtifactError: The manifest describes no table.
    """
    try:
        return pa.schema(
            [
                (column_name, pa.type_for_alias(type_alias))
                for column_name, type_alias in manifest["facts"]["columns"].items()
            ]
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"manifest: damaged: it describes no table ({error!r})") from error


def id_type(vocabulary: Vocabulary) -> Any:
    """Arrow type of an id column."""
    return pa.string() if vocabulary.is_text else pa.int64()


def title_column(titles: ItemTitles, vocabulary: Vocabulary) -> Any:
    """The title of each item of a model, null where there is none, `(n_items,)`."""
    return pa.array(titles.of(vocabulary.ids), pa.string())


@contextmanager
def open_writer(path: Path, schema: Any, file_format: FileFormat) -> Iterator[Write]:
    """Open a file for writing; yields a function that appends a piece of the table."""
    with _WRITERS[file_format](path, schema) as write:
        # Pieces are small, a block of users each; large writes make large row groups, which compress and scan better.
        pending: list[Any] = []

        def append(piece: Any) -> None:
            pending.append(piece)
            if sum(map(len, pending)) >= _ROWS_PER_WRITE[file_format]:
                flush()

        def flush() -> None:
            if pending:
                write(pa.concat_tables(pending).combine_chunks())
                pending.clear()

        yield append
        flush()


def read_pieces(path: Path, schema: Any, file_format: FileFormat) -> Iterator[Any]:
    """Read the table of a file in pieces.

    Raises:
        ArtifactError: The file cannot be read, or its columns differ from the schema.
    """
    try:
        if file_format == "parquet":
            with pq.ParquetFile(path) as parquet_file:
                _require_schema(path, parquet_file.schema_arrow, schema)
                yield from parquet_file.iter_batches(_ROWS_PER_WRITE["parquet"])
        elif file_format == "csv":
            yield from _read_csv(path, schema)
        else:
            yield from _read_json_lines(path, schema)
    except (pa.ArrowException, ValueError) as error:
        raise ArtifactError(f"{path}: damaged: {error}") from error


def _require_schema(path: Path, schema: Any, expected: Any) -> None:
    if not schema.equals(expected):
        columns = ", ".join(f"{schema_field.name} {schema_field.type}" for schema_field in schema)
        raise ArtifactError(f"{path}: not the table that was written; its columns are {columns}")


def _read_csv(path: Path, schema: Any) -> Iterator[Any]:
    convert_options = pa.csv.ConvertOptions(column_types=schema)
    # Text ids may contain line breaks, which the writer quotes.
    parse_options = pa.csv.ParseOptions(newlines_in_values=True)
    # Small blocks, because Arrow reads dozens of them ahead.
    read_options = pa.csv.ReadOptions(block_size=_BYTES_PER_READ >> 4)
    with pa.csv.open_csv(path, read_options, parse_options=parse_options, convert_options=convert_options) as reader:
        _require_schema(path, reader.schema, schema)
        yield from reader


def _read_json_lines(path: Path, schema: Any) -> Iterator[Any]:
    parse_options = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    remainder = b""
    with path.open("rb") as file:
        while block := file.read(_BYTES_PER_READ):
            # Cut at the last newline: Arrow's reader parses whole lines only.
            lines, newline, remainder = (remainder + block).rpartition(b"\n")
            if newline:
                buffer = pa.BufferReader(lines + newline)
                yield from pa.json.read_json(buffer, parse_options=parse_options).to_batches()
    if remainder:
        raise ArtifactError(f"{path}: damaged: the last line has no end")


# ---- writers


@contextmanager
def _parquet(path: Path, schema: Any) -> Iterator[Write]:
    # Scores hardly repeat: a dictionary of them would be built and then discarded.
    repetitive_columns = [column_name for column_name in schema.names if column_name != "score"]
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=repetitive_columns) as writer:
        yield partial(writer.write_table, row_group_size=2 * _ROWS_PER_WRITE["parquet"])


@contextmanager
def _csv(path: Path, schema: Any) -> Iterator[Write]:
    with pa.csv.CSVWriter(path, schema) as writer:
        yield writer.write_table


@contextmanager
def _jsonl(path: Path, schema: Any) -> Iterator[Write]:
    with path.open("wb") as file:

        def write(table: Any) -> None:
            line_parts: list[Any] = []
            for column_name, column in zip(table.column_names, table.columns, strict=True):
                opening = ", " if line_parts else "{"
                line_parts += [f'{opening}"{column_name}": ', _to_json(column.combine_chunks())]
            # Whole columns at a time, without a Python call for each row.
            lines = pc.binary_join_element_wise(*line_parts, "}\n", "")
            # The character buffer of the array is the concatenation of all lines.
            _, offsets, characters = lines.cast(pa.large_string()).buffers()
            if len(lines):
                bounds = memoryview(offsets).cast("q")
                file.write(memoryview(characters)[bounds[0] : bounds[len(lines)]])

        yield write


def _to_json(column: Any) -> Any:
    """A column as JSON text. Only strings that need escaping go through Python."""
    if not pa.types.is_string(column.type):
        return column.cast(pa.string())
    # User ids repeat k times: each distinct one is encoded once. Null gets a place in the dictionary as well.
    column = column.dictionary_encode(null_encoding="encode")
    strings = column.dictionary
    if strings.null_count or pc.any(pc.match_substring_regex(strings, _ESCAPED)).as_py():
        strings = pa.array([json.dumps(text, ensure_ascii=False) for text in strings.to_pylist()], pa.string())
    else:
        strings = pc.binary_join_element_wise('"', strings, '"', "")
    return strings.take(column.indices)


_WRITERS: dict[str, Callable[[Path, Any], Any]] = {"parquet": _parquet, "csv": _csv, "jsonl": _jsonl}
