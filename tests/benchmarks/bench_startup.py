"""Wall time of whole commands, process start and imports included: `--help`, and a whole run on cached data."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 7
EASE = Path(__file__).parents[2] / "configs" / "ease.yaml"


def seconds(*arguments: str) -> float:
    """The median wall time of a command, after one run that is not counted."""
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(RUNS + 1):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "recctl", *arguments], cwd=folder, check=True, capture_output=True)
            taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


if __name__ == "__main__":
    for name, arguments in {
        "recctl --help": ["--help"],
        "recctl train configs/ease.yaml": ["train", str(EASE)],
    }.items():
        data = "MovieLens-100K" if "train" in arguments else ""
        print(json.dumps({"bench": name, "data": data, "seconds": round(seconds(*arguments), 3)}))
