"""history.jsonl: a line for each epoch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recctl import atomic
from recctl.engines import peak_memory
from recctl.training.loop import Epoch


def append(path: Path, epoch: Epoch) -> None:
    """Add the line of an epoch: all that is known of it, and the process's peak memory."""
    line = {
        "epoch": epoch.number,
        "loss": epoch.loss,
        "metrics": dict(epoch.metrics),
        "learning_rate": epoch.learning_rate,
        "seconds": round(epoch.seconds, 4),
        "validation_seconds": round(epoch.validation_seconds, 4),
        "batch_size": epoch.batch_size,
        "memory_bytes": peak_memory(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.with_filename(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """The epochs of a file, in order; none if there is no file. A last line that was torn by a crash is left out."""
    lines = []
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    for line in text.splitlines(keepends=True):
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
        if not line.endswith("\n"):
            lines.pop()
    return lines


def cut(path: Path, n_epochs: int) -> None:
    """Keep only the first epochs of a file."""
    if path.exists():
        kept = [line for line in read(path) if line["epoch"] <= n_epochs]
        atomic.write_bytes(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
