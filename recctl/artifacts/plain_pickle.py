"""Pickles of plain values only: dicts with str keys, lists, str, int, float, bool, None and bytes.

Python's `pickle.load` reads such a file. The reader of this module reads nothing else: it knows the few opcodes that
the writer uses and refuses all others by name. None of them imports, calls, or refers back to an earlier value: a
malicious file can neither run code nor expand in memory beyond its own size.

The writer sorts keys and writes neither frames nor a memo: equal values give equal bytes. Long bytes begin at multiples
of 64 in the file (after padding that is popped from the stack at once), so that arrays can be used in place.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from typing import Any, Protocol

from recctl.errors import ArtifactError

ALIGNMENT = 64
_MAX_VALUES = 100_000
_MAX_DEPTH = 32

_PROTO = b"\x80"
_PROTOCOL_4 = b"\x04"
_STOP = b"."
_MARK = b"("
_NONE = b"N"
_TRUE = b"\x88"
_FALSE = b"\x89"
_INT1 = b"K"
_INT4 = b"J"
_LONG1 = b"\x8a"
_FLOAT = b"G"
_TEXT4 = b"X"
_BYTES1 = b"C"
_BYTES8 = b"\x8e"
_DICT = b"}"
_SETITEMS = b"u"
_LIST = b"]"
_APPENDS = b"e"
_POP = b"0"


class Sink(Protocol):
    """Receives bytes."""

    def write(self, data: Any, /) -> object:
        """Write bytes or a memoryview of bytes."""
        ...


class _Writer:
    def __init__(self, sink: Sink, offset: int) -> None:
        self.sink = sink
        self.offset = offset
        self.n_values = 0
        self.depth = 0

    def put(self, *parts: bytes | memoryview) -> None:
        for part in parts:
            self.sink.write(part)
            self.offset += len(part)

    def value(self, value: Any) -> None:
        self.n_values += 1
        if self.n_values > _MAX_VALUES:
            raise TypeError(f"more than {_MAX_VALUES:,} values; convert long lists to arrays")
        if value is None:
            self.put(_NONE)
        elif value is True or value is False:
            self.put(_TRUE if value else _FALSE)
        elif type(value) is int:
            self.integer(value)
        elif type(value) is float:
            self.put(_FLOAT, struct.pack(">d", value))
        elif type(value) is str:
            self.text(value)
        elif type(value) in (bytes, memoryview):
            self.raw(value)
        elif type(value) in (list, dict):
            self.container(value)
        else:
            raise TypeError(f"{value!r} of type {type(value).__name__} is no plain value")

    def container(self, value: list[Any] | dict[str, Any]) -> None:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise TypeError(f"nested deeper than {_MAX_DEPTH} levels")
        if isinstance(value, list):
            self.put(_LIST, _MARK)
            for item in value:
                self.value(item)
            self.put(_APPENDS)
        else:
            self.put(_DICT, _MARK)
            for key in sorted(value):
                if type(key) is not str:
                    raise TypeError(f"{key!r} of type {type(key).__name__} is no key; keys must be str")
                self.value(key)
                self.value(value[key])
            self.put(_SETITEMS)
        self.depth -= 1

    def integer(self, value: int) -> None:
        if 0 <= value < 256:
            self.put(_INT1, struct.pack("<B", value))
        elif -(2**31) <= value < 2**31:
            self.put(_INT4, struct.pack("<i", value))
        else:
            body = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
            if len(body) > 255:
                raise TypeError(f"an int of {len(body)} bytes; at most 255")
            self.put(_LONG1, struct.pack("<B", len(body)), body)

    def text(self, value: str) -> None:
        body = value.encode()
        self.put(_TEXT4, struct.pack("<I", len(body)), body)

    def raw(self, value: bytes | memoryview) -> None:
        if len(value) >= ALIGNMENT:
            # Opcode and length of the padding, its pop, and opcode and length of the value precede its first byte.
            header_size = len(_BYTES1) + 1 + len(_POP) + len(_BYTES8) + 8
            n_padding = -(self.offset + header_size) % ALIGNMENT
            self.n_values += 1  # readers count the padding as well
            self.put(_BYTES1, struct.pack("<B", n_padding), bytes(n_padding), _POP)
        self.put(_BYTES8, struct.pack("<Q", len(value)), value)


def write(sink: Sink, value: Any, offset: int = 0) -> None:
    """Write a value.

    Args:
        sink: Where to write; memoryviews of bytes are passed on without a copy.
        value: Plain values, nested in dicts and lists.
        offset: Position of the sink in the file, for the alignment.

    Raises:
        TypeError: A value is not plain, or there are more values or levels than the reader accepts.
    """
    writer = _Writer(sink, offset)
    writer.put(_PROTO, _PROTOCOL_4)
    writer.value(value)
    writer.put(_STOP)


class _Reader:
    def __init__(self, buffer: memoryview, name: str) -> None:
        self.buffer = buffer
        self.name = name
        self.position = 0
        self.n_values = 0
        # The opcodes that push a value.
        self.actions: dict[bytes, Callable[[], Any]] = {
            _NONE: lambda: None,
            _TRUE: lambda: True,
            _FALSE: lambda: False,
            _INT1: lambda: self.number("<B"),
            _INT4: lambda: self.number("<i"),
            _LONG1: lambda: int.from_bytes(self.take(self.number("<B")), "little", signed=True),
            _FLOAT: lambda: self.number(">d"),
            _TEXT4: self.text,
            _BYTES1: lambda: self.take(self.number("<B")),
            _BYTES8: lambda: self.take(self.number("<Q")),
            _LIST: list,
            _DICT: dict,
        }

    def take(self, size: int) -> memoryview:
        begin = self.position
        if size > len(self.buffer) - begin:
            raise ArtifactError(
                f"{self.name}: truncated: byte {begin} announces {size} more bytes, but the file has fewer"
            )
        self.position += size
        return self.buffer[begin : self.position]

    def number(self, code: str) -> Any:
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def text(self) -> str:
        begin = self.position
        try:
            return str(self.take(self.number("<I")), "utf-8")
        except UnicodeDecodeError as error:
            raise ArtifactError(f"{self.name}: damaged: text at byte {begin} is not UTF-8") from error

    def begin(self) -> None:
        if not len(self.buffer):
            raise ArtifactError(f"{self.name}: empty file")
        if bytes(self.take(1)) != _PROTO or bytes(self.take(1)) != _PROTOCOL_4:
            raise ArtifactError(f"{self.name}: not a recctl file (not a pickle of protocol 4)")

    def read(self) -> Any:
        self.begin()
        # The finished values of the innermost open container; those of the containers around it wait in `outer`.
        stack: list[Any] = []
        outer: list[list[Any]] = []
        while True:
            opcode = bytes(self.take(1))
            if opcode == _STOP:
                break
            if opcode == _MARK:
                if len(outer) == _MAX_DEPTH:
                    raise ArtifactError(f"{self.name}: refused: nested deeper than {_MAX_DEPTH} levels")
                outer.append(stack)
                stack = []
            elif opcode in (_SETITEMS, _APPENDS) and outer:
                items = stack
                stack = outer.pop()
                self.fill(stack, items, opcode)
            elif opcode == _POP and stack:
                stack.pop()
            elif opcode in self.actions:
                self.n_values += 1
                if self.n_values > _MAX_VALUES:
                    raise ArtifactError(f"{self.name}: refused: more than {_MAX_VALUES:,} values")
                stack.append(self.actions[opcode]())
            else:
                self.refuse(opcode)
        if outer or len(stack) != 1:
            raise ArtifactError(f"{self.name}: damaged: the pickle does not hold one value")
        return stack[0]

    def fill(self, stack: list[Any], items: list[Any], opcode: bytes) -> None:
        """Add items to the container on top of the stack."""
        container = stack[-1] if stack else None
        if opcode == _APPENDS and isinstance(container, list):
            container.extend(items)
        elif (
            opcode == _SETITEMS
            and isinstance(container, dict)
            and len(items) % 2 == 0
            and all(isinstance(key, str) for key in items[::2])
        ):
            container.update(zip(items[::2], items[1::2], strict=True))
        else:
            raise ArtifactError(f"{self.name}: damaged: items at byte {self.position - 1} belong to no list or dict")

    def refuse(self, opcode: bytes) -> None:
        names = {info.code: info.name for info in pickletools.opcodes}
        opcode_name = names.get(opcode.decode("latin-1"), f"0x{opcode.hex()}")
        raise ArtifactError(
            f"{self.name}: refused: pickle opcode {opcode_name} at byte {self.position - 1}. A recctl file holds plain "
            "values only; this file could run code or is not a recctl file, and was not loaded"
        )


def read(buffer: memoryview, name: str) -> tuple[Any, int]:
    """Read the value at the beginning of a buffer.

    Args:
        buffer: Bytes of a file.
        name: Name of the file, for error messages.

    Returns:
        The value, with bytes as memoryviews of the buffer, and the position of its end.

    Raises:
        ArtifactError: The buffer is truncated or damaged, or contains anything but plain values.
    """
    reader = _Reader(buffer, name)
    value = reader.read()
    return value, reader.position
