"""Wall time of whole commands, including process start and imports: `--help`, and a run on cached data."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from side_by_side import print_json, seconds_of

N_REPEATS = 7
EASE_CONFIG = Path(__file__).parents[2] / "configs" / "ease.yaml"


def median_seconds(*arguments: str) -> float:
    """Median wall time of a command, after a warm-up."""
    command = [sys.executable, "-m", "recctl", *arguments]
    with tempfile.TemporaryDirectory() as folder:
        seconds = [
            seconds_of(lambda: subprocess.run(command, cwd=folder, check=True, capture_output=True))
            for _ in range(N_REPEATS + 1)
        ]
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    print_json({"bench": "recctl --help", "data": "", "seconds": round(median_seconds("--help"), 3)})
    train_seconds = median_seconds("train", str(EASE_CONFIG))
    print_json(
        {"bench": "recctl train configs/ease.yaml", "data": "MovieLens-100K", "seconds": round(train_seconds, 3)}
    )
