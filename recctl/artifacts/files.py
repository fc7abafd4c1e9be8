"""Saving and loading: a header with the content's hash, and the content."""

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
_CHUNK = 1 << 23
_MOST_HEADER = 4096


def _header(kind: str, digest: str, size: int) -> bytes:
    # The size is text of one length: the header must be as long before the content is known as after.
    sink = io.BytesIO()
    plain_pickle.write(
        sink, {"recctl": kind, "format_version": FORMAT_VERSION, "sha256": digest, "size": f"{size:020d}"}
    )
    return sink.getvalue()


class _HashingSink:
    def __init__(self, file: BinaryIO, hasher: content_hash.PiecewiseHash) -> None:
        self.file = file
        self.hash = hasher
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        self.hash.update(data)
        self.file.write(data)
        self.size += len(data)


def save(path: Path, kind: str, content: Mapping[str, Any]) -> str:
    """Write a file, whole or not at all; missing folders are made.

    Args:
        path: Where to.
        kind: What the file is, e.g. "model"; `load` asks for it.
        content: Plain values and arrays, nested in dicts and lists.

    Returns:
        The hash of the content, made of SHA-256; see `content_hash`. Equal content gives equal files.

    Raises:
        ArtifactError: The file can't be written.
    """
    try:
        with replacing(path) as file, content_hash.PiecewiseHash() as hasher:
            blank = _header(kind, "0" * 64, 0)
            file.write(blank)
            sink = _HashingSink(file, hasher)
            plain_pickle.write(sink, arrays.to_plain(dict(content)), offset=len(blank))
            file.seek(0)
            digest = hasher.hexdigest()
            file.write(_header(kind, digest, sink.size))
            return digest
    except OSError as error:
        raise ArtifactError(f"{path}: can't be written: {error.strerror}") from error


def digest(kind: str, content: Mapping[str, Any]) -> str:
    """The hash that `save` gives for the content; nothing is written."""
    with open(os.devnull, "wb") as nowhere, content_hash.PiecewiseHash() as hasher:
        sink = _HashingSink(nowhere, hasher)
        plain_pickle.write(sink, arrays.to_plain(dict(content)), offset=len(_header(kind, "0" * 64, 0)))
        return hasher.hexdigest()


def _read_header(buffer: memoryview, path: Path) -> tuple[dict[str, Any], int]:
    header, end = plain_pickle.read(buffer[:_MOST_HEADER], str(path))
    if not isinstance(header, dict) or not isinstance(header.get("recctl"), str):
        raise ArtifactError(f"{path}: not a recctl file (a pickle of something else)")
    version = header.get("format_version")
    if type(version) is not int or not OLDEST <= version <= FORMAT_VERSION:
        way_out = "; upgrade recctl" if isinstance(version, int) and version > FORMAT_VERSION else ""
        reads = f"{OLDEST} to {FORMAT_VERSION}"
        raise ArtifactError(f"{path}: format version {version!r}; this recctl reads {reads}{way_out}")
    if not isinstance(header.get("sha256"), str) or not str(header.get("size")).isdecimal():
        raise ArtifactError(f"{path}: damaged: its header has no hash or size")
    return header, end


def describe(path: Path) -> dict[str, Any]:
    """The header of a file: `recctl` (its kind), `format_version`, `sha256`. The content is not read.

    Raises:
        ArtifactError: No such file, or no recctl file.
    """
    try:
        with path.open("rb") as file:
            return _read_header(memoryview(file.read(_MOST_HEADER)), path)[0]
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}") from error


def load(path: Path, kind: str, sha256: str | None = None) -> dict[str, Any]:
    """Read a file back; its hash is checked before anything in it is looked at.

    Args:
        path: The file.
        kind: What it must be.
        sha256: What `save` returned, where that was recorded elsewhere.

    Returns:
        The content; arrays are read-only views of the one buffer the file was read into.

    Raises:
        ArtifactError: No such file, truncated, damaged, of another kind, of a newer format, too large for the memory
            there is, or with anything in it but plain values. Nothing in the file is ever run.
    """
    try:
        with path.open("rb", buffering=0) as file:
            first = file.read(_MOST_HEADER)
            header, begin = _read_header(memoryview(first), path)
            if header["recctl"] != kind:
                raise ArtifactError(f"{path}: holds a {header['recctl']}, not a {kind}")
            size = os.fstat(file.fileno()).st_size
            if size != begin + int(header["size"]):
                said = begin + int(header["size"])
                raise ArtifactError(f"{path}: truncated or damaged: {size:,} bytes, its header says {said:,}")
            buffer = _aligned(size, path)
            buffer[: len(first)] = first
            digest = _read_and_hash(file, buffer, len(first), begin, header["format_version"])
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}") from error
    if digest != header["sha256"] or sha256 not in (None, digest):
        raise ArtifactError(
            f"{path}: wrong hash: its content is {digest[:12]}..., expected {(sha256 or header['sha256'])[:12]}...; "
            "the file was changed or damaged"
        )
    content, end = plain_pickle.read(buffer[begin:], str(path))
    if not isinstance(content, dict) or begin + end != size:
        raise ArtifactError(f"{path}: damaged: holds something else than one dict")
    content = migrated(kind, header["format_version"], content, str(path))
    return dict(arrays.from_plain(content, str(path)))


def _aligned(size: int, path: Path) -> memoryview:
    """Room for a whole file, which begins a page: aligned as arrays are in the file."""
    there = available_memory()
    if size > there:
        raise ArtifactError(f"{path}: {format_bytes(size)} to load, {format_bytes(there)} of memory are available")
    # Not NumPy's: it asks for huge pages, for which a system that has been up for long first moves others about.
    return memoryview(mmap.mmap(-1, size))


def _read_and_hash(file: io.FileIO, buffer: memoryview, done: int, begin: int, version: int) -> str:
    """Fill the buffer from `done` on, hashing from `begin` on; reading and hashing go on side by side."""
    with content_hash.PiecewiseHash() as hasher:
        hasher.update(buffer[begin:done])
        while done < len(buffer):
            count = file.readinto(buffer[done : done + _CHUNK]) or 0
            if not count:
                raise OSError(0, "the file became shorter while it was read")
            hasher.update(buffer[done : done + count])
            done += count
        return hasher.hexdigest() if version > 1 else content_hash.flat(buffer[begin:])
