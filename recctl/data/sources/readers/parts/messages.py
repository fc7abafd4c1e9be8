"""Naming parts in errors and notices."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from recctl import progress
from recctl.errors import DataError

if TYPE_CHECKING:
    from recctl.data.sources.readers.parts.files import Part

MAX_LISTED = 10
_MAX_NOTICES = 3
_KIND_LENGTH = 40  # notices that begin with so many equal characters are of one kind


def join_names(names: Sequence[str]) -> str:
    """The first names, and the number of the others."""
    more = f" and {len(names) - MAX_LISTED:,} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more


@contextmanager
def labelled(part: Part, hint: Callable[[], str] | None = None) -> Iterator[None]:
    """Name the part by its label in errors, and add a hint."""
    try:
        yield
    except DataError as error:
        message = relabel(str(error), part)
        raise DataError(message + hint() if hint else message) from error


def relabel(message: str, part: Part) -> str:
    """A message that begins with the name of a part, with the label of the part instead."""
    name = part.path.name
    return part.label + message.removeprefix(name) if message.startswith(name) else message


class PartNotices:
    """Passes notices on, named by the part; of notices that differ only in the part and in numbers, the first few.

    Attributes:
        label: The label of the part that is read.
        name: The name of its file.
    """

    def __init__(self, listener: progress.Listener) -> None:
        self._listener = listener
        self._counts: dict[str, int] = {}
        self.label = ""
        self.name = ""

    def start(self, title: str, total: float | None, unit: str) -> progress.Task:
        """Pass a task on."""
        return self._listener.start(title, total, unit)

    def finish(self, task: progress.Task) -> None:
        """Pass the end of a task on."""
        self._listener.finish(task)

    def notice(self, message: str) -> None:
        """Pass a notice on, unless there were enough of its kind."""
        is_of_part = message.startswith(self.name)
        kind = re.sub(r"\d+", "0", message.replace(self.name, ""))[:_KIND_LENGTH]
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if self._counts[kind] <= _MAX_NOTICES:
            # A notice about rows names the file twice.
            message = message.replace(f" {self.name}: ", f" {self.label}: ")
            self._listener.notice(self.label + message.removeprefix(self.name) if is_of_part else message)

    def n_dropped(self) -> int:
        """The number of notices that were not passed on."""
        return sum(max(0, count - _MAX_NOTICES) for count in self._counts.values())


class RecordedNotices:
    """Keeps the notices of a part that is read beside others, to be passed on in the order of the parts.

    Attributes:
        messages: The notices.
    """

    def __init__(self) -> None:
        self.messages: list[str] = []

    def start(self, title: str, total: float | None, unit: str) -> RecordedNotices:
        """Tasks of single parts are not displayed."""
        return self

    def update(self, done: float, **values: float | str) -> None:
        """See `start`."""

    def finish(self, task: progress.Task) -> None:
        """See `start`."""

    def notice(self, message: str) -> None:
        """Keep a notice."""
        self.messages.append(message)


@contextmanager
def collected_notices(source: str) -> Iterator[PartNotices]:
    """Pass the notices of the block on by `PartNotices`, then the number of the others."""
    notices = PartNotices(progress.current_listener())
    with progress.listening(notices):
        yield notices
    if notices.n_dropped():
        progress.notice(f"{source}: {notices.n_dropped():,} more notices like these, about other parts")
