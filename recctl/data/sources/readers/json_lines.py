"""Reading JSON lines: one JSON object per line, whose keys are the columns.

The file is read in blocks of whole lines. Arrow parses a block into typed columns, with the types of the first lines.
If it fails, or the block holds blank lines, Python's json module parses the block line by line; this finds bad lines,
and reads values of mixed types exactly as they are written. Fast and slow blocks are joined at the end, when the types
of all values of a column are known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recctl import progress
from recctl.data.columns import ITEM, RATING, TIMESTAMP, USER, format_value
from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers import column_roles
from recctl.data.sources.readers.bad_rows.rows import BadRows
from recctl.data.sources.readers.bad_rows.slow_path import parse_rows
from recctl.data.sources.readers.compression import ReadableStream
from recctl.data.sources.readers.interface import ReadResult
from recctl.data.sources.readers.text_stream import open_text
from recctl.data.sources.readers.time_columns import N_SAMPLED, find_unused_columns
from recctl.data.sources.readers.typed_columns import convert_table, extra_positions, label_by_number
from recctl.engines import map_threads
from recctl.errors import DataError

_BLOCK_BYTES = 1 << 22
_MAX_LINE_BYTES = 1 << 28
_SAMPLE_LINES = 1000
_BLANKS = b" \t\r\n"
_EXACT_FLOAT = 2**53
_MAX_DIGITS = 1000  # Python refuses to convert much longer integers
_INT64 = np.iinfo(np.int64)

# Words that Arrow reads as numbers, but which are not JSON.
_ARROW_ONLY = re.compile(rb"[:\[,]\s*-?(Inf|NaN)")

# The kind of a value, as it is written.
_MISSING, _INT, _FLOAT, _BOOL, _TEXT = range(5)


class _Int(str):
    """An integer as it is written."""

    __slots__ = ()


class _Float(str):
    """A number with a fraction or an exponent, or NaN, as it is written."""

    __slots__ = ()


# A key that may have a role, by the well-known names; separators of words may stand between any letters.
_KEYS_OF_ROLE = {
    role: re.compile(
        rb'"(?:%s)"\s*:' % "|".join("[_. -]?".join(name) for name in column_roles.KNOWN_NAMES[role]).encode(),
        re.IGNORECASE,
    )
    for role in (RATING, TIMESTAMP)
}

_decoder = json.JSONDecoder(parse_int=_Int, parse_float=_Float, parse_constant=_Float)


class _Values(NamedTuple):
    """A column whose values may be of several kinds.

    Attributes:
        kinds: The kind of each value, shape `(n,)`.
        texts: Numbers as they are written, and text; null if missing. Shape `(n,)`.
    """

    kinds: NDArray[np.uint8]
    texts: pa.Array

    def any(self, kind: int) -> bool:
        return bool((self.kinds == kind).any())


@dataclass
class _Block:
    """The rows of some lines.

    Attributes:
        n_lines: Number of lines, with blank and bad ones.
        typed: Key -> the values parsed by Arrow, one for each line; None if the block was parsed line by line.
        values: Key -> the values parsed line by line.
        rows: The lines of the values, counted from 0 within the block.
        bad: Bad lines, and the reason for each.
        nested: The first line with a nested value, its key, and the value.
        late_key: The first line with a key of a role that no object in the sample has, the role, and the key.
    """

    n_lines: int
    typed: dict[str, pa.Array] | None = None
    values: dict[str, _Values] = field(default_factory=dict)
    rows: list[int] = field(default_factory=list)
    bad: list[tuple[int, str]] = field(default_factory=list)
    nested: tuple[int, str, Any] | None = None
    late_key: tuple[int, str, str] | None = None


def read_json_lines(path: Path, options: ReadOptions) -> ReadResult:
    """Read a file of JSON lines; see `readers.interface`.

    Raises:
        DataError: The file, a column or a row can't be read.
    """
    source = path.name
    sample = _read_sample(path, options)
    names = _keys(sample)
    roles = column_roles.roles_from_header(names, options.columns, source)
    unused = find_unused_columns(
        names, len(names), options.columns, roles, source, partial(_first_values, sample, names)
    )
    keys = {role: names[position] for role, position in roles.items()}
    extra = list(extra_positions(names, roles, options, source))
    if RATING in keys and not options.needs_ratings and any(_is_nested(row.get(keys[RATING])) for row in sample):
        progress.notice(f"{source}: {keys[RATING]} holds nested values; ratings are not used, so they are left out")
        del keys[RATING]
    needed = [*keys.values(), *extra]
    _refuse_nested(sample, needed, source)
    schema = _guess_schema(sample, keys, extra)
    unseen = [role for role in (RATING, TIMESTAMP) if role not in roles and role not in options.columns]
    parse = partial(_parse_block, needed, schema, unseen)
    with open_text(path, options.encoding) as stream:
        blocks = list(map_threads(parse, _line_blocks(stream, source)))
    _refuse_nested_later(blocks, source)
    _refuse_late_keys(blocks, source)
    join = _join_typed if all(block.typed is not None for block in blocks) else _join_values
    result = join(blocks, keys, extra, options, source)
    result.unused = unused
    return result


def json_lines_columns(path: Path, options: ReadOptions) -> tuple[list[str], int]:
    """The keys of the first objects of a file, and their number, at most `_SAMPLE_LINES`.

    Raises:
        DataError: The file can't be read, or its first lines hold no object.
    """
    try:
        sample = _read_sample(path, options)
    except _NoLinesError:
        return [], 0
    return _keys(sample), len(sample)


class _NoLinesError(DataError):
    """The file holds only blank lines."""


def _read_sample(path: Path, options: ReadOptions) -> list[dict[str, Any]]:
    """The first objects; bad lines among them are left out."""
    with open_text(path, options.encoding) as stream:
        blocks = _line_blocks(stream, path.name)
        lines = [line for block in islice(blocks, 1) for line in block.split(b"\n") if line.strip(_BLANKS)]
    if not lines:
        raise _NoLinesError(f"{path.name}: the file is empty")
    objects = []
    for line in lines[:_SAMPLE_LINES]:
        value, _ = _parse_line(line)
        if isinstance(value, dict):
            objects.append(value)
    if not objects:
        _, reason = _parse_line(lines[0])
        raise DataError(
            f"{path.name}: no line is a JSON object; the first: {reason}; write one object a line: jq -c . FILE"
        )
    return objects


def _line_blocks(stream: ReadableStream, source: str) -> Iterator[bytes]:
    """Blocks of whole lines."""
    remainder = b""
    while True:
        block = bytes(stream.read(_BLOCK_BYTES))
        if not block:
            if remainder:
                yield remainder
            return
        end = block.rfind(b"\n") + 1
        if end:
            yield remainder + block[:end]
            remainder = b""
        remainder += block[end:]
        if len(remainder) > _MAX_LINE_BYTES:
            raise DataError(
                f"{source}: a line is longer than {_MAX_LINE_BYTES >> 20} MB; JSON is read with one object a line, one "
                f"for each interaction: jq -c '.[]' {source} > rows.jsonl"
            )


def _keys(sample: Iterable[Mapping[str, Any]]) -> list[str]:
    """The keys of all objects; one that is not valid Unicode can't be named, and so is no column."""
    return list(dict.fromkeys(key for row in sample for key in row if _is_unicode(key)))


