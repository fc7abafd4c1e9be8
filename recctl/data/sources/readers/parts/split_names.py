"""Noticing that the files of a folder look like the parts of a split: train, validation and test."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from recctl import progress
from recctl.data.sources.readers.parts.files import Part, base_of_pattern
from recctl.data.sources.readers.parts.messages import join_names

_SPLIT_NAME = re.compile(r"(train|test|validation|valid|val|dev)(?![a-z])", re.IGNORECASE)
_SPLIT_PARTS = {"valid": "validation", "val": "validation", "dev": "validation"}


def _names_below(path: Path, part: Part) -> tuple[str, ...]:
    base = path if path.is_dir() else base_of_pattern(path)
    return part.path.relative_to(base).parts


def notice_split(path: Path, parts: Sequence[Part]) -> None:
    """Send a notice if the files look like the parts of a split."""
    found: dict[str, Part] = {}
    for part in parts:
        for name in _names_below(path, part):
            match = _SPLIT_NAME.match(name)
            if match:
                word = match[1].lower()
                found.setdefault(_SPLIT_PARTS.get(word, word), part)
                break
    if len(found) < 2 or "train" not in found:
        return
    found = {name: found[name] for name in ("train", "validation", "test") if name in found}
    folder = path if path.is_dir() else base_of_pattern(path)
    sources = {name: _quote(_split_source(folder, part, parts)) for name, part in found.items()}
    split = ", ".join(f"{name}: {sources[name]}" for name in ("validation", "test") if name in sources)
    if "test" not in sources:
        split = f"test: {sources['validation']}"
    progress.notice(
        f"{path.name}: {join_names([part.label for part in found.values()])} look like the parts of a split; they are "
        f"read as one table. To use the split, set data.source: {sources['train']} and "
        f"split: {{strategy: predefined, {split}}}"
    )


def _quote(path: str) -> str:
    """A path as YAML."""
    return path if re.fullmatch(r"[\w./][\w./*-]*", path) else json.dumps(path, ensure_ascii=False)


def _split_source(folder: Path, part: Part, parts: Sequence[Part]) -> str:
    """The file, or the folder or pattern of files, whose names begin like this one's."""
    names = part.path.relative_to(folder).parts
    depth = next(i for i, name in enumerate(names) if _SPLIT_NAME.match(name))
    match = _SPLIT_NAME.match(names[depth])
    assert match is not None
    folder = folder.joinpath(*names[:depth])
    if depth < len(names) - 1:
        return str(folder / names[depth])
    word = match[0]
    alike = [other for other in parts if other.path.parent == folder and other.path.name.startswith(word)]
    return str(folder / names[depth]) if len(alike) == 1 else str(folder / f"{word}*")
