"""An index of a runs directory: the summaries of its runs, so that listing thousands need not read their files.

The files are the truth, and the index is a cache of what was read from them. A summary is used only while the files
that it was made of have the size, the times and the inode that they had when they were read; all others are read again.
An index that is missing, damaged, of another version or of another directory therefore costs time and nothing else. So
does one that can't be written: runs directories that are mounted read-only are listed as well.

Every program that lists runs may write the index. It is replaced as a whole, and the last writer wins.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from recctl.runs.summary import SOURCES, RunSummary
from recctl.version import __version__

FILE_NAME = ".index.json"
# Raise it if the fields of a summary change, or what they are made of.
_FORMAT = 3
# A file that has changed so recently can change again without any visible difference: the times of files are as coarse
# as 2 seconds on some file systems. What was read from it is not kept.
_SETTLED_NS = 3_000_000_000

# Size, time of the last change of the content and of any change, and inode; None for a file that does not exist.
FileSignature = tuple[int, int, int, int] | None
Signature = tuple[FileSignature, ...]


class Entry(NamedTuple):
    """A run in the index.

    Attributes:
        signature: One of each file in `SOURCES`.
        summary: What was read from these files.
    """

    signature: Signature
    summary: RunSummary


def signature_of(directory: str) -> Signature:
    """Return the signature of a run, before its files are read."""
    return tuple(_file_signature(f"{directory}{os.sep}{name}") for name in SOURCES)


def is_settled(signature: Signature) -> bool:
    """Whether files have been unchanged for so long that any later change will be visible in their signatures."""
    latest = time.time_ns() - _SETTLED_NS
    return all(file is None or max(file[1], file[2]) < latest for file in signature)


def read(root: Path) -> dict[str, Entry]:
    """Return the entries of the index of a runs directory by run id; none if it can't be used."""
    try:
        header, _, content = (root / FILE_NAME).read_bytes().partition(b"\n")
        if header != _header(content):
            return {}
        stored = json.loads(content)
        return {run_id: _entry(signature, values) for run_id, (signature, values) in stored.items()}
    # The header has a hash of the content, so that only a file made for this purpose raises anything but OSError.
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write(root: Path, entries: Mapping[str, Entry]) -> None:
    """Replace the index of a runs directory; without effect if that is not possible."""
    stored = {run_id: [entry.signature, asdict(entry.summary)] for run_id, entry in entries.items()}
    content = json.dumps(stored, separators=(",", ":")).encode()
    temporary = root / f".{secrets.token_hex(8)}.tmp"
    with suppress(OSError):
        try:
            # Not flushed to disk: after a power cut, a damaged index is rebuilt.
            temporary.write_bytes(_header(content) + b"\n" + content)
            temporary.replace(root / FILE_NAME)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _header(content: bytes) -> bytes:
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    return f"recctl {__version__} run index {_FORMAT} {digest}".encode()


def _entry(signature: list[list[int] | None], values: dict[str, Any]) -> Entry:
    files = tuple(None if file is None else (file[0], file[1], file[2], file[3]) for file in signature)
    return Entry(files, RunSummary(**values))


def _file_signature(path: str) -> FileSignature:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
