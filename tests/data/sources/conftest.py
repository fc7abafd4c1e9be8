"""What the tests of sources share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recctl import progress


class Notices:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def start(self, title: str, total: float | None, unit: str) -> Notices:
        return self

    def update(self, done: float, **values: float | str) -> None:
        pass

    def finish(self, task: progress.Task) -> None:
        pass

    def notice(self, message: str) -> None:
        self.messages.append(message)


@pytest.fixture
def notices() -> Iterator[list[str]]:
    """What a person is told during the test."""
    listener = Notices()
    with progress.listening(listener):
        yield listener.messages


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Makes a file of text or bytes."""

    def make(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make
