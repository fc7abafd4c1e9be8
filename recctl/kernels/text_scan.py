"""Scanning text for what Arrow's parsers accept and recctl's rules do not: leading zeros, hexadecimal and padding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recctl.kernels.compile import BOOL, I64, INT, U8, inline_llvm, kernel

LAST_BIT = 62  # the bit of a mask that all further columns share

# The character codes below: 9 tab, 10 and 13 line ends, 32 blank, 34 quote, 45 minus, 48 to 57 digits, 120 x.


@kernel(BOOL, U8, "uint8")
def _may_have_zero_field(text, delimiter):
    # Whether "0" and a digit or x follow a delimiter, a blank, a quote or a line end, with or without a minus between.
    # Finds a few other places too. LLVM vectorizes the loop only without branches, with every intermediate result
    # converted to one byte, and with one slice for each offset: 4 GB/s instead of 0.4.
    byte = np.uint8
    if len(text) > 1 and (text[0] == 48 or text[1] == 48):
        return True
    n = len(text) - 3
    two_before = text[:n]
    one_before = text[1 : n + 1]
    here = text[2 : n + 2]
    after = text[3 : n + 3]
    found = byte(0)
    for i in range(n):
        a = two_before[i]
        b = one_before[i]
        d = after[i]
        is_digit_or_x = byte(byte(byte(d - byte(48)) < byte(10)) | byte(byte(d | byte(32)) == byte(120)))
        is_number = byte(byte(here[i] == byte(48)) & is_digit_or_x)
        is_start = byte(byte(b <= byte(32)) | byte(b == byte(34)) | byte(b == delimiter))
        is_earlier_start = byte(byte(a <= byte(32)) | byte(a == byte(34)) | byte(a == delimiter))
        is_signed_start = byte(byte(b == byte(45)) & is_earlier_start)
        found = byte(found | byte(is_number & byte(is_start | is_signed_start)))
    return found != 0


@inline_llvm
def _column_of_field(text, begin, delimiter, is_quoted):
    # The column of the field that starts at `begin`, or -2 if no field starts there.
    n_delimiters = 0
    line_begin = begin
    while line_begin > 0 and text[line_begin - 1] != 10 and text[line_begin - 1] != 13:
        line_begin -= 1
    in_quotes = False
    for i in range(line_begin, begin):
        if is_quoted and text[i] == 34:
            in_quotes = not in_quotes
        elif text[i] == delimiter and not in_quotes:
            n_delimiters += 1
    return -2 if in_quotes else n_delimiters


@kernel(INT, U8, INT, BOOL, BOOL)
def _columns_with_zero_fields(text, delimiter, is_quoted, is_multiline):
    # Bit c of the result: a field of column c starts with "0" and a digit or x, after quotes, blanks and a minus.
    columns = 0
    for i in range(len(text) - 1):
        if text[i] != 48:
            continue
        after = text[i + 1]
        if not (48 <= after <= 57 or (after | 32) == 120):
            continue
        begin = i
        if begin and text[begin - 1] == 45:
            begin -= 1
        # Each round goes back over the blanks before a value, or over its opening quote.
        while (
            begin
            and text[begin - 1] != delimiter
            and (text[begin - 1] == 32 or text[begin - 1] == 9 or (is_quoted and text[begin - 1] == 34))
        ):
            begin -= 1
        if begin and text[begin - 1] != delimiter and text[begin - 1] != 10 and text[begin - 1] != 13:
            continue
        if is_multiline:
            return -1  # all columns: where the line starts inside a quoted field, its delimiters can't be counted
        column = _column_of_field(text, begin, delimiter, is_quoted)
        if column >= 0:
            columns |= 1 << min(column, 62)
    return columns


@kernel(BOOL, I64, U8)
def _has_padding(offsets, text):
    # Whether a value begins or ends with a character that may be white space, or is empty.
    for row in range(len(offsets) - 1):
        begin = offsets[row]
        end = offsets[row + 1]
        if begin == end:
            return True
        first = text[begin]
        # In UTF-8, white space beyond ASCII begins with the bytes C2, E1, E2 or E3, and ends with a byte above 7F.
        if first <= 32 or first == 0xC2 or 0xE1 <= first <= 0xE3:
            return True
        if text[end - 1] <= 32 or text[end - 1] >= 128:
            return True
    return False


@kernel(BOOL, I64, U8, U8)
def _contains(offsets, text, word):
    # Whether a value equals `word`, which is not empty.
    size = len(word)
    for row in range(len(offsets) - 1):
        begin = offsets[row]
        if offsets[row + 1] - begin == size and text[begin] == word[0]:
            i = 1
            while i < size and text[begin + i] == word[i]:
                i += 1
            if i == size:
                return True
    return False


def columns_with_zero_fields(text: NDArray[np.uint8], delimiter: int, is_quoted: bool, is_multiline: bool) -> int:
    """Find the columns of delimited text that have a field like `007`, `-01` or `0x1F`.

    Text without such fields is scanned at several GB/s.

    Args:
        text: Whole lines.
        delimiter: The field separator, one byte.
        is_quoted: Whether fields may be quoted.
        is_multiline: Whether quoted fields may span lines; any such field then counts for all columns, because the
            number of delimiters before it is unknown.

    Returns:
        A bit mask: bit `c` for column `c`, and bit `LAST_BIT` for all columns from that number on.
    """
    if not _may_have_zero_field(text, np.uint8(delimiter)):
        return 0
    return int(_columns_with_zero_fields(text, delimiter, is_quoted, is_multiline))


def has_padding(offsets: NDArray[np.int64], text: NDArray[np.uint8]) -> bool:
    """Whether any text may begin or end with white space, or is empty.

    Args:
        offsets: Begin and end of each text, as Arrow stores them, shape `(n + 1,)`.
        text: The bytes of all texts.
    """
    return bool(_has_padding(offsets, text))


def contains(offsets: NDArray[np.int64], text: NDArray[np.uint8], word: bytes) -> bool:
    """Whether any text equals a word that is not empty.

    Args:
        offsets: Begin and end of each text, as Arrow stores them, shape `(n + 1,)`.
        text: The bytes of all texts.
        word: The word.
    """
    return bool(_contains(offsets, text, np.frombuffer(word, np.uint8)))
