"""Python objects that the threads of Arrow read, such as streams.

Arrow may return a table a moment before its threads drop their last reference to the object. If the interpreter ends in
that moment, the thread that drops the reference aborts the process ("terminate called without an active exception").
"""

from __future__ import annotations

import traceback
import weakref
from threading import Event
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")

_MAX_SECONDS = 5.0


class ReleasedByArrow:
    """A context that waits at its end until nothing refers to an object any more.

    with ReleasedByArrow() as release:
        table = pacsv.read_csv(release.of(stream))
    """

    def __init__(self) -> None:
        self._released = Event()
        self._reference: weakref.ref[object] | None = None

    def of(self, lent: T) -> T:
        """The object to wait for; the caller must not keep a reference to it."""
        self._reference = weakref.ref(lent, self._set_released)
        return lent

    def _set_released(self, _: weakref.ref[object]) -> None:
        self._released.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if at is not None:
            # An error in a method that Arrow called refers to its frames, and they to the object.
            traceback.clear_frames(at)
        if self._reference is not None:
            self._released.wait(_MAX_SECONDS)
