"""Account for each line of delimited text: which lines make up a record, and where a quoted field opens and closes.

The kernel sees what Arrow's CSV parser sees: a quote counts at the beginning of a field only, and in a quoted field it
is doubled or escaped. Besides, it replaces delimiters that Arrow does not know, leaves out comments, blank lines and
ragged records, and notices quotes that were never meant to open a field.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from recctl.kernels.byte_masks import N_BYTES, count_bits, equal_bytes
from recctl.kernels.compile import (
    BOOL,
    I64,
    INT,
    OUT_I64,
    OUT_I64_2D,
    OUT_U8,
    U8,
    TupleType,
    inline_llvm,
    kernel,
    outlined,
)

# Positions in the array `state`, which one call leaves to the next.
IN_QUOTES = 0  # whether the next line begins inside a quoted field
LINE = 1  # lines so far
RECORDS = 2  # complete records so far, ragged ones included
WANTED = 3  # entries of `wanted` that were found
FIELDS = 4  # fields of the incomplete record so far
QUOTE_LINE = 5  # the line on which the last quoted field opened
MALFORMED = 6  # whether the incomplete record has text after a closing quote
SEEN_ESCAPE = 7  # whether a backslash stands before a quote in any quoted field
RECORD_START = 8  # where the incomplete record begins in `out`
RAGGED = 9  # ragged records of this call
PROBLEM = 10  # one of the values below
MULTILINE = 11  # records that span lines
OPENING_ROW = 12  # whether the line on which the open quoted field opened is a complete row if its quote is ordinary
STATE_SIZE = 13

# What is wrong, as `state[PROBLEM]`.
NO_PROBLEM = 0
ROW_IN_QUOTES = 1  # lines in a quoted field are rows
TEXT_AFTER_QUOTE = 2  # a field over several lines, or an id, has text after its closing quote
BACKSLASH_QUOTE = 3  # text follows a closing quote that a backslash precedes
BACKSLASH_LINE_END = 4  # a backslash escapes the end of a line

# Positions in the array `settings`.
QUOTE = 0  # the quote character, or -1
ESCAPE = 1  # the escape character, or -1
BLANKS = 2  # whether runs of blanks are the delimiter
OUTPUT_DELIMITER = 3  # replaces the delimiter
EXPECTED_FIELDS = 4  # leave out records with another number of fields; 0 keeps all
CHECK = 5  # whether to look for problems
SETTINGS_SIZE = 6

# How the values of a column look, in the array `shapes`.
ANY_TEXT = 0
NUMERIC = 1
WITHOUT_BLANKS = 2
NUMERIC_OR_EMPTY = 3
QUOTED = 4  # added to the shape of the first column if each row begins with a quote
ID = 8  # added to the shape of a column of ids

_ENOUGH_NUMBERS = 2  # columns of numbers that distinguish rows from lines of text
_NEWLINE = 10
_RETURN = 13
_SPACE = 32
_TAB = 9
_BACKSLASH = 92


@inline_llvm()
def _starts_with(data, position, end, prefix):
    n = len(prefix)
    if n == 0 or position + n > end:
        return False
    for i in range(n):  # noqa: SIM110 - numba compiles no generator expressions
        if data[position + i] != prefix[i]:
            return False
    return True


@inline_llvm()
def _is_delimiter(data, position, end, delimiter, blanks):
    if blanks:
        return data[position] == _SPACE or data[position] == _TAB
    return _starts_with(data, position, end, delimiter)


@inline_llvm()
def _skip_delimiter(data, position, end, delimiter, blanks):
    if not blanks:
        return position + len(delimiter)
    while position < end and (data[position] == _SPACE or data[position] == _TAB):
        position += 1
    return position


@outlined
def _has_shape(data, begin, end, quote, shape):
    """Whether a field looks like the values of its column."""
    if shape == ANY_TEXT:
        return True
    while begin < end and (data[begin] == _SPACE or data[begin] == quote):
        begin += 1
    while end > begin and (data[end - 1] == _SPACE or data[end - 1] == quote):
        end -= 1
    if begin == end:
        return shape == NUMERIC_OR_EMPTY
    n_digits = 0
    for i in range(begin, end):
        c = data[i]
        if 48 <= c <= 57:
            n_digits += 1
        elif shape == WITHOUT_BLANKS:
            if c in (_SPACE, _TAB):
                return False
        # + , - . / : and spaces are in numbers and dates, and so are the letters E, T and Z.
        elif not (c == _SPACE or 43 <= c <= 47 or c == 58 or c == 69 or c == 101 or c == 84 or c == 90):
            return False
    return shape == WITHOUT_BLANKS or n_digits > 0


@outlined
def _looks_like_row(data, begin, end, delimiter, blanks, quote, is_quoting, shapes, may_be_bad):
    """Whether a line by itself has the fields of a row; if not `is_quoting`, quotes are ordinary characters.

    A quote that is not closed on the line is an ordinary character in any case. If `may_be_bad`, ratings and timestamps
    may be anything.
    """
    n_fields = 0
    position = begin
    if len(shapes) > 0 and shapes[0] & QUOTED and (begin == end or data[begin] != quote):
        return False
    if blanks:
        position = _skip_delimiter(data, position, end, delimiter, blanks)
    while True:
        field_begin = position
        if is_quoting and position < end and data[position] == quote:
            closing = position + 1
            while closing < end:
                if data[closing] == quote:
                    if closing + 1 < end and data[closing + 1] == quote:
                        closing += 1
                    else:
                        break
                closing += 1
            if closing < end:
                position = closing
        while position < end and not _is_delimiter(data, position, end, delimiter, blanks):
            position += 1
        if n_fields >= len(shapes):
            return False
        shape = shapes[n_fields] & 3
        if may_be_bad and shape == NUMERIC_OR_EMPTY:
            shape = np.uint8(ANY_TEXT)
        if not _has_shape(data, field_begin, position, quote, shape):
            return False
        n_fields += 1
        if position >= end:
            break
        position = _skip_delimiter(data, position, end, delimiter, blanks)
        if blanks and position >= end:
            break
    return n_fields == len(shapes)


class LineSummary(NamedTuple):
    """What `summarize_lines` finds.

    Attributes:
        has_quotes: Whether there are quotes.
        is_plain: Whether each line is a record: no field spans lines, has text after its closing quote, or a backslash
            in quotes.
        n_lines: The number of lines, which may have any kind of line end.
        n_filled: The number of lines that are not blank.
    """

    has_quotes: bool
    is_plain: bool
    n_lines: int
    n_filled: int


def summarize_lines(lines: bytes, delimiter: int, quote: int) -> LineSummary:
    """Summarize whole lines, of which the first one does not begin inside a quoted field.

    This takes a small fraction of the time of `scan_records`, which is needed for lines that are not plain only.

    Args:
        lines: The lines; the last one need not be terminated.
        delimiter: The delimiter, one byte.
        quote: The quote character.
    """
    n_whole = len(lines) - len(lines) % N_BYTES
    end = np.frombuffer(lines[n_whole:].ljust(N_BYTES, b"\n"), np.uint8)
    data = np.frombuffer(lines, np.uint8)
    has_quotes, is_plain, n_lines, n_filled = _summarize_lines(data, end, np.uint8(delimiter), np.uint8(quote))
    return LineSummary(bool(has_quotes), bool(is_plain), n_lines, n_filled)


@kernel(TupleType((BOOL, BOOL, INT, INT)), U8, U8, "uint8", "uint8")
def _summarize_lines(data, end, delimiter, quote):
    # `end` holds the bytes of `data` after the last whole block of 64, filled up by newlines. The lowest bit of a mask
    # belongs to the first byte, so that a shift to the left takes each byte's bit to the next byte.
    one = np.uint64(1)
    top = np.uint64(63)
    in_quotes_before = np.uint64(0)  # all bits if the block before ends in quotes
    # The top bit of the block before; the beginning of the text follows a line end.
    boundary_before = one
    line_end_before = one
    quote_before = np.uint64(0)
    closing_before = np.uint64(0)
    return_before = np.uint64(0)
    any_quotes = np.uint64(0)
    odd = np.uint64(0)
    n_lines = 0
    n_filled = 0
    n_whole = len(data) // 64 * 64
    for begin in range(0, len(data), 64):
        is_whole = begin < n_whole
        block = data if is_whole else end
        position = begin if is_whole else 0
        quotes = equal_bytes(block, position, quote)
        newlines = equal_bytes(block, position, np.uint8(_NEWLINE))
        returns = equal_bytes(block, position, np.uint8(_RETURN))
        line_ends = newlines | returns
        boundaries = line_ends | equal_bytes(block, position, delimiter)
        backslashes = equal_bytes(block, position, np.uint8(_BACKSLASH))
        # Whether a byte is in quotes: whether there are an odd number of quotes up to it.
        in_quotes = quotes ^ (quotes << one)
        in_quotes ^= in_quotes << np.uint64(2)
        in_quotes ^= in_quotes << np.uint64(4)
        in_quotes ^= in_quotes << np.uint64(8)
        in_quotes ^= in_quotes << np.uint64(16)
        in_quotes ^= in_quotes << np.uint64(32)
        in_quotes ^= in_quotes_before
        was_in_quotes = (in_quotes << one) | (in_quotes_before & one)
        closing = quotes & ~in_quotes
        follows_closing = (closing << one) | closing_before
        may_open = (boundaries << one) | boundary_before | (quotes << one) | quote_before
        odd |= follows_closing & ~(boundaries | quotes)
        odd |= quotes & ~was_in_quotes & ~may_open
        odd |= was_in_quotes & (line_ends | backslashes)
        any_quotes |= quotes
        # A line begins after a line end, except between the two bytes of \r\n.
        follows_line_end = (line_ends << one) | line_end_before
        line_begins = follows_line_end & ~(newlines & ((returns << one) | return_before))
        if not is_whole:
            line_begins &= (one << np.uint64(len(data) - n_whole)) - one
        n_lines += count_bits(line_begins)
        n_filled += count_bits(follows_line_end & ~line_ends)
        in_quotes_before = np.uint64(0) - (in_quotes >> top)
        boundary_before = boundaries >> top
        line_end_before = line_ends >> top
        quote_before = quotes >> top
        closing_before = closing >> top
        return_before = returns >> top
    is_plain = (odd | in_quotes_before) == np.uint64(0)
    return any_quotes != np.uint64(0), is_plain, n_lines, n_filled


@kernel("int64", U8, OUT_U8, "int64", OUT_I64, I64, U8, U8, U8, I64, OUT_I64, OUT_I64_2D)
def scan_records(data, out, n_out, state, settings, delimiter, comment, shapes, wanted, found, ragged):
    """Copy the records of whole lines to `out`, each ended by one newline; stops at the first problem.

    Args:
        data: Whole lines; the last one of a file need not be terminated.
        out: Receives the records; at least one byte longer than its content and `data` together.
        n_out: Bytes of an incomplete record of the call before, which `out` begins with.
        state: See the constants.
        settings: See the constants.
        delimiter: The delimiter.
        comment: Lines that begin with it are left out, except inside of quoted fields; empty for none.
        shapes: How the values of each column look; empty if not known.
        wanted: Record numbers, ascending.
        found: Receives the line on which each of them starts.
        ragged: Receives number, fields, and begin and end in `data` of records that are left out.

    Returns:
        The number of bytes in `out`. Those from `state[RECORD_START]` on belong to an incomplete record.
    """
    quote = settings[QUOTE]
    escape = settings[ESCAPE]
    blanks = settings[BLANKS] != 0
    output_delimiter = settings[OUTPUT_DELIMITER]
    expected = settings[EXPECTED_FIELDS]
    check = settings[CHECK] != 0
    # Not constants: numba would compile a helper once for each combination of them.
    yes = np.bool_(True)
    no = np.bool_(False)
    size = len(data)
    n_numeric = 0
    for i in range(len(shapes)):
        n_numeric += shapes[i] & 1  # the shapes of numbers are the odd ones
    state[RAGGED] = 0
    record_begin = 0  # in `data`; of a record that began in an earlier call, the part in this one
    record_start = state[RECORD_START]
    position: Any = np.int64(0)  # not a constant, for which numba would compile the helpers once more
    while position < size:
        begin = position
        end = begin
        while end < size and data[end] != _NEWLINE and data[end] != _RETURN:
            end += 1
        position = end + 1 if end < size else end
        if end + 1 < size and data[end] == _RETURN and data[end + 1] == _NEWLINE:
            position = end + 2
        state[LINE] += 1
        in_quotes = state[IN_QUOTES] != 0
        i = begin
        at_field_start = False
        if in_quotes:
            if (
                check
                and state[OPENING_ROW] != 0
                and (
                    _looks_like_row(data, begin, end, delimiter, blanks, quote, no, shapes, no)
                    or _looks_like_row(data, begin, end, delimiter, blanks, quote, yes, shapes, no)
                )
            ):
                state[PROBLEM] = ROW_IN_QUOTES
                return n_out
        else:
            if blanks:
                i = _skip_delimiter(data, i, end, delimiter, blanks)
            if i == end or _starts_with(data, begin, end, comment):
                continue
            record_start = n_out
            record_begin = begin
            at_field_start = True
            state[FIELDS] = 1
            state[MALFORMED] = 0
            if state[WANTED] < len(wanted) and wanted[state[WANTED]] == state[RECORDS]:
                found[state[WANTED]] = state[LINE]
                state[WANTED] += 1
        spans_lines = in_quotes
        while i < end:
            c = data[i]
            if c == escape:
                out[n_out] = c
                n_out += 1
                i += 1
                if i == end and not in_quotes:
                    state[PROBLEM] = BACKSLASH_LINE_END
                    return n_out
                if i < end:
                    out[n_out] = data[i]
                    n_out += 1
                    i += 1
                at_field_start = False
            elif in_quotes:
                out[n_out] = c
                n_out += 1
                i += 1
                if c == _BACKSLASH and i < end and data[i] == quote:
                    state[SEEN_ESCAPE] = 1
                if c == quote:
                    if i < end and data[i] == quote:
                        out[n_out] = c
                        n_out += 1
                        i += 1
                    else:
                        in_quotes = False
                        if i < end and not _is_delimiter(data, i, end, delimiter, blanks):
                            state[MALFORMED] = 1
                            if check and i - 2 >= begin and data[i - 2] == _BACKSLASH:
                                state[PROBLEM] = BACKSLASH_QUOTE
                                return n_out
                            # Arrow joins both, so that "ab"c and abc would be one id.
                            n_fields = state[FIELDS]
                            if check and n_fields <= len(shapes) and shapes[n_fields - 1] & ID:
                                state[PROBLEM] = TEXT_AFTER_QUOTE
                                return n_out
            elif at_field_start and c == quote:
                in_quotes = True
                state[QUOTE_LINE] = state[LINE]
                at_field_start = False
                out[n_out] = c
                n_out += 1
                i += 1
            elif _is_delimiter(data, i, end, delimiter, blanks):
                i = _skip_delimiter(data, i, end, delimiter, blanks)
                if not (blanks and i == end):
                    out[n_out] = output_delimiter
                    n_out += 1
                    state[FIELDS] += 1
                    at_field_start = True
            else:
                out[n_out] = c
                n_out += 1
                i += 1
                at_field_start = False
        state[IN_QUOTES] = in_quotes
        if in_quotes:
            if check and not spans_lines:
                # Text that spans lines is rarely a complete row up to its first line end: a lone quote always is one.
                state[OPENING_ROW] = _looks_like_row(data, begin, end, delimiter, blanks, quote, yes, shapes, yes)
            elif check and state[QUOTE_LINE] == state[LINE]:
                state[OPENING_ROW] = 1  # another field opens on the line on which one closes: not known
            is_inside = spans_lines and state[QUOTE_LINE] != state[LINE]
            # Numbers in the right places are evidence enough, even if the quote is on a bad row.
            is_suspicious = check and is_inside and n_numeric >= _ENOUGH_NUMBERS
            if is_suspicious and _looks_like_row(data, begin, end, delimiter, blanks, quote, no, shapes, no):
                state[PROBLEM] = ROW_IN_QUOTES
                return n_out
            for k in range(end, position):
                out[n_out] = data[k]
                n_out += 1
            continue
        if spans_lines:
            state[MULTILINE] += 1
        if check and state[MALFORMED] and (spans_lines or escape >= 0):
            state[PROBLEM] = TEXT_AFTER_QUOTE
            return n_out
        if expected > 0 and state[FIELDS] != expected:
            n_out = record_start
            row = state[RAGGED]
            ragged[row, 0] = state[RECORDS]
            ragged[row, 1] = state[FIELDS]
            ragged[row, 2] = record_begin
            ragged[row, 3] = end
            state[RAGGED] += 1
        else:
            out[n_out] = _NEWLINE
            n_out += 1
        state[RECORDS] += 1
        record_start = n_out
    if state[IN_QUOTES] == 0:
        record_start = n_out
    state[RECORD_START] = record_start
    return n_out
