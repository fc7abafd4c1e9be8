"""Saving and loading: a file is a header with the hash of the content, followed by the content."""

from __future__ import annotations

import io
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from recctl.artifacts import arrays, content_hash, plain_pickle
from recctl.artifacts.migrations import OLDEST, migrated
from recctl.atomic import replacing
from recctl.engines import available_memory, format_bytes
from recctl.errors import ArtifactError

FORMAT_VERSION = 2
# Bytes that are read, and handed to the hash, at a time.
_CHUNK = 1 << 23
_MAX_HEADER = 4096
_NO_DIGEST = "0" * 64


def _header(kind: str, digest: str, size: int) -> bytes:
    # The size is text of constant length: the header of an unfinished file must be as long as the final one.
    header = {"recctl": kind, "format_version": FORMAT_VERSION, "sha256": digest, "size": f"{size:020d}"}
    sink = io.BytesIO()
    plain_pickle.write(sink, header)
    return sink.getvalue()


class _HashingSink:
    """Writes to a file and to a hash."""

    def __init__(self, file: BinaryIO, hasher: content_hash.PiecewiseHash) -> None:
        self.file = file
        self.hash = hasher
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        self.hash.update(data)
        self.file.write(data)
        self.size += len(data)


def save(path: Path, kind: str, content: Mapping[str, Any]) -> str:
    """Write a file atomically; missing folders are created.

    Args:
        path: Path of the file.
        kind: Kind of the file, e.g. "model"; `load` checks it.
        content: Plain values and arrays, nested in dicts and lists.

    Returns:
        The hash of the content, see `content_hash`. Equal content gives equal files.

    Raises:
        ArtifactError: The file can't be written.
        TypeError: The content has a value that is neither plain nor an array.
    """
    try:
        # A crash leaves the old file, or none, but never a part of the new one.
        with replacing(path) as file, content_hash.PiecewiseHash() as hasher:
            placeholder = _header(kind, _NO_DIGEST, 0)
            file.write(placeholder)
            sink = _HashingSink(file, hasher)
            plain_pickle.write(sink, arrays.to_plain(dict(content)), offset=len(placeholder))
            # The hash is known only after the content was written: the header is written again, over the placeholder of
            # equal length.
            file.seek(0)
            digest = hasher.hexdigest()
            file.write(_header(kind, digest, sink.size))
            return digest
    except OSError as error:
        raise ArtifactError(f"{path}: can't be written: {error.strerror}") from error


def digest(kind: str, content: Mapping[str, Any]) -> str:
    """The hash that `save` would return; nothing is written."""
    with open(os.devnull, "wb") as null_file, content_hash.PiecewiseHash() as hasher:
        sink = _HashingSink(null_file, hasher)
        plain_pickle.write(sink, arrays.to_plain(dict(content)), offset=len(_header(kind, _NO_DIGEST, 0)))
        return hasher.hexdigest()


def _read_header(buffer: memoryview, path: Path) -> tuple[dict[str, Any], int]:
    """The header, and where the content begins."""
    header, end = plain_pickle.read(buffer[:_MAX_HEADER], str(path))
    if not isinstance(header, dict) or not isinstance(header.get("recctl"), str):
        raise ArtifactError(f"{path}: not a recctl file (a pickle of something else)")
    version = header.get("format_version")
    if type(version) is not int or not OLDEST <= version <= FORMAT_VERSION:
        hint = "; upgrade recctl" if isinstance(version, int) and version > FORMAT_VERSION else ""
        raise ArtifactError(f"{path}: format version {version!r}; this recctl reads {OLDEST} to {FORMAT_VERSION}{hint}")
    if not isinstance(header.get("sha256"), str) or not str(header.get("size")).isdecimal():
        raise ArtifactError(f"{path}: damaged: its header has no hash or size")
    return header, end


def describe(path: Path) -> dict[str, Any]:
    """The header of a file: `recctl` (its kind), `format_version`, `sha256` and `size`. The content is not read.

    Raises:
        ArtifactError: The file does not exist, or is not a recctl file.
    """
    try:
        with path.open("rb") as file:
            header, _ = _read_header(memoryview(file.read(_MAX_HEADER)), path)
            return header
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}") from error


def load(path: Path, kind: str, sha256: str | None = None) -> dict[str, Any]:
    """Load a file; its hash is verified before the content is parsed.

    Args:
        path: Path of the file.
        kind: Expected kind of the file.
        sha256: Expected hash, as `save` returned it, if it is recorded elsewhere.

    Returns:
        The content. Arrays are read-only views of one buffer that holds the whole file.

    Raises:
        ArtifactError: The file does not exist, is truncated or damaged, of another kind, of a newer format, larger than
            the available memory, or contains anything but plain values. Code in the file is never executed.
    """
    try:
        with path.open("rb", buffering=0) as file:
            first_bytes = file.read(_MAX_HEADER)
            header, begin = _read_header(memoryview(first_bytes), path)
            if header["recctl"] != kind:
                raise ArtifactError(f"{path}: holds a {header['recctl']}, not a {kind}")
            size = os.fstat(file.fileno()).st_size
            expected_size = begin + int(header["size"])
            if size != expected_size:
                raise ArtifactError(
                    f"{path}: truncated or damaged: {size:,} bytes, but its header says {expected_size:,}"
                )
            buffer = _allocate(size, path)
            buffer[: len(first_bytes)] = first_bytes
            digest = _read_and_hash(file, buffer, len(first_bytes), begin, header["format_version"])
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}") from error
    if digest != header["sha256"] or sha256 not in (None, digest):
        expected = sha256 or header["sha256"]
        raise ArtifactError(
            f"{path}: wrong hash: its content is {digest[:12]}..., expected {expected[:12]}...; "
            "the file was modified or damaged"
        )
    content, end = plain_pickle.read(buffer[begin:], str(path))
    if not isinstance(content, dict) or begin + end != size:
        raise ArtifactError(f"{path}: damaged: its content is not a single dict")
    content = migrated(kind, header["format_version"], content, str(path))
    return dict(arrays.from_plain(content, str(path)))


def _allocate(size: int, path: Path) -> memoryview:
    """Memory for a whole file, aligned to a page, so that arrays are aligned as they are in the file."""
    available = available_memory()
    if size > available:
        raise ArtifactError(f"{path}: {format_bytes(size)} to load, {format_bytes(available)} of memory are available")
    # Not a NumPy array: NumPy requests huge pages, for which a system with fragmented memory has to move others first.
    return memoryview(mmap.mmap(-1, size))


def _read_and_hash(file: io.FileIO, buffer: memoryview, n_read: int, begin: int, version: int) -> str:
    """Read the rest of a file into the buffer, and hash its content in parallel.

    Args:
        file: The file, at position `n_read`.
        buffer: Memory for the whole file, filled up to `n_read`.
        n_read: Number of bytes read so far.
        begin: Where the content begins.
        version: Format of the file, which determines the hash.

    Returns:
        The hash of the content.
    """
    with content_hash.PiecewiseHash() as hasher:
        hasher.update(buffer[begin:n_read])
        while n_read < len(buffer):
            count = file.readinto(buffer[n_read : n_read + _CHUNK]) or 0
            if not count:
                raise OSError(0, "the file became shorter while it was being read")
            hasher.update(buffer[n_read : n_read + count])
            n_read += count
        return hasher.hexdigest() if version > 1 else content_hash.flat(buffer[begin:])
