"""The file history.jsonl, with one line per epoch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recctl import atomic
from recctl.engines import peak_memory
from recctl.training.loop import Epoch


def append(path: Path, epoch: Epoch) -> None:
    """Append the line of an epoch, with the peak memory of the process."""
    epoch_record = {
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
    # Appended, not rewritten: the cost of an epoch does not grow with their number, and a reader can follow the file.
    with atomic.with_filename(path), path.open("a", encoding="utf-8") as history_file:
        history_file.write(json.dumps(epoch_record) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """Read the epochs of a file, in order; none if the file does not exist. A torn last line is ignored."""
    records = []
    try:
        # A crash can leave bytes that are not UTF-8 at the end; `replace` leaves them to the JSON parser.
        history_text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    for line in history_text.splitlines(keepends=True):
        try:
            records.append(json.loads(line))
        except ValueError:
            break
        # A line without its newline was cut short just there: it counts as not written, because the next one would be
        # appended to it.
        if not line.endswith("\n"):
            records.pop()
    return records


def cut(path: Path, n_epochs: int) -> None:
    """Remove all but the first epochs from a file."""
    if path.exists():
        kept_lines = [
            json.dumps(epoch_record) + "\n" for epoch_record in read(path) if epoch_record["epoch"] <= n_epochs
        ]
        atomic.write_bytes(path, "".join(kept_lines).encode())
