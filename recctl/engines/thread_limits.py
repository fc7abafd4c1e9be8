"""Numbers of threads that are settings of the whole process, such as that of BLAS, for contexts in several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

Restore = Callable[[], None]


class SharedLimit:
    """A number of threads that contexts in several threads of a program hold at once.

    Contexts of the same number share it; one of another number waits until they have ended. The last context to end
    restores what was set before the first. If each restored what it had found, the first to end would change the number
    for the others, whose results can then differ in the last digits, and the last would leave its limit for good.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all contexts, which do not exist in a forked process."""
        self._changed = threading.Condition()
        self._count = 0
        self._n_contexts = 0
        self._restores: dict[Hashable, Restore] = {}
        self._thread = threading.local()

    @contextmanager
    def hold(
        self, count: int, key: Hashable, apply: Callable[[int], Restore], *, may_wait: bool = True
    ) -> Iterator[None]:
        """A context of a number of threads.

        Inside another context of the same thread it never waits, and takes effect for all threads.

        Args:
            count: The number of threads.
            key: Identifies what `apply` sets: it is called once for each key, by the first context.
            apply: Sets the number, and returns a function that undoes it.
            may_wait: False in a thread that works for another one, which holds a context and waits for it.
        """
        held = self._held_by_thread()
        if held or not may_wait:
            with self._nested(count, apply):
                yield
            return
        self._enter(count, key, apply)
        held.append(count)
        try:
            yield
        finally:
            held.remove(count)
            self._exit()

    def _held_by_thread(self) -> list[int]:
        if not hasattr(self._thread, "held"):
            self._thread.held = []
        held: list[int] = self._thread.held
        return held

    def _enter(self, count: int, key: Hashable, apply: Callable[[int], Restore]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._n_contexts or self._count == count)
            if key not in self._restores:
                self._restores[key] = apply(count)
            self._count = count
            self._n_contexts += 1

    def _exit(self) -> None:
        with self._changed:
            self._n_contexts -= 1
            if self._n_contexts:
                return
            for restore in reversed(self._restores.values()):
                restore()
            self._restores.clear()
            self._changed.notify_all()

    @contextmanager
    def _nested(self, count: int, apply: Callable[[int], Restore]) -> Iterator[None]:
        if self._n_contexts and self._count == count:
            yield
            return
        restore = apply(count)
        try:
            yield
        finally:
            restore()
