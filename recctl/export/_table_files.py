"""Tables written and read back as they come, in pieces: Parquet, CSV, or a JSON object a line."""

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

from recctl.data.vocabulary import Vocabulary
from recctl.errors import ArtifactError

FileFormat = Literal["parquet", "csv", "jsonl"]
Write = Callable[[pa.Table], None]

# How many rows are written at a time: a group of rows of Parquet should have so many, text may have fewer.
_ROWS = {"parquet": 1 << 17, "csv": 1 << 14, "jsonl": 1 << 14}
_READ = 1 << 22
# A quote and a backslash; what is below a space is looked for apart.
_ESCAPED = r'["\\\x00-\x1f]'


def columns_of(schema: Any) -> dict[str, str]:
    """The types of a table's columns, for a manifest."""
    return {field.name: str(field.type) for field in schema}


def schema_of(manifest: Mapping[str, Any]) -> Any:
    """The schema of the table that a manifest tells of.

    Raises:
        ArtifactError: It tells of none.
    """
    try:
        return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in manifest["facts"]["columns"].items()])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"manifest: damaged: it tells of no table ({error!r})") from error


def id_type(vocabulary: Vocabulary) -> Any:
    """The Arrow type of a column of ids."""
    return pa.string() if vocabulary.is_text else pa.int64()


@contextmanager
def written(path: Path, schema: Any, file_format: FileFormat) -> Iterator[Write]:
    """A file under way, as a function that takes a piece of the table after another."""
    with _WRITERS[file_format](path, schema) as write:
        waiting: list[Any] = []

        def take(piece: Any) -> None:
            waiting.append(piece)
            if sum(map(len, waiting)) >= _ROWS[file_format]:
                flush()

        def flush() -> None:
            if waiting:
                write(pa.concat_tables(waiting).combine_chunks())
                waiting.clear()

        yield take
        flush()


def pieces(path: Path, schema: Any, file_format: FileFormat) -> Iterator[Any]:
    """A file's table, a piece after another.

    Raises:
        ArtifactError: It can't be read, or has other columns than the schema.
    """
    try:
        if file_format == "parquet":
            with pq.ParquetFile(path) as file:
                _require(path, file.schema_arrow.equals(schema), file.schema_arrow)
                yield from file.iter_batches(_ROWS["parquet"])
        elif file_format == "csv":
            kinds = pa.csv.ConvertOptions(column_types=schema)
            layout = pa.csv.ParseOptions(newlines_in_values=True)
            # It reads dozens of blocks ahead.
            small = pa.csv.ReadOptions(block_size=_READ >> 4)
            with pa.csv.open_csv(path, small, parse_options=layout, convert_options=kinds) as reader:
                _require(path, reader.schema.equals(schema), reader.schema)
                yield from reader
        else:
            yield from _objects(path, schema)
    except (pa.ArrowException, ValueError) as error:
        raise ArtifactError(f"{path}: damaged: {error}") from error


def _require(path: Path, right: bool, there: Any) -> None:
    if not right:
        columns = ", ".join(f"{field.name} {field.type}" for field in there)
        raise ArtifactError(f"{path}: not the table that was written; its columns are {columns}")


def _objects(path: Path, schema: Any) -> Iterator[Any]:
    layout = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    rest = b""
    with path.open("rb") as file:
        while block := file.read(_READ):
            whole, end, rest = (rest + block).rpartition(b"\n")
            if end:
                yield from pa.json.read_json(pa.BufferReader(whole + end), parse_options=layout).to_batches()
            else:
                rest = whole + rest
    if rest:
        raise ArtifactError(f"{path}: damaged: its last line has no end")


# ---- writers


@contextmanager
def _parquet(path: Path, schema: Any) -> Iterator[Write]:
    # Scores hardly repeat: a dictionary of them would only be built and thrown away.
    ids = [name for name in schema.names if name != "score"]
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=ids) as writer:
        yield partial(writer.write_table, row_group_size=2 * _ROWS["parquet"])


@contextmanager
def _csv(path: Path, schema: Any) -> Iterator[Write]:
    with pa.csv.CSVWriter(path, schema) as writer:
        yield writer.write_table


@contextmanager
def _jsonl(path: Path, schema: Any) -> Iterator[Write]:
    with path.open("wb") as file:

        def write(table: Any) -> None:
            parts: list[Any] = []
            for name, column in zip(table.column_names, table.columns, strict=True):
                parts += [f'{", " if parts else "{"}"{name}": ', _as_json(column.combine_chunks())]
            lines = pc.binary_join_element_wise(*parts, "}\n", "")
            # All lines one after another are the array's letters, wherever one ends.
            _, offsets, letters = lines.cast(pa.large_string()).buffers()
            if len(lines):
                bounds = memoryview(offsets).cast("q")
                file.write(memoryview(letters)[bounds[0] : bounds[len(lines)]])

        yield write


def _as_json(column: Any) -> Any:
    """Numbers as text, and text in quotes; only what must be escaped goes through Python."""
    if not pa.types.is_string(column.type):
        return column.cast(pa.string())
    column = column.dictionary_encode()
    words = column.dictionary
    if pc.any(pc.match_substring_regex(words, _ESCAPED)).as_py():
        words = pa.array([json.dumps(word, ensure_ascii=False) for word in words.to_pylist()], pa.string())
    else:
        words = pc.binary_join_element_wise('"', words, '"', "")
    return words.take(column.indices)


_WRITERS: dict[str, Callable[[Path, Any], Any]] = {"parquet": _parquet, "csv": _csv, "jsonl": _jsonl}
