"""A pickle of plain values only: dicts with str keys, lists, str, int, float, bool, None, bytes. And their reader.

Any Python reads such a file with `pickle.load`. This module reads nothing else: it knows the few opcodes it writes,
and refuses every other one by name. There is none among them that imports, calls, or refers back to an earlier value,
so that a hostile file can neither run anything nor grow in memory beyond its own size.

The writer sorts keys and writes neither frames nor a memo: equal values give equal bytes. Long bytes start at
multiples of 64 in the file (a filler that is popped at once stands before them), so that arrays are used where they
lie.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from typing import Any, Protocol

from recctl.errors import ArtifactError

ALIGNMENT = 64
_MOST_VALUES = 100_000
_DEEPEST = 32

_PROTO, _PROTO_4, _STOP, _MARK = b"\x80", b"\x04", b".", b"("
_NONE, _TRUE, _FALSE = b"N", b"\x88", b"\x89"
_INT1, _INT4, _LONG1, _FLOAT = b"K", b"J", b"\x8a", b"G"
_TEXT4, _BYTES1, _BYTES8 = b"X", b"C", b"\x8e"
_DICT, _SETITEMS, _LIST, _APPENDS, _POP = b"}", b"u", b"]", b"e", b"0"


class Sink(Protocol):
    """Where bytes are written to."""

    def write(self, data: Any, /) -> object:
        """Take bytes, or anything like them."""
        ...


class _Writer:
    def __init__(self, sink: Sink, offset: int) -> None:
        self.sink = sink
        self.offset = offset
        self.values = 0
        self.depth = 0

    def put(self, *parts: bytes | memoryview) -> None:
        for part in parts:
            self.sink.write(part)
            self.offset += len(part)

    def value(self, value: Any) -> None:
        self.values += 1
        if self.values > _MOST_VALUES:
            raise TypeError(f"more than {_MOST_VALUES:,} values; give long lists as arrays")
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
        if self.depth > _DEEPEST:
            raise TypeError(f"nested deeper than {_DEEPEST} levels")
        if isinstance(value, list):
            self.put(_LIST, _MARK)
            for item in value:
                self.value(item)
            self.put(_APPENDS)
        else:
            self.put(_DICT, _MARK)
            for key in sorted(value):
                if type(key) is not str:
                    raise TypeError(f"{key!r} of type {type(key).__name__} is no key; keys are str")
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
            filler = -(self.offset + len(_BYTES1) + 1 + len(_POP) + len(_BYTES8) + 8) % ALIGNMENT
            self.values += 1  # readers count it as well
            self.put(_BYTES1, struct.pack("<B", filler), bytes(filler), _POP)
        self.put(_BYTES8, struct.pack("<Q", len(value)), value)


def write(sink: Sink, value: Any, offset: int = 0) -> None:
    """Write a value to a sink.

    Args:
        sink: Has `write`; takes memoryviews (of bytes) without a copy.
        value: Plain values, nested in dicts and lists.
        offset: Where in the file the sink stands.

    Raises:
        TypeError: A value that is not plain, or more or deeper ones than are read back.
    """
    writer = _Writer(sink, offset)
    writer.put(_PROTO, _PROTO_4)
    writer.value(value)
    writer.put(_STOP)


class _Reader:
    def __init__(self, buffer: memoryview, name: str) -> None:
        self.buffer = buffer
        self.name = name
        self.at = 0
        self.values = 0
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
        if size > len(self.buffer) - self.at:
            raise ArtifactError(f"{self.name}: truncated: byte {self.at} announces {size} more bytes than there are")
        self.at += size
        return self.buffer[self.at - size : self.at]

    def number(self, code: str) -> Any:
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def text(self) -> str:
        begin = self.at
        try:
            return str(self.take(self.number("<I")), "utf-8")
        except UnicodeDecodeError as error:
            raise ArtifactError(f"{self.name}: damaged: text at byte {begin} is not UTF-8") from error

    def begin(self) -> None:
        if not len(self.buffer):
            raise ArtifactError(f"{self.name}: empty file")
        if bytes(self.take(1)) != _PROTO or bytes(self.take(1)) != _PROTO_4:
            raise ArtifactError(f"{self.name}: not a recctl file (no pickle of protocol 4)")

    def read(self) -> Any:
        self.begin()
        # Finished values of the container under way; the containers around it wait in `open`.
        stack: list[Any] = []
        open_: list[list[Any]] = []
        while True:
            opcode = bytes(self.take(1))
            if opcode == _STOP:
                break
            if opcode == _MARK:
                if len(open_) == _DEEPEST:
                    raise ArtifactError(f"{self.name}: refused: nested deeper than {_DEEPEST} levels")
                open_.append(stack)
                stack = []
            elif opcode in (_SETITEMS, _APPENDS) and open_:
                items, stack = stack, open_.pop()
                self.fill(stack, items, opcode)
            elif opcode == _POP and stack:
                stack.pop()
            elif opcode in self.actions:
                self.values += 1
                if self.values > _MOST_VALUES:
                    raise ArtifactError(f"{self.name}: refused: more than {_MOST_VALUES:,} values")
                stack.append(self.actions[opcode]())
            else:
                self.refuse(opcode)
        if open_ or len(stack) != 1:
            raise ArtifactError(f"{self.name}: damaged: the pickle does not hold one value")
        return stack[0]

    def fill(self, stack: list[Any], items: list[Any], opcode: bytes) -> None:
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
            raise ArtifactError(f"{self.name}: damaged: items at byte {self.at - 1} belong to no list or dict")

    def refuse(self, opcode: bytes) -> None:
        known = {info.code: info.name for info in pickletools.opcodes}
        name = known.get(opcode.decode("latin-1"), f"0x{opcode.hex()}")
        raise ArtifactError(
            f"{self.name}: refused: pickle opcode {name} at byte {self.at - 1}. A recctl file holds plain values only; "
            "this one could run code or is no recctl file, and was not loaded"
        )


def read(buffer: memoryview, name: str) -> tuple[Any, int]:
    """The value that a buffer begins with, and where it ends. Bytes come as memoryviews into the buffer.

    Raises:
        ArtifactError: Truncated, damaged, or holding anything but plain values; `name` is named.
    """
    reader = _Reader(buffer, name)
    return reader.read(), reader.at