def _first_values(
    sample: Sequence[Mapping[str, Any]], names: Sequence[str], positions: Sequence[int]
) -> dict[int, list[str]]:
    """The first values of keys, as they are written; a key with a value of another kind has none."""
    found = {}
    for position in positions:
        values = [row[names[position]] for row in sample[:N_SAMPLED] if row.get(names[position]) is not None]
        found[position] = [str(value) for value in values] if all(isinstance(value, str) for value in values) else []
    return found


def _refuse_nested(rows: Iterable[Mapping[str, Any]], keys: Sequence[str], source: str) -> None:
    for row in rows:
        for key in keys:
            value = row.get(key)
            if _is_nested(value):
                raise _nested_error(key, value, source)


def _refuse_nested_later(blocks: Sequence[_Block], source: str) -> None:
    n_before = 0
    for block in blocks:
        if block.nested is not None:
            row, key, value = block.nested
            raise _nested_error(key, value, f"{source}: row {n_before + row + 1}")
        n_before += block.n_lines


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict | list)


def _nested_error(key: str, value: Any, location: str) -> DataError:
    hint = "flatten them"
    if isinstance(value, dict) and value:
        inner = next(iter(value))
        hint += f", e.g. jq -c '.[{json.dumps(key)}] = .[{json.dumps(key)}][{json.dumps(inner)}]' IN.jsonl > OUT.jsonl"
    return DataError(f"{location}: {key}: {format_value(_plain(value))}: nested values are not read; {hint}")


