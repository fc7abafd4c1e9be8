"""What `recctl estimate` says of a run, and what the run then takes: time, the process's memory, and disk.

Each in a process of its own, one after the other: let the machine do nothing else, or one is slowed and the other is
not. Models in epochs have four, so that all that are estimated are gone through.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).parents[2] / "configs"
GOODBOOKS = Path(os.environ.get("RECCTL_BENCH_DATA", "")) / "goodbooks" / "ratings.csv.zip"
EPOCHS = {"svdpp": "n_epochs", "ncf": "epochs", "lightgcn": "epochs", "sasrec": "epochs"}
MODELS = ("ease", "slim", "als", "item_knn", "svdpp", "ncf", "lightgcn", "sasrec")
DATA = {
    "MovieLens-100K": (MODELS, []),
    # Networks take hours for it on a CPU.
    "goodbooks": (
        ("ease", "slim", "als", "item_knn", "svdpp"),
        ["--set", f"data.source={GOODBOOKS.absolute()}", "--set", "data.columns={item_id: book_id}"],
    ),
}


def recctl(*arguments: str) -> dict[str, Any]:
    """What a command answers."""
    done = subprocess.run([sys.executable, "-m", "recctl", *arguments, "--json"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}: {done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def compare(name: str, options: list[str], folder: str) -> dict[str, tuple[float, float]]:
    """(estimated, found) of each quantity."""
    few = ["--set", f"model.params.{EPOCHS[name]}=4"] if name in EPOCHS else []
    both = [str(CONFIGS / f"{name}.yaml"), *options, *few, "--runs-dir", folder]
    said = recctl("estimate", *both)
    run = recctl("train", *both)
    metadata = json.loads((Path(run["path"]) / "metadata.json").read_text())
    disk = sum(path.stat().st_size for path in Path(run["path"]).rglob("*") if path.is_file())
    return {
        "time": (said["seconds"]["total"], sum(run["timings"].values())),
        "fit": (said["seconds"]["fit"], run["timings"]["fit"]),
        "memory": (said["memory"]["peak"], metadata["memory"]["peak_bytes"]),
        "disk": (said["disk"]["run"], disk),
    }


def main() -> None:
    """A line for the time of each model, and one for the worst estimate of memory and of disk."""
    for data, (models, options) in DATA.items():
        if data == "goodbooks" and not GOODBOOKS.exists():
            print(f"goodbooks is left out: no {GOODBOOKS}; see $RECCTL_BENCH_DATA in the README of the benchmarks")
            continue
        worst: dict[str, tuple[str, float, float]] = {}
        for name in models:
            with tempfile.TemporaryDirectory() as folder:
                found = compare(name, options, folder)
            told = {what: f"{a / b:.2f}" for what, (a, b) in found.items()}
            print(f"{data}, {name}: estimated / found {told}", flush=True)
            said, was = found["time"]
            line = {"bench": f"estimate: a run of {name}", "data": data, "seconds": round(said, 3)}
            line |= {"peer": "what it took", "peer_seconds": round(was, 3), "ratio": round(said / was, 2)}
            print(json.dumps(line), flush=True)
            for what in ("memory", "disk"):
                a, b = found[what]
                if what not in worst or _off(a, b) > _off(*worst[what][1:]):
                    worst[what] = name, a, b
        for what, (name, a, b) in worst.items():
            line = {"bench": f"estimate: {what}, the worst ({name})", "data": data, "value": round(a / 1e6, 1)}
            line |= {"unit": "MB", "peer": "what it took", "peer_value": round(b / 1e6, 1), "ratio": round(a / b, 2)}
            print(json.dumps(line), flush=True)


def _off(a: float, b: float) -> float:
    return max(a / b, b / a)


if __name__ == "__main__":
    main()
