"""Opening text files: compressed ones are known by their first bytes, whatever they are called."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import pyarrow as pa

from recctl.errors import DataError

_ARROW_CODECS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
_XZ, _ZIP = b"\xfd7zXZ\x00", b"PK\x03\x04"
_SUFFIXES = (".gz", ".bz2", ".zst", ".xz", ".zip")
_ENCRYPTED = 0x1  # in the flags of a zip member
# Replaces a delimiter of several characters, which Arrow can't split at.
UNIT_SEPARATOR = "\x1f"


class Readable(Protocol):
    """What is read from: the part of a binary file that Arrow and the sniffer need."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, all of them where negative; none at the end."""
        ...


def plain_name(path: Path) -> str:
    """The file's name without the suffix of its compression, in lower case."""
    name = path.name.lower()
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The decompressed bytes of a file, to be read forwards.

    Raises:
        DataError: The file can't be opened, holds no single table, or turns out truncated or damaged inside the block.
    """
    try:
        with _open(path) as stream:
            yield stream
    except DataError:
        raise
    except Exception as error:
        if not _is_damage(error):
            raise
        raise DataError(f"{path.name}: can't be read: {_first_line(error)} (truncated or damaged?)") from error


def _is_damage(error: Exception) -> bool:
    import lzma
    import zipfile
    import zlib

    kinds = (OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError)  # zipfile's
    return isinstance(error, kinds)


def _open(path: Path) -> Any:
    with path.open("rb") as file:
        magic = file.read(6)
    for start, codec in _ARROW_CODECS.items():
        if magic.startswith(start):
            return pa.input_stream(str(path), compression=codec)
    if magic == _XZ:
        import lzma

        return lzma.open(path)
    if magic.startswith(_ZIP):
        return _member(path)
    return pa.input_stream(str(path), compression=None)


@contextmanager
def _member(path: Path) -> Iterator[Any]:
    import zipfile

    with _damage_told():
        archive = zipfile.ZipFile(path)
    with archive:
        names = [name for name in archive.namelist() if not name.endswith("/") and not _is_hidden(name)]
        # ratings.csv.zip holds ratings.csv; archives of several tables call theirs ratings or interactions.
        likely = [n for n in names if PurePosixPath(n).name.lower() == plain_name(path)] or [
            n for n in names if PurePosixPath(n).stem.lower() in ("ratings", "interactions")
        ]
        if len(names) != 1 and len(likely) != 1:
            found = ", ".join(sorted(names)[:10]) or "nothing"
            raise DataError(f"{path.name}: holds {found}, not one table; unpack it and name the file to read")
        name = names[0] if len(names) == 1 else likely[0]
        if archive.getinfo(name).flag_bits & _ENCRYPTED:
            raise DataError(f"{path.name}: {name} is encrypted; unpack it and name the file to read")
        with _damage_told():
            stream = archive.open(name)
        with stream:
            yield stream


@contextmanager
def _damage_told() -> Iterator[None]:
    """A block in which whatever zipfile says of a damaged archive is told as one kind."""
    import zipfile

    from recctl.data.sources.catalog.unzip import DAMAGE

    try:
        yield
    except DAMAGE as error:
        raise zipfile.BadZipFile(str(error)) from error


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


class Counted(io.RawIOBase):
    """A stream that counts the line ends that go through it."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.newlines = 0

    def readable(self) -> bool:  # noqa: D102
        return True

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes."""
        block = self._stream.read(size)
        self.newlines += block.count(b"\n")
        return block


class Translated(io.RawIOBase):
    """A stream with every delimiter of several characters replaced by one unit separator."""

    def __init__(self, stream: Readable, delimiter: str) -> None:
        self._stream = stream
        self._delimiter = delimiter.encode()

    def readable(self) -> bool:  # noqa: D102
        return True

    def read(self, size: int = -1) -> bytes:
        """About `size` bytes; a delimiter is never cut in two."""
        block = self._stream.read(size)
        while size >= 0 and self._ends_inside(block) and (more := self._stream.read(1)):
            block += more
        return block.replace(self._delimiter, UNIT_SEPARATOR.encode())

    def _ends_inside(self, block: bytes) -> bool:
        return any(block.endswith(self._delimiter[:n]) for n in range(1, len(self._delimiter)))
