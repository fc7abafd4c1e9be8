"""Labels of a run that users set: tags and a note. They are stored apart from what the run records itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

from recctl import atomic, locking
from recctl.errors import ArtifactError, ConfigError
from recctl.runs import layout
from recctl.runs.directory import Run

_VALID_TAG = re.compile(r"[\w.:/+-]{1,64}")


class Labels(NamedTuple):
    """The labels of a run. The names of the attributes are keys of the file.

    Attributes:
        tags: In alphabetical order.
        note: Free text.
    """

    tags: list[str]
    note: str


def read(run: Run) -> Labels:
    """Return the labels of a run; no tags and an empty note if none were set.

    Raises:
        ArtifactError: The file is damaged.
    """
    labels_path = run.path / layout.LABELS
    try:
        content = json.loads(labels_path.read_text(encoding="utf-8"))
        return Labels([str(tag) for tag in content["tags"]], str(content["note"]))
    except FileNotFoundError:
        return Labels([], "")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArtifactError(
            f"{labels_path}: damaged: {error!r}; remove it to lose only the tags and the note"
        ) from None


def update(run: Run, add: Iterable[str] = (), remove: Iterable[str] = (), note: str | None = None) -> Labels:
    """Add and remove tags, and replace the note unless it is None.

    Raises:
        ConfigError: A tag is not valid.
    """
    added_tags = set(add)
    for tag in sorted(added_tags):
        if not _VALID_TAG.fullmatch(tag):
            raise ConfigError(f"tag {tag!r}: must be 1 to 64 letters, digits or any of _ . : / + -")
    # Not the lock of the run itself: running runs can be labeled too.
    with locking.locked(run.path / layout.CONFIG):
        current = read(run)
        updated_tags = (set(current.tags) | added_tags) - set(remove)
        labels = Labels(sorted(updated_tags), current.note if note is None else note)
        labels_text = json.dumps(labels._asdict(), indent=2, ensure_ascii=False) + "\n"
        atomic.write_bytes(run.path / layout.LABELS, labels_text.encode())
    return labels
