"""Opening files for sequential reading, compressed or not; compression is detected from the first bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import pyarrow as pa

from recctl.errors import DataError

# The first bytes of a compressed file, and Arrow's name for the codec.
_ARROW_CODECS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
_XZ_MAGIC = b"\xfd7zXZ\x00"
_ZIP_MAGIC = b"PK\x03\x04"
_SUFFIXES = (".gz", ".bz2", ".zst", ".xz", ".zip")
_ENCRYPTED_FLAG = 0x1  # in the flag bits of a zip member

# Replaces a delimiter of several characters: Arrow splits at single bytes only.
UNIT_SEPARATOR = "\x1f"


class ReadableStream(Protocol):
    """The part of a binary file that Arrow and the dialect detection need."""

    def read(self, size: int = -1, /) -> bytes:
        """Read at most `size` bytes, or all if it is negative; returns b"" at the end."""
        ...


def uncompressed_name(path: Path) -> str:
    """The file's name in lower case, without the suffix of its compression."""
    name = path.name.lower()
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


@contextmanager
def open_decompressed(path: Path) -> Iterator[Any]:
    """Open a file and decompress it while it is read.

    A zip archive must hold one table; hidden files in it are ignored.

    Raises:
        DataError: The file can't be opened, is an archive without a single table, or is found to be truncated or
            damaged while it is read inside the `with` block.
    """
    try:
        with _open(path) as stream:
            yield stream
    except DataError:
        raise
    except Exception as error:
        if not _is_read_error(error):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{path.name}: can't be read: {reason} (truncated or damaged?)") from error


def _is_read_error(error: Exception) -> bool:
    """Whether an exception means a damaged file (or one that zipfile does not support), not a bug."""
    import lzma
    import zipfile
    import zlib

    damaged = (OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
    unsupported = NotImplementedError  # zipfile raises it for a codec or a version that it lacks
    return isinstance(error, (*damaged, unsupported))


def _open(path: Path) -> Any:
    with path.open("rb") as file:
        magic = file.read(6)
    # Arrow decompresses these natively; it has no codec for xz and zip.
    for prefix, codec in _ARROW_CODECS.items():
        if magic.startswith(prefix):
            return pa.input_stream(str(path), compression=codec)
    if magic == _XZ_MAGIC:
        import lzma

        return lzma.open(path)
    if magic.startswith(_ZIP_MAGIC):
        return _open_zip_member(path)
    return pa.input_stream(str(path), compression=None)


@contextmanager
def _open_zip_member(path: Path) -> Iterator[Any]:
    import zipfile

    with _as_bad_zip_file():
        archive = zipfile.ZipFile(path)
    with archive:
        member = _table_member(archive, path)
        if archive.getinfo(member).flag_bits & _ENCRYPTED_FLAG:
            raise DataError(f"{path.name}: {member} is encrypted; unpack it and use the unpacked file")
        with _as_bad_zip_file():
            stream = archive.open(member)
        with stream:
            yield stream


def _table_member(archive: Any, path: Path) -> str:
    """The one file of a zip archive that holds the interactions."""
    names = [name for name in archive.namelist() if not name.endswith("/") and not _is_hidden(name)]
    if len(names) == 1:
        return str(names[0])
    # ratings.csv.zip holds ratings.csv; archives of several tables call theirs ratings or interactions.
    candidates = [name for name in names if PurePosixPath(name).name.lower() == uncompressed_name(path)]
    if not candidates:
        candidates = [name for name in names if PurePosixPath(name).stem.lower() in ("ratings", "interactions")]
    if len(candidates) != 1:
        content = ", ".join(sorted(names)[:10]) or "nothing"
        raise DataError(f"{path.name}: the archive holds {content}, not one table; unpack it and use one of its files")
    return str(candidates[0])


@contextmanager
def _as_bad_zip_file() -> Iterator[None]:
    """Raise BadZipFile for each of the many exceptions that zipfile raises for a damaged archive."""
    import zipfile

    from recctl.data.sources.catalog.unzip import ARCHIVE_ERRORS

    try:
        yield
    except ARCHIVE_ERRORS as error:
        raise zipfile.BadZipFile(str(error)) from error


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
