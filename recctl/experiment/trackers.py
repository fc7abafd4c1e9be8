"""Report runs to the experiment trackers that a config names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recctl import progress, urls
from recctl.config import Config, flatten
from recctl.errors import ConfigError, RecctlError
from recctl.evaluation.segments import interval_records
from recctl.runs import Run, layout
from recctl.tracking import MLflowLogger, Status, TensorBoardLogger, Tracker

# Sections of a config that do not describe the fitted model.
_UNTRACKED_SECTIONS = {"tracking", "tuning", "engine", "models"}


def require_trackers(config: Config) -> None:
    """Check that the trackers of a config can be used.

    Raises:
        ConfigError: A package is not installed.
    """
    list(_make_trackers(config, Path()))


def make_trackers(run: Run, config: Config) -> list[Tracker]:
    """Make the trackers of a config for an existing run; without them, and with a notice, if one can't be used here."""
    try:
        return list(_make_trackers(config, run.path))
    except ConfigError as error:
        progress.notice(f"{error}; the run continues without tracking")
        return []


def begin_tracking(trackers: Sequence[Tracker], run: Run, config: Config, resumed: bool) -> None:
    """Report that a run begins or is resumed."""
    if not trackers:
        return
    untracked = _UNTRACKED_SECTIONS
    if run.metadata["kind"] == "compare":
        # Each model has its own; those of the first would suggest that they apply to all.
        untracked = untracked | {"model", "training"}
    params = flatten(config.model_dump(exclude=untracked))
    params = {name: urls.redact(value) if isinstance(value, str) else value for name, value in params.items()}
    for tracker in trackers:
        tracker.begin(run.id, params, {"recctl.run_id": run.id}, resumed=resumed)


def end_tracking(trackers: Sequence[Tracker], run: Run, status: Status) -> None:
    """Report the metrics of each part and segment, the seconds of each stage, and the final status of a run.

    Of a comparison: the means, spreads and intervals of each model, also by window and segment.
    """
    if not trackers:
        return
    values = _run_values(run)
    steps: dict[int, dict[str, float | None]] = {}
    document = _comparison(run)
    if document is not None:
        values |= _comparison_values(document)
        steps = _window_values(document)
    for stage, seconds in run.metadata["timings"].items():
        values[f"seconds/{stage}"] = seconds
    step = run.metadata.get("training", {}).get("best_epoch", 0)
    for tracker in trackers:
        for window_number, window_values in steps.items():
            tracker.log(window_values, window_number)
        tracker.log(values, step)
        tracker.end(status)


def _run_values(run: Run) -> dict[str, float | None]:
    """The metrics of a run by part and segment, with the ends of their 95 % intervals."""
    values: dict[str, float | None] = {}
    for part, metrics in run.metrics().items():
        for metric_key, value in metrics.items():
            values[f"{part}/{metric_key}"] = value
        # Metrics of the whole catalog, such as coverage, have no interval.
        for metric_key, figure in _intervals(run, part).items():
            if metric_key in metrics:
                values |= _ends(f"{part}/{metric_key}", figure)
    for part, segments in run.segments().items():
        for key, segment in segments.items():
            for metric_key, figure in segment["metrics"].items():
                name = f"{part}/{_segment_path(key)}/{metric_key}"
                values[name] = figure["value"]
                values |= _ends(name, figure)
    return values


def _intervals(run: Run, part: str) -> dict[str, dict[str, Any]]:
    try:
        return interval_records(run.per_user(part), int(run.metadata.get("seed", 42)))
    except RecctlError:  # a run that failed may have figures without values by user
        return {}


def _comparison(run: Run) -> dict[str, Any] | None:
    if run.metadata["kind"] != "compare":
        return None
    try:
        document: dict[str, Any] = json.loads((run.path / layout.COMPARISON).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # it failed before there was a result
        return None
    return document


def _comparison_values(document: Mapping[str, Any]) -> dict[str, float | None]:
    part = document["on"]
    values: dict[str, float | None] = {}
    for model in document["compared"]:
        for metric_key, record in model["metrics"].items():
            values |= _estimate(f"{model['label']}/{part}/{metric_key}", record)
    for key, segment in document.get("segments", {}).items():
        for label, estimates in segment["models"].items():
            for metric_key, record in estimates.items():
                values |= _estimate(f"{label}/{part}/{_segment_path(key)}/{metric_key}", record)
    return values


def _window_values(document: Mapping[str, Any]) -> dict[int, dict[str, float | None]]:
    """The metrics of each model in each window of a backtest, by the number of the window."""
    steps: dict[int, dict[str, float | None]] = {}
    for position, window in enumerate(document.get("windows", [])):
        values: dict[str, float | None] = {}
        for model in document["compared"]:
            for metric_key, record in model["metrics"].items():
                values |= _estimate(f"{model['label']}/windows/{metric_key}", record["windows"][position])
        steps[window["number"]] = values
    return steps


def _estimate(name: str, record: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: record["value"], f"{name}_spread": record.get("spread"), **_ends(name, record)}


def _ends(name: str, figure: Mapping[str, Any]) -> dict[str, float | None]:
    # Not below the name, as in `ndcg@10/low`: stores that keep a metric as a file can't have a folder of its name.
    return {f"{name}_low": figure.get("low"), f"{name}_high": figure.get("high")}


def _segment_path(key: str) -> str:
    """A segment as a part of a path: `segments/country/DE` of `country=DE`."""
    label, equals, name = key.partition("=")
    return f"segments/{label}/{name.replace('/', '_')}" if equals else f"segments/{label}"


def _make_trackers(config: Config, run_folder: Path) -> Iterator[Tracker]:
    section = config.tracking
    if section is None:
        return
    if section.mlflow is not None:
        yield MLflowLogger(section.mlflow.uri, section.mlflow.experiment)
    if section.tensorboard is True:
        yield TensorBoardLogger(run_folder / "tensorboard")
    elif section.tensorboard:
        yield TensorBoardLogger(Path(section.tensorboard) / run_folder.name)
