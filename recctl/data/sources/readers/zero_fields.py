"""Finding ids that Arrow would read as other numbers, such as `007` and `0x1F`, while a file is streamed to Arrow."""

from __future__ import annotations

import io

import numpy as np

from recctl.data.sources.readers.compression import ReadableStream
from recctl.kernels import text_scan


class ZeroFieldStream(io.RawIOBase):
    """Passes a delimited text through and finds the columns that have a field like `007`, `-01` or `0x1F`.

    Args:
        stream: The text, as Arrow reads it.
        delimiter: The field separator, one byte.
        is_quoted: Whether fields may be quoted.
        is_multiline: Whether quoted fields may span lines.
    """

    def __init__(self, stream: ReadableStream, delimiter: str, is_quoted: bool, is_multiline: bool) -> None:
        self._stream = stream
        self._delimiter = ord(delimiter)
        self._is_quoted = is_quoted
        self._is_multiline = is_multiline
        self._last_line = b""  # of the block before; it continues in the next one
        self._columns = 0

    def readable(self) -> bool:  # noqa: D102
        return True

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes."""
        block = self._stream.read(size)
        if block:
            self._scan_block(block)
        return block

    def has_zero_field(self, column: int) -> bool:
        """Whether such a field was found in a column; it may be reported where there is none, never the reverse."""
        return bool(self._columns >> min(column, text_scan.LAST_BIT) & 1)

    def _scan_block(self, block: bytes) -> None:
        first_end = _line_end(block)
        if first_end < 0:
            self._last_line += block
            self._scan(np.frombuffer(self._last_line, np.uint8))
            return
        self._scan(np.frombuffer(self._last_line + block[: first_end + 1], np.uint8))
        # The incomplete last line is scanned too, and again as a whole with the next block.
        self._scan(np.frombuffer(block, np.uint8)[first_end + 1 :])
        self._last_line = block[max(block.rfind(b"\n"), block.rfind(b"\r")) + 1 :]

    def _scan(self, text: np.ndarray) -> None:
        self._columns |= text_scan.columns_with_zero_fields(text, self._delimiter, self._is_quoted, self._is_multiline)


def _line_end(block: bytes) -> int:
    """The position of the first line end; -1 if there is none."""
    newline = block.find(b"\n")
    carriage_return = block.find(b"\r", 0, newline if newline >= 0 else len(block))
    return newline if carriage_return < 0 else carriage_return
