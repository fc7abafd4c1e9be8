"""The hash of a file's content, computed on all threads while the content is read or written.

Since format 2 it is the SHA-256 of the concatenated SHA-256s of pieces of 8 MiB: the SHA-256 of the whole content, as
in format 1, is slower than reading a file and can't be parallelized.
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
    """The hash of format 2. Use it as a context manager: it has its own threads.

    The data is hashed later, in the threads: it must not change before `hexdigest` returns.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(engines.threads())
        self._digests: list[Future[bytes]] = []
        # The current piece: its parts, and their total size.
        self._parts: list[bytes | memoryview] = []
        self._piece_size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)

    def update(self, data: bytes | memoryview) -> None:
        """Append data of any size."""
        remaining: Any = memoryview(data)
        while len(remaining):
            # Pieces have a fixed size, whatever the sizes of the parts are: the hash depends on the content alone.
            part = remaining[: PIECE - self._piece_size]
            self._parts.append(part)
            self._piece_size += len(part)
            remaining = remaining[len(part) :]
            if self._piece_size == PIECE:
                self._end_piece()

    def hexdigest(self) -> str:
        """The hash of all data so far; call it once, at the end."""
        if self._parts:
            self._end_piece()
        return hashlib.sha256(b"".join(digest.result() for digest in self._digests)).hexdigest()

    def _end_piece(self) -> None:
        self._digests.append(self._pool.submit(_digest, self._parts))
        self._parts = []
        self._piece_size = 0


def _digest(parts: Sequence[bytes | memoryview]) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()
