"""Verification of a run: whether its files are complete and unchanged."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recctl import artifacts
from recctl.config.yaml_tree import parse
from recctl.errors import RecctlError
from recctl.metrics import MetricKey
from recctl.models.registry import load_model, model_class, model_names
from recctl.runs import labels, layout
from recctl.runs.directory import Run
from recctl.runs.evaluations import EvaluationRecord
from recctl.training import history

# Metrics are means of float64; a larger difference is not due to rounding.
_TOLERANCE = 1e-6
_KINDS_WITH_LOG = ("train", "fit", "split", "tune", "compare")


class Fault(NamedTuple):
    """A problem with a file of a run."""

    file: str
    problem: str


def verify(run: Run) -> list[Fault]:
    """Read all files of a run and check their hashes, sizes and values.

    Returns:
        The problems found; empty if there are none.
    """
    checks: list[tuple[str, Callable[[Run], Iterator[Fault]]]] = [
        (layout.CONFIG, _check_config),
        ("files", _check_hashes),
        (layout.SPLIT, _check_split),
        (layout.MODELS, _check_models),
        (layout.CHECKPOINTS, _check_checkpoints),
        (layout.EVALUATIONS, _check_evaluations),
        (layout.METRICS, _check_metrics),
        (layout.PER_USER, _check_per_user),
        (layout.SEGMENTS, _check_segments),
        (layout.HISTORY, _check_history),
        (layout.STUDY, _check_study),
        (layout.LOG, _check_log),
        (layout.LABELS, _check_labels),
        (layout.EXPORTS, _check_exports),
    ]
    faults: list[Fault] = []
    for checked_file, check in checks:
        try:
            faults += check(run)
        except RecctlError as error:
            faults.append(Fault(checked_file, _without_path(error, run.path / checked_file)))
    return faults


def _check_config(run: Run) -> Iterator[Fault]:
    parse(run.config_text(), layout.CONFIG)
    yield from ()


def _check_hashes(run: Run) -> Iterator[Fault]:
    """Check the files whose hashes are recorded. While a search runs, its files can be newer than their hashes."""
    for file_name, expected in run.metadata.get("files", {}).items():
        if not (run.path / file_name).is_file():
            yield Fault(file_name, "missing")
        elif run.status != "complete" and file_name != layout.CONFIG:
            continue
        elif _sha256(run.path / file_name) != expected:
            yield Fault(file_name, "was changed or damaged (its hash differs)")


def _check_split(run: Run) -> Iterator[Fault]:
    expected = run.metadata.get("split", {}).get("hash")
    if expected and hashlib.sha256(run.split_parts().tobytes()).hexdigest() != expected:
        yield Fault(layout.SPLIT, "is not the split that the run was created with (its hash differs)")


def _check_models(run: Run) -> Iterator[Fault]:
    """Load every model as `recommend` and `evaluate` do: a model that can't be used is a fault."""
    for model_entry in run.metadata.get("models", []):
        try:
            load_model(run.path / model_entry["file"], model_entry["sha256"])
        except RecctlError as error:
            yield Fault(model_entry["file"], _without_path(error, run.path / model_entry["file"]))
        except MemoryError:  # not a fault of the file
            raise
        except Exception as error:  # the class of a plug-in can raise anything
            yield Fault(model_entry["file"], f"can't be loaded: {type(error).__name__}: {error}")


def _check_checkpoints(run: Run) -> Iterator[Fault]:
    for checkpoint_path in sorted((run.path / layout.CHECKPOINTS).glob("*.pkl")):
        try:
            artifacts.load(checkpoint_path, artifacts.describe(checkpoint_path)["recctl"])
        except RecctlError as error:
            yield Fault(f"checkpoints/{checkpoint_path.name}", _without_path(error, checkpoint_path))


def _check_metrics(run: Run) -> Iterator[Fault]:
    stored = run.stored_metrics()
    records = run.evaluations()
    # Written after the records: a process that was killed in between left none. Of complete runs, this can happen only
    # to those that were evaluated later, as those of `fit` are.
    if not (run.path / layout.METRICS).exists():
        if _is_complete(run, "train") or (records and _is_complete(run, "tune")):
            yield Fault(layout.METRICS, "missing")
    elif _was_written_last(run.path / layout.METRICS, run.path / layout.EVALUATIONS):
        for label in run.metrics().keys() - stored.keys():
            yield Fault(layout.METRICS, f"{label}: its metrics are missing, but it was evaluated")
    for label, metric_name, value in _figures_without_record(stored, records):
        yield Fault(layout.METRICS, f"{label}: {metric_name} is {value}, which is in no record of evaluations.json")
    for label, values in stored.items():
        for metric_name, value in values.items():
            if type(value) not in (int, float) or not math.isfinite(value):
                yield Fault(layout.METRICS, f"{label}: {metric_name} is {value!r}, not a number")


def _was_written_last(path: Path, other: Path) -> bool:
    """Whether a file is not older than another one, which a process writes before it.

    If it is older, the process may have died in between; what is missing is added when the other is written next.
    """
    return not other.exists() or path.stat().st_mtime_ns >= other.stat().st_mtime_ns


def _figures_without_record(
    stored: Mapping[str, Mapping[str, float]], records: Sequence[EvaluationRecord]
) -> Iterator[tuple[str, str, float]]:
    """Figures of metrics.json that were never measured."""
    for label, values in stored.items():
        for metric_name, value in values.items():
            is_recorded = any(
                record.data.label == label and record.metrics.get(metric_name) == value for record in records
            )
            if not is_recorded:
                yield label, metric_name, value