def _plain(value: Any) -> Any:
    """A value with its numbers as numbers, for messages."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, _Int | _Float):
        return float(value) if isinstance(value, _Float) or len(value) > _MAX_DIGITS else int(value)
    return value


def _guess_schema(
    sample: Sequence[Mapping[str, Any]], keys: Mapping[str, str], extra_columns: Sequence[str]
) -> pa.Schema | None:
    """The types of the needed keys in the sample; None if Arrow can't parse them without changing a value."""
    types: dict[str, pa.DataType] = {}
    ids = [key for role, key in keys.items() if role in (USER, ITEM)]
    numbers = [key for role, key in keys.items() if role in (RATING, TIMESTAMP)]
    for key in [*ids, *numbers, *extra_columns]:
        kinds = {_kind(row.get(key)) for row in sample} - {_MISSING}
        found: pa.DataType | None = None
        if kinds == {_TEXT}:
            found = pa.string()
        elif kinds == {_INT}:
            found = pa.int64()
        elif key in numbers and kinds and kinds <= {_INT, _FLOAT}:
            found = pa.float64()
        # A rating that has no fraction in the sample may well have one later; float64 holds both.
        if found == pa.int64() and key == keys.get(RATING) and key not in ids and key not in extra_columns:
            found = pa.float64()
        if found is None:
            return None
        types[key] = found
    return pa.schema(list(types.items()))


def _kind(value: Any) -> int:
    if value is None:
        return _MISSING
    if isinstance(value, _Int):
        return _INT
    if isinstance(value, _Float):
        return _FLOAT
    return _BOOL if isinstance(value, bool) else _TEXT


def _parse_block(keys: Sequence[str], schema: pa.Schema | None, unseen: Sequence[str], block: bytes) -> _Block:
    n_lines = block.count(b"\n") + (not block.endswith(b"\n"))
    typed = None if schema is None else _parse_typed(block, n_lines, schema)
    parsed = _parse_lines(block, n_lines, keys) if typed is None else _Block(n_lines, typed)
    parsed.late_key = _find_late_key(block, unseen)
    return parsed


def _find_late_key(block: bytes, unseen: Sequence[str]) -> tuple[int, str, str] | None:
    """The first line with a key that has one of these roles: its number in the block, the role and the key."""
    for role in unseen:
        for match in _KEYS_OF_ROLE[role].finditer(block):
            begin = block.rfind(b"\n", 0, match.start()) + 1
            line = block[begin:].partition(b"\n")[0]
            parsed, _ = _parse_line(line)
            # The match may be in an inner object.
            for key in parsed or ():
                if column_roles.normalize_name(key) in column_roles.KNOWN_NAMES[role]:
                    return block.count(b"\n", 0, begin), role, key
    return None


