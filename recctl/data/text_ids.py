"""The rule by which ids are read from text: whole numbers become int, everything else stays text.

Every reader, fast or row by row, applies the functions of this module, so that an id means the same in all of them.

- White space around an id is no part of it.
- A column is int if every id in it is an integer as Python prints it, or such an integer followed by `.0`: `7`, `-7`,
  `17850.0`. Leading zeros, a plus sign, `0x10`, `1_000`, digits of other scripts, fractions and exponents anywhere in a
  column make all of it text.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recctl.kernels import text_scan

# Regular expressions that Python's re and Arrow's RE2 both understand, for values without surrounding white space.
INTEGER_ID = r"^-?(0|[1-9][0-9]*)(\.0+)?$"
PLAIN_INTEGER = r"^-?(0|[1-9][0-9]*)$"
_ZERO_FRACTION = r"\.0+$"
# The first ids of a column; if these are text already, the others need no check.
_N_FIRST = 1000


def is_text(arrow_type: pa.DataType) -> bool:
    """Whether an Arrow type holds text."""
    # pyarrow has no predicate for string views.
    return pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type) or str(arrow_type) == "string_view"


def trim(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Remove surrounding white space, as Unicode defines it.

    Args:
        texts: Text, or a dictionary of text. Nulls are kept.

    Returns:
        The same object if there is nothing to remove and no text is empty; text that was dictionary-encoded then is so
        again.
    """
    if not any(map(_may_have_padding, texts.chunks)):
        return texts
    if pa.types.is_dictionary(texts.type):
        # Two entries of the dictionary may become equal, so that it has to be built again.
        plain = texts.cast(texts.type.value_type)
        return trim(plain).dictionary_encode()
    import pyarrow.compute as pc

    return pc.utf8_trim_whitespace(texts.cast(pa.large_string()))


def _may_have_padding(chunk: pa.Array) -> bool:
    if pa.types.is_dictionary(chunk.type):
        return _may_have_padding(chunk.dictionary)
    if not len(chunk):
        return False
    if str(chunk.type) == "string_view" or chunk.null_count:
        return True
    return text_scan.has_padding(*_offsets_and_characters(chunk))


def _offsets_and_characters(chunk: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """The buffers of an array of strings: begin and end of each text, and the bytes of all."""
    dtype = np.dtype(np.int64 if pa.types.is_large_string(chunk.type) else np.int32)
    offsets = np.frombuffer(chunk.buffers()[1], dtype, len(chunk) + 1, dtype.itemsize * chunk.offset)
    content = chunk.buffers()[2]
    characters = np.frombuffer(content, np.uint8) if content is not None and content.size else np.empty(0, np.uint8)
    return offsets.astype(np.int64, copy=False), characters


def are_integers(ids: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Whether each id, without surrounding white space, is a whole number by the rule; False for nulls."""
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(pc.match_substring_regex(ids, INTEGER_ID), False).to_numpy(), bool)


def first_text_among_integers(ids: pa.ChunkedArray) -> int | None:
    """The position of the first id that makes a column text although most ids are whole numbers; None if there is none.

    Only the first ids are checked if these are text already.
    """
    are_int = are_integers(ids[:_N_FIRST])
    if are_int.all():
        are_int = are_integers(ids)
    is_minority = 2 * are_int.sum() >= len(are_int)
    return int(np.argmin(are_int)) if is_minority and not are_int.all() else None


def to_integers(ids: pa.ChunkedArray) -> NDArray[np.int64] | None:
    """Ids without surrounding white space as int64; None if the rule makes the column text.

    Raises:
        pyarrow.ArrowInvalid: An id is beyond int64.
    """
    if not are_integers(ids[:_N_FIRST]).all() or not are_integers(ids).all():
        return None
    return cast_integers(ids)


def cast_integers(ids: pa.ChunkedArray) -> NDArray[np.int64]:
    """Ids that are whole numbers by the rule as int64.

    Raises:
        pyarrow.ArrowInvalid: An id is beyond int64.
    """
    import pyarrow.compute as pc

    if pc.any(pc.match_substring(ids, ".")).as_py():
        ids = pc.replace_substring_regex(ids, _ZERO_FRACTION, "")
    return np.asarray(ids.cast(pa.int64()).to_numpy(), np.int64)


def has_empty(ids: pa.ChunkedArray) -> bool:
    """Whether any id is the empty text."""
    import pyarrow.compute as pc

    return bool(pc.any(pc.equal(pc.binary_length(ids), 0)).as_py())


def contains(ids: pa.ChunkedArray, word: str) -> bool:
    """Whether any id is this word; Arrow's own comparison takes five times as long.

    Args:
        ids: Strings (no views) without nulls.
        word: The word, which is not empty.
    """
    chunks = [chunk for chunk in ids.chunks if len(chunk)]
    return any(text_scan.contains(*_offsets_and_characters(chunk), word.encode()) for chunk in chunks)


def has_any(ids: pa.ChunkedArray, words: list[str]) -> bool:
    """Whether any id is one of these words."""
    import pyarrow.compute as pc

    return bool(pc.any(pc.is_in(ids, pa.array(words, ids.type))).as_py())


def whole_numbers(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each float is a whole number that a float holds exactly, so that it is an id as an int is."""
    with np.errstate(invalid="ignore"):
        return np.asarray((np.abs(values) <= 2**53) & (np.mod(values, 1) == 0), bool)