def _check_evaluations(run: Run) -> Iterator[Fault]:
    run.evaluations()
    # Version 0.1 had no such file; it recorded evaluations in metadata.json.
    has_metrics = (run.path / layout.METRICS).exists() or _is_complete(run, "train")
    if not (run.path / layout.EVALUATIONS).exists() and has_metrics and "evaluation" not in run.metadata:
        yield Fault(layout.EVALUATIONS, "missing")


def _check_per_user(run: Run) -> Iterator[Fault]:
    """Check that the means over users equal the metrics. RMSE and MAE are means over ratings and are not checked."""
    try:
        records = run.evaluations()
    except RecctlError:  # _check_evaluations reports it
        return
    if not (run.path / layout.PER_USER).exists():
        if records or _is_complete(run, "train"):
            yield Fault(layout.PER_USER, "missing")
        return
    for record in records:
        table = run.per_user_of(record)
        for metric_name, value in record.metrics.items():
            metric_key = MetricKey.parse(metric_name)
            is_mean = metric_name in table and metric_key.is_known and metric_key.metric.of != "errors"
            if not is_mean or not isinstance(value, float):
                continue
            mean_of_users = float(table[metric_name].mean())
            if not math.isclose(mean_of_users, value, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
                yield Fault(
                    layout.PER_USER,
                    f"{record.data.label}: the mean of {metric_name} is {mean_of_users:.6g}, the stored metric "
                    f"{value:.6g}",
                )


def _check_segments(run: Run) -> Iterator[Fault]:
    """Check that each segment has the users that its record counts, and their means."""
    try:
        records = run.evaluations()
    except RecctlError:  # _check_evaluations reports it
        return
    for record in records:
        tables = run.segment_tables(record)
        for key, segment in record.segments.items():
            n_users = len(tables.get(key, ()))
            if n_users != segment["n_users"]:
                yield Fault(
                    layout.SEGMENTS, f"{record.data.label}: {key} has {n_users} users, not {segment['n_users']}"
                )
                continue
            for metric_name, figure in segment["metrics"].items():
                metric_key = MetricKey.parse(metric_name)
                if not metric_key.is_known or metric_key.metric.of == "errors":
                    continue
                mean_of_users = float(tables[key][metric_name].mean())
                if not math.isclose(mean_of_users, figure["value"], rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
                    yield Fault(
                        layout.SEGMENTS,
                        f"{record.data.label}: the mean of {metric_name} over {key} is {mean_of_users:.6g}, but the "
                        f"record has {figure['value']:.6g}",
                    )


def _check_history(run: Run) -> Iterator[Fault]:
    history_path = run.path / layout.HISTORY
    if run.status != "complete":
        return
    if not history_path.exists():
        if _is_trained_in_epochs(run):
            yield Fault(layout.HISTORY, "missing")
        return
    n_lines = len(history_path.read_text(encoding="utf-8", errors="replace").splitlines())
    n_read = len(history.read(history_path))
    if n_read < n_lines:
        yield Fault(layout.HISTORY, f"line {n_read + 1} of {n_lines} is not a complete record of an epoch")


def _is_trained_in_epochs(run: Run) -> bool:
    """Whether a model of the run was trained in epochs, each of which has a line in the history."""
    models = {model_entry["model"] for model_entry in run.metadata.get("models", [])}
    # The models of plug-ins that are not installed are reported by `_check_models`.
    return any(model_class(name).trained_in_epochs for name in models & set(model_names()))


def _check_log(run: Run) -> Iterator[Fault]:
    # Commands log that they are complete; runs that a program makes need no log.
    is_of_command = _is_complete(run, *_KINDS_WITH_LOG) and "prepare" in run.metadata.get("timings", {})
    if is_of_command and not (run.path / layout.LOG).exists():
        yield Fault(layout.LOG, "missing")


def _check_study(run: Run) -> Iterator[Fault]:
    """Check that a search has its trials, unless they are in a shared database."""
    is_shared = run.metadata.get("tuning", {}).get("shared", False)
    if _is_complete(run, "tune") and not is_shared and not (run.path / layout.STUDY).exists():
        yield Fault(layout.STUDY, "missing")


def _is_complete(run: Run, *kinds: str) -> bool:
    return run.status == "complete" and run.metadata.get("kind") in kinds


def _check_labels(run: Run) -> Iterator[Fault]:
    labels.read(run)
    yield from ()


def _check_exports(run: Run) -> Iterator[Fault]:
    """Check the files of each export against the hashes in its manifest; skip folders that are being written (`.*`)."""
    for export_path in sorted((run.path / layout.EXPORTS).glob("[!.]*")):
        if not export_path.is_dir():  # a report
            continue
        manifest_path = export_path / "manifest.json"
        folder = f"exports/{export_path.name}"
        if not manifest_path.exists():
            yield Fault(f"{folder}/manifest.json", "missing")
            continue
        try:
            files: dict[str, Any] = json.loads(manifest_path.read_text(encoding="utf-8"))["files"]
            for file_name, record in files.items():
                if not (export_path / file_name).is_file():
                    yield Fault(f"{folder}/{file_name}", "missing")
                elif _sha256(export_path / file_name) != record["sha256"]:
                    yield Fault(f"{folder}/{file_name}", "was changed or damaged (its hash differs)")
        except (OSError, ValueError, KeyError, TypeError) as error:
            yield Fault(folder, f"damaged: {error!r}")


def _without_path(error: RecctlError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
