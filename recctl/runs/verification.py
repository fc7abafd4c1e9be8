"""Whether a run's files are what it says they are."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from recctl import artifacts
from recctl.config.yaml_tree import parse
from recctl.errors import RecctlError
from recctl.metrics import MetricKey
from recctl.models.registry import load_model
from recctl.runs import labels
from recctl.runs.directory import Run
from recctl.training import history

# A metric is a mean of float64; what differs by more was not computed from these.
_TOLERANCE = 1e-6


class Fault(NamedTuple):
    """A file of a run, and what is wrong with it."""

    file: str
    problem: str


def verify(run: Run) -> list[Fault]:
    """Read every file of a run, and compare hashes, sizes and figures; empty if all is well."""
    checks: list[tuple[str, Callable[[Run], Iterator[Fault]]]] = [
        ("config.yaml", _config),
        ("files", _files),
        ("split.npz", _split),
        ("models", _models),
        ("checkpoints", _checkpoints),
        ("metrics.json", _metrics),
        ("per_user.parquet", _per_user),
        ("history.jsonl", _history),
        ("remarks.json", _remarks),
        ("exports", _exports),
    ]
    faults: list[Fault] = []
    for name, check in checks:
        try:
            faults += check(run)
        except RecctlError as error:
            faults.append(Fault(name, _without_path(error, run.path / name)))
    return faults


def _config(run: Run) -> Iterator[Fault]:
    parse(run.config_text(), "config.yaml")
    yield from ()


def _files(run: Run) -> Iterator[Fault]:
    """Files that are written once, against their hashes; those of a search that goes on may be newer than these."""
    for name, recorded in run.metadata.get("files", {}).items():
        if run.status != "complete" and name != "config.yaml":
            continue
        if not (run.path / name).is_file():
            yield Fault(name, "missing")
        elif _sha256(run.path / name) != recorded:
            yield Fault(name, "was changed or damaged (its hash differs)")


def _split(run: Run) -> Iterator[Fault]:
    recorded = run.metadata.get("split", {}).get("hash")
    if recorded and hashlib.sha256(run.split_parts().tobytes()).hexdigest() != recorded:
        yield Fault("split.npz", "is not the split the run was made with (its hash differs)")


def _models(run: Run) -> Iterator[Fault]:
    """Every model is loaded as `recommend` and `evaluate` load it: one that can't be used is a fault."""
    for entry in run.metadata.get("models", []):
        try:
            load_model(run.path / entry["file"], entry["sha256"])
        except RecctlError as error:
            yield Fault(entry["file"], _without_path(error, run.path / entry["file"]))
        except MemoryError:  # says nothing about the file
            raise
        except Exception as error:  # whatever the class of an installed package raises
            yield Fault(entry["file"], f"can't be loaded: {type(error).__name__}: {error}")


def _checkpoints(run: Run) -> Iterator[Fault]:
    for path in sorted((run.path / "checkpoints").glob("*.pkl")):
        try:
            artifacts.load(path, artifacts.describe(path)["recctl"])
        except RecctlError as error:
            yield Fault(f"checkpoints/{path.name}", _without_path(error, path))


def _metrics(run: Run) -> Iterator[Fault]:
    for part, values in run.metrics().items():
        for name, value in values.items():
            if type(value) not in (int, float) or not math.isfinite(value):
                yield Fault("metrics.json", f"{part}: {name} is {value!r}, not a number")


def _per_user(run: Run) -> Iterator[Fault]:
    """The means over users are the metrics, but for those of ratings, which are means over ratings."""
    if not (run.path / "per_user.parquet").exists():
        if run.metadata.get("evaluation"):
            yield Fault("per_user.parquet", "missing")
        return
    try:
        metrics = run.metrics()
    except RecctlError:  # told already
        return
    for part, values in metrics.items():
        table = run.per_user(part)
        for name, value in values.items():
            key = MetricKey.parse(name)
            if name not in table or not isinstance(value, float):
                continue
            if not key.is_known or key.metric.of == "errors":
                continue
            mean = float(table[name].mean())
            if not math.isclose(mean, value, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
                yield Fault(
                    "per_user.parquet", f"{part}: the mean of {name} is {mean:.6g}, metrics.json has {value:.6g}"
                )


def _history(run: Run) -> Iterator[Fault]:
    path = run.path / "history.jsonl"
    if not path.exists() or run.status != "complete":
        return
    n_lines = len(path.read_text(encoding="utf-8", errors="replace").splitlines())
    n_read = len(history.read(path))
    if n_read < n_lines:
        yield Fault("history.jsonl", f"line {n_read + 1} of {n_lines} is no whole epoch")


def _remarks(run: Run) -> Iterator[Fault]:
    labels.read(run)
    yield from ()


def _exports(run: Run) -> Iterator[Fault]:
    """The files of every export have the hashes that its manifest says."""
    for path in sorted((run.path / "exports").glob("[!.]*/manifest.json")):  # with a dot: one that is being made
        folder = f"exports/{path.parent.name}"
        try:
            files: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["files"]
            for name, said in files.items():
                if _sha256(path.parent / name) != said["sha256"]:
                    yield Fault(f"{folder}/{name}", "was changed or damaged (its hash differs)")
        except (OSError, ValueError, KeyError, TypeError) as error:
            yield Fault(folder, f"damaged: {error!r}")


def _without_path(error: RecctlError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
