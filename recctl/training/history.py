"""history.jsonl: a line for each epoch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from recctl import atomic
from recctl.training.loop import Epoch


def append(path: Path, epoch: Epoch) -> None:
    """Add the line of an epoch: its number, loss, metrics, learning rate, seconds, and the process's peak memory."""
    line = {
        "epoch": epoch.number,
        "loss": epoch.loss,
        "metrics": dict(epoch.metrics),
        "learning_rate": epoch.learning_rate,
        "seconds": round(epoch.seconds, 4),
        "memory_bytes": _peak_memory(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
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


def _peak_memory() -> int | None:
    """The most bytes this process ever had in memory; None where the system doesn't tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
