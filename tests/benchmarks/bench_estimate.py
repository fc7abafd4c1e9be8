"""Estimates of `recctl estimate`, compared with the time, the memory and the disk space of the run.

Each command is a process of its own. Run nothing else on the machine: other load may slow down only one of the two.
Models that are trained in epochs have four, which is more than the estimate measures.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from side_by_side import goodbooks_path, print_json

CONFIGS = Path(__file__).parents[2] / "configs"
EPOCH_PARAMETERS = {"svdpp": "n_epochs", "ncf": "epochs", "lightgcn": "epochs", "sasrec": "epochs"}
MODELS = ("ease", "slim", "als", "item_knn", "user_knn", "rp3beta", "svdpp", "ncf", "lightgcn", "sasrec")
# Neural networks take hours for goodbooks on a CPU.
GOODBOOKS_MODELS = ("ease", "slim", "als", "item_knn", "user_knn", "rp3beta", "svdpp")


def run_recctl(*arguments: str) -> dict[str, Any]:
    """Run a command and return its JSON."""
    command = [sys.executable, "-m", "recctl", *arguments, "--json"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(arguments)}: {result.stderr}")
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def estimate_and_run(name: str, options: list[str], folder: str) -> dict[str, tuple[float, float]]:
    """Returns (estimated, actual) of each quantity; seconds or bytes."""
    arguments = [str(CONFIGS / f"{name}.yaml"), *options, "--runs-dir", folder]
    if name in EPOCH_PARAMETERS:
        arguments += ["--set", f"model.params.{EPOCH_PARAMETERS[name]}=4"]
    estimate = run_recctl("estimate", *arguments)
    run = run_recctl("train", *arguments)
    metadata = json.loads((Path(run["path"]) / "metadata.json").read_text())
    run_bytes = sum(path.stat().st_size for path in Path(run["path"]).rglob("*") if path.is_file())
    return {
        "time": (estimate["seconds"]["total"], sum(run["timings"].values())),
        "fit": (estimate["seconds"]["fit"], run["timings"]["fit"]),
        "memory": (estimate["memory"]["peak"], metadata["memory"]["peak_bytes"]),
        "disk": (estimate["disk"]["run"], run_bytes),
    }


def measure_models(data: str, models: tuple[str, ...], options: list[str]) -> None:
    """Print a line for the time of each model, and one each for the worst estimates of memory and disk space."""
    worst: dict[str, tuple[str, float, float]] = {}
    for name in models:
        with tempfile.TemporaryDirectory() as folder:
            quantities = estimate_and_run(name, options, folder)
        ratios = {key: f"{estimated / actual:.2f}" for key, (estimated, actual) in quantities.items()}
        print(f"{data}, {name}: estimated / actual {ratios}", flush=True)
        estimated, actual = quantities["time"]
        print_json(
            {
                "bench": f"estimate: a run of {name}",
                "data": data,
                "seconds": round(estimated, 3),
                "peer": "what it took",
                "peer_seconds": round(actual, 3),
                "ratio": round(estimated / actual, 2),
            }
        )
        for key in ("memory", "disk"):
            estimated, actual = quantities[key]
            if key not in worst or _error_factor(estimated, actual) > _error_factor(*worst[key][1:]):
                worst[key] = (name, estimated, actual)
    for key, (name, estimated, actual) in worst.items():
        print_json(
            {
                "bench": f"estimate: {key}, the worst ({name})",
                "data": data,
                "value": round(estimated / 1e6, 1),
                "unit": "MB",
                "peer": "what it took",
                "peer_value": round(actual / 1e6, 1),
                "ratio": round(estimated / actual, 2),
            }
        )


def _error_factor(estimated: float, actual: float) -> float:
    return max(estimated / actual, actual / estimated)


def main() -> None:
    """Measure both datasets."""
    measure_models("MovieLens-100K", MODELS, [])
    path = goodbooks_path()
    if path is not None:
        options = ["--set", f"data.source={path.absolute()}", "--set", "data.columns={item_id: book_id}"]
        measure_models("goodbooks", GOODBOOKS_MODELS, options)


if __name__ == "__main__":
    main()
