"""Wall time of whole commands, including process start and imports, on cached data and with compiled kernels."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from side_by_side import print_json, seconds_of

N_REPEATS = 7
EASE_CONFIG = Path(__file__).parents[2] / "configs" / "ease.yaml"


N_RUNS = 2_000
# Files of a run that listing reads, or that show it as complete.
RUN_FILES = ("config.yaml", "metadata.json", "evaluations.json", "metrics.json", "log.txt")
# Files that have just changed are read again; see `recctl.runs.index`.
SECONDS_TO_SETTLE = 4


def median_seconds(folder: Path, *arguments: str) -> float:
    """Median wall time of a command in a folder, after a warm-up."""
    command = [sys.executable, "-m", "recctl", *arguments]
    seconds = [
        seconds_of(lambda: subprocess.run(command, cwd=folder, check=True, capture_output=True))
        for _ in range(N_REPEATS + 1)
    ]
    return statistics.median(seconds[1:])


def copy_run(run: Path, root: Path, n_copies: int) -> None:
    """Write copies of the small files of a run, each with an id of its own."""
    for number in range(n_copies):
        copied = root / f"20260101-{number // 3600:02d}{number // 60 % 60:02d}{number % 60:02d}-ease-x-{number:04x}"
        copied.mkdir(parents=True)
        for name in RUN_FILES:
            shutil.copy(run / name, copied / name)


def print_seconds(bench: str, data: str, seconds: float) -> None:
    print_json({"bench": bench, "data": data, "seconds": round(seconds, 3)})


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print_seconds("recctl --help", "", median_seconds(folder, "--help"))
        print_seconds(
            "recctl train configs/ease.yaml", "MovieLens-100K", median_seconds(folder, "train", str(EASE_CONFIG))
        )
        print_seconds(
            "recctl recommend latest 196", "EASE, MovieLens-100K", median_seconds(folder, "recommend", "latest", "196")
        )
        run = next((folder / "runs").glob("2*"))
        copy_run(run, folder / "many", N_RUNS)
        time.sleep(SECONDS_TO_SETTLE)
        listing = ("runs", "list", "--runs-dir", "many")
        print_seconds("recctl runs list", f"{N_RUNS:,} runs", median_seconds(folder, *listing))
        filtered = (*listing, "--where", "ndcg@10>0.1")
        print_seconds("recctl runs list --where", f"{N_RUNS:,} runs", median_seconds(folder, *filtered))


if __name__ == "__main__":
    main()
