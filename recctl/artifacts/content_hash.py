"""The hash of a file's content, computed on every thread while bytes are read or written.

From format 2 on it is the SHA-256 of the SHA-256s of the content's pieces of 8 MiB, one after the other: SHA-256
alone is slower than reading a file, and can't be spread. Format 1 has the SHA-256 of the content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from recctl import engines

PIECE = 1 << 23


def flat(content: memoryview) -> str:
    """The hash of format 1."""
    return hashlib.sha256(content).hexdigest()


class PiecewiseHash:
    """The hash of format 2, of pieces that are given one after the other. A context: it has threads of its own.

    What is given is looked at later: it must not change until `hexdigest`.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(engines.threads())
        self._digests: list[Future[bytes]] = []
        self._parts: list[bytes | memoryview] = []
        self._filled = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes, any number."""
        rest: Any = memoryview(data)
        while len(rest):
            part = rest[: PIECE - self._filled]
            self._parts.append(part)
            self._filled += len(part)
            rest = rest[len(part) :]
            if self._filled == PIECE:
                self._end_piece()

    def hexdigest(self) -> str:
        """The hash of all that was given."""
        if self._parts:
            self._end_piece()
        return hashlib.sha256(b"".join(digest.result() for digest in self._digests)).hexdigest()

    def _end_piece(self) -> None:
        self._digests.append(self._pool.submit(_digest, self._parts))
        self._parts, self._filled = [], 0


def _digest(parts: Sequence[bytes | memoryview]) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()
