"""Record which kernels commands call and what each costs to compile: `python -m tests.benchmarks.kernel_usage`.

Writes `recctl/kernels/usage.json`, and the table of docs/speed.md. All kernels are compiled once into a cache of its own,
and each command runs in a process that reads from it what it calls. Needs MovieLens-100K, and takes some minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

from recctl.models.registry import model_class, model_names
from tests.benchmarks.__main__ import ALL, replace_section

CONFIGS = Path(__file__).parents[2] / "configs"
BEGIN = "<!-- kernels: begin -->"
END = "<!-- kernels: end -->"

def measure_compilation() -> dict[str, float]:
    """Compile all kernels one after the other in this process; returns the processor time of each, the longest first."""
    from recctl.kernels import loading
    from recctl.kernels.compile import CompiledFunction, find_kernels

    trivial = CompiledFunction(lambda value: value, ("int64", "int64"))
    trivial.dispatcher  # noqa: B018 - imports and initializes numba
    seconds = {}
    for name in sorted(loading.all_kernels()):
        begin = time.process_time()
        for kernel in find_kernels([name]):
            kernel.dispatcher  # noqa: B018
        seconds[name] = round(time.process_time() - begin, 2)
    return dict(sorted(seconds.items(), key=lambda entry: -entry[1]))


def run_recorded(arguments: list[str]) -> None:
    """Run a recctl command in this process without loading kernels ahead, and print those that it has called."""
    from recctl import cli
    from recctl.kernels import compile as compiled
    from recctl.kernels import loading

    loading.load = lambda names: 0
    exit_code = cli.run(arguments)
    if exit_code:
        sys.exit(exit_code)
    names = [name for name, kernels in compiled._kernels.items() if any(kernel.is_loaded for kernel in kernels)]
    print("\n" + json.dumps(names))


def called_by(*arguments: str) -> set[str]:
    """The kernels that a command calls."""
    command = [sys.executable, "-m", "tests.benchmarks.kernel_usage", "--run", *arguments]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{arguments}: {result.stderr}")
    print(" ".join(arguments), file=sys.stderr)
    return set(json.loads(result.stdout.splitlines()[-1]))


def record_usage() -> dict[str, Any]:
    """Run commands for all models, and sort the kernels that they call by stage."""
    fits = {}
    trainings = {}
    for model in model_names():
        path = str(CONFIGS / f"{model.replace('-', '_')}.yaml")
        # All kernels are called within the first epochs.
        overrides = [f"model.params.{name}=2" for name in model_class(model).parameters if "epochs" in name]
        options = [word for override in overrides for word in ("--set", override)]
        fits[model] = called_by("fit", path, *options)
        trainings[model] = called_by("train", path, *options)
    ease = str(CONFIGS / "ease.yaml")
    split = called_by("split", ease)
    called_by("train", ease)
    others = set()
    for arguments in (
        ["recommend", "latest", "1"],
        ["recommend", "latest", "--history", "50,100"],
        ["similar", "latest", "50"],
        ["evaluate", "latest"],
        ["report", "latest"],
        ["export", "latest", "--format", "recommendations"],
        ["compare", ease, str(CONFIGS / "popularity.yaml")],
        ["diagnose", "latest"],
    ):
        others |= called_by(*arguments)
    evaluate = set.intersection(*(trainings[model] - fits[model] for model in ("ease", "als", "slim", "popularity")))
    models = {model: (fits[model] | trainings[model]) - split - evaluate for model in fits}
    return {
        "split": sorted(split),
        "evaluate": sorted(evaluate),
        "models": {model: sorted(names) for model, names in models.items()},
        "other commands": sorted(others - split - evaluate),
    }


def format_table(usage: dict[str, Any]) -> str:
    """Format the seconds of each kernel and its users as a Markdown table."""
    lines = ["| kernel | compilation | called by |", "|---|---:|---|"]
    for name, seconds in usage["seconds"].items():
        users = []
        if name in usage["split"]:
            users.append("reading and splitting")
        if name in usage["evaluate"]:
            users.append("evaluation")
        users += [model for model, names in usage["models"].items() if name in names]
        if not users:
            users = ["other commands" if name in usage["other commands"] else "other options or data"]
        lines.append(f"| {name} | {seconds:.2f} s | {', '.join(users)} |")
    return "\n".join(lines)


def main() -> None:
    """Record all and write it down."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RECCTL_KERNELS_DIR"] = str(Path(folder) / "kernels")
        os.environ["RECCTL_RUNS_DIR"] = str(Path(folder) / "runs")
        usage = {"seconds": measure_compilation()} | record_usage()
    path = files("recctl.kernels") / "usage.json"
    Path(str(path)).write_text(json.dumps(usage, indent=1) + "\n")
    replace_section(ALL, format_table(usage), BEGIN, END)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run_recorded(sys.argv[2:])
    else:
        main()
