"""What people say about a run: tags, and a note. They stand apart from what the run says of itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

from recctl import atomic, locking
from recctl.errors import ArtifactError, ConfigError
from recctl.runs.directory import Run

_FILE = "remarks.json"


class Labels(NamedTuple):
    """Tags in alphabetical order, and a note."""

    tags: list[str]
    note: str


def read(run: Run) -> Labels:
    """What is said about a run.

    Raises:
        ArtifactError: The file is damaged.
    """
    path = run.path / _FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Labels([str(tag) for tag in found["tags"]], str(found["note"]))
    except FileNotFoundError:
        return Labels([], "")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArtifactError(f"{path}: damaged: {error!r}; remove it to lose only tags and note") from None


def update(run: Run, add: Iterable[str] = (), remove: Iterable[str] = (), note: str | None = None) -> Labels:
    """Add and remove tags, and replace the note.

    Raises:
        ConfigError: A tag that is none.
    """
    add, remove = list(add), list(remove)
    for tag in add:
        if not re.fullmatch(r"[\w.:/+-]{1,64}", tag):
            raise ConfigError(f"tag {tag!r}: must be 1 to 64 letters, digits or any of _ . : / + -")
    with locking.locked(run.path / "config.yaml"):  # not the run: one that is under way can be remarked on
        now = read(run)
        found = Labels(sorted({*now.tags, *add} - {*remove}), now.note if note is None else note)
        text = json.dumps(found._asdict(), indent=2, ensure_ascii=False) + "\n"
        atomic.write_bytes(run.path / _FILE, text.encode())
    return found