def _refuse_late_keys(blocks: Sequence[_Block], source: str) -> None:
    """Refuse a file whose first objects lack ratings or timestamps that later ones have."""
    n_before = 0
    for block in blocks:
        if block.late_key is not None:
            row, role, key = block.late_key
            raise DataError(
                f"{source}: row {n_before + row + 1}: has {key!r}, which the first {_SAMPLE_LINES:,} rows lack; "
                f"give it to all rows, or set data.columns: {{{role}: null}} to leave it out"
            )
        n_before += block.n_lines


def _parse_typed(block: bytes, n_lines: int, schema: pa.Schema) -> dict[str, pa.Array] | None:
    """Parse a block with Arrow; None if a line is not one object, or a value is not of its type."""
    import pyarrow.json as pajson

    # Arrow ignores line ends: it reads several objects on a line, and objects on several lines. It even crashes if the
    # first value is null. A raw line end can't be in a string, so if each line begins and ends with a brace, and there
    # are as many objects as lines, then each line is one object.
    if not _all_lines_in_braces(block):
        return None
    # Looking for the words alone is many times as fast as the regular expression.
    if (b"Inf" in block or b"NaN" in block) and _ARROW_ONLY.search(block):
        return None
    try:
        table = pajson.read_json(
            pa.BufferReader(block),
            read_options=pajson.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pajson.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
        table.validate(full=True)  # for text that is not UTF-8
    except pa.ArrowException:
        return None
    if len(table) != n_lines:
        return None
    return {key: table.column(key).combine_chunks() for key in schema.names}


def _all_lines_in_braces(block: bytes) -> bool:
    text = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(text == ord("\n"))
    if not block.endswith(b"\n"):
        ends = np.append(ends, len(text))
    begins = np.append(0, ends[:-1] + 1)
    last = ends - 1
    if (last < begins).any():  # a blank line
        return False
    last = last - (text[last] == ord("\r"))
    return bool((last > begins).all() and (text[begins] == ord("{")).all() and (text[last] == ord("}")).all())


def _parse_lines(block: bytes, n_lines: int, keys: Sequence[str]) -> _Block:
    """Parse a block line by line."""
    result = _Block(n_lines)
    values: dict[str, list[Any]] = {key: [] for key in keys}
    for row, line in enumerate(block.split(b"\n")):
        if not line.strip(_BLANKS):
            continue
        parsed, reason = _parse_line(line)
        if parsed is None:
            result.bad.append((row, reason))
            continue
        result.rows.append(row)
        for key in keys:
            values[key].append(parsed.get(key))
    result.values = {key: _to_values(key, column, result) for key, column in values.items()}
    return result


def _parse_line(line: bytes) -> tuple[dict[str, Any] | None, str]:
    """The object of a line, or None and what is wrong with the line."""
    # Bytes that are not UTF-8 matter only in values that are used.
    text = line.decode("utf-8", "surrogateescape").strip(" \t\r")
    try:
        value = _decoder.decode(text)
    except RecursionError:
        return None, "is nested too deeply"
    except ValueError as error:
        return None, f"{format_value(text)} is not JSON: {str(error).split(': line 1')[0]}"
    if not isinstance(value, dict):
        return None, f"{format_value(text)} is not a JSON object"
    return value, ""


def _to_values(key: str, column: list[Any], block: _Block) -> _Values:
    """One kind and one text for each value. Text that is not valid Unicode is marked by a missing text."""
    kinds = np.empty(len(column), np.uint8)
    texts: list[str | None] = []
    for i, value in enumerate(column):
        if _is_nested(value):
            block.nested = block.nested or (block.rows[i], key, value)
            value = None
        kinds[i] = _kind(value)
        if isinstance(value, bool):
            value = "true" if value else "false"
        elif isinstance(value, str):
            value = str(value) if _is_unicode(value) else None
        texts.append(value)
    return _Values(kinds, pa.array(texts, pa.large_string()))


def _join_typed(
    blocks: Sequence[_Block],
    keys: Mapping[str, str],
    extra_keys: Sequence[str],
    options: ReadOptions,
    source: str,
) -> ReadResult:
    columns: dict[str, pa.ChunkedArray] = {}
    assert blocks[0].typed is not None
    for key in blocks[0].typed:
        columns[key] = pa.chunked_array([block.typed[key] for block in blocks if block.typed is not None])
    raw = {role: columns[key] for role, key in keys.items()}
    extra = {key: columns[key] for key in extra_keys}
    # Rows are lines: a block with a blank line is not typed.
    return convert_table(raw, extra, options, source, label_by_number(source))


def _join_values(
    blocks: Sequence[_Block],
    keys: Mapping[str, str],
    extra_keys: Sequence[str],
    options: ReadOptions,
    source: str,
) -> ReadResult:
    begins = np.cumsum([0, *(block.n_lines for block in blocks)])
    pieces = []
    bad_rows = BadRows()
    for begin, block in zip(begins, blocks, strict=False):
        in_block = range(block.n_lines) if block.typed is not None else block.rows
        pieces.append(begin + np.asarray(in_block, np.int64))
        reasons = [reason for _, reason in block.bad]
        bad_rows.add(begin + np.array([row for row, _ in block.bad], np.int64), reasons.__getitem__)
    rows = np.concatenate(pieces)
    is_good = np.ones(len(rows), bool)
    columns: dict[str, pa.ChunkedArray] = {}
    # Ids come last, so that rows already known to be bad don't decide their type.
    for role in sorted(keys, key=lambda role: role not in (RATING, TIMESTAMP)):
        values = _join_column(keys[role], blocks)
        if role in (RATING, TIMESTAMP):
            columns[role], problems = _numbers(role, values, is_good)
        else:
            columns[role], problems = _ids(role, values, is_good, options, rows, source)
        for is_bad, reason in problems:
            positions = np.flatnonzero(is_bad & is_good)
            is_good[positions] = False
            bad_rows.add(rows[positions], partial(_describe, role, values, positions, reason))
    extra = {key: pa.chunked_array([_join_column(key, blocks).texts.fill_null("")]) for key in extra_keys}
    keep = pa.array(is_good)
    columns = {role: columns[role].filter(keep) for role in keys}
    extra = {key: column.filter(keep) for key, column in extra.items()}
    return parse_rows(columns, rows[is_good], bad_rows, options, source, label_by_number(source), extra)


def _join_column(key: str, blocks: Sequence[_Block]) -> _Values:
    """The values of a key in all blocks."""
    kinds = []
    texts = []
    for block in blocks:
        values = block.values[key] if block.typed is None else _typed_to_values(block.typed[key])
        kinds.append(values.kinds)
        texts.append(values.texts)
    return _Values(np.concatenate(kinds), pa.concat_arrays(texts))


def _typed_to_values(column: pa.Array) -> _Values:
    kind = _TEXT
    if pa.types.is_integer(column.type):
        kind = _INT
    elif pa.types.is_floating(column.type):
        kind = _FLOAT
    kinds = np.where(column.is_valid().to_numpy(zero_copy_only=False), kind, _MISSING).astype(np.uint8)
    return _Values(kinds, column.cast(pa.large_string()))


def _describe(role: str, values: _Values, positions: NDArray[np.int64], reason: str, i: int) -> str:
    position = int(positions[i])
    text = values.texts[position].as_py()
    if text is None:
        return f"{role} {reason}"
    shown = format_value(text) if values.kinds[position] == _TEXT else text
    return f"{role} {shown} {reason}"


def _numbers(
    role: str, values: _Values, is_good: NDArray[np.bool_]
) -> tuple[pa.ChunkedArray, list[tuple[NDArray[np.bool_], str]]]:
    """Ratings or timestamps as numbers; as text if any value is text, since text may be a number or a date."""
    texts = values.texts
    problems = [_invalid_unicode(values)]
    is_bool = values.kinds == _BOOL
    if role == RATING:
        texts = pc.if_else(pa.array(is_bool), pc.if_else(pc.equal(texts, "true"), "1", "0"), texts)
    else:
        problems.append((is_bool, "is of type bool"))
        texts = pc.if_else(pa.array(is_bool), None, texts)
    if values.any(_TEXT):
        return pa.chunked_array([texts]), problems
    if role == TIMESTAMP and not values.any(_FLOAT):
        try:
            return pa.chunked_array([texts.cast(pa.int64())]), problems
        except pa.ArrowInvalid:  # beyond int64
            pass
    return pa.chunked_array([texts.cast(pa.float64())]), problems


def _ids(
    role: str, values: _Values, is_good: NDArray[np.bool_], options: ReadOptions, rows: NDArray[np.int64], source: str
) -> tuple[pa.ChunkedArray, list[tuple[NDArray[np.bool_], str]]]:
    """Ids as int64 if all are whole numbers, else as text, as they are written."""
    kinds = values.kinds
    is_bool = kinds == _BOOL
    problems = [_invalid_unicode(values), (is_bool, "is of type bool; ids must be whole numbers or text")]
    good_kinds = kinds[is_good & ~problems[0][0]]
    has_text = bool((good_kinds == _TEXT).any())
    has_numbers = bool(((good_kinds == _INT) | (good_kinds == _FLOAT)).any())
    if options.id_type == "text" or (has_text and options.id_type == "auto"):
        if has_numbers and options.id_type == "auto":
            first = int(np.argmax((kinds == _TEXT) & is_good & ~problems[0][0]))
            progress.notice(
                f"{source}: row {rows[first] + 1}: {role} {format_value(values.texts[first].as_py())} is text, other "
                "ids are numbers; all are read as text"
            )
        return pa.chunked_array([values.texts]), problems
    if has_text:  # id_type: int
        return pa.chunked_array([values.texts.cast(pa.large_binary()).cast(pa.binary())]), problems
    ids = np.zeros(len(kinds), np.int64)
    is_valid = (kinds == _INT) | (kinds == _FLOAT)
    is_whole = is_valid.copy()
    is_beyond = np.zeros(len(kinds), bool)
    is_int = pa.array(kinds == _INT)
    try:
        integers = pc.if_else(is_int, values.texts, "0").cast(pa.int64()).to_numpy()
        ids[kinds == _INT] = integers[kinds == _INT]
        others = np.flatnonzero(kinds == _FLOAT)
    except pa.ArrowInvalid:
        others = np.flatnonzero(is_valid)
    for position in others:
        text = values.texts[int(position)].as_py()
        # An integer of so many digits is beyond int64 whatever its value.
        number = int(text[:_MAX_DIGITS]) if kinds[position] == _INT else _whole_number(text)
        if number is None:
            is_whole[position] = False
        elif not _INT64.min <= number <= _INT64.max:
            is_beyond[position] = True
        else:
            ids[position] = number
    problems.append((is_valid & ~is_whole, "is not a whole number; ids must be whole numbers or text"))
    problems.append((is_beyond, "is beyond int64; keep these ids as text (data.id_type: text)"))
    return pa.chunked_array([pa.array(ids, mask=~(is_whole & ~is_beyond))]), problems


def _whole_number(text: str) -> int | None:
    number = float(text)
    return int(number) if number.is_integer() and abs(number) <= _EXACT_FLOAT else None


def _is_unicode(text: str) -> bool:
    """Whether a text has no lone surrogates, which stand for bytes that are not UTF-8."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _invalid_unicode(values: _Values) -> tuple[NDArray[np.bool_], str]:
    is_null = values.texts.is_null().to_numpy(zero_copy_only=False)
    return is_null & (values.kinds == _TEXT), "is not valid Unicode; write the file as UTF-8"
