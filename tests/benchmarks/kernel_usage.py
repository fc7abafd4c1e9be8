"""Record which kernels commands call and what each costs to compile: `python -m tests.benchmarks.kernel_usage`.

Writes `recctl/kernels/usage.json`, and the table of docs/explanation/speed.md. Needs MovieLens-100K, and takes minutes.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import time
from contextlib import redirect_stdout
from importlib.resources import files
from pathlib import Path
from typing import Any
from unittest import mock

from recctl import cli
from recctl.kernels import loading
from recctl.kernels.compile import CompiledFunction, find_kernels
from recctl.models.registry import model_class, model_names
from tests.benchmarks.__main__ import ALL, replace_section

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL_DATA = ["data.source=synthetic", "data.synthetic={n_users: 300, n_items: 150, n_interactions: 6000}"]
BEGIN = "<!-- kernels: begin -->"
END = "<!-- kernels: end -->"


def measure_compilation() -> dict[str, float]:
    """Compile all kernels, one after the other; returns the processor time of each, the longest first."""
    trivial = CompiledFunction(lambda value: value, ("int64", "int64"))
    trivial.dispatcher  # noqa: B018 - imports and initializes numba
    seconds = {}
    for name in sorted(loading.all_kernels()):
        begin = time.process_time()
        for kernel in find_kernels([name]):
            kernel.dispatcher  # noqa: B018
        seconds[name] = round(time.process_time() - begin, 2)
    return dict(sorted(seconds.items(), key=lambda entry: -entry[1]))


def called_by(*arguments: str) -> set[str]:
    """Run a recctl command in this process; returns the names of the kernels that it calls."""
    names = set()

    def call(self: CompiledFunction, *values: Any) -> Any:
        names.add(self.name)
        return self.dispatcher(*values)

    with (
        mock.patch.object(loading, "load", return_value=0),
        mock.patch.object(CompiledFunction, "__call__", call),
        redirect_stdout(io.StringIO()),
    ):
        exit_code = cli.run([*arguments, "--quiet"])
    if exit_code:
        sys.exit(f"{arguments}: exit code {exit_code}")
    return names


def record_usage() -> dict[str, Any]:
    """Run commands for all models, and sort the kernels that they call by stage."""
    fits = {}
    trainings = {}
    for model in model_names():
        path = str(CONFIGS / f"{model.replace('-', '_')}.yaml")
        # Small data, and few epochs: all kernels are called within the first ones.
        epochs = [name for name in model_class(model).parameters if name in ("epochs", "n_epochs", "n_iterations")]
        overrides = [*SMALL_DATA, *(f"model.params.{name}=2" for name in epochs)]
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
    # These models call no kernel of evaluation in their fits.
    evaluate = set.intersection(*(trainings[model] - fits[model] for model in ("ease", "als", "slim", "popularity")))
    synthetic = {name for name in loading.all_kernels() if name.startswith("synthetic_sampling.")}
    # A fit may call a kernel that evaluation calls, too: `recctl fit` does not evaluate.
    models = {model: (fits[model] | (trainings[model] - evaluate)) - split - synthetic for model in fits}
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
    main()
